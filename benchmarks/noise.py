"""The noise of the MSI, as estimated, over the true one: ``python -m benchmarks.noise``, from the repository root.

For every simulated pair the median over bands, and the largest, of what the images allow at most (`msi_noise_bound`), of where the estimator
starts (`msi_noise`), and of where expectation-maximisation ends. Operators are known; noise 35 dB (HSI) and 40 dB (MSI).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.cases import RATIOS, data_folder
from benchmarks.known import known_patch
from geofuse.methods.gem.estimator import fit_gem
from geofuse.methods.gem.noise import msi_noise, msi_noise_bound
from geofuse.simulate import RESPONSES, SCENES, simulate

HEADER = "| pair | at most | start | after EM |\n|---|---|---|---|"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", default=",".join(SCENES))
    parser.add_argument("--responses", default=",".join(RESPONSES))
    parser.add_argument("--ratios", default=",".join(map(str, RATIOS)))
    asked = parser.parse_args()
    print(HEADER)
    for line in rows(asked.scenes.split(","), asked.responses.split(","), [int(r) for r in asked.ratios.split(",")]):
        print(line, flush=True)


@torch.no_grad()
def rows(scenes: list[str], responses: list[str], ratios: list[int]) -> Iterator[str]:
    """Lines of the table."""
    folder = data_folder(scenes)
    for scene in scenes:
        for response in responses:
            for ratio in ratios:
                case = simulate(scene, ratio, response, folder)
                _, patch = known_patch(case)
                gem = fit_gem([patch], case.srf, np.zeros(len(case.srf)), ratio)
                found = (msi_noise_bound([case.msi])[0], msi_noise([case.msi]), gem.coordinates.msi_sigma)
                cells = [f"{np.median(f / case.msi_noise):.2f}, {(f / case.msi_noise).max():.2f}" for f in found]
                yield f"| {scene}, {response}, 1:{ratio} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
