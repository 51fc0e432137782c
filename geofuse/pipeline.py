"""From a paired scene to a frozen model: prepare → choose → fit, on a bounded sample of the scene.

prepare   sample, gaps and outliers, geometry (shift, PSF), effective response, consistency
choose    the method, by Wald's protocol on the scene itself, where it is ``auto``
fit       the method, frozen; standard deviations; what the fit found, for the report
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from geofuse.cube.bands import BandTable
from geofuse.cube.georef import crs_name
from geofuse.evaluation.wald import CALIBRATION_STEP, choose_method, reduce
from geofuse.methods.base import CalibratesErrors, Describes, PerBand
from geofuse.methods.limits import noise_of
from geofuse.methods.registry import AUTO, check_method, get_method
from geofuse.model import Model
from geofuse.pair.diagnostics import pair_warnings
from geofuse.pair.faults import faults
from geofuse.pair.grid import Window
from geofuse.pair.prepare import PreparedPair, Settings, prepare_pair
from geofuse.pair.psf.builder import PsfBuilder
from geofuse.pair.scene import Sample, Scene, usable
from geofuse.pair.screen import fit_screen
from geofuse.progress import bar
from geofuse.reporting.pictures import SIDE, excerpt
from geofuse.run.device import full_precision
from geofuse.run.threads import torch_threads
from geofuse.run.tiles import sample_windows, validation_window

# Fine pixels that are read to find geometry and response, and those of them on which the estimator is fitted.
SURVEY_PIXELS, SAMPLE_PIXELS = 1_000_000, 200_000


def fit_scene(scene: Scene, settings: Settings) -> Model:
    """Fit a model to a scene.

    Raises
    ------
    InvalidInput
        Unknown method; images without data or without anything in common; sensors a constant offset apart.
    """
    check_method(settings.method, settings.uncertainty)
    start = time.monotonic()
    with guarded(), bar(desc="fitting", unit="step", enabled=settings.progress) as progress:

        def tick(step: str) -> None:
            progress.set_postfix_str(step)
            progress.update()

        method = settings.method
        table: list[dict[str, Any]] = []
        whole = method != AUTO and get_method(method).cost(scene.pair.ratio).halo is None
        prepared, settings = prepare(scene, settings, tick, whole=whole)
        if method == AUTO:
            method, table = choose_method(prepared, validation_sample(scene, prepared), settings, tick)
        model = fit_method(method, prepared, settings, scene.bands.names, tick)
        if settings.uncertainty:
            tick("calibrating uncertainty")
            model = with_uncertainty(model, prepared, validation_sample(scene, prepared), settings)
        report = describe(prepared, model) | {"validation": table, "seed": settings.seed}
        report |= {"method_asked": settings.method, "pictures": picture(scene, prepared, model)}
    report["seconds"] = {"fit": round(time.monotonic() - start, 2)}
    return replace(model, report=report)


@contextmanager
def guarded() -> Iterator[None]:
    """As everything is estimated: one thread an operation, full precision, no gradients."""
    with torch_threads(1), full_precision(), torch.no_grad():
        yield


def prepare(scene: Scene, settings: Settings, tick: Callable[[str], None], *, whole: bool = False) -> tuple[PreparedPair, Settings]:
    """Read samples, leave out what is wrong in them, and estimate what every method stands on.

    Parameters
    ----------
    scene : Scene
    settings : Settings
    tick : callable
        Oracle the name of each step when it begins.
    whole : bool
        For methods that are not local.

    Returns
    -------
    PreparedPair, Settings
        Of the bands that hold data.

    Raises
    ------
    InvalidInput
        Images without data or without anything in common; sensors a constant offset apart.
    """
    tick("reading a sample")
    survey = read_windows(scene, sample_windows(scene.pair, SURVEY_PIXELS))
    sample = read_sample(scene, whole=whole)
    tick("gaps and outliers")
    screen = fit_screen(survey)
    if settings.srf is not None:
        settings = replace(settings, srf=settings.srf[np.ix_(screen.msi_bands, screen.hsi_bands)])
    good = scene.bands.good[screen.hsi_bands]
    cleared = [usable([screen.clear(s) for s in part]) for part in (survey, sample)]
    prepared = prepare_pair(scene.pair, cleared[0], cleared[1], settings, tick, good, settings.geometry)
    return replace(prepared, screen=screen, faults=faults(screen, survey, scene.pair)), settings


def read_sample(scene: Scene, *, whole: bool = False) -> list[Sample]:
    """Read the windows that the fit needs; ``whole`` for methods that are not local."""
    height, width = scene.pair.fine.shape
    return read_windows(scene, [Window(0, height, 0, width)] if whole else sample_windows(scene.pair, SAMPLE_PIXELS))


def read_windows(scene: Scene, fine: Sequence[Window]) -> list[Sample]:
    """Read windows of the working fine grid, and the coarse pixels that touch them."""
    nominal = PsfBuilder(scene.pair, (scene.pair.ratio / 2,) * 2)
    return scene.read([(w, nominal.coarse_window(w)) for w in fine])


def validation_sample(scene: Scene, prepared: PreparedPair) -> Sample:
    """The part of the scene that is reduced to validate on it, cleared."""
    return usable([prepared.cleared(read_windows(scene, [validation_window(scene.pair)])[0])])[0]


def fit_method(method: str, prepared: PreparedPair, settings: Settings, bands: tuple[str, ...], tick: Callable[[str], None]) -> Model:
    """Fit one method to a prepared pair."""
    fitted = get_method(method).fit(prepared, settings, tick)
    noise = noise_of(fitted, prepared.patches)
    return Model(method, fitted, prepared.pair.ratio, bands, prepared.geometry, prepared.response, noise, prepared.clouds, prepared.screen)


def with_uncertainty(model: Model, prepared: PreparedPair, sample: Sample, settings: Settings) -> Model:
    """The model with standard deviations, calibrated on the scene one step down; ``sample`` is the window that is reduced."""
    method = get_method(model.method)
    assert isinstance(method, CalibratesErrors)
    found = reduce(prepared, sample, settings, CALIBRATION_STEP)
    if found is not None:
        found = replace(found[0], response=prepared.response, geometric=prepared.geometric), found[1]
    return replace(model, fitted=method.with_deviation(model.fitted, prepared, found, settings))


def describe(prepared: PreparedPair, model: Model) -> dict[str, Any]:
    """What the fit found, in plain JSON values."""
    geometry, response = prepared.geometry, prepared.response
    used = {"hsi": model.filled, "msi": np.ones(len(response.matrix), bool) if prepared.screen is None else prepared.screen.msi_bands}

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        return _plain(_among(used[value.image], value.values)) if isinstance(value, PerBand) else value

    found: dict[str, Any] = {
        "method": model.method,
        "geometry": {
            "ratio": prepared.pair.ratio,
            "shift_px": list(geometry.shift),
            "psf_sigma_px": float(np.sqrt(geometry.sigma[0] * geometry.sigma[1])),
            "psf_sigma_yx_px": list(geometry.sigma),
            "unexplained": geometry.unexplained,
            "aligned": prepared.pair.aligned,
        },
        "response": {
            "matrix": _plain(_among(used["hsi"], _among(used["msi"], response.matrix, 0.0, axis=0), 0.0)),
            "offset": PerBand("msi", response.offset),
            "method": response.method,
        },
        "residuals": residuals_of(prepared, model),
        "disagreement": _disagreement(prepared),
        "noise": {},
        "coregistration": {},
        "uncertainty": {},
        "prior_weights": {},
        "sample": {"windows": len(prepared.samples), "fine_pixels": int(sum(np.prod(s.fine.shape) for s in prepared.samples))},
        "warnings": pair_warnings(prepared, model.bands),
    }
    if isinstance(model.fitted, Describes):
        for key, value in model.fitted.describe().items():
            found[key] = found.get(key, {}) | value
        names = [name for name, filled in zip(model.bands, model.filled, strict=True) if filled]
        found["warnings"] += model.fitted.warnings(prepared, names)
    described: dict[str, Any] = plain(found)
    return described


def _disagreement(prepared: PreparedPair) -> dict[str, Any]:
    found: dict[str, Any] = {
        "relative": float(np.sqrt(np.mean(prepared.response.residual**2))),
        "per_band": PerBand("msi", prepared.response.residual),
        "geometric_share": round(prepared.geometric, 3),
        "map": [[round(v, 4) if np.isfinite(v) else None for v in row] for row in prepared.where],
    }
    if prepared.clouds is not None:
        found["only_one_image"] = {"share": round(prepared.covered, 4), "map": [[round(v, 3) for v in row] for row in prepared.covers]}
    return found


def picture(scene: Scene, prepared: PreparedPair, model: Model) -> dict[str, Any]:
    """Coarse, fine and fused pixels of the middle of the first window of the sample, small and as plain values; see `excerpt`."""
    patch, sample = prepared.patches[0], prepared.samples[0]
    inner = tuple(slice(max(0, (n - SIDE) // 2), max(0, (n - SIDE) // 2) + min(n, SIDE)) for n in sample.fine.shape)
    tables = scene.bands, BandTable.from_cube(scene.msi)
    if prepared.screen is not None:
        tables = tables[0].take(np.flatnonzero(prepared.screen.hsi_bands)), tables[1].take(np.flatnonzero(prepared.screen.msi_bands))
    red_green_blue, own = (list(table.rgb()) for table in tables)
    rows, cols = (np.arange(part.start, part.stop) + first for part, first in zip(inner, (sample.fine.top, sample.fine.left), strict=True))
    at = prepared.pair.to_coarse(*np.meshgrid(rows.astype(float), cols.astype(float), indexing="ij"))
    nearest = tuple(
        np.clip(np.rint(a).astype(int) - first, 0, n - 1)
        for a, first, n in zip(at, (sample.coarse.top, sample.coarse.left), sample.coarse.shape, strict=True)
    )
    fused = model.fuse_patch(patch, (inner[0], inner[1])).cpu().numpy()[red_green_blue]
    msi = sample.msi[:, *inner][own]
    box = prepared.pair.fine[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    left, bottom, right, top = box.boundingbox
    crs = box.crs.proj  # type: ignore[union-attr]
    shown = excerpt(
        sample.hsi[red_green_blue][:, *nearest],
        msi,
        np.where(np.isfinite(msi).all(0), fused, np.nan),
        (left, right, bottom, top),
        crs_name(crs),
    )
    return shown | {"metres": 0.0 if crs.is_geographic else float(crs.axis_info[0].unit_conversion_factor)}


def _among(bands: np.ndarray, values: np.ndarray, absent: float = np.nan, axis: int = -1) -> np.ndarray:
    """Values of the bands in use (along one axis) at their places among all bands."""
    if bands.all():
        return values
    out = np.full([len(bands) if k == axis % values.ndim else n for k, n in enumerate(values.shape)], absent)
    np.moveaxis(out, axis, -1)[..., bands] = np.moveaxis(values, axis, -1)
    return out


def _plain(values: np.ndarray) -> list[Any]:
    """Nested lists, None where there is nothing."""
    plain = values.astype(object)
    plain[np.isnan(values)] = None
    found: list[Any] = plain.tolist()
    return found


def residuals_of(prepared: PreparedPair, model: Model) -> dict[str, float]:
    """How well the fused sample explains both observations: relative root-mean-square errors over observed pixels."""
    totals = np.zeros(4)
    for patch in prepared.patches[:2]:  # two windows tell it as well as twenty
        fused = model.fuse_patch(patch)
        used = patch.psf.observed > 0
        seen = patch.psf.forward(torch.nan_to_num(fused))[:, used]
        matrix = torch.as_tensor(prepared.response.matrix, dtype=fused.dtype, device=fused.device)
        offset = torch.as_tensor(prepared.response.offset, dtype=fused.dtype, device=fused.device)
        valid = patch.msi_valid & torch.isfinite(fused).all(0)
        msi = (matrix @ fused[:, valid]) + offset[:, None]
        hsi, truth = patch.hsi[:, used], patch.msi[:, valid]
        totals += [float(v) for v in ((seen - hsi).square().sum(), hsi.square().sum(), (msi - truth).square().sum(), truth.square().sum())]
    return {
        "hsi_rel_rmse": float(np.sqrt(totals[0] / max(totals[1], 1e-20))),
        "msi_rel_rmse": float(np.sqrt(totals[2] / max(totals[3], 1e-20))),
    }
