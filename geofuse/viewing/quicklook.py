"""Quicklooks: a colour picture of a cube, and the picture that shows what a fusion did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rioxarray  # noqa: F401 (registers .rio)
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from pyproj import Transformer

from geofuse.cube.bands import BandTable, drawn
from geofuse.cube.schema import as_cube, geobox
from geofuse.reporting.pictures import STRETCH, limits_of, stretched

MAX_PIXELS = 1200  # along the longer side of a panel
PLACE_COLOURS = ("#d62728", "#1f77b4", "#2ca02c")


def rgb(cube: xr.DataArray, percentiles: tuple[float, float] = STRETCH) -> xr.DataArray:
    """Red, green and blue, stretched to 0 … 1.

    Parameters
    ----------
    cube : DataArray, dims (band, y, x)
        Reflectance.
    percentiles : tuple of float
        Values that become black and white.

    Returns
    -------
    DataArray, dims (y, x, rgb)
        NaN where there is no data.
    """
    picked = cube.isel(band=list(BandTable.from_cube(cube).rgb())).astype("float32").compute()
    image = stretched(picked.values, limits_of(picked.values, percentiles)).transpose(1, 2, 0)
    return xr.DataArray(image, dims=("y", "x", "rgb"), coords={"y": picked.y, "x": picked.x, "rgb": ["red", "green", "blue"]}, name="rgb")


def comparison(hsi: xr.DataArray, msi: xr.DataArray, fused: xr.DataArray, path: str | Path | None = None) -> Figure:
    """Coarse, fine and fused side by side, and the spectra of three places.

    Parameters
    ----------
    hsi, msi, fused : DataArray
        Cubes; ``fused`` gives the extent.
    path : path, optional
        Where to write the picture (PNG).
    """
    figure = Figure(figsize=(15, 10.5), dpi=110, layout="constrained")
    grid = GridSpec(2, 3, figure, height_ratios=(1.75, 1))
    extent = _extent(fused)
    places = interesting_places(fused)
    colours = _rgb_of_fused(hsi, fused)
    panels = (
        (hsi, f"hyperspectral: {hsi.sizes['band']} bands, {_pixel(hsi):g} m", colours),
        (msi, f"multispectral: {msi.sizes['band']} bands, {_pixel(msi):g} m", None),
        (fused, f"fused: {fused.sizes['band']} bands, {_pixel(fused):g} m", colours),
    )
    for k, (cube, label, limits) in enumerate(panels):
        ax = figure.add_subplot(grid[0, k])
        thin = _in_crs_of(fused, _thinned(cube).isel(band=list(BandTable.from_cube(cube).rgb())))
        values = thin.values.astype("float32")
        shown = stretched(values, limits_of(values) if limits is None else limits).transpose(1, 2, 0)
        ax.imshow(np.nan_to_num(shown, nan=1.0), extent=_extent(thin), interpolation="nearest")
        ax.set(xlim=extent[:2], ylim=extent[2:], title=label, xticks=[], yticks=[])
        for (x, y), colour in zip(places, PLACE_COLOURS, strict=False):
            ax.plot(x, y, "o", ms=9, mfc="none", mec="white", mew=3)
            ax.plot(x, y, "o", ms=9, mfc="none", mec=colour, mew=1.6)
    for k, ((x, y), colour) in enumerate(zip(places, PLACE_COLOURS, strict=False)):
        _spectra(figure.add_subplot(grid[1, k]), (hsi, msi, fused), (x, y), colour, first=k == 0)
    if path is not None:
        figure.savefig(path)
    return figure


def interesting_places(fused: xr.DataArray) -> list[tuple[float, float]]:
    """Centres of uniform patches that differ most from each other: vegetation, water and roof rather than three roads."""
    table = BandTable.from_cube(fused)
    step = max(1, min(fused.sizes["y"], fused.sizes["x"]) // 60)
    good = np.flatnonzero(table.good) if table.good.any() else np.arange(len(table))
    shown = fused.isel(band=good[:: max(1, len(table) // 24)]).coarsen(y=step, x=step, boundary="trim")
    mean, spread = shown.reduce(np.mean).compute(), shown.reduce(np.std).mean("band").compute()
    flat = mean.values.reshape(mean.sizes["band"], -1)
    score = spread.values.ravel() / np.maximum(flat.mean(0), 1e-3)
    usable = np.flatnonzero(np.isfinite(flat).all(0) & (score <= np.nanquantile(score, 0.3)))
    if usable.size == 0:
        return []
    spectra = flat[:, usable]
    chosen = [int(np.argmax(spectra.mean(0)))]
    while len(chosen) < min(len(PLACE_COLOURS), usable.size):
        distance = np.min([np.linalg.norm(spectra - spectra[:, [c]], axis=0) for c in chosen], axis=0)
        chosen.append(int(np.argmax(distance)))
    rows, cols = np.unravel_index(usable[chosen], mean.shape[1:])
    return [(float(mean.x[c]), float(mean.y[r])) for r, c in zip(rows, cols, strict=True)]


def _spectra(ax: Axes, cubes: Sequence[xr.DataArray], place: tuple[float, float], colour: str, *, first: bool) -> None:
    hsi, msi, fused = cubes
    crs = geobox(fused).crs
    for cube, shade, label in ((hsi, "0.6", "hyperspectral pixel"), (fused, colour, "fused pixel")):
        table, values = BandTable.from_cube(cube), _spectrum(cube, place, crs)
        axis = table.wavelength if table.has_wavelength else np.arange(len(table))
        ax.plot(*drawn(axis, values, table.good), color=shade, lw=1.4, label=label)
    table = BandTable.from_cube(msi)
    if table.has_wavelength:
        ax.plot(table.wavelength, _spectrum(msi, place, crs), "ks", ms=5, label="multispectral pixel")
    ax.set_xlabel("wavelength (nm)")
    ax.set_ylim(bottom=0)
    ax.spines[["top", "right"]].set_visible(False)
    for spine in ("left", "bottom"):
        ax.spines[spine].set_color(colour)
    if first:
        ax.set_ylabel("reflectance")
        ax.legend(frameon=False)


def _in_crs_of(target: xr.DataArray, cube: xr.DataArray) -> xr.DataArray:
    """The cube as seen on the target's map, nearest pixels; itself where both have one CRS."""
    crs = geobox(target).crs
    return cube if geobox(cube).crs == crs else as_cube(cube.astype("float32").compute().rio.reproject(str(crs), nodata=np.nan))


