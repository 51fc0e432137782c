"""Do the intervals hold what they promise? Everything estimated, noise 35/40 dB, shift (0.4, -0.3).

Run from the repository root: ``python -m benchmarks.uncertainty [--method mossfuse]``; with ``--clouds`` under a cloud that only one of the images
shows, at ratio 4. Prints one Markdown row a case: the share of pixels and bands within
the nominal 90 and 68 % intervals, the range of that share over bands (5th to 95th percentile), the calibration factor, and the correlation of the
logarithms of claimed and actual error over pixels.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from benchmarks.measure import cubes
from geofuse import api
from tests.scenes import simulate
from tests.troubles import TROUBLES, cloud

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Print the table, and the mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="mossfuse")
    parser.add_argument("--clouds", action="store_true", help="under clouds instead")
    asked = parser.parse_args()
    folder = Path(os.environ.get("GEOFUSE_BENCHMARK_DATA", ROOT.parent / "shared" / "data"))
    if asked.clouds:
        under_clouds(asked.method, folder)
        return
    print("| pair | 90 % | over bands | 68 % | factor | correlation |\n|---|---|---|---|---|---|")
    shares = []
    for ratio in (4, 8):
        for scene in ("jasper", "la", "ip"):
            for response in ("qb4", "s2"):
                case = simulate(scene, ratio, response, folder, shift=(0.4, -0.3))
                made = api.fuse(*cubes(case), method=asked.method, progress=False, uncertainty=True)
                error, claimed = np.abs(case.truth - made.reflectance.values), made.uncertainty.values
                within = (error < 1.6449 * claimed).mean((1, 2))
                low, high = np.quantile(within, [0.05, 0.95])
                related = np.corrcoef(np.log(error.mean(0)).ravel(), np.log(claimed.mean(0)).ravel())[0, 1]
                factor = api.report(made.reflectance).to_dict()["uncertainty"]["factor"]
                shares.append(within.mean())
                cells = f"{within.mean():.3f} | {low:.2f} … {high:.2f} | {(error < claimed).mean():.3f} | {factor:.2f} | {related:.2f}"
                print(f"| {scene}, {response}, 1:{ratio} | {cells} |", flush=True)
    print(f"\nmean {np.mean(shares):.3f}, {min(shares):.3f} to {max(shares):.3f}")


def under_clouds(method: str, folder: Path) -> None:
    """Print the share of pixels and bands under the cloud within the nominal 90 % interval; for comparison without the cloud, in the same place."""
    troubles = ("none", "cloud in the MSI", "cloud in the HSI")
    print(f"| pair | {' | '.join(troubles)} |\n{'|---' * (1 + len(troubles))}|")
    for scene in ("jasper", "la", "ip"):
        for response in ("qb4", "s2"):
            shares = []
            for trouble in troubles:
                case = TROUBLES[trouble].pair(scene, 4, response, folder)
                made = api.fuse(*cubes(case), method=method, progress=False, uncertainty=True)
                covered = cloud(case) > 0.5
                error, claimed = np.abs(case.truth - made.reflectance.values), made.uncertainty.values
                shares.append(f"{(error < 1.6449 * claimed)[:, covered].mean():.3f}")
            print(f"| {scene}, {response} | {' | '.join(shares)} |", flush=True)


if __name__ == "__main__":
    main()
