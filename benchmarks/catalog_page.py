"""The page of `benchmarks.catalog`."""

from __future__ import annotations

import datetime as dt
import statistics
from typing import Any

_TEXT = """# A batch that is killed

Written by `python -m benchmarks.catalog --page docs/research/batch.md`; do not edit. How to run one: [fuse a catalog](../how-to/batch.md).

{items} hyperspectral items of 16 × 16 pixels and 20 bands, each with a multispectral one, cropped from the embedded scene; {faulty} of them with planted faults.
Items come from `rustac serve`, files from a server of ranges that answers every 25th request with 503, a reset or too few bytes. `geofuse batch run --jobs 2
--method {method}` was killed {count} times, then left alone. Measured {today}.

| kill | |
|---|---|
{kills}

| afterwards | |
|---|---|
| the command says | {summary} |
| healthy pairs done, each made once | {healthy} of {healthy} |
| done before the last run, and the same file after it (inode and time of change) | {before} |
| faulty pairs failed, each with its reason | {faulty} of {faulty} |
| temporary files, staging rasters and locks left | none |
| items valid (core of STAC 1.1 and the vendored extensions), read by odc-stac and rioxarray with all 20 bands | {read} |
| image and quality layer equal to those of a run that was never killed, to the byte | {alike} of {alike} compared |

## Memory and overhead

| | |
|---|---|
| peak memory of the largest process of `geofuse batch run --jobs 2` with {few} items | {few_peak} MB |
| with {all}, in the last run (which made {left}) | {all_peak} MB ({growth:+.1f} %) |
| CPU seconds of a batch of 10 pairs over its jobs alone | median {overhead:+.1f} % of {repeats} ({low:+.1f} to {high:+.1f} %); a pair takes {pair:.2f} |
| seconds of the last run | {seconds} |

## Faults, and what each got

| planted | reason of its pair |
|---|---|
{faults}
"""


def page(found: dict[str, Any]) -> str:
    """Markdown of the figures of `benchmarks.catalog.prove`."""
    shares = [100 * (batch / single - 1) for batch, single in found["overhead"]]
    few, all_ = found["peak of few"], found["peak of all"]
    return _TEXT.format(
        items=found["items"],
        faulty=found["faulty"],
        healthy=found["healthy"],
        method=found["method"],
        count=len(found["kills"]),
        today=dt.date.today().isoformat(),
        kills="\n".join(f"| {number} | {kill} |" for number, kill in enumerate(found["kills"], start=1)),
        summary=found["summary"],
        before=found["done before the last run"],
        read=found["items read"],
        few=few[0],
        few_peak=few[1],
        all=all_[0],
        all_peak=all_[1],
        growth=100 * (all_[1] / few[1] - 1),
        overhead=statistics.median(shares),
        low=min(shares),
        high=max(shares),
        repeats=len(shares),
        pair=statistics.median(single for _, single in found["overhead"]) / 10,
        left=found["last run"][0],
        seconds=found["last run"][1],
        alike=found["alike"],
        faults="\n".join(f"| {name} | {_cell(reason)} |" for name, _, reason in found["faults"]),
    )


def _cell(reason: str) -> str:
    text = reason.replace("|", "\\|")
    return text if len(text) <= 260 else text[:259] + "…"
