"""Bands of an imaging spectrometer as its products list them: in order of wavelength, none left out without a word."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geofuse.cube.bands import BandTable, default_good, to_nm
from geofuse.errors import InvalidCube

_WIDEST_NM = 1000.0


def ordered(
    wavelength: ArrayLike,
    fwhm: ArrayLike,
    *,
    count: int | None = None,
    good: ArrayLike | None = None,
    detector: list[str] | None = None,
) -> tuple[NDArray[np.intp], BandTable]:
    """Positions of the bands in order of their wavelength, and their table in that order.

    Bands of overlapping detectors are kept, both. Bands with a wavelength of zero, which were not acquired, are left out with a warning.

    Parameters
    ----------
    wavelength, fwhm : array_like, shape (band,)
        In nm.
    count : int, optional
        Bands of the cube, of which the lists must have one each.
    good : array_like, optional
        Bool; whether the product calls the band usable. Bands in strong water-vapour absorption are not good in any case.
    detector : list of str, optional
        Detector of each band, for its name.

    Raises
    ------
    InvalidCube
        Lists of different lengths, or values that are no wavelengths.

    Examples
    --------
    >>> order, table = ordered([430, 420, 1400], [7, 7, 10])
    >>> order, table.names, table.good
    (array([1, 0, 2]), ('420.00 nm', '430.00 nm', '1400.00 nm'), array([ True,  True, False]))
    """
    centre, width = np.asarray(wavelength, np.float64).ravel(), np.asarray(fwhm, np.float64).ravel()
    usable = np.ones(centre.shape, bool) if good is None else np.asarray(good, bool).ravel()
    if not centre.shape == width.shape == usable.shape or (detector is not None and len(detector) != centre.size):
        raise InvalidCube(f"{centre.size} wavelengths, {width.size} FWHM and {usable.size} flags; expected one of each a band")
    if count is not None and centre.size != count:
        raise InvalidCube(f"{count} bands of pixels and {centre.size} wavelengths; the product is damaged")
    taken = np.flatnonzero(centre != 0)
    if taken.size == 0:
        raise InvalidCube("no band has a wavelength; the product is damaged")
    if not np.isfinite(centre).all():
        raise InvalidCube("a wavelength is no finite number; the product is damaged")
    if taken.size < centre.size:
        warnings.warn(
            f"{centre.size - taken.size} of {centre.size} bands have a wavelength of 0, so they were not acquired; they are left out",
            UserWarning,
            stacklevel=6,
        )
    nm, widths = to_nm(centre[taken], "nm"), width[taken]
    if not ((widths > 0) & (widths < _WIDEST_NM)).all():
        raise InvalidCube(f"FWHM from {widths.min():g} to {widths.max():g} nm; expected widths above 0 and below {_WIDEST_NM:g} nm")
    along = np.argsort(nm, kind="stable")
    order = taken[along]
    names = [f"{detector[band] if detector else ''} {value:.2f} nm".strip() for band, value in zip(order, nm[along], strict=True)]
    table = BandTable.make(names, nm[along], widths[along], usable[order] & default_good(nm[along]))
    return order, table
