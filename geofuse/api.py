"""The public verbs. Accessors and command line call these; each reads like its recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from geofuse.cube.schema import as_cube, check_cube, geobox, wrap
from geofuse.errors import InvalidCube, PairMismatch, RefusedInput
from geofuse.evaluate.metrics import score
from geofuse.io.read.open import cube_of
from geofuse.pair.grid import common_windows
from geofuse.pair.scene import Scene
from geofuse.pair.srf import response_table
from geofuse.progress import bar
from geofuse.report.report import Report
from geofuse.run.plan import DEFAULT_MEMORY, Plan, make_plan

if TYPE_CHECKING:
    import pandas as pd
    import pystac

    from geofuse.model import Model

Cube = xr.DataArray | xr.Dataset
REPORT_ATTRIBUTE = "geofuse_report"


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
    PairMismatch
        They do not form a pair.
    """
    cubes = cube_of(hsi, "HSI"), cube_of(msi, "MSI")
    for cube, role in zip(cubes, ("HSI", "MSI"), strict=True):
        check_cube(cube, role)
    return Scene.of(*cubes)


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
    progress: bool = True,
    seed: int = 0,
) -> Plan:
    """What `fuse` would do with the same arguments: grid, ratio, tiles, bytes, memory, device. No pixel is read.

    Parameters
    ----------
    hsi, msi : DataArray or Dataset
    method, srf, model, tile, device, memory, progress, seed
        As for `fuse`; the last two change nothing here.

    Raises
    ------
    RefusedInput
        Whatever `fuse` would refuse before it reads pixels.
    """
    from geofuse.methods.baselines.scene import BASELINES
    from geofuse.pipeline import check_method
    from geofuse.run.device import memory_of, torch_device

    check_method(method)
    scene = pair(hsi, msi)
    if model is None:
        response_table(srf, scene)
        whole = method in (*BASELINES, "mossfuse-paper")
    else:
        _check_model(model)
        model.check(scene.pair, scene.hsi.sizes["band"], scene.msi.sizes["band"])
        whole, method = not model.tiled, model.method
    device = torch_device(device)
    return make_plan(
        scene, tile=tile, device=device, memory=memory, device_memory=memory_of(device), whole=whole, closed_form=method == "fuse"
    )


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
) -> Model:
    """Estimate everything that fusion needs from a bounded sample of the scene, and freeze it.

    Parameters
    ----------
    hsi, msi : DataArray or Dataset
        As for `fuse`.
    method, srf, device, progress, seed
        As for `fuse`.
    uncertainty : bool
        Estimate standard deviations too.

    Returns
    -------
    geofuse.Model
        Apply it with ``fuse(hsi, msi, model=model)``, keep it with ``model.save(path)``.

    Raises
    ------
    RefusedInput
        The images are no pair, hold no data, or have nothing in common.
    """
    return _fit(pair(hsi, msi), method=method, srf=srf, device=device, progress=progress, seed=seed, uncertainty=uncertainty)


def _fit(
    scene: Scene,
    *,
    method: str,
    srf: Any,
    device: str,
    progress: bool,
    seed: int,
    uncertainty: bool = False,
) -> Model:
    from geofuse.pair.prepare import Settings
    from geofuse.pipeline import fit_scene
    from geofuse.run.device import torch_device

    if not (isinstance(seed, int | np.integer) and seed >= 0):
        raise RefusedInput(f"The seed is {seed!r}; expected a whole number, 0 or more.")
    table, name = response_table(srf, scene)
    settings = Settings(method, table, name, seed, torch_device(device), progress, uncertainty=uncertainty)
    return fit_scene(scene, settings)


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
    progress: bool = True,
    seed: int = 0,
) -> Any:
    """Fuse a hyperspectral and a multispectral image of one place.

    Parameters
    ----------
    hsi : DataArray or Dataset
        Hyperspectral cube: many bands, coarse pixels; reflectance, 1.0 = 100 %.
    msi : DataArray or Dataset
        Multispectral cube: few bands, fine pixels; any CRS, origin and extent that overlaps.
    method : str
        ``auto`` (best by validation on the scene), ``mossfuse``, ``gem``, ``fuse``, ``hysure``, ``regression``, ``gsa``, ``cnmf``,
        ``mlp``, ``bicubic`` or ``mossfuse-paper``.
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
        Standard deviation per pixel and band too, calibrated on the scene one resolution step down (methods ``gem``, ``mossfuse``, ``fuse``).
    progress : bool
        Show progress.
    seed : int
        Same seed, same device, same result.

    Returns
    -------
    DataArray
        Reflectance (band, y, x), float32: the HSI's bands on the MSI's grid, cropped to the overlap; NaN where either image has no data.
        Lazy where an input is lazy. With ``uncertainty`` a Dataset of two such arrays, ``reflectance`` and ``uncertainty``.

    Raises
    ------
    RefusedInput
        The images are no pair, hold no data, or have nothing in common; the model is for another pair.

    References
    ----------
    Du et al., "Unsupervised Hyperspectral and Multispectral Image Fusion via Self-Supervised Modality Decoupling", arXiv:2412.04802.
    """
    if uncertainty and model is None:
        from geofuse.pipeline import check_method

        check_method(method, uncertainty)
    planned = plan(hsi, msi, method=method, srf=srf, model=model, tile=tile, device=device, memory=memory)
    scene = pair(hsi, msi)
    if model is None:
        model = _fit(scene, method=method, srf=srf, device=device, progress=progress, seed=seed, uncertainty=uncertainty)
    elif uncertainty and model.uncertainty is None:
        raise RefusedInput("The model was fitted without uncertainty; expected one of fit(..., uncertainty=True), or no model.")
    fused = apply(scene, model, planned, progress=progress)
    if not uncertainty:
        return fused
    return xr.Dataset({"reflectance": fused, "uncertainty": deviation(scene, model, planned, progress=progress)})


