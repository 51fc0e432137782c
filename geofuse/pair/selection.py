"""Bands that say nothing of the other image: which of them a pair leaves out before it is fused, with a warning that names them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geofuse.cube.bands import BandTable, listed
from geofuse.cube.sampling import constant_bands, typical
from geofuse.cube.values import NOT_REFLECTANCE
from geofuse.errors import InputWarning, InvalidPair, NotReflectance
from geofuse.pair.scene import Scene

# nm that an MSI band may lie beyond the outermost bands of the HSI: about the distance of two of them.
_BEYOND = 20.0
_REFLECTED = 3000.0  # nm: beyond, surfaces emit more than they reflect of the sun
KEPT_BANDS = "geofuse_kept_bands"
"""Attribute of an MSI of which bands were left out: how many there were, and the positions of those that were kept."""


def without_bands_beyond(scene: Scene) -> Scene:
    """Leave out MSI bands of emitted light that lie beyond the HSI's wavelengths, and warn of others that do; metadata only.

    What such a band shows is no sum of HSI bands, so that the two images cannot be compared in it. One of reflected light (short-wave infrared beside a
    VNIR sensor) shows the edges of the same surfaces all the same, and stays as a guide (`guides`).

    Raises
    ------
    InvalidPair
        No MSI band is left.
    """
    beyond = guides(scene)
    if not beyond.any():
        return scene
    msi, (low, high) = BandTable.from_cube(scene.msi), _range(scene)
    if beyond.all():
        raise InvalidPair(
            f"The MSI's bands ({msi.wavelength.min():.4g} to {msi.wavelength.max():.4g} nm) all lie beyond those of the HSI ({low:.4g} to "
            f"{high:.4g} nm); expected bands that both see. Check the wavelengths of both images.",
            code="no-common-bands",
        )
    where = f"lie beyond the HSI's {low:.4g} to {high:.4g} nm"
    if (kept := beyond & (msi.wavelength < _REFLECTED)).any():
        message = f"MSI bands used for detail and not for spectra, because they {where}: {listed(np.array(msi.names)[kept])}"
        warnings.warn(InputWarning(message, "bands-beyond"), stacklevel=4)
    return _without(scene, beyond & ~kept, "bands-beyond", where)


def guides(scene: Scene) -> NDArray[np.bool_]:
    """MSI bands that lie beyond the HSI's wavelengths, (M,)."""
    msi, (low, high) = BandTable.from_cube(scene.msi), _range(scene)
    half = np.where(np.isfinite(msi.fwhm), msi.fwhm, 0) / 2 + _BEYOND
    with np.errstate(invalid="ignore"):
        return np.asarray((msi.wavelength + half < low) | (msi.wavelength - half > high))


def _range(scene: Scene) -> tuple[float, float]:
    """Wavelengths of the HSI; NaN where they are unknown."""
    known = scene.bands.wavelength[np.isfinite(scene.bands.wavelength)]
    return (float(known.min()), float(known.max())) if known.size else (np.nan, np.nan)


def without_constant_bands(scene: Scene) -> Scene:
    """Leave out MSI bands that hold one and the same number, and make those of the HSI nodata; reads a few pixels of the overlap."""
    hsi, msi = scene.overlap
    scene = _without(scene, constant_bands(msi), "constant-bands", "hold one and the same number everywhere")
    return replace(scene, hsi=_emptied(scene.hsi, constant_bands(hsi)))


def warn_of_scale(scene: Scene) -> None:
    """Warn of images that are no reflectance: files are looked at when they are opened, arrays here."""
    for cube, role in zip(scene.overlap, ("HSI", "MSI"), strict=True):
        level = typical(cube)
        if level is not None and level > NOT_REFLECTANCE:
            warnings.warn(
                f"the {role} holds values around {level:.4g}, which are not reflectance (1.0 = 100 %): multiply it by its scale before fusing",
                NotReflectance,
                stacklevel=3,
            )


def kept_rows(table: NDArray[Any], msi: xr.DataArray) -> NDArray[Any]:
    """Rows of a response table, which has one for each band of the MSI as it was given, of the bands that were kept."""
    known = msi.attrs.get(KEPT_BANDS)
    return table[known["kept"]] if known and table.ndim and len(table) == known["of"] else table


def _without(scene: Scene, useless: NDArray[np.bool_], code: str, why: str) -> Scene:
    if not useless.any():
        return scene
    names = BandTable.from_cube(scene.msi).names
    message = f"MSI bands left out of the fusion, because they {why}: {listed(np.array(names)[useless])}"
    warnings.warn(InputWarning(message, code), stacklevel=4)
    kept, before = np.flatnonzero(~useless), scene.msi.attrs.get(KEPT_BANDS, {"of": len(names), "kept": list(range(len(names)))})
    msi = scene.msi.isel(band=kept)
    msi.attrs[KEPT_BANDS] = {"of": before["of"], "kept": [before["kept"][k] for k in kept]}
    msi.encoding = dict(scene.msi.encoding)
    return replace(scene, msi=msi)


def _emptied(hsi: xr.DataArray, constant: NDArray[np.bool_]) -> xr.DataArray:
    """The cube with those bands as nodata, marked as bands without signal."""
    if not constant.any():
        return hsi
    table = BandTable.from_cube(hsi)
    if (unexpected := constant & table.good).any():  # of the others the product says so itself, and the report lists them
        names = listed(np.array(table.names)[unexpected])
        message = f"HSI bands taken as nodata, because they hold one and the same number everywhere: {names}"
        warnings.warn(InputWarning(message, "constant-bands"), stacklevel=4)
    emptied = hsi.where(xr.DataArray(~constant, dims="band"))
    emptied = emptied.assign_coords(good=("band", hsi.good.values & ~constant, hsi.good.attrs))
    emptied.attrs, emptied.encoding = dict(hsi.attrs), dict(hsi.encoding)
    return emptied
