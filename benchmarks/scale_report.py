"""What whole scenes took, as Markdown: a line a case, and the exponent of time over pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.table import NOTHING, markdown

if TYPE_CHECKING:
    from benchmarks.scale import Row

READY = "ready-made"  # the "method" that writes an array that is there
HEADER = (
    "side, bands, method, scheduler, seconds, CPU s, CPU µs a pixel, × ready-made, peak MB, planned MB, read MB, written MB, output MB, "
)
HEADER += "open, fit, apply, write, load"
STAGES = ("open", "fit", "apply", "write")


def report(rows: Sequence[Row], environments: dict[str, dict[str, object]]) -> str:
    """The page: what was measured with the code and on the machine of the last line."""
    if not rows:
        return "# Whole scenes\n\nNothing is measured yet.\n"
    shown = [row for row in rows if (row.code, row.environment) == (rows[-1].code, rows[-1].environment)]
    shown = sorted({row.case: row for row in shown}.values(), key=lambda r: (r.bands, r.side, r.method != READY, r.method, r.scheduler))
    machine = environments.get(rows[-1].environment, {})
    facts = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in machine.items() if k not in ("libraries", "cases_at_a_time"))
    parts = [
        "# Whole scenes\n\nWritten by `make bench-scale`; do not edit. Findings: [engine](../research/engine.md); "
        "what follows from them: [cost](../research/cost.md).",
        f"Memory limit {shown[-1].memory}; code `{rows[-1].code}`; {facts}. Seconds of *open* to *write* are of the wall clock; *load* is the "
        "system's before the case began (0 is an idle machine). *Ready-made* writes an array that is there. Bytes are all that the system "
        "counted, libraries included.",
        table(shown),
        "## Does time grow with the pixels?",
        "Least squares of log seconds over log pixels; 1 is proportional. *Pixels only* leaves start, opening and fit out, which do not grow.",
        exponents(shown),
    ]
    return "\n\n".join(parts) + "\n"


def table(rows: Sequence[Row]) -> str:
    """A line a case; the ratio to the ready-made array is that of the same size and bands."""
    ready = {(row.side, row.bands): row.seconds for row in rows if row.method == READY}
    return markdown(HEADER.split(", "), [_cells(row, ready) for row in rows])


def _cells(row: Row, ready: dict[tuple[int, int], float]) -> list[str]:
    ratio = f"{row.seconds / ready[row.side, row.bands]:.2f}" if (row.side, row.bands) in ready else NOTHING
    cells = [str(row.side), str(row.bands), f"`{row.method}`", row.scheduler, f"{row.seconds:.1f}", f"{row.cpu:.1f}"]
    cells += [f"{1e6 * row.cpu / row.side**2:.1f}", ratio, f"{row.peak_mb:.0f}", f"{row.planned_mb:.0f}" if row.planned_mb else NOTHING]
    cells += [f"{value:.0f}" for value in (row.read_mb, row.written_mb, row.output_mb)]
    return [*cells, *(f"{row.stages[k]:.1f}" if k in row.stages else NOTHING for k in STAGES), f"{row.load:.1f}"]


def exponents(rows: Sequence[Row]) -> str:
    """A line for every method and scheduler that was measured at two sizes or more."""
    lines = []
    for key in sorted({(row.bands, row.method, row.scheduler) for row in rows}):
        mine = sorted((row for row in rows if (row.bands, row.method, row.scheduler) == key), key=lambda row: row.side)
        if len(mine) < 2:
            continue
        pixels = [row.side**2 for row in mine]
        alone = [row.stages.get("apply", 0) + row.stages.get("write", 0) for row in mine]
        found = [exponent(pixels, [r.seconds for r in mine]), exponent(pixels, [r.cpu for r in mine]), exponent(pixels, alone)]
        sizes = ", ".join(str(row.side) for row in mine)
        lines.append([str(key[0]), f"`{key[1]}`", key[2], sizes, *(f"{e:.2f}" if np.isfinite(e) else NOTHING for e in found)])
    return markdown(["bands", "method", "scheduler", "sides", "all seconds", "all CPU seconds", "pixels only"], lines)


def exponent(pixels: Sequence[float], seconds: Sequence[float]) -> float:
    """Slope of log seconds over log pixels, by least squares; NaN where something took no time.

    Examples
    --------
    >>> round(exponent([1, 10, 100], [2, 20, 200]), 3)
    1.0
    """
    if min(seconds) <= 0:
        return float("nan")
    return float(np.polyfit(np.log(pixels), np.log(seconds), 1)[0])
