"""How well a pair with one trouble is fused: ``python -m benchmarks.robustness [--scenes …] [--responses …] [--troubles …] [--warnings]``.

Everything is estimated, ratio 4, noise 35/40 dB. Prints the table of docs/research/robustness.md. For clouds the damage is split: under
the cloud, and farther than three coarse pixels from it, each against the same pixels of the untroubled result.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt

import geofuse
from benchmarks.cases import data_folder
from geofuse.simulate import RESPONSES, SCENES, TROUBLES, Simulation, cloud, cubes

RATIO = 4
FAR = 12  # fine pixels from a cloud, three coarse ones


@dataclass(frozen=True)
class Outcome:
    """PSNR (dB, mean over bands, image clipped to 0 … 1) over all pixels, near and far from where a cloud would be; and what was warned of."""

    psnr: float
    near: float
    far: float
    bicubic: float
    warnings: tuple[dict[str, str], ...]


def psnr(truth: np.ndarray, image: np.ndarray, where: np.ndarray) -> float:
    """Mean over bands of the pixels ``where``, dB, peak 1; NaN without any."""
    error = ((truth - np.clip(image, 0, 1))[:, where & np.isfinite(image).all(0)] ** 2).mean(1)
    return float(np.mean(-10 * np.log10(np.maximum(error, 1e-12))))


@cache
def outcome(scene: str, response: str, trouble: str, folder: Path, method: str = "gem") -> Outcome:
    """Fuse one pair with everything estimated, and score it."""
    pair: Simulation = TROUBLES[trouble].pair(scene, RATIO, response, folder)
    hsi, msi = cubes(pair)
    model = geofuse.fit(hsi, msi, method=method, progress=False)
    fused = geofuse.fuse(hsi, msi, model=model, progress=False).values
    plain = geofuse.fuse(hsi, msi, method="bicubic", progress=False).values
    cover = cloud(pair)
    everywhere, near, far = cover >= 0, cover > 0, distance_transform_edt(cover == 0) > FAR
    over, close, away = (psnr(pair.truth, fused, where) for where in (everywhere, near, far))
    return Outcome(over, close, away, psnr(pair.truth, plain, everywhere), tuple(model.report["warnings"]))


def main() -> None:
    """Print the table, one line as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", nargs="+", default=list(SCENES))
    parser.add_argument("--responses", nargs="+", default=list(RESPONSES))
    parser.add_argument("--troubles", nargs="+", default=list(TROUBLES))
    parser.add_argument("--warnings", action="store_true", help="what the report warns of, below each row")
    asked = parser.parse_args()
    folder = data_folder(asked.scenes)
    print(
        "| scene | response | trouble | PSNR | loss | loss under the cloud | loss far from it | above bicubic |\n|---|---|---|---|---|---|---|---|"
    )
    for scene in asked.scenes:
        for response in asked.responses:
            calm = outcome(scene, response, "none", folder)
            for trouble in asked.troubles:
                found = outcome(scene, response, trouble, folder)
                cloudy = "cloud" in trouble
                near, far = (f"{a - b:.2f}" if cloudy else "" for a, b in ((calm.near, found.near), (calm.far, found.far)))
                losses = f"{found.psnr:.2f} | {calm.psnr - found.psnr:.2f} | {near} | {far} | {found.psnr - found.bicubic:.2f}"
                print(f"| {scene} | {response} | {trouble} | {losses} |", flush=True)
                for warning in found.warnings if asked.warnings else ():
                    print(f"    {warning['code']}: {warning['message']}", flush=True)


if __name__ == "__main__":
    main()
