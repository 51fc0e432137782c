"""What a batch costs over the same runs one by one, in one process: seconds of processors, which other programs of the machine do not change."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

from benchmarks.catalog_items import write_catalog
from geofuse.io.write.folders import LocalFolder
from geofuse.pipeline.batch import Task, run_batch
from geofuse.run.plan import DEFAULT_MEMORY
from geofuse.stac.pairs import Wanted, find_pairs

PAIRS = 10


def overhead(folder: Path, method: str, repeats: int) -> list[tuple[float, float]]:
    """CPU seconds of a batch, search for the pairs included, and of its jobs alone, of local files; in turns."""
    files = folder / "local"
    write_catalog(files, str(files), PAIRS, 0)
    options = {"method": method, "memory": DEFAULT_MEMORY, "seed": 0}
    times: list[tuple[float, float]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(repeats + 1):
            began = _seconds()
            pairs = find_pairs(str(files / "items.json"), Wanted.of("h", "m", None, None, "3h", 20, 0.5)).pairs
            states = run_batch(pairs, LocalFolder(folder / "batch"), options, progress=False)
            middle = _seconds()
            assert all(state.state == "done" for state in states), [state.reason for state in states]
            (folder / "single").mkdir()
            for pair in pairs:
                (folder / "single" / pair.id).mkdir()
                Task(pair, LocalFolder(folder / "single"), options).job().run()
            times.append((middle - began, _seconds() - middle))
            for name in ("batch", "single"):
                shutil.rmtree(folder / name)
    return [(round(batch, 3), round(single, 3)) for batch, single in times[1:]]  # without the first, in which libraries are loaded


def _seconds() -> float:
    """CPU seconds of this process and of those that it started and that have ended."""
    return sum(os.times()[:4])
