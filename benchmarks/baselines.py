"""The table of docs/benchmarks/baselines.md: every baseline on simulated pairs, told the true operators.

Run from the repository root: ``python benchmarks/baselines.py [--methods bicubic,gsa,…] [--ratios 4,8] [--scenes jasper,la,ip] [--noiseless]``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from geofuse.baselines.gsa import gsa, regression  # noqa: E402
from geofuse.baselines.scene import BASELINES, apply_baseline  # noqa: E402
from geofuse.grid import Axis  # noqa: E402
from geofuse.quality.metrics import score  # noqa: E402
from geofuse.response.operators import SeparablePsf  # noqa: E402
from geofuse.response.psf import Psf  # noqa: E402
from geofuse.response.weights import cubic_matrix  # noqa: E402
from geofuse.solve.gem import fit_closed_form, fit_gem  # noqa: E402
from geofuse.solve.patch import Patch  # noqa: E402
from tests.scenes import Simulation, simulate  # noqa: E402

METHODS = ("bicubic", "gsa, raw", "gsa", "regression, raw", "regression", "cnmf", "mlp", "hysure", "fuse", "gem")


def main() -> None:
    """Print one Markdown row a case, and their means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default=";".join(METHODS), help="separated by semicolons")
    parser.add_argument("--ratios", default="4,8")
    parser.add_argument("--scenes", default="jasper,la,ip")
    parser.add_argument("--noiseless", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    methods = options.methods.split(";")
    folder = Path(os.environ.get("GEOFUSE_BENCHMARK_DATA", ROOT.parent / "shared" / "data"))
    print(f"| scene, response, ratio | {' | '.join(methods)} |")
    print("|---" * (1 + len(methods)) + "|")
    rows = []
    for ratio in map(int, options.ratios.split(",")):
        for name in options.scenes.split(","):
            for kind in ("qb4", "s2"):
                case = simulate(name, ratio, kind, folder, noise=not options.noiseless)
                rows.append([measure(method, case) for method in methods])
                _print(f"{name}, {kind}, {ratio}", rows[-1])
    _print("mean", np.mean(rows, axis=0))


def measure(method: str, case: Simulation) -> tuple[float, float, float]:
    """PSNR (dB), SAM (degrees) and seconds of one method on one case."""
    patch = told_patch(case)
    start = time.monotonic()
    fused = fuse_with(method, patch, case).clamp(0, 1)
    seconds = time.monotonic() - start
    scores = score(case.truth, fused.numpy(), case.ratio)
    return scores["psnr_db"], scores["sam_deg"], seconds


def told_patch(case: Simulation) -> Patch:
    """The pair with the operator that made it."""
    hsi, msi = (torch.as_tensor(a, dtype=torch.float32) for a in (case.hsi, case.msi))
    cubic = [cubic_matrix(Axis(float(case.ratio), (case.ratio - 1) / 2, *d.shape)) for d in (case.dh, case.dw)]
    psf = SeparablePsf(case.dh, case.dw, lambda: (cubic[0], cubic[1]), np.ones(hsi.shape[1:], bool), hsi)
    return Patch(hsi, msi, torch.ones(hsi.shape[1:], dtype=torch.bool), torch.ones(msi.shape[1:], dtype=torch.bool), psf)


def fuse_with(method: str, patch: Patch, case: Simulation) -> Tensor:
    """Fuse by name; "raw" is detail injection as published, not cleaned."""
    raw: dict[str, Callable[[Tensor, Tensor, Psf], Tensor]] = {"gsa, raw": gsa, "regression, raw": regression}
    if method in raw:
        return raw[method](patch.hsi, patch.msi, patch.psf)
    if method in BASELINES:
        return apply_baseline(method, patch, case.srf)
    fit = {"fuse": fit_closed_form, "gem": fit_gem}[method]
    model = fit([patch], case.srf, np.zeros(len(case.srf)), case.ratio)
    return model.coordinates.decode(model.apply(patch))


def _print(label: str, cells: list[tuple[float, float, float]] | np.ndarray) -> None:
    print(f"| {label} | " + " | ".join(f"{psnr:.2f} / {sam:.2f} ({seconds:.1f} s)" for psnr, sam, seconds in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
