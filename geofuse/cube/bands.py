"""Band tables: what each band of a cube measures, in nanometres, and which bands are good.

Wavelengths come in nanometres or micrometres, declared or not; `to_nm` recognises which. Everything inside geofuse is nm.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geofuse.errors import InvalidCube

if TYPE_CHECKING:
    import xarray as xr

# Strong water-vapour absorption: surface reflectance there is noise divided by almost nothing (Gao et al. 2009,
# doi:10.1016/j.rse.2007.12.015, on the bands centred near 1380 and 1880 nm). Limits in nm.
WATER_VAPOUR: tuple[tuple[float, float], ...] = ((1350.0, 1430.0), (1800.0, 1960.0))

# Centres (nm) of the red, green and blue that a person expects to see: those of Sentinel-2 bands 4, 3 and 2.
RED_GREEN_BLUE: tuple[float, float, float] = (665.0, 560.0, 490.0)

# Imaging spectrometers and multispectral imagers measure between the ultraviolet and the thermal infrared. The two ranges
# do not meet, so values without a declared unit are recognised by their magnitude.
_PLAUSIBLE_NM = (100.0, 30_000.0)
_NM_PER_UNIT = {
    1.0: {"nm", "nanometer", "nanometers", "nanometre", "nanometres"},
    1000.0: {"um", "µm", "μm", "micrometer", "micrometers", "micrometre", "micrometres", "micron", "microns"},
}
_GDAL_SUFFIX = re.compile(r"\s+\([\d.]+ (micro|nano)met(er|re)s\)$", re.IGNORECASE)
# Bands in words: numbers from 1, and the wavelengths of a range.
_NUMBERS = re.compile(r"(\d+)(?:\s*-\s*(\d+))?")
_RANGE = re.compile(r"(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)\s*(nm|um|µm|μm)", re.IGNORECASE)
# A wavelength as people and ENVI write it into the name of a band; a number without a unit is only a number.
_NAMED = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)\s*(nm|um|µm|μm|nanomet(?:er|re)s?|micromet(?:er|re)s?|microns?)(?![a-z])", re.IGNORECASE)
_NO_UNIT = {"", "unknown", "none", "undefined"}


@dataclass(frozen=True, eq=False)
class BandTable:
    """What the bands of a cube are.

    Attributes
    ----------
    names : tuple of str
        One unique name a band.
    wavelength, fwhm : numpy.ndarray
        Centre and full width at half maximum, nm, float64, shape ``(band,)``; NaN where unknown.
    good : numpy.ndarray
        Bool, shape ``(band,)``; False for bands that carry no usable signal.
    """

    names: tuple[str, ...]
    wavelength: NDArray[np.float64]
    fwhm: NDArray[np.float64]
    good: NDArray[np.bool_]

    def __post_init__(self) -> None:
        """Check that the columns are of one length."""
        lengths = {len(self.names), len(self.wavelength), len(self.fwhm), len(self.good)}
        if len(lengths) != 1:
            raise InvalidCube(f"a band table needs columns of one length, got {sorted(lengths)}")

    def __len__(self) -> int:
        """Return the number of bands."""
        return len(self.names)

    @classmethod
    def make(
        cls,
        names: Sequence[str],
        wavelength: ArrayLike | None = None,
        fwhm: ArrayLike | None = None,
        good: ArrayLike | None = None,
    ) -> BandTable:
        """Build a table from what is known (nm); the rest becomes NaN, and ``good`` the default of `default_good`.

        Examples
        --------
        >>> BandTable.make(["blue", "red"], [490, 665]).wavelength
        array([490., 665.])
        """
        unknown = np.full(len(names), np.nan)
        centre = unknown if wavelength is None else np.array(wavelength, dtype=np.float64)
        width = unknown if fwhm is None else np.array(fwhm, dtype=np.float64)
        flags = default_good(centre) if good is None else np.array(good, dtype=bool)
        return cls(unique_names(names), centre, width, flags)

    @classmethod
    def from_cube(cls, cube: xr.DataArray) -> BandTable:
        """Read the table from the coordinates of a cube (see `geofuse.cube.schema.wrap`)."""
        columns = [cube.coords[key].values if key in cube.coords else None for key in ("wavelength", "fwhm", "good")]
        return cls.make([str(name) for name in cube.coords["band"].values], *columns)

    @property
    def has_wavelength(self) -> bool:
        """Whether the centre of every band is known."""
        return bool(np.isfinite(self.wavelength).all())

    def take(self, index: Sequence[int] | NDArray[np.intp]) -> BandTable:
        """Return the table of some of the bands, by position."""
        at = np.asarray(index, dtype=np.intp)
        return BandTable(tuple(self.names[i] for i in at), self.wavelength[at], self.fwhm[at], self.good[at])

    def nearest(self, nm: float, *, good_only: bool = False) -> int:
        """Position of the band whose centre is nearest to a wavelength.

        Parameters
        ----------
        nm : float
            Wavelength, nm.
        good_only : bool
            Pass over bands that are not good, as long as there are good ones.

        Raises
        ------
        InvalidCube
            No band has a known wavelength.

        Examples
        --------
        >>> BandTable.make(["a", "b", "c"], [450, 550, 650]).nearest(560)
        1
        """
        usable = np.isfinite(self.wavelength)
        if not usable.any():
            raise InvalidCube(f"no band has a wavelength, so none is nearest to {nm:g} nm; select bands by name instead")
        if good_only and (usable & self.good).any():
            usable = usable & self.good
        return int(np.argmin(np.where(usable, np.abs(self.wavelength - nm), np.inf)))

    def rgb(self) -> tuple[int, int, int]:
        """Positions of the bands to show as red, green and blue.

        Without wavelengths the bands are taken to start with blue, green, red, as multispectral products do;
        with fewer than three bands the first is shown in grey.

        Examples
        --------
        >>> BandTable.make(["b", "g", "r", "nir"], [484.3, 558.4, 646.5, 804.6]).rgb()
        (2, 1, 0)
        """
        if np.isfinite(self.wavelength).any():
            red, green, blue = (self.nearest(nm, good_only=True) for nm in RED_GREEN_BLUE)
            return red, green, blue
        return (2, 1, 0) if len(self) >= 3 else (0, 0, 0)


def drawn(wavelength: ArrayLike, values: ArrayLike, good: ArrayLike | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A spectrum as a line to draw: by wavelength, and broken where there are no bands or none that are good.

    Across strong water-vapour absorption there is no light: a line there would show a slope that nobody measured.

    Parameters
    ----------
    wavelength, values : array_like, shape (B,)
        Band centres (nm) or numbers, and what is drawn over them.
    good : array_like, optional
        Bool, shape (B,).

    Returns
    -------
    ndarray, ndarray
        Longer than B by one NaN a gap: a step of more than five times the median one, and more than 40 nm.

    Examples
    --------
    >>> drawn([1300, 1310, 1320, 1450, 1460], [1, 2, 3, 4, 5])[1]
    array([ 1.,  2.,  3., nan,  4.,  5.])
    """
    x, y = np.asarray(wavelength, float), np.asarray(values, float)
    if good is not None:
        y = np.where(np.asarray(good, bool), y, np.nan)
    order = np.argsort(x, kind="stable")  # neighbouring detectors overlap, so files may step back
    x, y = x[order], y[order]
    steps = np.diff(x)
    gaps = np.flatnonzero(steps > max(5 * np.median(steps), 40.0)) + 1 if len(steps) else np.array([], int)
    return np.insert(x, gaps, np.nan), np.insert(y, gaps, np.nan)


