"""Spectra: those of a pixel, and those that another sensor would see."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from geofuse.cube.bands import BandTable, drawn
from geofuse.cube.schema import geobox, wrap
from geofuse.errors import InvalidInput


def resample_spectral(cube: xr.DataArray, srf: ArrayLike) -> xr.DataArray:
    """Bands of another sensor, reflectance; dims (band, y, x).

    Parameters
    ----------
    cube : DataArray, dims (band, y, x)
    srf : ndarray, shape (M, B)
        Spectral response; rows are normalised to sum to 1.

    Raises
    ------
    InvalidInput
        There is no matrix, it does not have one column for each band, or it has a row without weight.
    """
    table = BandTable.from_cube(cube)
    rows = []
    for weight in _response(srf, len(table)):
        # Bands without weight stay out of it: 0 times NaN is NaN.
        used = np.flatnonzero(weight)
        share = xr.DataArray(weight[used] / weight.sum(), dims="band")
        row = (cube.isel(band=used).drop_vars("band") * share).sum("band", skipna=False)
        rows.append((row, float(share.values @ table.wavelength[used])))
    box = geobox(cube)
    return wrap(
        xr.concat([row for row, _ in rows], "band").transpose("band", "y", "x").data,
        transform=box.affine,
        crs=box.crs,
        names=[f"band {k + 1}" for k in range(len(rows))],
        wavelength=[centre for _, centre in rows],
        attrs=cube.attrs,
        y=cube.y.values,
        x=cube.x.values,
    )


def _response(srf: ArrayLike, bands: int) -> np.ndarray:
    """The matrix (M, B), checked."""
    expected = f"expected a matrix of shape (M, {bands}) with a positive sum in every row"
    try:
        matrix = np.atleast_2d(np.asarray(srf, float))
    except (TypeError, ValueError):
        raise InvalidInput(f"The response {srf!r} is no matrix of numbers; {expected}.") from None
    if matrix.ndim != 2 or matrix.shape[1] != bands or not (matrix.sum(1) > 0).all():
        raise InvalidInput(f"The response has shape {matrix.shape}; {expected}.")
    return matrix


def plot_spectrum(cube: xr.DataArray, x: float, y: float, ax: Axes | None = None) -> Axes:
    """Plot the spectrum of the pixel at (x, y); bands that are not good are left out, and gaps in the wavelengths drawn as gaps.

    Raises
    ------
    InvalidInput
        The place lies outside the cube.
    """
    left, bottom, right, top = geobox(cube).boundingbox
    if not (left <= x <= right and bottom <= y <= top):
        raise InvalidInput(
            f"The place x {x:.10g}, y {y:.10g} lies outside the cube's extent (x {left:.10g} to {right:.10g}, y {bottom:.10g} to {top:.10g}); "
            "expected coordinates in the cube's own CRS."
        )
    table = BandTable.from_cube(cube)
    values = cube.sel(x=x, y=y, method="nearest").values
    axis = table.wavelength if table.has_wavelength else np.arange(1, len(table) + 1)
    ax = Figure(figsize=(6, 3.5), layout="constrained").add_subplot() if ax is None else ax
    ax.plot(*drawn(axis, values, table.good))
    ax.set(xlabel="wavelength (nm)" if table.has_wavelength else "band", ylabel="reflectance", title=f"x {x:.10g}, y {y:.10g}")
    return ax
