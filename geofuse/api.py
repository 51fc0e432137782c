"""The public verbs. Accessors and command line call these; each reads like its recipe."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from geofuse.cube.schema import as_cube, check_cube, geobox
from geofuse.cube.sources import parse_time, sources_of, time_of, with_time
from geofuse.errors import InvalidInput, InvalidPair
from geofuse.evaluation.metrics import score
from geofuse.io.read.mask import Source as Mask
from geofuse.io.read.open import cube_of
from geofuse.pair.grid import common_windows
from geofuse.pair.masking import Masked, check_masked
from geofuse.pair.selection import warn_of_scale, without_constant_bands
from geofuse.pipeline.apply import apply, apply_with_layers
from geofuse.pipeline.command import call_of
from geofuse.pipeline.pair import checked_pair, pair
from geofuse.pipeline.plan import plan_scene
from geofuse.reporting.report import Report, report_of
from geofuse.run.plan import DEFAULT_MEMORY, Plan
from geofuse.run.usage import versions

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    import pandas as pd
    import pystac

    from geofuse.model import Model
    from geofuse.reporting.diagnosis import Diagnosis
    from geofuse.stac.item import Source

Cube = xr.DataArray | xr.Dataset


def plan(
    hsi: Cube,
    msi: Cube,
    *,
    method: str = "auto",
    srf: str | Path | np.ndarray = "auto",
    model: Model | None = None,
    tile: int | Literal["auto"] = "auto",
    device: str = "auto",
    mask: Mask | None = None,
    masked: Masked = "nodata",
    memory: int = DEFAULT_MEMORY,
    uncertainty: bool = False,
    quality: bool = False,
    progress: bool = True,
    seed: int = 0,
    train_seconds: float | None = None,
    register: str = "global",
) -> Plan:
    """What `fuse` would do with the same arguments: grid, ratio, tiles, bytes, memory, device. No pixel is read.

    Parameters
    ----------
    hsi, msi : DataArray or Dataset
    method, srf, model, tile, device, mask, masked, memory, uncertainty, quality, progress, seed, train_seconds, register
        As for `fuse`, which takes the same; there is no progress to show here.

    Raises
    ------
    InvalidInput
        Whatever `fuse` would reject before it reads pixels.
    """
    check_masked(masked)
    return plan_scene(
        pair(hsi, msi, mask),
        method=method,
        srf=srf,
        model=model,
        tile=tile,
        device=device,
        memory=memory,
        uncertainty=uncertainty,
        seed=seed,
        train_seconds=train_seconds,
        register=register,
    )


def fit(
    hsi: Cube,
    msi: Cube,
    *,
    method: str = "auto",
    srf: str | Path | np.ndarray = "auto",
    device: str = "auto",
    mask: Mask | None = None,
    progress: bool = True,
    seed: int = 0,
    uncertainty: bool = False,
    train_seconds: float | None = None,
    register: str = "global",
) -> Model:
    """Estimate everything that fusion needs from a bounded sample of the scene, and freeze it.

    Parameters
    ----------
    hsi, msi : DataArray or Dataset
        As for `fuse`.
    method, srf, device, mask, progress, seed, train_seconds, register
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
    from geofuse.pipeline.fit import fit_scene, settings_of

    scene = checked_pair(hsi, msi, mask)
    settings = settings_of(
        scene,
        method=method,
        srf=srf,
        device=device,
        progress=progress,
        seed=seed,
        uncertainty=uncertainty,
        train_seconds=train_seconds,
        register=register,
    )
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
    mask: Mask | None = None,
    masked: Masked = "nodata",
    memory: int = DEFAULT_MEMORY,
    uncertainty: bool = False,
    quality: bool = False,
    progress: bool = True,
    seed: int = 0,
    train_seconds: float | None = None,
    register: str = "global",
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
    mask : str, path or DataArray, optional
        What to leave out of both images, on any grid: all but 0 and nodata is masked. What a product's own layers say is unusable (the
        coordinate ``mask``: clouds, cirrus, shadows, saturation, defects) is left out without it.
    masked : {"nodata", "one-image"}
        What comes out where one image is masked: nodata, or what the other alone says (methods ``gem``, ``mossfuse``, ``sylvester``).
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
    register : str
        ``global`` estimates one shift between the images; ``local`` a smooth displacement from place to place too, of up to 3 coarse pixels, where held-out
        pixels confirm it; ``none`` takes the georeference as it is.

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
    call = call_of(fuse, locals())
    check_masked(masked)
    scene = pair(hsi, msi, mask) if model is None else checked_pair(hsi, msi, mask)
    planned = plan_scene(
        scene,
        method=method,
        srf=srf,
        model=model,
        tile=tile,
        device=device,
        memory=memory,
        uncertainty=uncertainty,
        seed=seed,
        train_seconds=train_seconds,
        register=register,
    )
    if model is None:
        from geofuse.pipeline.fit import fit_scene, settings_of

        scene = without_constant_bands(scene)
        warn_of_scale(scene)
        settings = settings_of(
            scene,
            method=method,
            srf=srf,
            device=device,
            progress=progress,
            seed=seed,
            uncertainty=uncertainty,
            train_seconds=train_seconds,
            register=register,
        )
        model = fit_scene(scene, settings)
    model = replace(model, fills_masked=masked == "one-image", report={**model.report, "call": call, "versions": versions()})
    if not (uncertainty or quality):
        return apply(scene, model, planned, progress=progress)
    return apply_with_layers(scene, model, planned, uncertainty=uncertainty, progress=progress)


