"""The fit: from a bounded sample of the scene to a frozen model.

sample → geometry (shift, PSF) → effective response → whom to believe → estimator → validation at reduced scale → report
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from geofuse.align.clouds import Clouds, find_clouds
from geofuse.align.register import Registration, geometric_share, register
from geofuse.baselines.scene import BASELINES
from geofuse.errors import PairMismatch, RefusedInput
from geofuse.grid import GridPair, Window
from geofuse.model import Model
from geofuse.network.fit_guide import GuideFit, fit_guide
from geofuse.network.paper_scene import fit_paper
from geofuse.progress import bar
from geofuse.response.estimate import EffectiveResponse, estimate_response, scaled_table
from geofuse.response.gaps import fill_gaps
from geofuse.response.psf import PsfBuilder
from geofuse.scene import Sample, Scene, usable
from geofuse.solve.gem import Gem, fit_closed_form, fit_gem
from geofuse.solve.patch import Patch, make_patch
from geofuse.solve.trust import WARNING_RHO
from geofuse.tiles.plan import sample_windows, validation_window
from geofuse.tiles.threads import fastest_thread_count, torch_threads

METHODS = ("auto", "mossfuse", "gem", "fuse", "hysure", "regression", "gsa", "cnmf", "mlp", "bicubic", "mossfuse-paper")
BAYESIAN = ("auto", "mossfuse", "gem", "fuse")
# Fine pixels that are read to find geometry and response, and those of them on which the estimator is fitted.
SURVEY_PIXELS, SAMPLE_PIXELS = 1_000_000, 200_000
# Above this share the contradiction between the images is a matter of geometry, and the MSI is left as it is.
GEOMETRIC = 0.25
# A constant near ±0.1 between the sensors is Sentinel-2's processing-baseline offset, applied twice or not at all.
BASELINE_OFFSET = (0.06, 0.14)
NETWORK_SECONDS = 40.0
PAPER_SECONDS = 60.0
MAP_SIDE = 64  # cells along the longer side of the map of disagreement


@dataclass(frozen=True)
class Settings:
    """What a fit is asked to do; see `geofuse.fit`. Where ``srf`` or ``geometry`` is given it is taken as it is, and not estimated."""

    method: str = "auto"
    srf: np.ndarray | None = None
    srf_name: str = "estimated"
    seed: int = 0
    device: str = "cpu"
    progress: bool = True
    network_seconds: float = NETWORK_SECONDS
    paper_seconds: float = PAPER_SECONDS
    uncertainty: bool = False
    geometry: Registration | None = None


@dataclass(frozen=True)
class Ground:
    """What every method stands on: samples, geometry, response, and how the two images disagree.

    ``geometric`` is the share of the disagreement that looks like a wrong geometry; ``where`` maps its relative size over the scene, coarse
    pixels (or survey windows, where there are several) in rows. Samples and patches are without the pixels that only one image shows (``clouds``,
    a share ``covered`` of the scene).
    """

    pair: GridPair
    samples: list[Sample]
    patches: list[Patch]
    geometry: Registration
    response: EffectiveResponse
    geometric: float
    where: list[list[float]]
    clouds: Clouds | None = None
    covered: float = 0.0

    def cleared(self, sample: Sample) -> Sample:
        """The sample without the pixels that only one image shows."""
        return sample if self.clouds is None else self.clouds.clear(sample, self.builder)[0]

    @property
    def builder(self) -> PsfBuilder:
        """The PSF of the geometry."""
        return PsfBuilder(self.pair, self.geometry.sigma, self.geometry.shift)

    @property
    def harmonise(self) -> bool:
        """Whether the contradiction is radiometric and not geometric."""
        return self.geometric < GEOMETRIC


def fit_scene(scene: Scene, settings: Settings) -> Model:
    """Fit a model to a scene.

    Raises
    ------
    RefusedInput
        Unknown method; images without data or without anything in common; sensors a constant offset apart.
    """
    check_method(settings.method, settings.uncertainty)
    start = time.monotonic()
    with torch_threads(fastest_thread_count()), torch.no_grad(), bar(desc="fitting", unit="step", enabled=settings.progress) as progress:

        def tick(step: str) -> None:
            progress.set_postfix_str(step)
            progress.update()

        tick("reading a sample")
        survey = read_windows(scene, sample_windows(scene.pair, SURVEY_PIXELS))
        sample = read_sample(scene, whole=settings.method in (*BASELINES, "mossfuse-paper"))
        ground = lay_ground(scene.pair, survey, sample, settings, tick, scene.bands.good, settings.geometry)
        method = settings.method
        table: list[dict[str, Any]] = []
        if method == "auto":
            from geofuse.validate import choose_method

            method, table = choose_method(ground, _validation_sample(scene, ground), settings, tick)
        model = fit_method(method, ground, settings, scene.bands.names, tick)
        if settings.uncertainty:
            from geofuse.validate import with_uncertainty

            model = with_uncertainty(model, ground, _validation_sample(scene, ground), settings, tick)
        report = dict(model.report) | describe(ground, model) | {"validation": table, "seed": settings.seed}
        report["method_asked"] = settings.method
    report["seconds"] = {"fit": round(time.monotonic() - start, 2)}
    return replace(model, report=report)


def check_method(method: str, uncertainty: bool = False) -> None:
    """Refuse a method that does not exist, and one that knows nothing of its errors where these are asked for."""
    if method not in METHODS:
        raise RefusedInput(f"There is no method {method!r}; expected one of {', '.join(METHODS)}.")
    if uncertainty and method not in BAYESIAN:
        raise RefusedInput(f"The method {method!r} says nothing about its errors; expected one of {', '.join(BAYESIAN)} with uncertainty.")


def read_sample(scene: Scene, *, whole: bool = False) -> list[Sample]:
    """Read the windows that the fit needs; ``whole`` for methods that are not local."""
    height, width = scene.pair.fine.shape
    return read_windows(scene, [Window(0, height, 0, width)] if whole else sample_windows(scene.pair, SAMPLE_PIXELS))


def read_windows(scene: Scene, fine: Sequence[Window]) -> list[Sample]:
    """Read windows of the working fine grid, and the coarse pixels that touch them."""
    nominal = PsfBuilder(scene.pair, (scene.pair.ratio / 2,) * 2)
    return usable(scene.read([(w, nominal.coarse_window(w)) for w in fine]))


def _validation_sample(scene: Scene, ground: Ground) -> Sample:
    return ground.cleared(read_windows(scene, [validation_window(scene.pair)])[0])


def lay_ground(
    pair: GridPair,
    survey: list[Sample],
    sample: list[Sample],
    settings: Settings,
    tick: Callable[[str], None],
    good: np.ndarray | None = None,
    geometry: Registration | None = None,
) -> Ground:
    """Estimate geometry and response from the survey, and prepare the sample for the estimator."""
    tick("registering")
    geometry, clouds, covered = locate(pair, survey, geometry)
    builder = PsfBuilder(pair, geometry.sigma, geometry.shift)
    if clouds is not None:
        survey, sample = ([clouds.clear(s, builder)[0] for s in samples] for samples in (survey, sample))
    like = torch.zeros(1, dtype=torch.float32, device=settings.device)

    def patch(s: Sample) -> Patch:
        return make_patch(s.hsi, s.msi, builder, s.fine, s.coarse, like)

    tick("effective response")
    surveyed = [patch(s) for s in survey]
    hsi, msi = colocated(surveyed)
    response = (
        estimate_response(hsi, msi, good, settings.seed)
        if settings.srf is None
        else scaled_table(settings.srf, hsi, msi, settings.srf_name)
    )
    _refuse_baseline_offset(response, msi)
    share = geometric_share(pair, survey, geometry, response.matrix, response.offset)
    where = disagreement_map(surveyed, [s.fine.top for s in survey], response)
    return Ground(pair, sample, [patch(s) for s in sample], geometry, response, share, where, clouds, covered)


def locate(pair: GridPair, survey: list[Sample], told: Registration | None = None) -> tuple[Registration, Clouds | None, float]:
    """Geometry, and what only one image shows: each is found better once the other is known."""
    if told is not None:
        return told, *find_clouds(survey, PsfBuilder(pair, told.sigma, told.shift))
    nominal = PsfBuilder(pair, (pair.ratio / 2,) * 2)
    rough, _ = find_clouds(survey, nominal)
    geometry = register(pair, survey if rough is None else [rough.clear(s, nominal)[0] for s in survey])
    builder = PsfBuilder(pair, geometry.sigma, geometry.shift)
    clouds, covered = find_clouds(survey, builder)
    if rough is not None:
        geometry = register(pair, survey if clouds is None else [clouds.clear(s, builder)[0] for s in survey])
    return geometry, clouds, covered


def colocated(patches: Iterable[Patch]) -> tuple[np.ndarray, np.ndarray]:
    """Spectra of the observed coarse pixels (B, N), and the MSI seen through the PSF there (M, N)."""
    left, right = [], []
    for p in patches:
        seen, used = coarse_msi(p)
        left.append(p.hsi[:, used].double().cpu().numpy())
        right.append(seen[:, used].double().cpu().numpy())
    return np.concatenate(left, axis=1), np.concatenate(right, axis=1)


def coarse_msi(patch: Patch) -> tuple[torch.Tensor, torch.Tensor]:
    """The MSI seen through the PSF (M, h, w), and where that can be compared with the HSI (h, w)."""
    mean = (patch.msi * patch.msi_valid).sum((1, 2), keepdim=True) / patch.msi_valid.sum().clamp(min=1)
    seen = patch.psf.forward(fill_gaps(patch.msi - mean, patch.msi_valid)) + mean
    complete = patch.psf.forward(patch.msi_valid[None].to(patch.msi.dtype))[0] > 0.95
    return seen, (patch.psf.observed > 0) & complete


def disagreement_map(patches: Sequence[Patch], tops: Sequence[int], response: EffectiveResponse) -> list[list[float]]:
    """Relative difference of the two images at the coarse scale: per block of coarse pixels, or per window where there are several."""
    images = []
    for p in patches:
        seen, used = coarse_msi(p)
        matrix, offset = (torch.as_tensor(a, dtype=seen.dtype, device=seen.device) for a in (response.matrix, response.offset))
        error = torch.einsum("mb,bhw->mhw", matrix, p.hsi) + offset[:, None, None] - seen
        level = seen[:, used].square().mean(1).clamp(min=1e-12)
        squared = (error.square() / level[:, None, None]).mean(0)
        images.append(torch.where(used, squared, torch.nan).double().cpu().numpy())
    if len(images) == 1:
        return [[float(v) for v in row] for row in np.sqrt(block_mean(images[0], MAP_SIDE))]
    rows: dict[int, list[float]] = {}
    for image, top in zip(images, tops, strict=True):
        rows.setdefault(top, []).append(float(np.sqrt(np.nanmean(image))) if np.isfinite(image).any() else float("nan"))
    return list(rows.values())


def block_mean(image: np.ndarray, side: int) -> np.ndarray:
    """Mean over square blocks, so that neither side exceeds ``side``; NaN where a block holds nothing."""
    step = -(-max(image.shape) // side)
    rows, cols = (np.arange(0, n, step) for n in image.shape)
    total, count = (np.add.reduceat(np.add.reduceat(a, rows, 0), cols, 1) for a in (np.nan_to_num(image), np.isfinite(image).astype(float)))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def fit_method(method: str, ground: Ground, settings: Settings, bands: tuple[str, ...], tick: Callable[[str], None]) -> Model:
    """Fit one method on laid ground."""
    model = Model(method, ground.pair.ratio, bands, ground.geometry, ground.response, clouds=ground.clouds)
    if method in BASELINES:
        return model
    if method == "mossfuse-paper":
        tick("training the published network")
        patch = ground.patches[0]
        with torch.enable_grad():
            paper = fit_paper(
                patch, ground.pair, seconds=settings.paper_seconds, seed=settings.seed, device=settings.device, progress=settings.progress
            )
        return replace(model, paper=paper, report={"network": {"steps": len(paper.fit.losses), "converged": paper.fit.converged}})
    gem = fit_estimator(method, ground, settings, tick)
    if method != "mossfuse":
        return replace(model, gem=gem)
    learned = fit_network(gem, ground.patches, settings)
    return replace(model, gem=learned.gem, network=learned.network, report={"network": network_report(learned)})


def fit_estimator(method: str, ground: Ground, settings: Settings, tick: Callable[[str], None]) -> Gem:
    """The frozen estimator of ``fuse``, or of ``gem`` and ``mossfuse``."""
    srf, offset = ground.response.matrix, ground.response.offset
    if method == "fuse":
        tick("closed form")
        return fit_closed_form(ground.patches, srf, offset, ground.pair.ratio)
    return fit_gem(ground.patches, srf, offset, ground.pair.ratio, harmonise=ground.harmonise, seed=settings.seed, tick=tick)


def fit_network(gem: Gem, patches: Sequence[Patch], settings: Settings) -> GuideFit:
    """The learned guided step, with a progress bar of its own."""
    with torch.enable_grad(), bar(desc="learning", unit="step", enabled=settings.progress) as progress:

        def tick(step: int, score: float) -> None:
            progress.update(step - progress.n)
            progress.set_postfix_str(f"held-out error {score:.3f} of GEM's")

        return fit_guide(gem, patches, seconds=settings.network_seconds, seed=settings.seed, tick=tick)


def network_report(learned: GuideFit) -> dict[str, Any]:
    """Plain facts of a network fit."""
    return {
        "parameters": sum(p.numel() for p in learned.network.parameters()),
        "steps": learned.steps,
        "held_out_error": round(learned.best, 4),
        "curve": [[step, round(score, 5)] for step, score in learned.curve],
    }


def describe(ground: Ground, model: Model) -> dict[str, Any]:
    """What the fit found, in plain JSON values."""
    geometry, response = ground.geometry, ground.response
    residuals = residuals_of(ground, model)
    disagreement: dict[str, Any] = {
        "relative": float(np.sqrt(np.mean(response.residual**2))),
        "per_band": response.residual.tolist(),
        "geometric_share": round(ground.geometric, 3),
        "map": [[round(v, 4) if np.isfinite(v) else None for v in row] for row in ground.where],
    }
    if model.gem is not None:
        disagreement |= {"rho": model.gem.trust.rho, "rho_after": model.gem.trust.left, "harmonised": bool(model.gem.trust.gain.any())}
    return {
        "method": model.method,
        "geometry": {
            "ratio": ground.pair.ratio,
            "shift_px": list(geometry.shift),
            "psf_sigma_px": float(np.sqrt(geometry.sigma[0] * geometry.sigma[1])),
            "psf_sigma_yx_px": list(geometry.sigma),
            "unexplained": geometry.unexplained,
            "aligned": ground.pair.aligned,
        },
        "response": {"matrix": response.matrix.tolist(), "offset": response.offset.tolist(), "method": response.method},
        "residuals": residuals,
        "disagreement": disagreement,
        "noise": {}
        if model.gem is None
        else {
            "hsi_sigma": model.gem.coordinates.sigma.tolist(),
            "msi_sigma": model.gem.coordinates.msi_sigma.tolist(),
            "rank": model.gem.coordinates.rank,
        },
        "coregistration": {}
        if model.gem is None or model.gem.shifts is None
        else {"band_shift_px": np.round(model.gem.shifts.shift, 4).tolist(), "largest_px": float(np.abs(model.gem.shifts.shift).max())},
        "uncertainty": {} if model.uncertainty is None else {"factor": round(model.uncertainty.factor, 4)},
        "prior_weights": {} if model.gem is None else {s.kind: [round(float(w), 4) for w in s.prior.share] for s in model.gem.stages},
        "sample": {"windows": len(ground.samples), "fine_pixels": int(sum(np.prod(s.fine.shape) for s in ground.samples))},
        "warnings": warnings_of(ground, model),
    }


def residuals_of(ground: Ground, model: Model) -> dict[str, float]:
    """How well the fused sample explains both observations: relative root-mean-square errors over observed pixels."""
    totals = np.zeros(4)
    for patch in ground.patches[:2]:  # two windows tell it as well as twenty
        fused = model.fuse_patch(patch)
        used = patch.psf.observed > 0
        seen = patch.psf.forward(torch.nan_to_num(fused))[:, used]
        matrix = torch.as_tensor(ground.response.matrix, dtype=fused.dtype, device=fused.device)
        offset = torch.as_tensor(ground.response.offset, dtype=fused.dtype, device=fused.device)
        valid = patch.msi_valid & torch.isfinite(fused).all(0)
        msi = (matrix @ fused[:, valid]) + offset[:, None]
        hsi, truth = patch.hsi[:, used], patch.msi[:, valid]
        totals += [float(v) for v in ((seen - hsi).square().sum(), hsi.square().sum(), (msi - truth).square().sum(), truth.square().sum())]
    return {
        "hsi_rel_rmse": float(np.sqrt(totals[0] / max(totals[1], 1e-20))),
        "msi_rel_rmse": float(np.sqrt(totals[2] / max(totals[3], 1e-20))),
    }


def warnings_of(ground: Ground, model: Model) -> list[str]:
    """What a user should know before trusting the result."""
    found = []
    geometry, rho = ground.geometry, model.gem.trust.rho if model.gem is not None else 0.0
    if geometry.at_limit:
        found.append("The search for PSF width and shift ended at the edge of its range: check the georeference of both images.")
    if rho > WARNING_RHO and not ground.harmonise:
        found.append(
            f"The two images contradict each other (rho {rho:.2f}, above {WARNING_RHO}) in the way a wrong PSF or registration would: "
            "the point-spread function may not be Gaussian, or the registration may vary over the scene."
        )
    elif rho > WARNING_RHO:
        found.append(
            f"The two images contradict each other (rho {rho:.2f}, above {WARNING_RHO}) beyond noise and geometry: other light, other date or other "
            "calibration. The HSI is believed in its radiometry and the MSI in its detail."
        )
    if len(ground.response.matrix) < 3:
        found.append("The MSI has fewer than 3 bands: it says little about spectra, and the result leans on the HSI.")
    if sum(int(p.psf.observed.sum()) for p in ground.patches) < 100:
        found.append("Fewer than 100 coarse pixels are observed: noise, subspace and response rest on little data.")
    return found


def _refuse_baseline_offset(response: EffectiveResponse, msi: np.ndarray) -> None:
    low, high = BASELINE_OFFSET
    offset = float(np.median(response.offset))
    if low <= abs(offset) <= high and np.sign(response.offset).sum() == np.sign(offset) * len(msi):
        raise PairMismatch(
            f"The MSI is a constant {offset:+.3f} reflectance away from what the HSI predicts in every band; expected about 0. Sentinel-2 products since "
            "processing baseline 04.00 carry an offset of -1000 counts (-0.1): apply it exactly once, then fuse again."
        )
