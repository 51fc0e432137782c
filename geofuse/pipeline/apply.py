"""A fitted model applied to a scene as planned: lazy where an input is lazy, computed tile by tile where both are in memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from geofuse.cube import flags
from geofuse.cube.bands import BandTable
from geofuse.cube.georef import crs_name
from geofuse.cube.normalise import MAIN_VARIABLE, REPORT_ATTRIBUTE
from geofuse.cube.schema import wrap
from geofuse.cube.sources import SOURCES, both_sources, source_of, with_time
from geofuse.pair.scene import Scene
from geofuse.pipeline.plan import check_knows_errors
from geofuse.progress import bar
from geofuse.redact import redacted
from geofuse.reporting.report import Report
from geofuse.run.plan import Plan

if TYPE_CHECKING:
    from geofuse.model import Model
    from geofuse.run.graph import Output


def apply(scene: Scene, model: Model, planned: Plan, *, progress: bool = True) -> xr.DataArray:
    """The fused cube, with its report; see `geofuse.fuse`."""
    data = _mosaic(scene, model, planned, "reflectance")
    return _described(scene, model, planned, data if scene.lazy else compute_tiles(data, planned.workers, progress))


def apply_with_layers(scene: Scene, model: Model, planned: Plan, *, uncertainty: bool = False, progress: bool = True) -> xr.Dataset:
    """As `apply`, with the quality layer, and standard deviations where they are asked for; see `geofuse.fuse`."""
    fused, planes = flagged(scene, model, planned)
    if not scene.lazy:
        planes = compute_tiles(planes, planned.workers, progress)
    layers = {MAIN_VARIABLE: fused.copy(data=planes[:-1])}
    if uncertainty:
        layers["uncertainty"] = deviation(scene, model, planned, progress=progress)
    layers["quality"] = xr.DataArray(planes[-1].astype(np.uint8), fused.isel(band=0, drop=True).coords, attrs=flags.attributes())
    return xr.Dataset(layers)


def flagged(scene: Scene, model: Model, planned: Plan) -> tuple[xr.DataArray, Any]:
    """The fused cube, lazy, and the mosaic that makes it and its quality layer in one pass: a dask array (B + 1, y, x), flags last."""
    planes = _mosaic(scene, model, planned, "flagged")
    return _described(scene, model, planned, planes[:-1]), planes


def deviation(scene: Scene, model: Model, planned: Plan, *, progress: bool = True) -> xr.DataArray:
    """Standard deviation of what `apply` returns, reflectance, on the same grid and in the same tiles.

    Raises
    ------
    InvalidInput
        The model was fitted without uncertainty.
    """
    check_knows_errors(model)
    data = _mosaic(scene, model, planned, "uncertainty")
    attrs = {"units": "1", "long_name": "standard deviation of the fused surface reflectance"}
    return _wrapped(scene, model, data if scene.lazy else compute_tiles(data, planned.workers, progress), attrs)


def compute_tiles(data: Any, workers: int, progress: bool) -> np.ndarray:
    """Compute a lazy mosaic with a progress bar over tiles."""
    import dask

    from geofuse.run.stream import run_tiles, starts

    out = np.empty(data.shape, np.float32)
    tops, lefts = starts(data)
    places = [(i, j) for i in range(len(tops)) for j in range(len(lefts))]
    with dask.config.set(num_workers=workers), bar(len(places), desc="fusing", unit="tile", enabled=progress) as steps:

        def done(place: tuple[int, int], tile: np.ndarray) -> None:
            top, left = tops[place[0]], lefts[place[1]]
            out[:, top : top + tile.shape[1], left : left + tile.shape[2]] = tile
            steps.update()

        run_tiles(data, _itself, places, done)
    return out


def _itself(tile: np.ndarray, top: int, left: int) -> np.ndarray:
    return tile


def _mosaic(scene: Scene, model: Model, planned: Plan, output: Output) -> Any:
    from geofuse.run.graph import lazy_mosaic

    model.check(scene.pair, scene.hsi.sizes["band"], scene.msi.sizes["band"])
    return lazy_mosaic(scene, model, planned.tile, planned.device, planned.group, output)


def _described(scene: Scene, model: Model, planned: Plan, data: Any) -> xr.DataArray:
    """The fused cube with its report."""
    bands = scene.bands
    named = {"names": list(bands.names), "wavelength_nm": bands.wavelength.tolist(), "good": bands.good.tolist()}
    images = redacted({"hsi": _image(scene.hsi), "msi": _image(scene.msi)})
    images["msi"]["wavelength_nm"] = BandTable.from_cube(scene.msi).wavelength.tolist()
    report = _of_this_scene(model, scene) | {"method": model.method, "plan": planned.to_dict(), "bands": named, "images": images}
    attrs = {"units": "1", "long_name": "fused surface reflectance", REPORT_ATTRIBUTE: json.dumps(Report(report).to_dict())}
    attrs[SOURCES] = both_sources(scene.hsi, scene.msi)
    return _wrapped(scene, model, data, attrs)


def _of_this_scene(model: Model, scene: Scene) -> dict[str, Any]:
    """What the fit found; without its pictures and spectra where they lie outside of this scene, since the model was fitted on another one."""
    found, box = dict(model.report), scene.pair.fine
    shown = found.get("pictures") or {}
    west, south, east, north = box.boundingbox
    left, right, bottom, top = shown.get("extent") or (west, east, south, north)
    tiny = abs(box.resolution.x)
    inside = left >= west - tiny and right <= east + tiny and bottom >= south - tiny and top <= north + tiny
    if shown and not (inside and shown.get("crs") == crs_name(box.crs.proj)):  # type: ignore[union-attr]
        for key in ("pictures", "spectra"):
            found.pop(key, None)
        found["fitted_elsewhere"] = True
    return found


def _image(cube: xr.DataArray) -> dict[str, Any]:
    """What is known of one of the two images, in plain values."""
    return source_of(cube) | {"sensor": cube.encoding.get("sensor"), "bands": cube.sizes["band"]}


def _wrapped(scene: Scene, model: Model, data: Any, attrs: dict[str, Any]) -> xr.DataArray:
    box, bands = scene.pair.output_geobox, scene.bands
    y, x = scene.output_coordinates
    cube = wrap(
        data,
        transform=box.affine,
        crs=box.crs,
        names=bands.names,
        wavelength=bands.wavelength,
        fwhm=bands.fwhm,
        good=bands.good & model.filled,
        attrs=attrs,
        y=y,
        x=x,
    )
    return with_time(cube, scene.hsi)
