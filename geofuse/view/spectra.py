"""Spectra: those of a pixel, and those that another sensor would see."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geofuse.bands import BandTable
from geofuse.errors import RefusedInput


def resample_spectral(cube: xr.DataArray, srf: np.ndarray) -> xr.DataArray:
    """Bands of another sensor, reflectance; dims (band, y, x).

    Parameters
    ----------
    cube : DataArray, dims (band, y, x)
    srf : ndarray, shape (M, B)
        Spectral response; rows are normalised to sum to 1.

    Raises
    ------
    RefusedInput
        The matrix does not have one column for each band, or has a row without weight.
    """
    matrix = np.atleast_2d(np.asarray(srf, float))
    if matrix.shape[1] != cube.sizes["band"] or not (matrix.sum(1) > 0).all():
        raise RefusedInput(f"The response has shape {matrix.shape}; expected (M, {cube.sizes['band']}) with a positive sum in every row.")
    matrix = matrix / matrix.sum(1, keepdims=True)
    weights = xr.DataArray(matrix.astype("float32"), dims=("out", "band"), coords={"band": cube.band})
    mixed = xr.dot(weights, cube, dim="band").rename(out="band")
    centres = matrix @ BandTable.from_cube(cube).wavelength
    return mixed.assign_coords(
        band=[f"band {i + 1}" for i in range(len(matrix))], wavelength=("band", centres), spatial_ref=cube.spatial_ref
    )


def plot_spectrum(cube: xr.DataArray, x: float, y: float, ax: Axes | None = None) -> Axes:
    """Plot the spectrum of the pixel nearest to (x, y); bands that are not good are left out."""
    table = BandTable.from_cube(cube)
    values = np.where(table.good, cube.sel(x=x, y=y, method="nearest").values, np.nan)
    axis = table.wavelength if table.has_wavelength else np.arange(1, len(table) + 1)
    order = np.argsort(axis)
    ax = Figure(figsize=(6, 3.5), layout="constrained").add_subplot() if ax is None else ax
    ax.plot(axis[order], values[order])
    ax.set(xlabel="wavelength (nm)" if table.has_wavelength else "band", ylabel="reflectance", title=f"x {x:g}, y {y:g}")
    return ax