def nm_per_unit(wavelength: ArrayLike, units: str | None = None) -> float:
    """How many nanometres one unit of these wavelengths is: 1 or 1000.

    Parameters
    ----------
    wavelength : array_like
        Band centres; NaN where unknown.
    units : str, optional
        The declared unit; None, "" and "unknown" leave the decision to the magnitude of the values.

    Raises
    ------
    InvalidCube
        The unit is neither nm nor µm, or the values are not wavelengths in it.

    Examples
    --------
    >>> nm_per_unit([0.46, 2.4]), nm_per_unit([460, 2400], "Nanometers")
    (1000.0, 1.0)
    """
    values = np.asarray(wavelength, dtype=np.float64)
    known = values[~np.isnan(values)]
    declared = (units or "").strip().lower()
    candidates = [factor for factor, words in _NM_PER_UNIT.items() if declared in words or declared in _NO_UNIT]
    if not candidates:
        raise InvalidCube(f"wavelength unit {units!r} is not understood; expected nanometres or micrometres, correct the metadata")
    if known.size and not (known > 0).all():
        raise InvalidCube(f"wavelengths must be positive, found {known.min():g}; correct the metadata of the file")
    low, high = _PLAUSIBLE_NM
    for factor in candidates:
        # inf fails here as well
        if ((known * factor >= low) & (known * factor <= high)).all():
            return factor
    raise InvalidCube(
        f"wavelengths from {known.min():g} to {known.max():g} {units or '(no unit given)'} are not wavelengths of light between "
        f"{low:g} and {high:g} nm; correct the values or their unit in the metadata"
    )


