"""Measure one case: simulate the pair, fuse it, score it against the truth."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import REFERENCE, Case
from geofuse import api
from geofuse.errors import InvalidInput
from geofuse.evaluation.metrics import score
from geofuse.pair.prepare import Settings
from geofuse.pair.registration import Registration
from geofuse.pipeline.fit import fit_scene
from geofuse.pipeline.plan import plan_scene
from geofuse.simulate import Simulation, closed_form_oracle, cubes, simulate

SCORES = ("psnr_db", "sam_deg", "ergas", "ssim", "uqi", "rmse")
MEASURED = (*SCORES, "fit_s", "apply_s", "cpu_s", "case_s", "peak_rss_mb", "used", "error")


def measure(case: Case, folder: Path) -> dict[str, Any]:
    """Run one case.

    Parameters
    ----------
    case : Case
    folder : Path
        Where the scenes are.

    Returns
    -------
    dict
        Values for `MEASURED`: scores of the image clipped to 0 … 1 (as the truth is); wall-clock seconds of fit and apply, and of the whole case
        with simulation and scoring; processor seconds of fit and apply; peak resident memory of the process in MB, libraries and data included;
        the method that ``auto`` took; or why the method rejected.
    """
    begin = time.perf_counter()
    pair = simulate(case.scene, case.ratio, case.response, folder, noise=case.noise == "noisy", shift=case.shift, seed=case.seed)
    cpu = time.process_time()
    try:
        fused, found = _known(pair) if case.method == REFERENCE else _fuse(pair, case)
    except InvalidInput as error:
        return {"error": f"rejected: {error}", "case_s": round(time.perf_counter() - begin, 3)}
    found |= {"cpu_s": round(time.process_time() - cpu, 3), "peak_rss_mb": peak_rss_mb()}
    scores = score(pair.truth, np.clip(fused, 0, 1), case.ratio)
    found |= {name: round(float(scores[name]), 6) for name in SCORES}
    return found | {"case_s": round(time.perf_counter() - begin, 3)}


def settings_of(case: Case, pair: Simulation) -> Settings:
    """What the fit is asked, and given: nothing, or geometry and response."""
    asked = {"method": case.method, "seed": case.seed, "device": case.device, "progress": False}
    if case.operators == "estimated":
        return Settings(**asked)  # type: ignore[arg-type]
    geometry = Registration(pair.sigma, pair.shift, float("nan"))
    return Settings(**asked, srf=pair.srf, srf_name="known", geometry=geometry)  # type: ignore[arg-type]


def peak_rss_mb() -> float:
    """Peak resident memory of this process, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


def _known(pair: Simulation) -> tuple[np.ndarray, dict[str, Any]]:
    start = time.perf_counter()
    fused = closed_form_oracle(pair)
    return fused, {"fit_s": 0.0, "apply_s": round(time.perf_counter() - start, 3), "used": REFERENCE}


def _fuse(pair: Simulation, case: Case) -> tuple[np.ndarray, dict[str, Any]]:
    hsi, msi = cubes(pair)
    start = time.perf_counter()
    scene = api.pair(hsi, msi)
    model = fit_scene(scene, settings_of(case, pair))
    fitted = time.perf_counter()
    planned = plan_scene(scene, model=model, device=case.device)
    fused = api.apply(scene, model, planned, progress=False).values
    seconds = {"fit_s": round(fitted - start, 3), "apply_s": round(time.perf_counter() - fitted, 3)}
    return fused, seconds | {"used": model.method}
