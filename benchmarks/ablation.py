"""What each part of the learned step does: parts taken away one at a time, several draws of noise, all scenes.

Run from the repository root: ``python -m benchmarks.ablation [--seeds 5] [--ratios 4,8]``. Every finished case is one line of
``docs/benchmarks/ablation.csv``; a run that was stopped goes on where it was. ``--table`` prints the Markdown table of what is there.
True operators, noise 35/40 dB: geometry and response are the same for all, so that differences are the learned step's.
"""

from __future__ import annotations

import argparse
import csv
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from geofuse.network.complementary import ComplementaryFilters, fit_filters
from geofuse.progress import bar
from geofuse.quality.metrics import score
from geofuse.solve.gem import Gem, fit_gem
from tests.pairs import on_grids
from tests.scenes import simulate

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "docs" / "benchmarks" / "ablation.csv"
COLUMNS = ("scene", "response", "ratio", "seed", "variant", "psnr_db", "sam_deg", "held_out_gain")
SCENES, RESPONSES = ("jasper", "la", "ip"), ("qb4", "s2")
CONTROL = "gem: the learned step at zero"
VARIANTS = (
    "mossfuse",
    "without the HSI's features",
    "without the MSI's features",
    "fine scale only",
    "broad scale only",
    "not judged by held-out pixels",
    "gem without displaced bands",
)


def main() -> None:
    """Fit what is missing; print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--ratios", default="4,8")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if not options.table:
        torch.set_num_threads(1)
        folder = Path(os.environ.get("GEOFUSE_BENCHMARK_DATA", ROOT.parent / "shared" / "data"))
        ratios = [int(r) for r in options.ratios.split(",")]
        cases = [(s, k, r, seed) for seed in range(options.seeds) for r in ratios for s in SCENES for k in RESPONSES]
        with bar(len(cases), desc="ablation", unit="case") as progress, torch.no_grad():
            for case in cases:
                if not any(_key(row) == tuple(map(str, case)) for row in _rows()):
                    _append([(*case, *found) for found in _run(*case, folder)])
                progress.update()
    for ratio in sorted({row["ratio"] for row in _rows()}):
        chosen = [row for row in _rows() if row["ratio"] == ratio]
        print(f"\nRatio {ratio}\n\n{markdown(chosen)}\n\n{by_scene(chosen)}")


def _run(name: str, kind: str, ratio: int, seed: int, folder: Path) -> list[tuple[object, ...]]:
    """(variant, PSNR, SAM, held-out gain) of one case."""
    simulation = simulate(name, ratio, kind, folder, seed=seed)
    pair = on_grids(simulation)
    patch = pair.patch()
    gem = fit_gem([patch], pair.srf, np.zeros(len(pair.srf)), float(ratio), seed=seed)
    learned = fit_filters(gem, [patch], seed)
    rank, bands = gem.coordinates.rank, len(gem.guide.scale)
    images = np.repeat(["hsi fine", "hsi broad", "msi fine", "msi broad"], [2 * rank, 2 * rank, 2 * bands, 2 * bands])

    def only(*kept: str) -> ComplementaryFilters | None:
        if learned.filters is None:
            return None
        mask = np.array([any(word in image for word in kept) for image in images])
        return fit_filters(gem, [patch], seed, mask=mask).filters

    variants: dict[str, tuple[Gem, ComplementaryFilters | None]] = {
        CONTROL: (gem, None),
        VARIANTS[0]: (gem, learned.filters),
        VARIANTS[1]: (gem, only("msi")),
        VARIANTS[2]: (gem, only("hsi")),
        VARIANTS[3]: (gem, only("fine")),
        VARIANTS[4]: (gem, only("broad")),
        VARIANTS[5]: (gem, fit_filters(gem, [patch], seed, judged=False).filters),
        VARIANTS[6]: (replace(gem, shifts=None), None),
    }
    found: list[tuple[object, ...]] = []
    for variant, (estimator, filters) in variants.items():
        fused = estimator.coordinates.decode(estimator.apply(patch, filters)).numpy()
        scores = score(simulation.truth, np.clip(fused, 0, 1), ratio)
        gain = round(learned.held_out, 5) if variant == VARIANTS[0] else ""
        found.append((variant, round(scores["psnr_db"], 4), round(scores["sam_deg"], 4), gain))
    return found


def markdown(rows: list[dict[str, str]]) -> str:
    """Mean change against `gem`, its range over cases, and the share of cases that gain or stay."""
    lines = ["| | PSNR, dB | worst … best | gains in | loses in | SAM | cases |", "|---|---|---|---|---|---|---|"]
    zero = {_key(r): r for r in rows if r["variant"] == CONTROL}
    for variant in VARIANTS:
        found = [(r, zero[_key(r)]) for r in rows if r["variant"] == variant and _key(r) in zero]
        if not found:
            continue
        gain = np.array([float(r["psnr_db"]) - float(z["psnr_db"]) for r, z in found])
        sam = np.array([float(r["sam_deg"]) / float(z["sam_deg"]) for r, z in found])
        lines.append(
            f"| {variant} | {gain.mean():+.3f} | {gain.min():+.2f} … {gain.max():+.2f} | {100 * (gain > 0).mean():.0f} % "
            f"| {100 * (gain < 0).mean():.0f} % | x {sam.mean():.3f} | {len(gain)} |"
        )
    return "\n".join(lines)


def by_scene(rows: list[dict[str, str]]) -> str:
    """PSNR and SAM of every scene without displaced bands, as `gem`, and with the learned step; means over the draws of noise."""
    columns = (VARIANTS[-1], CONTROL, VARIANTS[0])
    lines = [f"| scene | {' | '.join(columns)} |", "|---|---|---|---|"]
    for pair in dict.fromkeys((row["scene"], row["response"]) for row in rows):
        found = [[r for r in rows if (r["scene"], r["response"], r["variant"]) == (*pair, variant)] for variant in columns]
        means = [[np.mean([float(r[key]) for r in rs]) for key in ("psnr_db", "sam_deg")] for rs in found]
        lines.append(f"| {', '.join(pair)} | {' | '.join(f'{psnr:.2f} / {sam:.2f}' for psnr, sam in means)} |")
    return "\n".join(lines)


def _key(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row[c] for c in COLUMNS[:4])


def _rows() -> list[dict[str, str]]:
    if not TABLE.exists():
        return []
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _append(rows: list[tuple[object, ...]]) -> None:
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    new = not TABLE.exists()
    with TABLE.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(COLUMNS)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