def to_nm(values: ArrayLike, units: str | None = None) -> NDArray[np.float64]:
    """Wavelengths in nanometres, whatever unit they came in.

    Parameters
    ----------
    values : array_like
        Band centres, any length; NaN where unknown.
    units : str, optional
        The declared unit. Without one, values of 0.1-30 are micrometres and values of 100-30000 are nanometres.

    Raises
    ------
    InvalidCube
        Negative, zero or implausible values, or a unit that is neither nm nor µm.

    Examples
    --------
    >>> to_nm([0.4843, 0.8046], "Micrometers")
    array([484.3, 804.6])
    """
    centre = np.asarray(values, dtype=np.float64)
    return in_nm(centre, nm_per_unit(centre, units))


def in_nm(values: ArrayLike, factor: float) -> NDArray[np.float64]:
    """Multiply into nm, rounding off what binary fractions add (0.4843 µm is 484.3 nm, not 484.29999999999995)."""
    scaled = np.asarray(values, dtype=np.float64) * factor
    return scaled if factor == 1.0 else np.round(scaled, 9)


def named_wavelengths(names: Sequence[str]) -> NDArray[np.float64] | None:
    """Band centres (nm) that stand in band names; NaN for a band whose name holds none or several, None where no name holds one.

    Examples
    --------
    >>> named_wavelengths(["460.00 nm", "Band 12 (0.4600 Micrometers)", "NIR"])
    array([460., 460.,  nan])
    """
    found = [_NAMED.findall(name) for name in names]
    centre = np.full(len(names), np.nan)
    for k, numbers in enumerate(found):
        if len(numbers) == 1:
            value, unit = float(numbers[0][0]), numbers[0][1].lower()
            factor = next(factor for factor, words in _NM_PER_UNIT.items() if unit in words)
            nm = float(in_nm(value, factor))
            centre[k] = nm if _PLAUSIBLE_NM[0] <= nm <= _PLAUSIBLE_NM[1] else np.nan
    return None if np.isnan(centre).all() else centre


def default_good(wavelength: ArrayLike) -> NDArray[np.bool_]:
    """Return which bands lie outside strong water-vapour absorption; bands of unknown wavelength count as good.

    Examples
    --------
    >>> default_good([1300.0, 1400.0, 1900.0, float("nan")])
    array([ True, False, False,  True])
    """
    centre = np.asarray(wavelength, dtype=np.float64)
    absorbed = np.zeros(centre.shape, dtype=bool)
    for low, high in WATER_VAPOUR:
        absorbed |= (centre >= low) & (centre <= high)
    return ~absorbed


