"""Processes that run tiles, and die."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import pytest

from geofuse.errors import RunInterrupted
from geofuse.run.scheduling import scheduler_of
from geofuse.run.stream import run_tiles

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


class Fatal:
    """Kills its own process at one tile, as the kernel does for want of memory, so many times."""

    def __init__(self, folder: Path, deaths: int) -> None:
        self.folder, self.deaths = folder, deaths

    def __call__(self, tile: Any, top: int, left: int) -> tuple[int, int]:
        (self.folder / f"{top} {left}").open("a").write("x")
        if (top, left) == (0, 10) and len((self.folder / "0 10").read_text()) <= self.deaths:
            os.kill(os.getpid(), signal.SIGKILL)
        return top, left


def run(folder: Path, deaths: int) -> dict[Any, Any]:
    done: dict[Any, Any] = {}
    with scheduler_of("processes"), dask.config.set(num_workers=1):
        image = da.zeros((1, 20, 20), chunks=(1, 10, 10))
        run_tiles(image, Fatal(folder, deaths), [(0, 0), (0, 1), (1, 0), (1, 1)], done.__setitem__)
    return done


def test_a_process_that_is_killed_costs_its_tile_and_no_other(tmp_path: Path) -> None:
    assert run(tmp_path, deaths=1) == {(0, 0): (0, 0), (0, 1): (0, 10), (1, 0): (10, 0), (1, 1): (10, 10)}
    times = {path.name: len(path.read_text()) for path in tmp_path.iterdir()}
    assert times["0 10"] == 2
    assert sum(times.values()) <= 6  # what another process was at when the pool was lost is done again, and nothing else


@pytest.mark.slow
def test_a_tile_that_ends_every_process_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(RunInterrupted, match="killed 4 times in a row, likely for want of memory"):
        run(tmp_path, deaths=99)
