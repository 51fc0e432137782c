"""The tables of docs/research/cost.md, from the constants, the simulated run and the whole scenes that were measured."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

from benchmarks.cost_model import CONSTANTS, MEANING, METHODS, load, predict
from benchmarks.cost_run import Run, decoded, planned
from benchmarks.environment import ROOT
from benchmarks.scale import rows_of
from benchmarks.table import NOTHING, inserted, markdown

DOCS = ROOT / "docs" / "research" / "cost.md"
COMMAND = "python -m benchmarks.cost_model --docs"
TILES = (128, 256, 512, 1024)
RATIOS = (2, 3, 6, 8.33, 20, 32)
BLOCKS = (256, 512, 1024)
S2_SIDE, S2_GRID_KM, EMIT_BANDS = 10_980, 100, 285
AREAS = {"Germany": 357_600, "Europe": 10_200_000}  # km²
NETWORK = 1.25e9  # bytes a second: 10 Gbit/s
SIMULATED = (
    "tiles, workers, scheduler, ms a tile, expected s, run s, ratio, build ms/tile, begin ms/tile, schedule ms/tile, kB/tile, MB, load"
)
MEASURED = "side, bands, method, CPU s by the model, CPU s, ratio, seconds by the model, seconds, load, "
MEASURED += "output MB by the model, output MB, written MB by the model, written MB"
PREFIXES = ((1, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


def write_docs(path: Path = DOCS, constants: Path = CONSTANTS) -> None:
    """Rewrite what is between the markers; the text around them stays."""
    text, values, folder = path.read_text(encoding="utf-8"), load(constants), constants.parent
    parts = {
        "constants": constants_table(values, json.loads(constants.read_text(encoding="utf-8"))),
        "tile": scene_table(values),
        "halos": halo_table(),
        "reads": read_table(),
        "simulation": simulation_table(folder / "simulation.json", values),
        "measured": measured_table(folder / "scale.jsonl", values),
        "areas": area_table(values),
        "bandwidth": bandwidth_table(values),
    }
    for name, part in parts.items():
        text = inserted(text, part, f"<!-- {name}: written by {COMMAND} -->", f"<!-- end of {name} -->")
    path.write_text(text, encoding="utf-8")


def constants_table(values: dict[str, float], found: dict[str, object]) -> str:
    """What was measured, and how."""
    rows = [[f"`{name}`", quantity(values[name], unit), what, how] for name, (unit, what, how) in MEANING.items()]
    where = f"Commit `{found['commit']}`, environment `{found['environment']}` of [environment.json](../benchmarks/environment.json)."
    return f"{where}\n\n{markdown(['constant', 'value', 'what', 'measured by'], rows)}"


def quantity(value: float, unit: str) -> str:
    """A number with its unit.

    Examples
    --------
    >>> quantity(1.376e-05, "s/pixel"), quantity(3.5e8, "bytes/s"), quantity(1.707, "bytes/value")
    ('13.8 µs/pixel', '350 MB/s', '1.71 bytes/value')
    """
    if unit == "bytes/s":
        return f"{value / 1e6:.0f} MB/s"
    if not unit.startswith("s"):
        return f"{_three(value)} {unit}"
    size, prefix = next((p for p in PREFIXES if value >= p[0]), PREFIXES[-1])
    return f"{value / size:.3g} {prefix}{unit}"


def scene_table(values: dict[str, float]) -> str:
    """One Sentinel-2 tile, 224 bands."""
    rows = []
    for method in METHODS:
        for workers in (2, 8, 32):
            cost = predict(Run(method=method, workers=workers), values)
            w, c = cost.wall, cost.cpu
            cells = [f"`{method}`", str(workers), f"{cost.seconds / 3600:.2f}", f"{cost.cpu_seconds / 3600:.1f}"]
            cells += [
                f"{100 * v / cost.cpu_seconds:.0f} %"
                for v in (c["solve"], c["decode"] + c["store"], c["compress"] + c["verify"] + c["hash"])
            ]
            cells += [f"{w['start'] + w['fit']:.0f}", f"{100 * cost.overhead:.2f} %", f"{cost.plan.memory / 1e9:.1f}"]
            rows.append(cells)
    head = [
        "method",
        "workers",
        "hours",
        "core hours",
        "solve",
        "decode, store",
        "compress, verify, hash",
        "start, fit (s)",
        "overhead",
        "memory (GB)",
    ]
    return markdown(head, rows)


def halo_table() -> str:
    """Pixels that tiles see, over pixels of the output."""
    rows = []
    for ratio in RATIOS:
        runs = [planned(Run(ratio=ratio, bands=64, tile=tile)) for tile in TILES]
        seen = [f"{pixels / (plan.shape[1] * plan.shape[2]):.2f}" for plan, pixels in runs]
        rows.append([f"{ratio:g}", str(runs[0][0].halo), *seen])
    return markdown(["ratio", "halo (pixels)", *(f"tiles of {tile}" for tile in TILES)], rows)


def read_table() -> str:
    """How often a pixel is decoded: tile by tile, and group by group as plans choose them."""
    rows = []
    for ratio in RATIOS:
        cells = [f"{ratio:g}"]
        for block in BLOCKS:
            plan, _ = planned(Run(ratio=ratio, block=block, workers=2, memory=8 * 10**9))
            alone, grouped = (
                max(decoded(S2_SIDE, side, plan.halo, block, r) for r in (1.0, ratio)) for side in (plan.tile, plan.tile * plan.group)
            )
            cells += [f"{plan.tile}", f"{alone:.2f}", f"{plan.group} × {plan.group}", f"{grouped:.2f}"]
        rows.append(cells)
    head = [f"{what}, blocks of {block}" for block in BLOCKS for what in ("tile", "alone", "group", "in groups")]
    return markdown(["ratio", *head], rows)


def simulation_table(path: Path, values: dict[str, float]) -> str:
    """Sleeping tiles: what the model says and what the clock said."""
    rows = []
    for row in json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else ():
        tiles, cluster = row["side"] ** 2, row["scheduler"] != "threads"
        scheduling = tiles * values["schedule_cluster" if cluster else "schedule"]
        expected = row["slept"] / row["workers"] + scheduling
        cells = [f"{tiles:,}", str(row["workers"]), row["scheduler"], f"{1000 * row['pause']:.0f}", f"{expected:.1f}", f"{row['run']:.1f}"]
        cells += [f"{row['run'] / expected:.2f}"]
        cells += [f"{1000 * v / tiles:.2f}" for v in (row["build"], row["begin"], row["schedule"] + row["merge"])]
        rows.append([*cells, f"{row['memory'] / 1e3:.0f}", f"{row['memory'] * tiles / 1e6:.0f}", str(row.get("load", NOTHING))])
    return markdown(SIMULATED.split(", "), rows)


def measured_table(path: Path, values: dict[str, float]) -> str:
    """Whole scenes: processor and wall-clock seconds, predicted and measured."""
    rows = []
    measured = rows_of(path)
    for row in measured:
        if row.code != measured[-1].code or row.method not in METHODS or row.scheduler != "threads":
            continue
        run = Run(row.side, row.bands, 25 / 3, row.method, 2, memory=int(float(row.memory.removesuffix("GB")) * 1e9))
        cost = predict(run, values)
        cells = [
            str(row.side),
            str(row.bands),
            f"`{row.method}`",
            f"{cost.cpu_seconds:.0f}",
            f"{row.cpu:.0f}",
            f"{row.cpu / cost.cpu_seconds:.2f}",
        ]
        cells += [f"{cost.seconds:.0f}", f"{row.seconds:.0f}", f"{row.load:.1f}", f"{cost.output / 1e6:.0f}", f"{row.output_mb:.0f}"]
        rows.append([*cells, f"{(cost.staging + cost.output) / 1e6:.0f}", f"{row.written_mb:.0f}"])
    return markdown(MEASURED.split(", "), rows)


def mgrs_tiles(area: float) -> int:
    """Tiles of a 100 km grid that a round country touches, on average over where it lies.

    By the mean area of the Minkowski sum of a disc and a square, (A + 2 s P / pi + s²) / s², P being the disc's circumference.

    Examples
    --------
    >>> mgrs_tiles(1e-9), mgrs_tiles(357_600)
    (1, 50)
    """
    around = 2 * math.sqrt(math.pi * area)
    return round((area + 2 * S2_GRID_KM * around / math.pi + S2_GRID_KM**2) / S2_GRID_KM**2)


def area_table(values: dict[str, float]) -> str:
    """A country and a continent, as whole Sentinel-2 tiles."""
    one = {method: predict(Run(bands=EMIT_BANDS, method=method), values) for method in METHODS}
    rows = []
    for name, area in AREAS.items():
        tiles = mgrs_tiles(area)
        inside = area * 1e4 * EMIT_BANDS * 2  # 10,000 pixels of 10 m a km²
        written = tiles * EMIT_BANDS * S2_SIDE**2 * 2
        cells = [name, f"{area:,}", f"{area * 1e4 / 1e9:.3g}", str(tiles), f"{inside / 1e12:.3g}", f"{written / 1e12:.3g}"]
        cells += [f"{tiles * one['sylvester'].output / 1e12:.3g}", *(_three(tiles * one[m].cpu_seconds / 3600) for m in METHODS)]
        rows.append(cells)
    head = ["area", "km²", "10⁹ pixels", "S2 tiles", "TB inside, int16", "TB in whole tiles", "TB compressed, overviews included"]
    return markdown([*head, *(f"core hours, `{m}`" for m in METHODS)], rows)


def bandwidth_table(values: dict[str, float]) -> str:
    """What moves, for one Sentinel-2 tile, and how many cores a network feeds."""
    rows = []
    for method in METHODS:
        cost = predict(replace(Run(bands=EMIT_BANDS), method=method), values)
        over_network = cost.read + cost.output
        each = over_network / cost.cpu_seconds
        local = (2 * cost.staging + 2 * cost.output) / cost.cpu_seconds
        cells = [f"`{method}`", f"{cost.read / 1e9:.1f}", f"{cost.output / 1e9:.0f}", f"{each / 1e6:.1f}", f"{NETWORK / each:.0f}"]
        rows.append([*cells, f"{(cost.staging + cost.output) / 1e9:.0f}", f"{local / 1e6:.1f}", f"{values['disk'] / local:.0f}"])
    head = [
        "method",
        "GB in",
        "GB out",
        "MB/s a core",
        "cores on 10 Gbit/s",
        "scratch GB",
        "scratch MB/s a core",
        "cores on the measured disk",
    ]
    return markdown(head, rows)


def _three(value: float) -> str:
    """Three figures, and no exponent."""
    return f"{float(f'{value:.3g}'):,.{max(0, 2 - math.floor(math.log10(value))) if value else 0}f}"