def evaluate(
    hsi: Cube,
    msi: Cube,
    *,
    methods: tuple[str, ...] | str | None = None,
    progress: bool = True,
    seed: int = 0,
    device: str = "auto",
    mask: Mask | None = None,
    train_seconds: float | None = None,
    register: str = "global",
) -> pd.DataFrame:
    """Which method is best on this very scene: Wald's protocol, one resolution step down, where the HSI is the truth.

    Parameters
    ----------
    hsi, msi : DataArray or Dataset
    methods : tuple of str, or str, optional
        Methods to compare; the usual ones by default.
    progress, seed, device, mask, train_seconds, register
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

    from geofuse.methods.registry import AUTO, all_methods, check_method
    from geofuse.pipeline.fit import score_methods, settings_of

    methods = (methods,) if isinstance(methods, str) else methods
    chosen = tuple(name for name, method in all_methods().items() if method.role != "reproduction") if methods is None else methods
    for method in chosen:
        check_method(method)
    chosen = tuple(m for m in chosen if m != AUTO)  # which is one of the others
    if not chosen:
        raise InvalidInput("There is no method to compare; name at least one, such as 'gem'.")
    scene = checked_pair(hsi, msi, mask)
    settings = settings_of(scene, seed=seed, device=device, progress=progress, train_seconds=train_seconds, register=register)
    frame = pd.DataFrame(score_methods(scene, settings, chosen))
    return frame.sort_values("psnr_db", ascending=False, ignore_index=True) if "psnr_db" in frame else frame


def doctor(
    hsi: Any,
    msi: Any,
    *,
    mask: Mask | None = None,
    sample: bool = True,
    hsi_bands: Any = None,
    msi_bands: Any = None,
    msi_resolution: float | None = None,
    trust_input: bool = False,
    progress: bool = True,
) -> Diagnosis:
    """Everything that would stop or weaken a fusion of two images, in order of weight, with the fix for each.

    It does not stop at the first fault. Metadata are looked at first; where they pass, the estimator is fitted to a bounded sample, in some
    ten seconds, to see whether the two images contradict each other.

    Parameters
    ----------
    hsi, msi : str, path, DataArray, Dataset, or what else `open_hsi` takes
    mask : str, path or DataArray, optional
        As for `fuse`.
    sample : bool
        Fit the estimator to a sample of the pixels; without it they are hardly looked at.
    hsi_bands, msi_bands, msi_resolution, trust_input
        As ``bands``, ``resolution`` and ``trust_input`` of `open_hsi` and `open_msi`.
    progress : bool
        Show progress.

    Returns
    -------
    geofuse.Diagnosis
        ``print`` it; ``.findings``, ``.stops``, ``.to_dict()``.

    Examples
    --------
    >>> import geofuse
    >>> data = geofuse.demo_data()
    >>> found = geofuse.doctor(data.msi, data.hsi, sample=False)
    >>> found.stops, found.findings[0].code
    (True, 'swapped')
    """
    from geofuse.pipeline.examine import examine

    bands = {"hsi_bands": hsi_bands, "msi_bands": msi_bands, "msi_resolution": msi_resolution}
    return examine(hsi, msi, mask=mask, sample=sample, trust_input=trust_input, progress=progress, **bands)


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
    return score(true[(slice(None), *right.slices)].values, made[(slice(None), *left.slices)].values, ratio)


def report(fused: Cube) -> Report:
    """The report of a fused image: pictures, spectra, geometry, response, residuals, validation, warnings.

    Parameters
    ----------
    fused : DataArray or Dataset
        What `fuse` returned. Of a lazy one no pixel is computed: the report then shows the part of the scene that the fit read.

    Raises
    ------
    InvalidCube
        The image was not made by geofuse.
    """
    from geofuse.viewing.overview import overview_of_cube

    made, seen = report_of(as_cube(fused)), overview_of_cube(fused)
    return Report(made.to_dict() | (seen or {"computed": False}))


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
    from geofuse.io.write.dataset import write_all

    write = partial(write_cog, compression=compression)
    return write_all(write, COG, fused, path, dtype, overwrite=overwrite, progress=progress, resume=resume)


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
    from geofuse.io.write.dataset import write_all
    from geofuse.io.write.zarr import ZARR, write_zarr

    return write_all(write_zarr, ZARR, fused, store, dtype, overwrite=overwrite, progress=progress, resume=resume)


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
    from geofuse.io.write.dataset import layers_of
    from geofuse.stac.item import Processing, Source, make_item, write_item

    found = report(fused)
    beside = {name: path for name, (path, _) in layers_of(fused, raster).items() if Path(path).exists()}
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
