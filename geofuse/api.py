"""The public verbs. Accessors and command line call these; each reads like its recipe."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from geofuse.cube import flags
from geofuse.cube.normalise import MAIN_VARIABLE, REPORT_ATTRIBUTE
from geofuse.cube.sampling import check_storable
from geofuse.cube.schema import as_cube, check_cube, geobox, wrap
from geofuse.cube.sources import SOURCES, both_sources, parse_time, sources_of, time_of, with_time
from geofuse.errors import InvalidCube, InvalidInput, InvalidPair
from geofuse.evaluation.metrics import score
from geofuse.io.read.open import cube_of
from geofuse.pair.grid import common_windows
from geofuse.pair.scene import Scene
from geofuse.pair.selection import warn_of_scale, without_bands_beyond, without_constant_bands
from geofuse.pair.srf import response_table
from geofuse.progress import bar
from geofuse.reporting.report import Report
from geofuse.run.plan import DEFAULT_MEMORY, Plan, make_plan

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    import pandas as pd
    import pystac

    from geofuse.io.write.base import OutputFormat
    from geofuse.model import Model
    from geofuse.run.graph import Output
    from geofuse.stac.item import Source

Cube = xr.DataArray | xr.Dataset
LAYERS = ("uncertainty", "quality")  # what `fuse` may return beside the image


def pair(hsi: Cube, msi: Cube) -> Scene:
    """Check two cubes and pair their grids; metadata only, no pixel is read.

    Parameters
    ----------
    hsi, msi : DataArray or Dataset
        Hyperspectral (coarse) and multispectral (fine) image of one place.

    Raises
    ------
    InvalidCube
        One of them is not a usable cube.
    InvalidPair
        They do not form a pair.
    """
    cubes = with_time(cube_of(hsi, "HSI"), hsi), with_time(cube_of(msi, "MSI"), msi)
    for cube, role in zip(cubes, ("HSI", "MSI"), strict=True):
        check_cube(cube, role)
    return without_bands_beyond(Scene.of(*cubes))


def checked_pair(hsi: Cube, msi: Cube) -> Scene:
    """Pair two cubes, as `pair`, and look at a few of their pixels: bands that show nothing are left out, and it is said.

    Parameters
    ----------
    hsi, msi : DataArray or Dataset
        As for `fuse`.

    Raises
    ------
    InvalidCube
        One of them is not a usable cube.
    InvalidPair
        They do not form a pair.
    """
    return without_constant_bands(pair(hsi, msi))


def plan(
    hsi: Cube,
    msi: Cube,
    *,
    method: str = "auto",
    srf: str | Path | np.ndarray = "auto",
    model: Model | None = None,
    tile: int | Literal["auto"] = "auto",
    device: str = "auto",
    memory: int = DEFAULT_MEMORY,
    uncertainty: bool = False,
    quality: bool = False,
    progress: bool = True,
    seed: int = 0,
    train_seconds: float | None = None,
) -> Plan:
    """What `fuse` would do with the same arguments: grid, ratio, tiles, bytes, memory, device. No pixel is read.

    Parameters
    ----------
    hsi, msi : DataArray or Dataset
    method, srf, model, tile, device, memory, uncertainty, quality, progress, seed, train_seconds
        As for `fuse`, which takes the same; there is no progress to show here.

    Raises
    ------
    InvalidInput
        Whatever `fuse` would refuse before it reads pixels.
    """
    from geofuse.methods.registry import AUTO, STANDARD, check_method, get_method
    from geofuse.run.device import memory_of, torch_device

    check_method(method, uncertainty and model is None)
    _check_seed(seed)
    _check_train_seconds(train_seconds)
    scene = pair(hsi, msi)
    if model is None:
        response_table(srf, scene)
    else:
        _check_model(model)
        model.check(scene.pair, scene.hsi.sizes["band"], scene.msi.sizes["band"])
        if uncertainty and not model.knows_errors:
            raise InvalidInput("The model was fitted without uncertainty; expected one of fit(..., uncertainty=True), or no model.")
        method = model.method
    device = torch_device(device)
    needs = get_method(STANDARD if method == AUTO else method).cost(scene.pair.ratio)
    return make_plan(scene, needs, tile=tile, device=device, memory=memory, device_memory=memory_of(device))


def fit(
    hsi: Cube,
    msi: Cube,
    *,
    method: str = "auto",
    srf: str | Path | np.ndarray = "auto",
    device: str = "auto",
    progress: bool = True,
    seed: int = 0,
    uncertainty: bool = False,
    train_seconds: float | None = None,
) -> Model:
    """Estimate everything that fusion needs from a bounded sample of the scene, and freeze it.

    Parameters
    ----------
    hsi, msi : DataArray or Dataset
        As for `fuse`.
    method, srf, device, progress, seed, train_seconds
        As for `fuse`.
    uncertainty : bool
        Estimate standard deviations too.

    Returns
    -------
    geofuse.Model
        Apply it with ``fuse(hsi, msi, model=model)``, keep it with ``model.save(path)``.

    Raises
    ------
    InvalidInput
        The images are no pair, hold no data, or have nothing in common.
    """
    return _fit(
        checked_pair(hsi, msi),
        method=method,
        srf=srf,
        device=device,
        progress=progress,
        seed=seed,
        uncertainty=uncertainty,
        train_seconds=train_seconds,
    )


def _fit(
    scene: Scene,
    *,
    method: str,
    srf: Any,
    device: str,
    progress: bool,
    seed: int,
    uncertainty: bool = False,
    train_seconds: float | None = None,
) -> Model:
    from geofuse.pair.prepare import Settings
    from geofuse.pipeline import fit_scene
    from geofuse.run.device import torch_device

    _check_seed(seed)
    _check_train_seconds(train_seconds)
    table, name = response_table(srf, scene)
    settings = Settings(method, table, name, seed, torch_device(device), progress, train_seconds, uncertainty)
    return fit_scene(scene, settings)


def _check_seed(seed: int) -> None:
    if not (isinstance(seed, int | np.integer) and seed >= 0):
        raise InvalidInput(f"The seed is {seed!r}; expected a whole number, 0 or more.")


def _check_train_seconds(seconds: float | None) -> None:
    if seconds is not None and not (isinstance(seconds, int | float | np.number) and 0 < seconds < np.inf):
        raise InvalidInput(f"The seconds of training are {seconds!r}; expected a number above 0, or None for those of the method.")


def fuse(
    hsi: Cube,
    msi: Cube,
    *,
    method: str = "auto",
    srf: str | Path | np.ndarray = "auto",
    model: Model | None = None,
    tile: int | Literal["auto"] = "auto",
    device: str = "auto",
    memory: int = DEFAULT_MEMORY,
    uncertainty: bool = False,
    quality: bool = False,
    progress: bool = True,
    seed: int = 0,
    train_seconds: float | None = None,
) -> Any:
    """Fuse a hyperspectral and a multispectral image of one place.

    Parameters
    ----------
    hsi : DataArray or Dataset
        Hyperspectral cube: many bands, coarse pixels; reflectance, 1.0 = 100 %.
    msi : DataArray or Dataset
        Multispectral cube: few bands, fine pixels; any CRS, origin and extent that overlaps.
    method : str
        ``auto`` (the best estimator by validation on the scene), ``gem``, ``sylvester``, ``mossfuse``, ``mossfuse-paper``, ``hysure``, ``cnmf``,
        ``gsa``, ``regression``, ``mlp``, ``bicubic``, or one that an installed package declares; ``geofuse methods`` lists them.
    srf : str, path or ndarray
        ``auto`` estimates an effective response from the pair; else the name of a sensor (``Sentinel-2A``), a CSV file (wavelength in nm,
        one column a band), or a matrix (M, B).
    model : Model, optional
        A fitted model; nothing is fitted then.
    tile : int or "auto"
        Fine pixels along each side of a tile.
    device : str
        ``auto`` takes a GPU where there is one.
    memory : int
        Bytes that the run may use; decides the size of tiles and how many are worked on at once.
    uncertainty : bool
        Standard deviation per pixel and band too, calibrated on the scene one resolution step down (methods ``gem``, ``mossfuse`` and ``sylvester``);
        the quality layer with it.
    quality : bool
        The quality layer too: what is to be said of each pixel (`geofuse.cube.flags`).
    progress : bool
        Show progress.
    seed : int
        Same seed, same device, same result.
    train_seconds : float, optional
        Bound of the training of a network (methods ``mossfuse`` and ``mossfuse-paper``); by default 60, and 20 for ``mossfuse`` on a GPU.

    Returns
    -------
    DataArray
        Reflectance (band, y, x), float32: the HSI's bands on the MSI's grid, cropped to the overlap; NaN where either image has no data, band by band.
        Within physical limits. Lazy where an input is lazy. With ``uncertainty`` or ``quality`` a Dataset: ``reflectance``, where it was asked
        for ``uncertainty`` of the same shape, and ``quality`` (y, x), uint8: 0 no data, 1 good, else a sum of flags.

    Raises
    ------
    InvalidInput
        The images are no pair, hold no data, or have nothing in common; the model is for another pair.

    References
    ----------
    Du et al., "Unsupervised Hyperspectral and Multispectral Image Fusion via Self-Supervised Modality Decoupling", arXiv:2412.04802.
    """
    scene = pair(hsi, msi) if model is None else checked_pair(hsi, msi)
    planned = plan(
        scene.hsi,
        scene.msi,
        method=method,
        srf=srf,
        model=model,
        tile=tile,
        device=device,
        memory=memory,
        uncertainty=uncertainty,
        seed=seed,
        train_seconds=train_seconds,
    )
    if model is None:
        scene = without_constant_bands(scene)
        warn_of_scale(scene)
        model = _fit(
            scene,
            method=method,
            srf=srf,
            device=device,
            progress=progress,
            seed=seed,
            uncertainty=uncertainty,
            train_seconds=train_seconds,
        )
    if not (uncertainty or quality):
        return apply(scene, model, planned, progress=progress)
    fused, planes = flagged(scene, model, planned)
    if not scene.lazy:
        planes = _compute_tiles(planes, planned.workers, progress)
    layers = {MAIN_VARIABLE: fused.copy(data=planes[:-1])}
    if uncertainty:
        layers["uncertainty"] = deviation(scene, model, planned, progress=progress)
    layers["quality"] = xr.DataArray(planes[-1].astype(np.uint8), fused.isel(band=0, drop=True).coords, attrs=flags.attributes())
    return xr.Dataset(layers)


def apply(scene: Scene, model: Model, planned: Plan, *, progress: bool = True) -> xr.DataArray:
    """Apply a fitted model to a paired scene as planned; see `fuse`."""
    data = _mosaic(scene, model, planned, "reflectance")
    return _described(scene, model, planned, data if scene.lazy else _compute_tiles(data, planned.workers, progress))


def flagged(scene: Scene, model: Model, planned: Plan) -> tuple[xr.DataArray, Any]:
    """The fused cube, lazy, and the mosaic that makes it and its quality layer in one pass: a dask array (B + 1, y, x), flags last."""
    planes = _mosaic(scene, model, planned, "flagged")
    return _described(scene, model, planned, planes[:-1]), planes


def _mosaic(scene: Scene, model: Model, planned: Plan, output: Output) -> Any:
    from geofuse.run.graph import lazy_mosaic

    model.check(scene.pair, scene.hsi.sizes["band"], scene.msi.sizes["band"])
    return lazy_mosaic(scene, model, planned.tile, planned.device, planned.group, output)


def _described(scene: Scene, model: Model, planned: Plan, data: Any) -> xr.DataArray:
    """The fused cube with its report."""
    bands = scene.bands
    named = {"names": list(bands.names), "wavelength_nm": bands.wavelength.tolist(), "good": bands.good.tolist()}
    report = dict(model.report) | {"method": model.method, "plan": planned.to_dict(), "bands": named}
    attrs = {"units": "1", "long_name": "fused surface reflectance", REPORT_ATTRIBUTE: json.dumps(Report(report).to_dict())}
    attrs[SOURCES] = both_sources(scene.hsi, scene.msi)
    return _wrapped(scene, model, data, attrs)


def deviation(scene: Scene, model: Model, planned: Plan, *, progress: bool = True) -> xr.DataArray:
    """Standard deviation of what `apply` returns, reflectance, on the same grid and in the same tiles.

    Raises
    ------
    InvalidInput
        The model was fitted without uncertainty.
    """
    if not model.knows_errors:
        raise InvalidInput("The model was fitted without uncertainty; expected one of fit(..., uncertainty=True).")
    data = _mosaic(scene, model, planned, "uncertainty")
    attrs = {"units": "1", "long_name": "standard deviation of the fused surface reflectance"}
    return _wrapped(scene, model, data if scene.lazy else _compute_tiles(data, planned.workers, progress), attrs)


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


def _compute_tiles(data: Any, workers: int, progress: bool) -> np.ndarray:
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


def evaluate(
    hsi: Cube,
    msi: Cube,
    *,
    methods: tuple[str, ...] | str | None = None,
    progress: bool = True,
    seed: int = 0,
    device: str = "auto",
    train_seconds: float | None = None,
) -> pd.DataFrame:
    """Which method is best on this very scene: Wald's protocol, one resolution step down, where the HSI is the truth.

    Parameters
    ----------
    hsi, msi : DataArray or Dataset
    methods : tuple of str, or str, optional
        Methods to compare; the usual ones by default.
    progress, seed, device, train_seconds
        As for `fuse`.

    Returns
    -------
    DataFrame
        One row a method: ``psnr_db``, ``sam_deg``, ``ergas``, ``ssim``, ``uqi``, ``rmse``, ``seconds``; best PSNR first.

    Raises
    ------
    InvalidInput
        A method does not exist, or the scene is too small to be degraded further.
    """
    import pandas as pd

    from geofuse.evaluation.wald import compare, reduce
    from geofuse.methods.registry import AUTO, all_methods, check_method
    from geofuse.pair.prepare import Settings
    from geofuse.pipeline import guarded, prepare, validation_sample
    from geofuse.run.device import torch_device

    methods = (methods,) if isinstance(methods, str) else methods
    chosen = tuple(name for name, method in all_methods().items() if method.role != "reproduction") if methods is None else methods
    for method in chosen:
        check_method(method)
    _check_train_seconds(train_seconds)
    chosen = tuple(m for m in chosen if m != AUTO)  # which is one of the others
    if not chosen:
        raise InvalidInput("There is no method to compare; name at least one, such as 'gem'.")
    scene = checked_pair(hsi, msi)
    settings = Settings(seed=seed, device=torch_device(device), progress=progress, train_seconds=train_seconds)
    with guarded(), bar(len(chosen) + 4, desc="evaluating", unit="step", enabled=progress) as steps:

        def tick(step: str) -> None:
            steps.set_postfix_str(step)
            steps.update()

        prepared, settings = prepare(scene, settings, tick)
        found = reduce(prepared, validation_sample(scene, prepared), settings)
        if found is None:
            raise InvalidInput("The scene has too few coarse pixels to be degraded and fused again; expected at least 12 along each side.")
        table = compare(*found, prepared, settings, chosen, tick)
    frame = pd.DataFrame(table)
    return frame.sort_values("psnr_db", ascending=False, ignore_index=True) if "psnr_db" in frame else frame


def compare(fused: Cube, truth: Cube, *, ratio: float = 1.0) -> dict[str, float]:
    """Full-reference scores of a fused image; see `geofuse.evaluation.metrics.score`.

    Parameters
    ----------
    fused, truth : DataArray or Dataset
        On one pixel grid; where the extents differ, the part that both cover is compared.
    ratio : float
        Coarse over fine pixel size, for ERGAS.

    Raises
    ------
    InvalidPair
        Other CRS, pixel size or bands, pixels that do not coincide, or nothing in common.
    InvalidInput
        The ratio is not positive.
    """
    if not 0 < ratio < np.inf:
        raise InvalidInput(f"The ratio is {ratio}; expected how many times larger a coarse pixel is than a fine one, such as 8.33.")
    made, true = cube_of(fused, "fused image"), cube_of(truth, "truth")
    for cube, role in ((made, "fused image"), (true, "truth")):
        check_cube(cube, role)
    left, right = common_windows(geobox(made), geobox(true))
    if made.sizes["band"] != true.sizes["band"]:
        raise InvalidPair(
            f"The fused image has {made.sizes['band']} bands and the truth {true.sizes['band']}; expected the same bands in both."
        )
    return score(true.values[(slice(None), *right.slices)], made.values[(slice(None), *left.slices)], ratio)


def report(fused: Cube) -> Report:
    """The report of a fused image: geometry, response, residuals, validation, warnings.

    Parameters
    ----------
    fused : DataArray or Dataset
        What `fuse` returned.

    Raises
    ------
    InvalidCube
        The image was not made by geofuse.
    """
    text = as_cube(fused).attrs.get(REPORT_ATTRIBUTE)
    if text is None:
        raise InvalidCube("This image carries no geofuse report; expected one that `fuse` returned, with its attributes.")
    return Report(json.loads(text))


def _layers(fused: Cube, place: str | Path) -> dict[str, tuple[str, xr.DataArray]]:
    """Where the layers go that a Dataset of `fuse` holds beside the image: ``OUT_uncertainty.tif``, ``OUT_quality.tif``; by name."""
    from geofuse.io.write.layer import beside

    if not isinstance(fused, xr.Dataset) or MAIN_VARIABLE not in fused:
        return {}
    return {name: (beside(place, name), fused[name]) for name in LAYERS if name in fused}


def to_cog(
    fused: Cube,
    path: str | Path,
    *,
    dtype: str = "int16",
    overwrite: bool = False,
    progress: bool = True,
    resume: bool = True,
    compression: str = "deflate",
) -> Path | str:
    """Write a cube as a Cloud-Optimized GeoTIFF; it appears complete and verified, or not at all. See `geofuse.io.write.cog.write_cog`.

    Parameters
    ----------
    fused : DataArray or Dataset
        A cube. Of a Dataset that `fuse` returned, ``uncertainty`` and ``quality`` go into files beside the image, ``OUT_uncertainty.tif``
        and ``OUT_quality.tif``.
    path, dtype, overwrite, progress, resume
        As for `geofuse.io.write.cog.write_cog`.

    Returns
    -------
    Path or str
        Where the image is; a str for an object (``s3://bucket/key``).

    Raises
    ------
    InvalidInput
        The values are no reflectance, and ``dtype`` could not hold them.
    """
    from geofuse.io.write.cog import COG, write_cog

    write = partial(write_cog, compression=compression)
    return _written(write, COG, fused, path, dtype, overwrite=overwrite, progress=progress, resume=resume)


def to_zarr(
    fused: Cube, store: str | Path, *, dtype: str = "int16", overwrite: bool = False, progress: bool = True, resume: bool = True
) -> Path | str:
    """Write a cube as a Zarr store with overviews; it appears complete and verified, or not at all. See `geofuse.io.write.zarr.write_zarr`.

    Zarr version 3, sharded, with consolidated metadata; CRS, transform and levels by the conventions `proj`, `spatial` and
    `multiscales` 0.1 of GeoZarr, and by CF. ``xarray.open_zarr(store)`` opens the image, ``group="1"`` and so on the overviews.

    Parameters
    ----------
    fused : DataArray or Dataset
        As for `to_cog`; further layers go into stores beside it, ``OUT_uncertainty.zarr`` and ``OUT_quality.zarr``.
    store, dtype, overwrite, progress, resume
        As for `geofuse.io.write.zarr.write_zarr`.

    Returns
    -------
    Path or str
        Where the image is; a str for an address (``s3://bucket/key.zarr``).

    Raises
    ------
    InvalidInput
        The values are no reflectance, and ``dtype`` could not hold them.
    """
    from geofuse.io.write.zarr import ZARR, write_zarr

    return _written(write_zarr, ZARR, fused, store, dtype, overwrite=overwrite, progress=progress, resume=resume)


def _written(write: Any, output_format: OutputFormat, fused: Cube, place: str | Path, dtype: str, **options: Any) -> Path | str:
    """Write an image, and before it the layers that belong to it: all of them appear, or none."""
    from geofuse.io.write.destinations import destination_of
    from geofuse.io.write.formats import check_suffix
    from geofuse.io.write.layer import write_quality

    check_suffix(place, output_format)
    image, layers = as_cube(fused), _layers(fused, place)
    check_storable(image, dtype, Path(place).name)
    destination = destination_of(place, output_format)
    for other in (destination_of(path, output_format) for path, _ in layers.values()):  # all of them, before the first is written
        other.check(overwrite=options["overwrite"], resume=options["resume"])
    if layers:
        destination.check(overwrite=options["overwrite"], resume=options["resume"])
    made: list[Path] = []
    try:
        for name, (path, layer) in layers.items():
            if name == "quality":
                receipt = write_quality(layer.data, image, path, overwrite=options["overwrite"], progress=options["progress"])
            else:
                receipt = write(as_cube(layer), path, dtype=dtype, **options)
            made.append(receipt.path)
        write(image, place, dtype=dtype, **options)
    except BaseException:  # Ctrl-C too
        for file in made:
            shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
        raise
    return destination.place


def to_stac(
    fused: Cube,
    raster: str | Path,
    *,
    collection: pystac.Collection | None = None,
    datetime: dt.datetime | tuple[dt.datetime, dt.datetime] | str | None = None,
    sources: Sequence[Source] | None = None,
    assets: Mapping[str, str | Path] | None = None,
) -> pystac.Item:
    """Write the STAC item of a written image beside it, and return it.

    Parameters
    ----------
    fused : DataArray or Dataset
        What `fuse` returned. Date, ``gsd`` and ``derived_from`` come with it, as far as the two images knew them.
    raster : path
        The COG that `to_cog` wrote, or the store of `to_zarr`; the item goes beside it, as ``.json``. Layers of a Dataset that lie beside
        it become assets.
    collection : pystac.Collection, optional
    datetime : datetime, pair of datetimes, or str, optional
        When the scene was acquired, or start and end; as text in ISO 8601. By default what the image knows.
    sources : sequence of geofuse.stac.item.Source, optional
        What the image was made from, in place of what it says itself.
    assets : mapping of str to path, optional
        Further files: ``report``, ``report_html``, ``overview``, ``uncertainty``, ``quality``.

    Raises
    ------
    InvalidInput
        The time cannot be read.
    """
    from geofuse.stac.item import Processing, Source, make_item, write_item

    found = report(fused)
    beside = {name: path for name, (path, _) in _layers(fused, raster).items() if Path(path).exists()}
    fused = with_time(as_cube(fused), fused)
    if sources is None:
        roles = sources_of(fused)
        sources = [Source.known(role, about) for role, about in roles.items()]  # type: ignore[arg-type]
        if "hsi" not in roles or "datetime" not in roles["hsi"]:
            datetime = datetime or time_of(fused)
    item = make_item(
        raster,
        Processing(found.to_dict()["method"], lineage=found.sentences()),
        sources=sources,
        quality=found.summary(),
        datetime=parse_time(datetime) if isinstance(datetime, str) else datetime,
        collection=collection,
        assets=beside | dict(assets or {}),
    )
    write_item(item)
    return item


def _check_model(model: Any) -> None:
    from geofuse.model import Model

    if not isinstance(model, Model):
        raise InvalidInput(f"The model is {model!r}; expected a geofuse.Model: load it from its file with geofuse.Model.load(path).")
