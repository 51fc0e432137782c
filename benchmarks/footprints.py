"""One scene as a map product and as a swath: what its true footprints are worth.

Run from the repository root: ``python -m benchmarks.footprints [--scenes jasper la] [--ratios 4] [--methods gem bicubic]``. The HSI is made three
ways: (a) on a map grid; (b) by a scanner turned by 12° and bent, put on the same grid by its nearest pixels, and fused (i) as if the grid were
true and (ii) with the true centres. Noise 35/40 dB, Sentinel-2's bands, everything estimated; prints one Markdown row a case, PSNR in dB and SAM
in degrees over the pixels that all three fill.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np

from benchmarks.cases import data_folder
from geofuse import api
from geofuse.evaluation.metrics import score
from geofuse.simulate import SCENES, cubes, scan, simulate, swath_cube


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", nargs="+", default=list(SCENES))
    parser.add_argument("--ratios", nargs="+", type=int, default=[4])
    parser.add_argument("--methods", nargs="+", default=["gem", "bicubic"])
    asked = parser.parse_args()
    folder = data_folder(asked.scenes)
    columns = ("map grid", "swath, grid taken as true", "swath, true centres")
    print(f"| scene | ratio | method | {' | '.join(f'{c}: PSNR | SAM' for c in columns)} |\n|---|---|---|{'---|' * 6}")
    for scene in asked.scenes:
        for ratio in asked.ratios:
            for method in asked.methods:
                cells = " | ".join(f"{value:.2f}" for value in measured(scene, ratio, method, folder))
                print(f"| {scene} | {ratio} | {method} | {cells} |", flush=True)


def measured(scene: str, ratio: int, method: str, folder: Path) -> list[float]:
    """PSNR and SAM of the map product, of the swath as if its grid were true, and of the swath with its true centres."""
    case = simulate(scene, ratio, "s2", folder)
    swath = scan(case.truth, ratio)
    on_map, msi = cubes(case)
    images = []
    for hsi in (on_map, swath_cube(case, swath, true_centres=False), swath_cube(case, swath)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a grid that is not true is called so
            images.append(np.clip(api.fuse(hsi, msi, method=method, progress=False).values, 0, 1))
    filled = np.logical_and.reduce([np.isfinite(image).all(0) for image in images])
    scores = [score(case.truth, np.where(filled, image, np.nan), ratio) for image in images]
    return [value for found in scores for value in (found["psnr_db"], found["sam_deg"])]


if __name__ == "__main__":
    main()
