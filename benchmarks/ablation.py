"""What each part of the learned step does: parts taken away one at a time, several draws of noise, all scenes.

Run from the repository root: ``python -m benchmarks.ablation [--seeds 5] [--ratios 4,8]``. Every finished case is one line of
``docs/benchmarks/ablation.csv``; an interrupted run resumes. ``--table`` prints the Markdown table of what is there.
True operators, noise 35/40 dB: geometry and response are the same for all, so that differences are the learned step's.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.cases import RATIOS, data_folder
from benchmarks.environment import OUT
from benchmarks.known import known_patch
from benchmarks.results import append_rows, read_rows
from benchmarks.table import markdown
from geofuse.evaluation.metrics import score
from geofuse.methods.gem.estimator import Gem, fit_gem
from geofuse.methods.gem.filters import ComplementaryFilters, fit_filters
from geofuse.progress import bar
from geofuse.simulate import RESPONSES, SCENES, simulate

TABLE = OUT / "ablation.csv"
COLUMNS = ("scene", "response", "ratio", "seed", "variant", "psnr_db", "sam_deg", "held_out_gain")
CONTROL, LEARNED, NO_SHIFTS = "without filters", "gem", "without filters and without displaced bands"


def main() -> None:
    """Fit what is missing; print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="draws of noise")
    parser.add_argument("--ratios", default=",".join(map(str, RATIOS)))
    parser.add_argument("--table", action="store_true", help="measure nothing")
    options = parser.parse_args()
    if not options.table:
        torch.set_num_threads(1)
        folder, done = data_folder(), {_key(row) for row in read_rows(TABLE)}
        ratios = [int(r) for r in options.ratios.split(",")]
        cases = [(s, k, r, seed) for seed in range(options.seeds) for r in ratios for s in SCENES for k in RESPONSES]
        with bar(len(cases), desc="ablation", unit="case") as progress, torch.no_grad():
            for case in cases:
                if tuple(map(str, case)) not in done:
                    append_rows(TABLE, COLUMNS, [(*case, *found) for found in _run(*case, folder)])
                progress.update()
    rows = read_rows(TABLE)
    for ratio in sorted({row["ratio"] for row in rows}):
        chosen = [row for row in rows if row["ratio"] == ratio]
        print(f"\n{by_variant(chosen, ratio)}\n\n{by_scene(chosen, ratio)}")


def _run(name: str, kind: str, ratio: int, seed: int, folder: Path) -> list[tuple[object, ...]]:
    """(variant, PSNR, SAM, held-out gain) of one case."""
    simulation = simulate(name, ratio, kind, folder, seed=seed)
    _, patch = known_patch(simulation)
    gem = fit_gem([patch], simulation.srf, np.zeros(len(simulation.srf)), float(ratio), seed=seed)
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
        LEARNED: (gem, learned.filters),
        "without the HSI's features": (gem, only("msi")),
        "without the MSI's features": (gem, only("hsi")),
        "fine scale only": (gem, only("fine")),
        "broad scale only": (gem, only("broad")),
        "not judged by held-out pixels": (gem, fit_filters(gem, [patch], seed, judged=False).filters),
        NO_SHIFTS: (replace(gem, shifts=None), None),
    }
    found: list[tuple[object, ...]] = []
    for variant, (estimator, filters) in variants.items():
        fused = estimator.coordinates.decode(estimator.apply(patch, filters)).numpy()
        scores = score(simulation.truth, np.clip(fused, 0, 1), ratio)
        gain = round(learned.held_out, 5) if variant == LEARNED else ""
        found.append((variant, round(scores["psnr_db"], 4), round(scores["sam_deg"], 4), gain))
    return found


def by_variant(rows: list[dict[str, str]], ratio: str) -> str:
    """Mean change against the estimator without filters, its range over cases, and the shares of cases that gain and that lose."""
    zero = {_key(row): row for row in rows if row["variant"] == CONTROL}
    lines = []
    for variant in dict.fromkeys(row["variant"] for row in rows if row["variant"] != CONTROL):
        found = [(row, zero[_key(row)]) for row in rows if row["variant"] == variant]
        gain = np.array([float(row["psnr_db"]) - float(z["psnr_db"]) for row, z in found])
        sam = np.array([float(row["sam_deg"]) / float(z["sam_deg"]) for row, z in found])
        shares = [f"{100 * share.mean():.0f} %" for share in (gain > 0, gain < 0)]
        spread = f"{gain.min():+.2f} … {gain.max():+.2f}"
        lines.append([variant, f"{gain.mean():+.3f}", spread, *shares, f"× {sam.mean():.3f}", str(len(gain))])
    return markdown([f"1:{ratio}, against none", "PSNR, dB", "worst … best", "gains in", "loses in", "SAM", "cases"], lines)


def by_scene(rows: list[dict[str, str]], ratio: str) -> str:
    """PSNR and SAM of every scene: without displaced bands and filters, without filters, and with them; means over the draws of noise."""
    columns = (NO_SHIFTS, CONTROL, LEARNED)
    lines = []
    for scene, response in dict.fromkeys((row["scene"], row["response"]) for row in rows):
        cells = []
        for variant in columns:
            mine = [row for row in rows if (row["scene"], row["response"], row["variant"]) == (scene, response, variant)]
            psnr, sam = (np.mean([float(row[key]) for row in mine]) for key in ("psnr_db", "sam_deg"))
            cells.append(f"{psnr:.2f} / {sam:.2f}")
        lines.append([f"{scene}, {response}", *cells])
    return markdown([f"1:{ratio}, PSNR / SAM", *columns], lines)


def _key(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row[c] for c in COLUMNS[:4])


if __name__ == "__main__":
    main()
