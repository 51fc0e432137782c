"""From a scene to a frozen model: prepare → choose → fit, on a bounded sample of the scene.

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

from geofuse.errors import InvalidInput
from geofuse.evaluation.wald import CALIBRATION_STEP, choose_method, compare, reduce
from geofuse.methods.base import CalibratesErrors
from geofuse.methods.limits import noise_of
from geofuse.methods.registry import AUTO, check_method, get_method
from geofuse.model import Model
from geofuse.pair.faults import faults
from geofuse.pair.grid import Window
from geofuse.pair.masking import check_left
from geofuse.pair.prepare import PreparedPair, Settings, prepare_pair
from geofuse.pair.psf.builder import PsfBuilder
from geofuse.pair.scene import Sample, Scene, usable
from geofuse.pair.screen import fit_screen
from geofuse.pair.selection import guides
from geofuse.pair.srf import nominal_response, response_table
from geofuse.pipeline.describe import describe
from geofuse.pipeline.evidence import evidence, residuals_of
from geofuse.pipeline.plan import check_register, check_seed, check_train_seconds
from geofuse.progress import bar
from geofuse.run.device import full_precision, torch_device
from geofuse.run.threads import torch_threads
from geofuse.run.tiles import sample_windows, validation_window

# Fine pixels that are read to find geometry and response, and those of them on which the estimator is fitted.
SURVEY_PIXELS, SAMPLE_PIXELS = 1_000_000, 200_000


def settings_of(
    scene: Scene,
    *,
    method: str = "auto",
    srf: Any = "auto",
    device: str = "auto",
    progress: bool = True,
    seed: int = 0,
    uncertainty: bool = False,
    train_seconds: float | None = None,
    register: str = "global",
) -> Settings:
    """Settings of a fit from the arguments of `geofuse.fit`.

    Raises
    ------
    InvalidInput
        A seed, a response, a device, a bound of the training or a registration that cannot be used.
    """
    check_seed(seed)
    check_train_seconds(train_seconds)
    check_register(register)
    table, name = response_table(srf, scene)
    prior, source = (None, "") if table is not None else nominal_response(scene)
    asked = Settings(method, table, name, seed, torch_device(device), progress, train_seconds, uncertainty, register=register)
    return replace(asked, srf_prior=prior, srf_source=source, guides=guides(scene))


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
        report = describe(prepared, model, settings.srf_prior) | {"validation": table, "seed": settings.seed}
        residuals, misfit = residuals_of(prepared, model)
        report |= {"method_asked": settings.method, "residuals": residuals} | evidence(scene, prepared, model, misfit)
    report["seconds"] = {"fit": round(time.monotonic() - start, 2)}
    return replace(model, report=report)


def score_methods(scene: Scene, settings: Settings, methods: Sequence[str]) -> list[dict[str, Any]]:
    """Scores of methods on the scene one resolution step down, a row each; see `geofuse.evaluation.wald.compare`.

    Raises
    ------
    InvalidInput
        The scene is too small to be degraded further.
    """
    with guarded(), bar(len(methods) + 4, desc="evaluating", unit="step", enabled=settings.progress) as progress:

        def tick(step: str) -> None:
            progress.set_postfix_str(step)
            progress.update()

        prepared, settings = prepare(scene, settings, tick)
        found = reduce(prepared, validation_sample(scene, prepared), settings)
        if found is None:
            raise InvalidInput("The scene has too few coarse pixels to be degraded and fused again; expected at least 12 along each side.")
        return compare(*found, prepared, settings, methods, tick)


@contextmanager
def guarded() -> Iterator[None]:
    """As everything is estimated: one thread an operation, full precision, no gradients."""
    with torch_threads(1), full_precision(), torch.no_grad():
        yield


def prepare(scene: Scene, settings: Settings, tick: Callable[[str], None], *, whole: bool = False) -> tuple[PreparedPair, Settings]:
    """Read samples, leave out what is wrong in them, and estimate what every method needs.

    Parameters
    ----------
    scene : Scene
    settings : Settings
    tick : callable
        Called with the name of each step when it begins.
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
    check_left(survey)
    tick("gaps and outliers")
    screen = fit_screen(survey)
    kept = np.ix_(screen.msi_bands, screen.hsi_bands)
    srf, prior = (None if table is None else table[kept] for table in (settings.srf, settings.srf_prior))
    unseen = None if settings.guides is None else settings.guides[screen.msi_bands]
    settings = replace(settings, srf=srf, srf_prior=prior, guides=unseen)
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
