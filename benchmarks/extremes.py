"""Impossible values: how many, how large, and what the product says of them. Everything estimated, noise 35/40 dB, shift (0.4, -0.3).

Run from the repository root: ``python -m benchmarks.extremes [--method gem,regression] [--ratio 4] [--scenes demo,jasper]``. Prints one Markdown row a scene
and method, on the embedded scene, on every scene of the data folder, and on its pair of two real sensors (the HSI seen a third as sharp). "Before" is
what the method makes, "after" what the product holds, within physical limits: lowest and highest reflectance, pixels with a band below -0.01, pixels
with a band below minus three of its standard deviations (as claimed without the widening before, as in the product after) and of those after the
ones without a flag, shares of pixels that are flagged, and PSNR and SAM where the truth is known.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from affine import Affine

from benchmarks.cases import SHIFT, data_folder
from geofuse import api
from geofuse.cube.flags import Quality
from geofuse.cube.schema import wrap
from geofuse.demo import demo_data
from geofuse.evaluation.metrics import score
from geofuse.io.read.open import open_hsi, open_msi
from geofuse.methods.base import CalibratesErrors
from geofuse.methods.gem.method import FittedGem
from geofuse.methods.registry import get_method
from geofuse.model import Model
from geofuse.pair.grid import Window
from geofuse.pair.patch import make_patch
from geofuse.simulate import RESPONSES, SCENES, cubes, gaussian, load, simulate_pair
from geofuse.simulate.pairs import blurred

HEADER = (
    "| pair | lowest | highest | below -0.01 | below -3 sigma | unflagged | outside % | far % | PSNR dB | SAM deg |\n" + "|---" * 10 + "|"
)
BELOW = -0.01


class Case(NamedTuple):
    """One pair; the truth (B, H, W) where it is known."""

    name: str
    hsi: xr.DataArray
    msi: xr.DataArray
    truth: np.ndarray | None = None


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="gem")
    parser.add_argument("--ratio", type=int, default=4)
    parser.add_argument("--scenes", default="demo,ali," + ",".join(SCENES))
    asked = parser.parse_args()
    print(HEADER)
    for case in cases(asked.scenes.split(","), asked.ratio, data_folder()):
        for method in asked.method.split(","):
            print(f"| {case.name}, {method} | {row(case, method)} |", flush=True)


def cases(scenes: list[str], ratio: int, folder: Path) -> Iterator[Case]:
    """Every pair that is asked for."""
    for scene in scenes:
        if scene == "demo":
            yield Case("demo", open_hsi(demo_data().hsi).load(), open_msi(demo_data().msi).load())
        elif scene == "ali":
            yield paris(folder)
        else:
            for response in RESPONSES:
                pair = simulate_pair(*load(scene, folder), ratio, response, shift=SHIFT)
                yield Case(f"{scene}, {response}, 1:{ratio}", *cubes(pair), pair.truth)


def paris(folder: Path) -> Case:
    """Hyperion a third as sharp, and ALI as it is: two real sensors."""
    with np.load(folder / "paris_hyperion_ali.npz") as archive:
        truth, msi = (archive[key].astype(float) for key in ("hsi", "msi"))
    fine = Affine(30, 0, 448_000, 0, -30, 5_420_000)
    coarse = blurred(truth, 3, gaussian(), (0.0, 0.0))
    crs = "EPSG:32631"
    hsi = wrap(
        coarse, transform=fine * Affine.scale(3), names=[f"h{k}" for k in range(len(coarse))], good=np.ones(len(coarse), bool), crs=crs
    )
    return Case("paris, ALI, 1:3", hsi, wrap(msi, transform=fine, names=[f"m{k}" for k in range(len(msi))], crs=crs), truth)


def row(case: Case, method: str) -> str:
    """One row of the table, without its name."""
    bayesian = isinstance(get_method(method), CalibratesErrors)
    model = api.fit(case.hsi, case.msi, method=method, uncertainty=bayesian, progress=False)
    made = api.fuse(case.hsi, case.msi, model=model, uncertainty=bayesian, quality=True, progress=False)
    before, narrow = unbounded(case, model)
    after, flags = made.reflectance.values, made.quality.values
    sigma = made.uncertainty.values if bayesian else None
    outside, far = ((flags & flag) > 0 for flag in (Quality.OUTSIDE_RANGE, Quality.FAR))
    cells = [f"{before.min():.3f} → {after.min():.3f}", f"{before.max():.3f} → {after.max():.3f}"]
    cells.append(f"{(before < BELOW).any(0).sum()} → {(after < BELOW).any(0).sum()}")
    if sigma is None or narrow is None:
        cells += ["", ""]
    else:
        below = (after < -3 * sigma).any(0)
        cells += [f"{(before < -3 * narrow).any(0).sum()} → {below.sum()}", str((below & ~(outside | far)).sum())]
    cells += [f"{100 * outside.mean():.2f}", f"{100 * far.mean():.2f}"]
    if case.truth is None:
        return " | ".join([*cells, "", ""])
    scores = [score(case.truth, image, 4) for image in (before, after)]
    return " | ".join(cells + [" → ".join(f"{s[name]:.{digits}f}" for s in scores) for name, digits in (("psnr_db", 3), ("sam_deg", 3))])


def unbounded(case: Case, model: Model) -> tuple[np.ndarray, np.ndarray | None]:
    """What the method makes before it is bounded, and its deviations before they are widened."""
    scene = api.pair(case.hsi, case.msi)
    fine = Window(0, scene.pair.fine.shape[0], 0, scene.pair.fine.shape[1])
    sample = scene.read([(fine, model.builder(scene.pair).coarse_window(fine))])[0]
    patch = make_patch(sample.hsi, sample.msi, model.builder(scene.pair), sample.fine, sample.coarse, torch.zeros(1))
    with torch.inference_mode():
        inner = scene.pair.output.slices
        fitted, image = model.fitted, model.fitted.apply(patch, inner).numpy()
        if not isinstance(fitted, FittedGem) or fitted.uncertainty is None:
            return image, None
        weights = fitted.gem.weights(fitted.gem.observe(patch))
        return image, fitted.uncertainty.deviation(weights[:, *inner].contiguous()).numpy()


if __name__ == "__main__":
    main()
