"""Do the intervals hold what they promise? Everything estimated, noise 35/40 dB, shift (0.4, -0.3).

Run from the repository root: ``python -m benchmarks.uncertainty [--method sylvester]``. Prints one Markdown row a case: the share of pixels and bands within
the nominal 90 and 68 % intervals, the range of that share over bands (5th to 95th percentile), the calibration factor, and the correlation of the
logarithms of claimed and actual error over pixels. With ``--clouds``, at ratio 4 and without a shift, the share within the nominal 90 % interval
where a cloud is, that only one of the images shows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.cases import RATIOS, SHIFT, data_folder
from geofuse import api
from geofuse.simulate import RESPONSES, SCENES, TROUBLES, Simulation, cloud, cubes, simulate

WITHIN = 1.6449  # standard deviations, to both sides: nine tenths of a normal distribution


def main() -> None:
    """Print the table that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="gem")
    parser.add_argument("--clouds", action="store_true")
    parser.add_argument("--scenes", nargs="+", default=list(SCENES))
    asked = parser.parse_args()
    (under_clouds if asked.clouds else everywhere)(asked.method, asked.scenes, data_folder(asked.scenes))


def everywhere(method: str, scenes: list[str], folder: Path) -> None:
    """Print the table of whole scenes, and its mean."""
    print("| pair | 90 % | over bands | 68 % | factor | correlation |\n|---|---|---|---|---|---|")
    shares = []
    for ratio in RATIOS:
        for scene in scenes:
            for response in RESPONSES:
                error, claimed, factor = _errors(simulate(scene, ratio, response, folder, shift=SHIFT), method)
                within = (error < WITHIN * claimed).mean((1, 2))
                low, high = np.quantile(within, [0.05, 0.95])
                related = np.corrcoef(np.log(error.mean(0)).ravel(), np.log(claimed.mean(0)).ravel())[0, 1]
                shares.append(within.mean())
                cells = f"{within.mean():.3f} | {low:.2f} … {high:.2f} | {(error < claimed).mean():.3f} | {factor:.2f} | {related:.2f}"
                print(f"| {scene}, {response}, 1:{ratio} | {cells} |", flush=True)
    print(f"\nmean {np.mean(shares):.3f}, {min(shares):.3f} to {max(shares):.3f}")


def under_clouds(method: str, scenes: list[str], folder: Path) -> None:
    """Print the table of what a cloud covers, beside the same place without one."""
    troubles = ("none", "cloud in the MSI", "cloud in the HSI")
    print(f"| pair | {' | '.join(troubles)} |\n{'|---' * (1 + len(troubles))}|")
    for scene in scenes:
        for response in RESPONSES:
            shares = []
            for trouble in troubles:
                case = TROUBLES[trouble].pair(scene, 4, response, folder)
                error, claimed, _ = _errors(case, method)
                shares.append(f"{(error < WITHIN * claimed)[:, cloud(case) > 0.5].mean():.3f}")
            print(f"| {scene}, {response} | {' | '.join(shares)} |", flush=True)


def _errors(case: Simulation, method: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Actual errors and claimed deviations (B, H, W), and the calibration factor."""
    made = api.fuse(*cubes(case), method=method, progress=False, uncertainty=True)
    factor = api.report(made.reflectance).to_dict()["uncertainty"]["factor"]
    return np.abs(case.truth - made.reflectance.values), made.uncertainty.values, factor


if __name__ == "__main__":
    main()