def plain_name(name: str) -> str:
    """Return a band name without the wavelength that GDAL appends to the band names of an ENVI header.

    Examples
    --------
    >>> plain_name("band 8 (0.460000 Micrometers)")
    'band 8'
    """
    return _GDAL_SUFFIX.sub("", name.strip()).rstrip()


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names, empty ones numbered (B001) and repeated ones made unique, so that each selects one band.

    Examples
    --------
    >>> unique_names(["red", "", "red"])
    ('red', 'B002', 'red (2)')
    """
    digits = max(3, math.ceil(math.log10(len(names) + 1)))
    filled = [name.strip() or f"B{number:0{digits}d}" for number, name in enumerate(names, start=1)]
    taken: set[str] = set()
    unique: list[str] = []
    for name in filled:
        candidate, copy = name, 2
        while candidate in taken:
            candidate, copy = f"{name} ({copy})", copy + 1
        taken.add(candidate)
        unique.append(candidate)
    return tuple(unique)


def positions(table: BandTable, bands: Sequence[str | int]) -> list[int]:
    """Positions of the bands that are asked for, in that order, each once.

    Parameters
    ----------
    table : BandTable
    bands : sequence of str or int
        Each a name; a number from 1, or a range of them such as ``"1-50"``; or a range of wavelengths, ``"450-900nm"`` or ``"0.45-0.9um"``.
        A name goes before a number that is spelled like it.

    Raises
    ------
    InvalidCube
        No such band, or nothing is asked for.

    Examples
    --------
    >>> positions(BandTable.make(["blue", "green", "red", "nir"], [490, 560, 665, 842]), ["nir", "1-2", "600-700nm"])
    [3, 0, 1, 2]
    """
    found = [position for band in bands for position in _positions(table, band)]
    if not found:
        raise InvalidCube("bands= is empty; name at least one band, or leave it out")
    return list(dict.fromkeys(found))


def _positions(table: BandTable, band: str | int) -> list[int]:
    if isinstance(band, str) and band in table.names:
        return [table.names.index(band)]
    if isinstance(band, str) and (match := _RANGE.fullmatch(band.strip())):
        factor = next(factor for factor, words in _NM_PER_UNIT.items() if match[3].lower() in words)
        with np.errstate(invalid="ignore"):
            inside = (table.wavelength >= float(match[1]) * factor) & (table.wavelength <= float(match[2]) * factor)
        if inside.any():
            return [int(k) for k in np.flatnonzero(inside)]
    elif isinstance(band, str | int | np.integer) and not isinstance(band, bool) and (match := _NUMBERS.fullmatch(str(band).strip())):
        first = int(match[1])
        last = int(match[2] or first)
        if 1 <= first <= last <= len(table):
            return list(range(first - 1, last))
    shown = ", ".join(table.names[:20]) + (", …" if len(table) > 20 else "")
    known = (
        f"{np.nanmin(table.wavelength):.4g} to {np.nanmax(table.wavelength):.4g} nm" if np.isfinite(table.wavelength).any() else "unknown"
    )
    raise InvalidCube(f"no band {band!r}; choose numbers from 1 to {len(table)}, names among {shown}, or wavelengths ({known})")


def as_list(bands: Sequence[str | int] | str | int | None) -> list[str | int] | None:
    """Bands as a list; a text holds several, separated by commas.

    Examples
    --------
    >>> as_list("1-50,60"), as_list(3), as_list(["red"]), as_list(None)
    (['1-50', '60'], [3], ['red'], None)
    """
    if bands is None:
        return None
    if isinstance(bands, str):
        return [part.strip() for part in bands.split(",") if part.strip()]
    return [bands] if isinstance(bands, int | np.integer) else list(bands)


def listed(names: Sequence[str] | NDArray[np.str_], shown: int = 8) -> str:
    """Names in a sentence, the first few of them.

    Examples
    --------
    >>> listed(["B1", "B2", "B3"]), listed(["B1", "B2", "B3"], shown=2)
    ('B1, B2, B3', 'B1, B2 and 1 more')
    """
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
