"""Do the intervals hold what they promise? Everything estimated, noise 35/40 dB, shift (0.4, -0.3).

Run from the repository root: ``python -m benchmarks.uncertainty [--method mossfuse]``. Prints one Markdown row a case: the share of pixels and bands within
the nominal 90 and 68 % intervals, the range of that share over bands (5th to 95th percentile), the calibration factor, and the correlation of the
logarithms of claimed and actual error over pixels.
"""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks.cases import RATIOS, SHIFT, data_folder
from benchmarks.measure import cubes
from geofuse import api
from tests.scenes import RESPONSES, SCENES, simulate

WITHIN = 1.6449  # standard deviations, to both sides: nine tenths of a normal distribution


def main() -> None:
    """Print the table, and the mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="mossfuse")
    method = parser.parse_args().method
    folder = data_folder()
    print("| pair | 90 % | over bands | 68 % | factor | correlation |\n|---|---|---|---|---|---|")
    shares = []
    for ratio in RATIOS:
        for scene in SCENES:
            for response in RESPONSES:
                case = simulate(scene, ratio, response, folder, shift=SHIFT)
                made = api.fuse(*cubes(case), method=method, progress=False, uncertainty=True)
                error, claimed = np.abs(case.truth - made.reflectance.values), made.uncertainty.values
                within = (error < WITHIN * claimed).mean((1, 2))
                low, high = np.quantile(within, [0.05, 0.95])
                related = np.corrcoef(np.log(error.mean(0)).ravel(), np.log(claimed.mean(0)).ravel())[0, 1]
                factor = api.report(made.reflectance).to_dict()["uncertainty"]["factor"]
                shares.append(within.mean())
                cells = f"{within.mean():.3f} | {low:.2f} … {high:.2f} | {(error < claimed).mean():.3f} | {factor:.2f} | {related:.2f}"
                print(f"| {scene}, {response}, 1:{ratio} | {cells} |", flush=True)
    print(f"\nmean {np.mean(shares):.3f}, {min(shares):.3f} to {max(shares):.3f}")


if __name__ == "__main__":
    main()