def apply(scene: Scene, model: Model, planned: Plan, *, progress: bool = True) -> xr.DataArray:
    """Apply a fitted model to a paired scene as planned; see `fuse`."""
    from geofuse.run.graph import lazy_mosaic

    model.check(scene.pair, scene.hsi.sizes["band"], scene.msi.sizes["band"])
    data: Any = lazy_mosaic(scene, model, planned.tile, planned.device, planned.group)
    bands = scene.bands
    named = {"names": list(bands.names), "wavelength_nm": bands.wavelength.tolist()}
    report = dict(model.report) | {"method": model.method, "plan": planned.to_dict(), "bands": named}
    attrs = {"units": "1", "long_name": "fused surface reflectance", REPORT_ATTRIBUTE: json.dumps(Report(report).to_dict())}
    return _wrapped(scene, data if scene.lazy else _compute_tiles(data, planned.workers, progress), attrs)


def deviation(scene: Scene, model: Model, planned: Plan, *, progress: bool = True) -> xr.DataArray:
    """Standard deviation of what `apply` returns, reflectance, on the same grid and in the same tiles.

    Raises
    ------
    RefusedInput
        The model was fitted without uncertainty.
    """
    from geofuse.run.graph import lazy_mosaic

    if model.uncertainty is None:
        raise RefusedInput("The model was fitted without uncertainty; expected one of fit(..., uncertainty=True).")
    data: Any = lazy_mosaic(scene, model, planned.tile, planned.device, planned.group, "uncertainty")
    attrs = {"units": "1", "long_name": "standard deviation of the fused surface reflectance"}
    return _wrapped(scene, data if scene.lazy else _compute_tiles(data, planned.workers, progress), attrs)


def _wrapped(scene: Scene, data: Any, attrs: dict[str, Any]) -> xr.DataArray:
    box, bands = scene.pair.output_geobox, scene.bands
    return wrap(
        data,
        transform=box.affine,
        crs=box.crs,
        names=bands.names,
        wavelength=bands.wavelength,
        fwhm=bands.fwhm,
        good=bands.good,
        attrs=attrs,
    )


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
    hsi: Cube, msi: Cube, *, methods: tuple[str, ...] | str | None = None, progress: bool = True, seed: int = 0, device: str = "auto"
) -> pd.DataFrame:
    """Which method is best on this very scene: Wald's protocol, one resolution step down, where the HSI is the truth.

    Parameters
    ----------
    hsi, msi : DataArray or Dataset
    methods : tuple of str, or str, optional
        Methods to compare; the usual ones by default.

    Returns
    -------
    DataFrame
        One row a method: ``psnr_db``, ``sam_deg``, ``ergas``, ``ssim``, ``uqi``, ``rmse``, ``seconds``; best PSNR first.

    Raises
    ------
    RefusedInput
        A method does not exist, or the scene is too small to be degraded further.
    """
    import pandas as pd

    from geofuse.evaluate.wald import COMPARED, compare, reduce
    from geofuse.pair.prepare import Settings, lay_ground
    from geofuse.pipeline import SURVEY_PIXELS, check_method, read_sample, read_windows
    from geofuse.run.device import torch_device
    from geofuse.run.tiles import sample_windows, validation_window

    methods = (methods,) if isinstance(methods, str) else methods
    chosen = ("mossfuse", "hysure", "cnmf", "mlp", *COMPARED) if methods is None else methods
    for method in chosen:
        check_method(method)
    chosen = tuple(m for m in chosen if m != "auto")  # which is one of the others
    if not chosen:
        raise RefusedInput("There is no method to compare; name at least one, such as 'gem'.")
    scene = pair(hsi, msi)
    settings = Settings(seed=seed, device=torch_device(device), progress=progress)
    with bar(len(chosen) + 2, desc="evaluating", unit="step", enabled=progress) as steps:

        def tick(step: str) -> None:
            steps.set_postfix_str(step)
            steps.update()

        survey = read_windows(scene, sample_windows(scene.pair, SURVEY_PIXELS))
        ground = lay_ground(scene.pair, survey, read_sample(scene), settings, tick, scene.bands.good)
        found = reduce(ground, read_windows(scene, [validation_window(scene.pair)])[0], settings)
        if found is None:
            raise RefusedInput("The scene has too few coarse pixels to be degraded and fused again; expected at least 12 along each side.")
        table = compare(*found, ground, settings, chosen, tick)
    frame = pd.DataFrame(table)
    return frame.sort_values("psnr_db", ascending=False, ignore_index=True) if "psnr_db" in frame else frame


