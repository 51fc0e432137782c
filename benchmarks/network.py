"""What `mossfuse` adds to `gem`, and what each part of its network does: parts switched off one at a time.

Run from the repository root: ``python -m benchmarks.network [--seeds 5] [--ratios 4,8] [--scenes …] [--steps 20]``. Every finished case is
some lines of ``docs/benchmarks/network.csv``; an interrupted run resumes. ``--table`` prints the Markdown tables of what is
there. True operators, noise 35/40 dB: geometry and response are the same for all, so that differences are the network's.

Each variant is trained anew and measured as it is, whatever the held-out coarse pixels say of it; the tables show what is left when they decide.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.cases import RATIOS, data_folder
from benchmarks.environment import OUT
from benchmarks.known import known_pair
from benchmarks.results import append_rows, read_rows
from benchmarks.table import markdown
from geofuse.evaluation.metrics import score
from geofuse.methods.gem.method import GEM
from geofuse.methods.mossfuse.method import FittedMossFuse
from geofuse.methods.mossfuse.network import MossFuse
from geofuse.methods.mossfuse.scene_network import Scaling, make_network
from geofuse.methods.mossfuse.train import Design, fit_network
from geofuse.pair.images import as_like, mix
from geofuse.pair.prepare import Settings
from geofuse.progress import bar
from geofuse.simulate import RESPONSES, SCENES, simulate

TABLE = OUT / "network.csv"
KEY = ("scene", "response", "ratio", "seed")
FOUND = ("psnr_db", "sam_deg", "confirmed", "held_out_gain", "held_out_error", "amplitude", "steps", "fit_s", "apply_s")
COLUMNS = (*KEY, "variant", *FOUND)
CONTROL, WHOLE, BOTH_SIDES = "gem", "mossfuse", "not antisymmetric"
MARGINS = (0, 1, 2, 3)
SAME = 0.0005  # dB, below which nothing is gained or lost


class Silence(nn.Module):
    """In front of an encoder: it sees nothing."""

    def forward(self, x: Tensor) -> Tensor:
        """Zeros."""
        return torch.zeros_like(x)


class Passed(nn.Module):
    """In the place of an aggregation: nothing is aggregated."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The first image."""
        return x


class BothSides(Scaling):
    """Whatever the network makes is a change, not only what is antisymmetric."""

    def outputs(self, made: Tensor, like: Tensor) -> Tensor:
        """Change of the coefficients, (K, H, W)."""
        change = made[0].to(like.dtype)
        return mix(as_like(self.change, change), change)


def _without(part: str) -> Design:
    def make(coefficients: int, bands: int) -> MossFuse:
        network = make_network(coefficients, bands)
        if part.startswith("encode"):
            setattr(network, part, nn.Sequential(Silence(), *getattr(network, part)))
        else:
            setattr(network, part, Passed())
        return network

    return Design(make, judged=False)


DESIGNS = {
    WHOLE: Design(judged=False),
    "without the decoupling loss": Design(decoupling=0.0, judged=False),
    "without the MSI's encoder": _without("encode_msi"),
    "without the HSI's encoder": _without("encode_hsi"),
    "without the spatial aggregation": _without("add_spatial"),
    "without the spectral aggregation": _without("add_spectral"),
    BOTH_SIDES: Design(scaling=BothSides, judged=False),
}


