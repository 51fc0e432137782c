"""How far the published network gets: its loss, and the quality of the image, against seconds of training.

Run from the repository root: ``python -m benchmarks.paper [--seconds 60,120,240] [--scene jasper] [--response qb4] [--device cpu]``.
Each budget is a training of its own, with its own schedule; prints Markdown. True operators, noise 35/40 dB, ratio 4.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from benchmarks.cases import data_folder
from benchmarks.known import known_pair
from geofuse.evaluation.metrics import score
from geofuse.methods.mossfuse.paper_method import PAPER
from geofuse.pair.prepare import Settings
from geofuse.simulate import simulate

RATIO = 4


def main() -> None:
    """Print one row a budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", default="60,120,240")
    parser.add_argument("--scene", default="jasper")
    parser.add_argument("--response", default="qb4")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    case = simulate(options.scene, RATIO, options.response, data_folder([options.scene]))
    pair = known_pair(case, options.device)
    print("| seconds | steps | loss at 1 %, 25 %, 50 %, 75 %, end | PSNR, dB | SAM | converged |\n|---|---|---|---|---|---|")
    for seconds in map(float, options.seconds.split(",")):
        made = PAPER.fit(pair, Settings(device=options.device, train_seconds=seconds), lambda step: None)
        assert made.training is not None
        losses = made.training.losses
        places = [min(len(losses) - 1, int(share * len(losses))) for share in (0.01, 0.25, 0.5, 0.75, 1)]
        window = max(1, len(losses) // 20)
        curve = " → ".join(f"{losses[max(0, p - window) : p + 1].mean():.3f}" for p in places)
        with torch.no_grad():
            fused = np.clip(made.apply(pair.patches[0]).cpu().numpy(), 0, 1)
        found = score(case.truth, fused, RATIO)
        converged = "yes" if made.training.converged else "no"
        print(f"| {seconds:.0f} | {len(losses)} | {curve} | {found['psnr_db']:.2f} | {found['sam_deg']:.2f} | {converged} |", flush=True)


if __name__ == "__main__":
    main()
