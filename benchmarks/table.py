"""Write the tables and pictures of the results that are there: ``python -m benchmarks.table [--readme]``, from the repository root."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from benchmarks import plots
from benchmarks.cases import BANDS, NAMES, REFERENCE, SHIFT
from benchmarks.environment import OUT, ROOT, code_version
from benchmarks.results import Results
from benchmarks.summary import by_pair, means, measured, method_order
from geofuse.errors import InvalidInput
from geofuse.methods.registry import STANDARD
from geofuse.simulate import DRAWN

# The scenes that the constants of `gem` were chosen on.
CHOSEN_ON = ("ip", "jasper", "la")
BEGIN, END = "<!-- benchmark: written by make bench-readme -->", "<!-- end of benchmark -->"
TITLES = {
    ("noisy", "estimated"): "Noise 35/40 dB, everything estimated",
    ("noisy", "known"): "Noise 35/40 dB, operators known",
    ("clean", "estimated"): "No noise, everything estimated",
    ("clean", "known"): "No noise, operators known",
}
NOTHING = "–"
DRAWN_NOTE = (
    "Scenes of `geofuse.simulate.drawn`: other sensors, textures, sizes, noise levels and PSF widths. No constant was chosen with them. Nobody measured "
    "them either: they are simpler than nature, so compare methods and not scenes."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; the exit status is 0 or 2 (rejected)."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the results (default: docs/benchmarks)")
    parser.add_argument("--code", help="version of the code (default: that of the last line)")
    parser.add_argument(
        "--readme", nargs="?", type=Path, const=ROOT / "README.md", help="rewrite the table in this file too (default: README.md)"
    )
    options = parser.parse_args(arguments)
    try:
        write_all(options.out, options.code)
        if options.readme:
            text = options.readme.read_text(encoding="utf-8")
            options.readme.write_text(inserted(text, readme_part(_frame(options.out, options.code))), encoding="utf-8")
    except InvalidInput as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    return 0


def write_all(out: Path, code: str | None = None) -> None:
    """Write ``table.md``, ``pairs.csv``, ``means.csv`` and the pictures beside ``cases.csv``.

    Raises
    ------
    InvalidInput
        There are no results of that version.
    """
    frame = _frame(out, code)
    pairs = by_pair(frame)
    pairs.to_csv(out / "pairs.csv", index=False, float_format="%.6g", lineterminator="\n")
    means(pairs).to_csv(out / "means.csv", index=False, float_format="%.6g", lineterminator="\n")
    pictures = plots.draw_all(pairs, out)
    known = json.loads((out / "environment.json").read_text(encoding="utf-8"))
    (out / "table.md").write_text(report(frame, known, pictures), encoding="utf-8")


def report(frame: pd.DataFrame, environments: dict[str, dict[str, object]], pictures: Iterable[Path] = ()) -> str:
    """The whole table as Markdown."""
    pairs = by_pair(frame)
    parts = [
        "# Benchmark\n\nWritten by `python -m benchmarks.table`; do not edit. What is measured, and how to read it: [README](README.md). "
        "Every run: [cases.csv](cases.csv). "
        f"Gains and factors are against `{REFERENCE}`, the oracle: the closed form with the true operators and noise.",
        _provenance(frame, environments),
        *(f"![{path.stem.replace('-', ' ')}]({path.name})" for path in pictures),
    ]
    for (noise, operators, drawn), part in pairs.groupby(["noise", "operators", pairs["scene"].isin(DRAWN)], sort=False):
        parts += [
            f"## {TITLES[str(noise), str(operators)]}{', drawn scenes' if drawn else ''}",
            *([DRAWN_NOTE] if drawn else []),
            means_table(part),
            f"PSNR in dB / SAM in degrees, means over seeds; the pair on which `{STANDARD}` gains least comes first:",
            pairs_table(part),
        ]
    failed = frame.loc[frame["error"] != "", "error"]
    if len(failed):
        counts = failed.value_counts()
        parts += ["## Rejected or failed", "\n".join(f"- {count} ×: {message}" for message, count in counts.items())]
    return "\n\n".join(parts) + "\n"


def means_table(pairs: pd.DataFrame) -> str:
    """Means over scenes and responses, a row a method; for one noise and one kind of operators."""
    table = means(pairs)
    ratios = sorted(set(table["ratio"]))
    header = ["method"]
    header += [f"1:{r} {what}" for r in ratios for what in ("gain, dB", "worst", "SAM", "below 0")] + ["seconds", "MB"]
    rows = []
    for method in method_order(table["method"]):
        mine = table[table["method"] == method]
        row = [f"`{method}`"]
        for ratio in ratios:
            found = mine[mine["ratio"] == ratio]
            row += [NOTHING] * 4 if found.empty or not found["runs"].iloc[0] else _gain_cells(found.iloc[0])
        rows.append([*row, _seconds(mine["seconds"].mean()), f"{mine['peak_rss_mb'].max():.0f}"])
    return markdown(header, rows)


def pairs_table(pairs: pd.DataFrame) -> str:
    """PSNR and SAM of every pair, a column a method; pairs on which the standard method gains least come first."""
    methods = method_order(pairs["method"])
    rows = []
    parts = sorted(pairs.groupby(["scene", "response", "ratio"], sort=False), key=lambda item: _gain_of_standard(item[1]))
    for (scene, response, ratio), part in parts:
        cells = _cells(part)
        found = [cells.get(m, NOTHING) for m in methods]
        rows.append([f"{NAMES.get(str(scene), scene)}, {BANDS[str(response)]}, 1:{ratio}", *found])
    return markdown(["pair", *methods], rows)


def _gain_of_standard(pair: pd.DataFrame) -> float:
    gain = pair.loc[pair["method"] == STANDARD, "gain_db"].dropna()
    return float(gain.min()) if len(gain) else float("inf")


def readme_part(frame: pd.DataFrame) -> str:
    """What the README shows, a row a method: noise, everything estimated, means over scenes and responses.

    Raises
    ------
    InvalidInput
        None of that was measured.
    """
    estimated = frame[(frame["noise"] == "noisy") & (frame["operators"] == "estimated")]
    shown = estimated[~estimated["scene"].isin(DRAWN)]
    if shown.empty:
        raise InvalidInput("No case with noise and estimated operators is measured; expected some for the README. Run make bench first.")
    table = means(by_pair(shown))
    ratios = sorted(set(table["ratio"]))
    header = ["method", *(f"1:{r} {what}" for r in ratios for what in ("gain", "worst", "SAM"))]
    rows = []
    for method in method_order(set(table["method"]) - {REFERENCE}):
        mine = table[table["method"] == method].set_index("ratio")
        cells = [_small_cells(mine.loc[r]) if r in mine.index and mine.loc[r, "runs"] else [NOTHING] * 3 for r in ratios]
        rows.append([f"`{method}`", *(cell for part in cells for cell in part)])
    caption = (
        f"PSNR gain in dB, mean and worst run, and SAM as a factor, against an *oracle*: the closed form with the true operators and noise. {_scenes(shown)}, "
        f"degraded by Wald's protocol, noise 35/40 dB, shift {SHIFT}; geofuse estimates everything."
    )
    changed = "" if frame["code"].iloc[0] == code_version() else ", and the code has changed since"
    source = f"Measured {frame['finished'].max()[:10]}{changed}. Every pair, seconds and memory: [table](docs/benchmarks/table.md)."
    return "\n\n".join([caption, markdown(header, rows), *_elsewhere(estimated), source])


def _elsewhere(shown: pd.DataFrame) -> list[str]:
    """How much less is gained on scenes that the constants of `gem` were not chosen on; nothing where only one kind is measured."""
    drawn, chosen = shown["scene"].isin(DRAWN), shown["scene"].isin(CHOSEN_ON)
    kinds = {
        "On the scenes with which most constants of `gem` were chosen": chosen,
        "On the others": ~chosen & ~drawn,
        "On drawn scenes, with which none was chosen": drawn,
    }
    lines = []
    for kind, wanted in kinds.items():
        part = shown[wanted]
        table = means(by_pair(part)) if len(part) else part
        cells = [
            f"`{method}` " + ", ".join(f"{row['gain_db']:+.2f} (1:{row['ratio']})" for _, row in mine.iterrows())
            for method in ("gem", "hysure")
            if len(part) and len(mine := table[table["method"] == method])
        ]
        if cells:
            lines.append(f"{kind}: {'; '.join(cells)}.")
    return [" ".join(lines)] if len(lines) > 1 else []


def _scenes(frame: pd.DataFrame) -> str:
    names = sorted(str(NAMES.get(scene, scene)) for scene in set(frame["scene"]))
    return f"{len(names)} scene{'s' if len(names) != 1 else ''} ({', '.join(names)})"


def _small_cells(row: pd.Series) -> list[str]:
    return [f"{row['gain_db']:+.2f}", f"{row['worst_gain_db']:+.2f}", f"{row['sam_factor']:.2f}"]


def inserted(text: str, part: str, begin: str = BEGIN, end: str = END) -> str:
    r"""A text with ``part`` between two marker comments.

    Raises
    ------
    InvalidInput
        The markers are not there, once each and in order.

    Examples
    --------
    >>> print(inserted(f"a\n{BEGIN}\nold\n{END}\nb", "new"))
    a
    <!-- benchmark: written by make bench-readme -->
    new
    <!-- end of benchmark -->
    b
    """
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(end) < text.index(begin):
        raise InvalidInput(f"The place of the table is not marked; expected one line {begin!r} and, below it, one line {end!r}.")
    return f"{text[: text.index(begin)]}{begin}\n{part}\n{text[text.index(end) :]}"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table.

    Examples
    --------
    >>> print(markdown(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [header, *rows]
    text = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([text[0], "|---" * len(header) + "|", *text[1:]])


def _frame(out: Path, code: str | None) -> pd.DataFrame:
    frame = measured(Results(out / "cases.csv").rows(), code)
    if frame.empty:
        raise InvalidInput(f"There are no results{f' of version {code}' if code else ''} in {out}; run make bench first.")
    return frame


def _gain_cells(row: pd.Series) -> list[str]:
    return [f"{row['gain_db']:+.2f}", f"{row['worst_gain_db']:+.2f}", f"× {row['sam_factor']:.3f}", f"{row['below']} of {row['runs']}"]


def _cells(pairs: pd.DataFrame) -> dict[str, str]:
    """PSNR and SAM, or why there are none, by method."""
    return {str(row["method"]): _cell(row) for _, row in pairs.iterrows()}


def _cell(row: pd.Series) -> str:
    if pd.isna(row["psnr_db"]):
        return str(row["error"]).split(":")[0] or NOTHING
    used = f" ({row['used']})" if str(row["method"]).startswith("auto") else ""
    return f"{row['psnr_db']:.2f} / {row['sam_deg']:.2f}{used}"


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _provenance(frame: pd.DataFrame, environments: dict[str, dict[str, object]]) -> str:
    code = frame["code"].iloc[0]
    lines = [
        f"{len(frame)} runs, {frame['finished'].min()[:10]} to {frame['finished'].max()[:10]}; code `{code}`, commit `{'`, `'.join(sorted(set(frame['commit'])))}`."
    ]
    if code != code_version():
        lines.append("**The code has changed since.**")
    for name in sorted(set(frame["environment"])):
        found = environments.get(name, {})
        libraries = found.get("libraries")
        versions = ", ".join(f"{k} {v}" for k, v in libraries.items()) if isinstance(libraries, dict) else "unknown"
        rest = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in found.items() if k != "libraries")
        lines.append(f"Environment `{name}`: {rest}; {versions}.")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