def _spectrum(cube: xr.DataArray, place: tuple[float, float], crs: Any) -> np.ndarray:
    """Spectrum of the pixel nearest to a place given in ``crs``."""
    own = geobox(cube).crs
    x, y = place if own == crs else Transformer.from_crs(str(crs), str(own), always_xy=True).transform(*place)
    values: np.ndarray = cube.sel(x=x, y=y, method="nearest").values
    return values


def _rgb_of_fused(hsi: xr.DataArray, fused: xr.DataArray) -> np.ndarray:
    """One stretch for the coarse and the fused image: they are meant to show the same radiometry."""
    return limits_of(_thinned(fused).isel(band=list(BandTable.from_cube(hsi).rgb())).values)


def _thinned(cube: xr.DataArray) -> xr.DataArray:
    step = max(1, -(-max(cube.sizes["y"], cube.sizes["x"]) // MAX_PIXELS))
    return cube.isel(y=slice(None, None, step), x=slice(None, None, step))


def _extent(cube: xr.DataArray) -> tuple[float, float, float, float]:
    dx, dy = float(cube.x[1] - cube.x[0]) / 2, float(cube.y[1] - cube.y[0]) / 2
    return float(cube.x[0]) - dx, float(cube.x[-1]) + dx, float(cube.y[-1]) + dy, float(cube.y[0]) - dy


def _pixel(cube: xr.DataArray) -> float:
    return round(abs(float(cube.x[1] - cube.x[0])), 3)