def compare(fused: Cube, truth: Cube, *, ratio: float = 1.0) -> dict[str, float]:
    """Full-reference scores of a fused image; see `geofuse.evaluate.metrics.score`.

    Parameters
    ----------
    fused, truth : DataArray or Dataset
        On one pixel grid; where the extents differ, the part that both cover is compared.
    ratio : float
        Coarse over fine pixel size, for ERGAS.

    Raises
    ------
    PairMismatch
        Other CRS, pixel size or bands, pixels that do not coincide, or nothing in common.
    RefusedInput
        The ratio is not positive.
    """
    if not 0 < ratio < np.inf:
        raise RefusedInput(f"The ratio is {ratio}; expected how many times larger a coarse pixel is than a fine one, such as 8.33.")
    made, true = cube_of(fused, "fused image"), cube_of(truth, "truth")
    for cube, role in ((made, "fused image"), (true, "truth")):
        check_cube(cube, role)
    left, right = common_windows(geobox(made), geobox(true))
    if made.sizes["band"] != true.sizes["band"]:
        raise PairMismatch(
            f"The fused image has {made.sizes['band']} bands and the truth {true.sizes['band']}; expected the same bands in both."
        )
    return score(true.values[(slice(None), *right.slices)], made.values[(slice(None), *left.slices)], ratio)


def report(fused: xr.DataArray) -> Report:
    """The report of a fused image: geometry, response, residuals, validation, warnings.

    Raises
    ------
    InvalidCube
        The image was not made by geofuse.
    """
    text = fused.attrs.get(REPORT_ATTRIBUTE)
    if text is None:
        raise InvalidCube("This image carries no geofuse report; expected one that `fuse` returned, with its attributes.")
    return Report(json.loads(text))


def to_cog(
    fused: xr.DataArray, path: str | Path, *, dtype: str = "int16", overwrite: bool = False, progress: bool = True, resume: bool = True
) -> Path | str:
    """Write a cube as a Cloud-Optimized GeoTIFF; it appears complete and verified, or not at all. See `geofuse.io.write.cog.write_cog`.

    Returns
    -------
    Path or str
        Where it is; a str for an object (``s3://bucket/key``).
    """
    from geofuse.io.write.cog import write_cog
    from geofuse.io.write.remote import is_remote

    receipt = write_cog(as_cube(fused), path, dtype=dtype, overwrite=overwrite, progress=progress, resume=resume)
    return str(path) if is_remote(path) else receipt.path


def to_zarr(
    fused: xr.DataArray, store: str | Path, *, dtype: str = "int16", overwrite: bool = False, progress: bool = True, resume: bool = True
) -> Path | str:
    """Write a cube as a Zarr store with overviews; it appears complete and verified, or not at all. See `geofuse.io.write.zarr.write_zarr`.

    Zarr version 3, sharded, with consolidated metadata; CRS, transform and levels by the conventions `proj`, `spatial` and
    `multiscales` 0.1 of GeoZarr, and by CF. ``xarray.open_zarr(store, group="0")`` opens the image, other groups the overviews.

    Returns
    -------
    Path or str
        Where it is; a str for an address (``s3://bucket/key.zarr``).
    """
    from geofuse.io.write.remote import is_remote
    from geofuse.io.write.zarr import write_zarr

    receipt = write_zarr(as_cube(fused), store, dtype=dtype, overwrite=overwrite, progress=progress, resume=resume)
    return str(store) if is_remote(store) else receipt.path


def to_stac(fused: xr.DataArray, raster: str | Path, *, sources: Any = (), collection: Any = None, assets: Any = None) -> pystac.Item:
    """Write the STAC item of a written image beside it, and return it.

    Parameters
    ----------
    fused : DataArray
        What `fuse` returned.
    raster : path
        The COG that `to_cog` wrote, or the store of `to_zarr`; the item goes beside it, as ``.json``.
    sources : sequence of geofuse.stac.item.Source
        What the image was made from.
    collection : pystac.Collection, optional
    assets : mapping of str to path, optional
        Further files: ``report``, ``report_html``, ``overview``.
    """
    from geofuse.stac.item import Processing, make_item, write_item

    found = report(fused)
    item = make_item(
        raster,
        Processing(found.to_dict()["method"], lineage=found.sentences()),
        sources=sources,
        quality=found.summary(),
        collection=collection,
        assets=assets,
    )
    write_item(item)
    return item


def _check_model(model: Any) -> None:
    from geofuse.model import Model

    if not isinstance(model, Model):
        raise RefusedInput(f"The model is {model!r}; expected a geofuse.Model: load it from its file with geofuse.Model.load(path).")
