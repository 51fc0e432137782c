"""What each part of the learned guided step does: parts taken away one at a time, several seeds, all scenes.

Run from the repository root: ``python -m benchmarks.ablation [--seeds 5] [--steps 40] [--ratios 4]``. Every finished fit is one line of
``docs/benchmarks/ablation.csv``; a run that was stopped goes on where it was. ``--table`` prints the Markdown table of what is there.
True operators, noise 35/40 dB: geometry and response are the same for all, so that differences are the network's.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from geofuse.network import fit_guide as fitting
from geofuse.network.guide import GuideNetwork
from geofuse.progress import bar
from geofuse.quality.metrics import score
from geofuse.solve.gem import Gem, fit_gem, refit_last_stage
from geofuse.solve.patch import Patch
from tests.pairs import on_grids
from tests.scenes import simulate

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "docs" / "benchmarks" / "ablation.csv"
COLUMNS = ("scene", "response", "ratio", "seed", "steps", "variant", "psnr_db", "sam_deg", "held_out_error")
SCENES, RESPONSES = ("jasper", "la", "ip"), ("qb4", "s2")


class _First(nn.Module):
    """In place of an aggregation: pass on the features that it would have enriched."""

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        return x


def _without_spatial(network: GuideNetwork) -> None:
    network.spatial = _First()  # type: ignore[assignment]


def _without_spectral(network: GuideNetwork) -> None:
    network.spectral = _First()  # type: ignore[assignment]


def _without_attention(network: GuideNetwork) -> None:
    with torch.no_grad():
        network.attention.weight.zero_()
    network.attention.requires_grad_(False)


VARIANTS: dict[str, tuple[Callable[[GuideNetwork], None], float]] = {
    "whole": (lambda network: None, fitting.DECOUPLING),
    "no decoupling loss": (lambda network: None, 0.0),
    "no spatial aggregation": (_without_spatial, fitting.DECOUPLING),
    "no spectral aggregation": (_without_spectral, fitting.DECOUPLING),
    "attention fixed (Gaussian)": (_without_attention, fitting.DECOUPLING),
}
CONTROLS = ("network at zero", "network at zero, prior re-estimated")


def main() -> None:
    """Fit what is missing; print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--ratios", default="4")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if not options.table:
        torch.set_num_threads(1)
        folder = Path(os.environ.get("GEOFUSE_BENCHMARK_DATA", ROOT.parent / "shared" / "data"))
        ratios = [int(r) for r in options.ratios.split(",")]
        cases = [(s, k, r, seed) for seed in range(options.seeds) for r in ratios for s in SCENES for k in RESPONSES]
        with bar(len(cases), desc="ablation", unit="case") as progress:
            for case in cases:
                _run(case, options.steps, folder)
                progress.update()
    print(markdown(_rows()))


def _run(case: tuple[str, str, int, int], steps: int, folder: Path) -> None:
    done = {row["variant"] for row in _rows() if _key(row) == tuple(map(str, (*case, steps)))}
    missing = [v for v in (*CONTROLS, *VARIANTS) if v not in done]
    if not missing:
        return
    name, kind, ratio, seed = case
    simulation = simulate(name, ratio, kind, folder, seed=seed)
    pair = on_grids(simulation)
    patch = pair.patch()
    with torch.no_grad():
        gem = fit_gem([patch], pair.srf, np.zeros(len(pair.srf)), float(ratio), seed=seed)
    for variant in missing:
        fitted, network, error = _fit(variant, gem, patch, steps, seed)
        with torch.no_grad():
            fused = fitted.coordinates.decode(fitted.apply(patch, network)).numpy()
        scores = score(simulation.truth, np.clip(fused, 0, 1), ratio)
        _append((*case, steps, variant, round(scores["psnr_db"], 4), round(scores["sam_deg"], 4), error))


def _fit(variant: str, gem: Gem, patch: Patch, steps: int, seed: int) -> tuple[Gem, GuideNetwork | None, float | str]:
    if variant == CONTROLS[0]:
        return gem, None, ""
    if variant == CONTROLS[1]:
        with torch.no_grad():
            return refit_last_stage(gem, [patch], lambda base, z, features: base), None, ""
    change, weight = VARIANTS[variant]
    with _changed(change):
        found = fitting.fit_guide(gem, [patch], seconds=1e9, steps=steps, weight=weight, seed=seed)
    return found.gem, found.network, round(found.best, 4)


@contextmanager
def _changed(change: Callable[[GuideNetwork], None]) -> Iterator[None]:
    """Networks made inside the block lack a part."""
    whole = GuideNetwork.__init__

    def init(self: GuideNetwork, *args: int, **options: int) -> None:
        whole(self, *args, **options)
        change(self)

    GuideNetwork.__init__ = init  # type: ignore[method-assign]
    try:
        yield
    finally:
        GuideNetwork.__init__ = whole  # type: ignore[method-assign]


def markdown(rows: list[dict[str, str]]) -> str:
    """Mean change against the network at zero, its spread over cases, and the share of cases that gain."""
    lines = ["| variant | PSNR, dB | worst … best | gain in | SAM | cases |", "|---|---|---|---|---|---|"]
    zero = {_key(r): r for r in rows if r["variant"] == CONTROLS[0]}
    for variant in (CONTROLS[1], *VARIANTS):
        found = [(r, zero[_key(r)]) for r in rows if r["variant"] == variant and _key(r) in zero]
        if not found:
            continue
        gain = np.array([float(r["psnr_db"]) - float(z["psnr_db"]) for r, z in found])
        sam = np.array([float(r["sam_deg"]) / float(z["sam_deg"]) for r, z in found])
        lines.append(
            f"| {variant} | {gain.mean():+.3f} | {gain.min():+.2f} … {gain.max():+.2f} | {100 * (gain > 0).mean():.0f} % "
            f"| x {sam.mean():.3f} | {len(gain)} |"
        )
    return "\n".join(lines)


def _key(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row[c] for c in COLUMNS[:5])


def _rows() -> list[dict[str, str]]:
    if not TABLE.exists():
        return []
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _append(values: tuple[object, ...]) -> None:
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    new = not TABLE.exists()
    with TABLE.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(COLUMNS)
        writer.writerow(values)


if __name__ == "__main__":
    main()
