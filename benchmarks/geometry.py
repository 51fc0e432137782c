"""A wrong geometry is given: the closed form and `gem` under the same error.

Run from the repository root: ``python -m benchmarks.geometry [--scenes jasper la] [--responses qb4 s2]``. Ratio 4, noise 35/40 dB, true response;
prints one Markdown row a case, PSNR in dB.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.cases import data_folder
from geofuse import api
from geofuse.evaluation.metrics import score
from geofuse.methods.registry import get_method
from geofuse.pair.prepare import Settings
from geofuse.pair.registration import Registration
from geofuse.pipeline.fit import fit_scene
from geofuse.run.plan import make_plan
from geofuse.simulate import RESPONSES, SCENES, airy, cubes, gaussian, simulate
from geofuse.simulate.pairs import PointSpread

RATIO = 4


@dataclass(frozen=True)
class Error:
    """What the PSF is, and what is given of it: a factor on its width; the shift is never given."""

    given: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    spread: PointSpread | None = None


ERRORS = {
    "none": Error(),
    "σ given × 0.85": Error(given=0.85),
    "σ given × 1.15": Error(given=1.15),
    "shift (0.3, -0.3) not given": Error(shift=(0.3, -0.3)),
    "σy/σx = 1.3, given as round": Error(spread=gaussian(1.3**0.5, 1.3**-0.5)),
    "Airy, given as Gaussian": Error(spread=airy),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", nargs="+", default=list(SCENES))
    parser.add_argument("--responses", nargs="+", default=list(RESPONSES))
    asked = parser.parse_args()
    folder = data_folder(asked.scenes)
    print("| scene | response | error | closed form | gem |\n|---|---|---|---|---|")
    for scene in asked.scenes:
        for response in asked.responses:
            for name, error in ERRORS.items():
                cells = " | ".join(f"{value:.2f}" for value in measured(scene, response, error, folder))
                print(f"| {scene} | {response} | {name} | {cells} |", flush=True)


def measured(scene: str, response: str, error: Error, folder: Path) -> list[float]:
    """PSNR of the closed form and of `gem`, both through `fit_scene` with response and wrong geometry given."""
    case = simulate(scene, RATIO, response, folder, shift=error.shift, spread=error.spread)
    pair = api.pair(*cubes(case))
    given = Registration((error.given * RATIO / 2,) * 2, (0.0, 0.0), float("nan"))
    found = []
    for method in ("sylvester", "gem"):
        model = fit_scene(pair, Settings(method, srf=case.srf, srf_name="known", geometry=given, progress=False))
        fused = api.apply(pair, model, make_plan(pair, get_method(method).cost(pair.pair.ratio)), progress=False).values
        found.append(score(case.truth, np.clip(fused, 0, 1), RATIO)["psnr_db"])
    return found


if __name__ == "__main__":
    main()
