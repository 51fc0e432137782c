"""A smooth distortion between the images: what ``register="global"`` and ``register="local"`` make of it.

Run from the repository root: ``python -m benchmarks.registration [--scenes ip la] [--method sylvester]``. Ratio 4, Sentinel-2's bands, waves about
as long as the scene and up to 2 coarse pixels high; noise 35/40 dB, ten times that power, or a cloud that only the MSI shows over 4 % of the scene.
Prints one Markdown row a case: the error of the displacement (root mean square, coarse pixels) and the PSNR of the fused image in dB.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.cases import data_folder
from geofuse import api
from geofuse.errors import InvalidPair
from geofuse.evaluation.metrics import score
from geofuse.simulate import SCENES, Simulation, cubes, displacement_error, distorted, simulate, smooth_displacement
from geofuse.simulate.troubles import clouded_msi

RATIO = 4
AMOUNTS = (0.0, 0.5, 1.0, 2.0)  # coarse pixels


def noisy(pair: Simulation) -> Simulation:
    """Ten times the power of the noise in both images."""
    rng, more = np.random.default_rng(7), np.sqrt(10 - 1)
    images = [
        image + more * noise[:, None, None] * rng.normal(size=image.shape)
        for image, noise in ((pair.hsi, pair.hsi_noise), (pair.msi, pair.msi_noise))
    ]
    return replace(pair, hsi=images[0], msi=images[1])


TROUBLES: dict[str, Callable[[Simulation], Simulation]] = {
    "noise 35/40 dB": lambda pair: pair,
    "noise 25/30 dB": noisy,
    "cloud": clouded_msi,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", nargs="+", default=["jasper", "la", "ip", "sb"], choices=list(SCENES))
    parser.add_argument("--amounts", nargs="+", type=float, default=AMOUNTS)
    parser.add_argument("--troubles", nargs="+", default=list(TROUBLES), choices=list(TROUBLES))
    parser.add_argument("--method", default="sylvester")
    asked = parser.parse_args()
    folder = data_folder(asked.scenes)
    print("| scene | trouble | distortion | error, global | error, local | PSNR, global | PSNR, local |\n|---|---|---|---|---|---|---|")
    for scene in asked.scenes:
        for trouble in asked.troubles:
            for amount in asked.amounts:
                cells = " | ".join(measured(scene, trouble, amount, asked.method, folder))
                print(f"| {scene} | {trouble} | {amount:g} | {cells} |", flush=True)


def measured(scene: str, trouble: str, amount: float, method: str, folder: Path) -> list[str]:
    """Errors and PSNR with one shift, and with a field."""
    plain = simulate(scene, RATIO, "s2", folder)
    displacement = smooth_displacement((plain.truth.shape[1], plain.truth.shape[2]), amount * RATIO)
    case = TROUBLES[trouble](distorted(plain, displacement) if amount else plain)
    hsi, msi = cubes(case)
    errors, scores = [], []
    for register in ("global", "local"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = api.fit(hsi, msi, method=method, register=register, progress=False)
                fused = np.clip(api.fuse(hsi, msi, model=model, progress=False).values, 0, 1)
        except InvalidPair:
            errors.append("rejected")
            scores.append("rejected")
            continue
        errors.append(f"{displacement_error(case, displacement, model.geometry.displacement):.3f}")
        scores.append(f"{score(case.truth, fused, RATIO)['psnr_db']:.2f}")
    return errors + scores


if __name__ == "__main__":
    main()
