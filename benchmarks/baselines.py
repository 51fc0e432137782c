"""The table of docs/research/baselines.md: every baseline on simulated pairs, given the true operators.

Run from the repository root: ``python -m benchmarks.baselines [--methods bicubic,gsa,…] [--ratios 4,8] [--scenes jasper,la,…] [--noiseless]``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks.cases import RATIOS, data_folder
from benchmarks.known import known_pair
from geofuse.evaluation.metrics import score
from geofuse.methods.baselines.gsa import gsa, regression
from geofuse.methods.registry import get_method
from geofuse.pair.prepare import PreparedPair, Settings
from geofuse.pair.psf.builder import Psf
from geofuse.simulate import RESPONSES, SCENES, Simulation, simulate

METHODS = ("bicubic", "raw gsa", "gsa", "raw regression", "regression", "cnmf", "mlp", "hysure", "sylvester", "gem")


def main() -> None:
    """Print one Markdown row a case, their means, and the mean of their seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--ratios", default=",".join(map(str, RATIOS)))
    parser.add_argument("--scenes", default=",".join(SCENES))
    parser.add_argument("--noiseless", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    methods, scenes = options.methods.split(","), options.scenes.split(",")
    folder = data_folder(scenes)
    print(f"| scene, response, ratio | {' | '.join(methods)} |\n{'|---' * (1 + len(methods))}|")
    found = []
    for ratio in map(int, options.ratios.split(",")):
        for name in scenes:
            for kind in RESPONSES:
                case = simulate(name, ratio, kind, folder, noise=not options.noiseless)
                found.append([measure(method, case) for method in methods])
                print(_row(f"{name}, {kind}, {ratio}", found[-1]), flush=True)
    means = np.mean(found, axis=0)
    print(_row("mean", means))
    print(f"| seconds a scene | {' | '.join(f'{seconds:.1f}' for *_, seconds in means)} |")


def measure(method: str, case: Simulation) -> tuple[float, float, float]:
    """PSNR (dB), SAM (degrees) and seconds of one method on one case."""
    pair = known_pair(case)
    start = time.monotonic()
    with torch.no_grad():
        fused = fuse_with(method, pair).clamp(0, 1)
    seconds = time.monotonic() - start
    scores = score(case.truth, fused.numpy(), case.ratio)
    return scores["psnr_db"], scores["sam_deg"], seconds


def fuse_with(method: str, pair: PreparedPair) -> Tensor:
    """Fuse by name; "raw" is detail injection as published, not cleaned."""
    raw: dict[str, Callable[[Tensor, Tensor, Psf], Tensor]] = {"raw gsa": gsa, "raw regression": regression}
    patch = pair.patches[0]
    if method in raw:
        return raw[method](patch.hsi, patch.msi, patch.psf)
    return get_method(method).fit(pair, Settings(progress=False), lambda step: None).apply(patch)


def _row(label: str, cells: list[tuple[float, float, float]] | np.ndarray) -> str:
    return f"| {label} | {' | '.join(f'{psnr:.2f} / {sam:.2f}' for psnr, sam, _ in cells)} |"


if __name__ == "__main__":
    main()