def main() -> None:
    """Fit what is missing; print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="draws of noise")
    parser.add_argument("--ratios", default=",".join(map(str, RATIOS)))
    parser.add_argument("--scenes", default=",".join(SCENES))
    parser.add_argument("--steps", type=int, default=20, help="of training, each variant: what 30 seconds are planned for")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    options = parser.parse_args()
    if not options.table:
        torch.set_num_threads(1)
        folder, done = data_folder(), {key_of(row) for row in read_rows(TABLE)}
        ratios, scenes = [int(r) for r in options.ratios.split(",")], options.scenes.split(",")
        cases = [(s, k, r, seed) for seed in range(options.seeds) for r in ratios for s in scenes for k in RESPONSES]
        with bar(len(cases), desc="network", unit="case") as progress, torch.no_grad():
            for case in cases:
                if tuple(map(str, case)) not in done:
                    append_rows(TABLE, COLUMNS, [(*case, *found) for found in _run(*case, folder, options.steps)])
                progress.update()
    rows = read_rows(TABLE)
    for ratio in sorted({row["ratio"] for row in rows}):
        chosen = [row for row in rows if row["ratio"] == ratio]
        print(f"\n{by_variant(chosen, ratio)}\n\n{by_margin(chosen, ratio)}\n\n{by_scene(chosen, ratio)}")


def _run(name: str, kind: str, ratio: int, seed: int, folder: Path, steps: int) -> list[tuple[Any, ...]]:
    """(variant, what was found) of one case."""
    simulation = simulate(name, ratio, kind, folder, seed=seed)
    pair = known_pair(simulation)
    start = time.perf_counter()
    plain = GEM.fit(pair, Settings(seed=seed, progress=False), lambda step: None)
    fitted = {CONTROL: (FittedMossFuse(**vars(plain)), time.perf_counter() - start)}
    for variant, design in DESIGNS.items():
        outcome = fit_network(plain.gem, plain.filters, pair.patches, steps=steps, seed=seed, design=design)
        used = replace(fitted[CONTROL][0], network=outcome.network, outcome=outcome)
        fitted[variant] = used, outcome.seconds
    found = []
    for variant, (method, spent) in fitted.items():
        start = time.perf_counter()
        fused = method.apply(pair.patches[0]).numpy()
        took, scores = time.perf_counter() - start, score(simulation.truth, np.clip(fused, 0, 1), ratio)
        o = method.outcome
        judged: list[Any] = [""] * 5
        if o is not None:
            judged = [int(o.confirmed), round(o.gain, 5), round(o.error, 5), round(o.amplitude, 3), len(o.losses)]
        found.append((variant, round(scores["psnr_db"], 4), round(scores["sam_deg"], 4), *judged, round(spent, 2), round(took, 3)))
    return found


def by_variant(rows: Sequence[dict[str, str]], ratio: str) -> str:
    """Mean change against `gem`, its range over cases and the shares of cases that gain and that lose, as the held-out pixels decide."""
    zero = {key_of(row): row for row in rows if row["variant"] == CONTROL}
    lines = []
    for variant in dict.fromkeys(row["variant"] for row in rows if row["variant"] != CONTROL):
        found = [(row, zero[key_of(row)]) for row in rows if row["variant"] == variant]
        confirmed = np.array([row["confirmed"] == "1" for row, _ in found])
        gain = np.array([float(row["psnr_db"]) - float(z["psnr_db"]) for row, z in found])
        sam = np.array([float(row["sam_deg"]) / float(z["sam_deg"]) for row, z in found])
        used = f"{confirmed.sum()} of {len(found)}"
        lines.append([variant, used, *_spread(np.where(confirmed, gain, 0)), *_spread(gain), f"× {sam.mean():.3f}"])
    head = ["confirmed in", "PSNR, dB", "worst … best", "unjudged: PSNR, dB", "worst … best", "SAM"]
    return markdown([f"1:{ratio}, against `gem`", *head], lines)


def by_margin(rows: Sequence[dict[str, str]], ratio: str) -> str:
    """What is left of the whole network where it has to gain more, or less, than `geofuse.methods.mossfuse.criterion.MARGIN` standard errors."""
    zero, lines = {key_of(row): row for row in rows if row["variant"] == CONTROL}, []
    for variant in (WHOLE, BOTH_SIDES):
        found = [(row, zero[key_of(row)]) for row in rows if row["variant"] == variant]
        change = np.array([float(row["psnr_db"]) - float(z["psnr_db"]) for row, z in found])
        gain, error = (np.array([float(row[c]) for row, _ in found]) for c in ("held_out_gain", "held_out_error"))
        for margin in MARGINS:
            confirmed = gain > margin * error
            lines.append([f"{variant}, {margin}", f"{confirmed.sum()} of {len(found)}", *_spread(np.where(confirmed, change, 0))])
    return markdown([f"1:{ratio}, standard errors", "confirmed in", "PSNR, dB", "worst … best"], lines)


def by_scene(rows: Sequence[dict[str, str]], ratio: str) -> str:
    """`mossfuse` on every scene: means over the draws of noise."""
    lines = []
    for scene, response in dict.fromkeys((row["scene"], row["response"]) for row in rows):
        mine = [row for row in rows if (row["scene"], row["response"]) == (scene, response)]
        (psnr, sam), (new, new_sam) = ([_mean(mine, v, c) for c in ("psnr_db", "sam_deg")] for v in (CONTROL, WHOLE))
        whole = [row for row in mine if row["variant"] == WHOLE]
        gain, error = (100 * _mean(mine, WHOLE, c) for c in ("held_out_gain", "held_out_error"))
        confirmed = f"{sum(row['confirmed'] == '1' for row in whole)} of {len(whole)}"
        seconds = f"{_mean(mine, WHOLE, 'fit_s'):.0f} s"
        slower = f"× {_mean(mine, WHOLE, 'apply_s') / _mean(mine, CONTROL, 'apply_s'):.1f}"
        head = [f"{scene}, {response}", f"{psnr:.2f} / {sam:.2f}", f"{new - psnr:+.3f} / × {new_sam / sam:.3f}"]
        lines.append([*head, f"{gain:+.2f} ± {error:.2f} %", confirmed, seconds, slower])
    head = ["`gem`: PSNR / SAM", "network, unjudged", "held-out gain", "confirmed", "training", "applying"]
    return markdown([f"1:{ratio}", *head], lines)


def _spread(gain: np.ndarray) -> list[str]:
    """Mean and range, with the shares that gain and lose."""
    shares = f"gains {100 * (gain > SAME).mean():.0f} %, loses {100 * (gain < -SAME).mean():.0f} %"
    return [f"{gain.mean():+.3f}", f"{gain.min():+.3f} … {gain.max():+.3f}; {shares}"]


def _mean(rows: Iterable[dict[str, str]], variant: str, column: str) -> float:
    return float(np.mean([float(row[column]) for row in rows if row["variant"] == variant]))


def key_of(row: dict[str, str]) -> tuple[str, ...]:
    """What names a case."""
    return tuple(row[c] for c in KEY)


if __name__ == "__main__":
    main()
