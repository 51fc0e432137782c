"""Wald's protocol on the user's own scene: everything one resolution step down, where the HSI itself is the truth.

The HSI is degraded with its own PSF, the MSI is brought to the HSI's grid, and what each method makes of that pair is compared with
the HSI. The step is the scene's ratio where the scene is large enough, else a smaller one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from affine import Affine
from odc.geo.geobox import GeoBox

from geofuse.errors import InvalidInput
from geofuse.evaluation.metrics import score
from geofuse.methods.limits import fuse_within_limits, noise_of
from geofuse.methods.registry import STANDARD, all_methods, get_method
from geofuse.pair.gaps import fill_about_mean, fill_gaps
from geofuse.pair.grid import GridPair, Window, pair_grids
from geofuse.pair.patch import make_patch, patch_of
from geofuse.pair.prepare import PreparedPair, Settings, coarse_msi, prepare_pair
from geofuse.pair.psf.builder import PsfBuilder
from geofuse.pair.scene import Sample

MIN_COARSE = 12  # coarse pixels along the shorter side of the reduced scene
# Another estimator must beat the standard at reduced scale by this much, and not be worse in SAM, before `auto` takes it.
MARGIN_DB = 0.1
LARGEST_STEP = 8
CALIBRATION_STEP = 2  # the smallest: it leaves the most pixels to count


def choose_method(
    prepared: PreparedPair, sample: Sample, settings: Settings, tick: Callable[[str], None]
) -> tuple[str, list[dict[str, Any]]]:
    """The method that `auto` takes, and the table that it was chosen by.

    Another estimator replaces the standard where it does better on the reduced scene; a baseline that does better is reported and not taken,
    because it would not explain both observations at full scale.
    """
    found = reduce(prepared, sample, settings)
    if found is None:
        return STANDARD, []
    methods = all_methods()
    table = compare(*found, prepared, settings, [name for name, method in methods.items() if method.quick], tick)
    scores = {row["method"]: row for row in table if "psnr_db" in row}  # a method that was rejected has none
    best = STANDARD
    if STANDARD in scores:
        for name, row in scores.items():
            needed = scores[best]["psnr_db"] + (MARGIN_DB if best == STANDARD else 0)
            if methods[name].role == "estimator" and row["psnr_db"] > needed and row["sam_deg"] <= scores[STANDARD]["sam_deg"]:
                best = name
    return best, table


def reduce(
    prepared: PreparedPair, sample: Sample, settings: Settings, largest: int = LARGEST_STEP
) -> tuple[PreparedPair, np.ndarray] | None:
    """A window of the scene one step down, and its truth (B, h, w), NaN where unknown; None where it is too small to be reduced.

    The step is the scene's ratio or ``largest``, or less where there are few coarse pixels. Bands that were completed where they have gaps count as
    they are: what all methods are compared with is the same.
    """
    builder = prepared.builder
    patch = patch_of(_on_grid(sample, builder), builder, torch.zeros(1))
    step = _step(min(prepared.pair.ratio, largest), sample.coarse.shape)
    if step is None:
        return None
    h, w = (n // step * step for n in sample.coarse.shape)
    truth = np.where(patch.psf.observed.cpu().numpy() > 0, patch.hsi.numpy(), np.nan)[:, :h, :w]
    seen = np.where(np.isfinite(truth).all(0), coarse_msi(patch)[0].cpu().numpy()[:, :h, :w], np.nan)
    pair = _nested_pair(h, w, step)
    sigma = tuple(s / prepared.pair.ratio * step for s in prepared.geometry.sigma)
    geometry = replace(prepared.geometry, sigma=(sigma[0], sigma[1]), shift=(0.0, 0.0), at_limit=False, local=None)
    fine, coarse = Window(0, h, 0, w), Window(0, h // step, 0, w // step)
    blank = np.zeros((1, *coarse.shape), np.float32)
    psf = make_patch(blank, np.zeros((1, h, w), np.float32), geometry.builder(pair), fine, coarse, torch.zeros(1)).psf
    known = torch.as_tensor(np.isfinite(truth).all(0))
    filled = fill_gaps(torch.as_tensor(np.nan_to_num(truth - np.nanmean(truth, axis=(1, 2), keepdims=True)), dtype=torch.float32), known)
    low = psf.forward(filled).numpy() + np.nanmean(truth, axis=(1, 2))[:, None, None]
    complete = psf.forward(known[None].float())[0].numpy() > 0.5
    low = np.where(complete, low, np.nan).astype(np.float32)
    reduced = Sample(low, seen.astype(np.float32), fine, coarse)
    return prepare_pair(pair, [reduced], [reduced], settings, lambda step: None, geometry=geometry), truth


def _on_grid(sample: Sample, builder: PsfBuilder) -> Sample:
    """The sample with pixels that lie elsewhere interpolated at the centres of their grid."""
    if sample.positions is None:
        return sample
    hsi = torch.as_tensor(sample.hsi)
    valid = torch.isfinite(hsi).all(0)
    filled = fill_about_mean(torch.nan_to_num(hsi), valid)
    centred = builder.centred(sample.coarse, valid.numpy(), sample.positions, filled)(filled)
    return replace(sample, hsi=torch.where(valid, centred, torch.nan).numpy(), positions=None)


def _step(ratio: float, shape: tuple[int, int]) -> int | None:
    for step in range(max(2, min(round(ratio), LARGEST_STEP)), 1, -1):
        if min(shape) // step >= MIN_COARSE:
            return step
    return 2 if min(shape) // 2 >= MIN_COARSE // 2 else None


def _nested_pair(height: int, width: int, step: int) -> GridPair:
    crs = "EPSG:32631"  # any metric CRS: both grids are made here
    fine = GeoBox((height, width), Affine(1, 0, 500_000, 0, -1, 5_000_000), crs)
    coarse = GeoBox((height // step, width // step), Affine(step, 0, 500_000, 0, -step, 5_000_000), crs)
    return pair_grids(coarse, fine)


def compare(
    reduced: PreparedPair,
    truth: np.ndarray,
    prepared: PreparedPair,
    settings: Settings,
    methods: Sequence[str],
    tick: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Scores of methods on the reduced scene, one row each; the response is the one of the full scale."""
    patch = reduced.patches[0]
    same_response = replace(reduced, response=prepared.response, geometric=prepared.geometric)
    table = []
    for method in methods:
        tick(f"validating {method}")
        start = time.monotonic()
        try:
            known = get_method(method)
            fitted = known.fit(same_response, replace(settings, progress=False), lambda step: None)
            fused = fuse_within_limits(fitted, patch, noise_of(fitted, [patch]))[0].cpu().numpy()
        except InvalidInput as error:  # a method that cannot run here has no row of numbers, but it is named
            table.append({"method": method, "rejected": str(error)})
            continue
        fused = np.where(np.isfinite(truth).all(0) & patch.msi_valid.cpu().numpy(), fused, np.nan)
        row: dict[str, Any] = {
            "method": method,
            "role": known.role,
            "ratio": reduced.pair.ratio,
            "seconds": round(time.monotonic() - start, 2),
        }
        table.append(row | {k: round(float(v), 4) for k, v in score(truth, fused, reduced.pair.ratio).items()})
    return table
