"""Thousands of tiles without a pixel: real graphs, real schedulers, real journal, and tiles that sleep. ``python -m benchmarks.simulate``.

The scene is drawn at a sixteenth of its size, and so are tiles, halos and the chunks of the inputs: the graph is that of the whole scene,
task for task, but a task holds next to nothing. A tile sleeps for as long as the model of cost says (`benchmarks.cost_model`), scaled so that
an inner tile takes ``pause`` seconds, much less than a real one, and threads that sleep need no core: so 32 workers fit on two cores, and
what is left of the wall clock is what graph, scheduler and journal take. Each case is a process of its own, for its memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dask
import numpy as np

from benchmarks.cost_run import empty_scene
from benchmarks.environment import OUT, environment, remember
from geofuse.io.write.journal import Journal
from geofuse.io.write.statistics import BandStatistics
from geofuse.pair.grid import GridPair, Window
from geofuse.pair.psf.builder import PsfBuilder
from geofuse.run.graph import lazy_mosaic
from geofuse.run.stream import run_tiles
from geofuse.run.tiles import tile_windows

SMALLER = 16
TILE, HALO, CHUNKS = 512 // SMALLER, 64 // SMALLER, (256 // SMALLER, 2048 // SMALLER)
GROUP = 4
BANDS = 224  # that the journal records


@dataclass(frozen=True)
class Trial:
    """``side`` x ``side`` tiles on ``workers`` sleeping threads; ``pause`` seconds an inner tile."""

    side: int
    workers: int
    scheduler: str
    pause: float


TRIALS = (
    Trial(22, 2, "threads", 0.05),  # a Sentinel-2 tile
    Trial(64, 8, "threads", 0.03),
    Trial(100, 32, "threads", 0.1),
    Trial(64, 16, "distributed", 0.1),
    Trial(64, 2, "threads", 0.0),  # what the engine alone takes
    Trial(100, 2, "threads", 0.0),
    Trial(200, 2, "threads", 0.0),
    Trial(32, 4, "distributed", 0.0),
)


@dataclass(frozen=True)
class Sleeper:
    """A model that takes its time and makes nothing. Seconds for each pixel that a tile sees, and for each that it makes."""

    seen: float
    made: float
    tiled = True
    halo = HALO

    def builder(self, pair: GridPair) -> PsfBuilder:
        """A PSF, which knows which coarse pixels a tile needs."""
        return PsfBuilder(pair, (3.0, 3.0), (0.0, 0.0))

    def seconds(self, fine: Window, core: Window) -> float:
        """What a tile takes."""
        return self.seen * fine.shape[0] * fine.shape[1] + self.made * core.shape[0] * core.shape[1]

    def apply(self, hsi: Any, msi: Any, pair: GridPair, fine: Window, coarse: Window, device: str, core: Window) -> np.ndarray:
        """Sleep."""
        if (pause := self.seconds(fine, core)) > 0:
            time.sleep(pause)
        return np.broadcast_to(np.float32(0), (2, *core.shape))


def sleeper(pause: float, share: float = 0.8) -> Sleeper:
    """Take ``pause`` seconds for an inner tile, ``share`` of them for what it sees, halo included."""
    return Sleeper(share * pause / (TILE + 2 * HALO) ** 2, (1 - share) * pause / TILE**2)


def record(tile: np.ndarray, top: int, left: int) -> dict[str, Any]:
    """What a real tile leaves in the journal."""
    crc = [[4_000_000_000 - band] for band in range(BANDS)]
    return {"corner": [top, left, *tile.shape[1:]], "crc": crc, "clipped": 0, "statistics": BandStatistics(BANDS).to_lists()}


def simulate(trial: Trial) -> dict[str, Any]:
    """Run one case in this process.

    Returns
    -------
    dict
        The case, and: processor seconds to make the graph (``build``) and to bring it to the first tile (``begin``: optimise, order);
        wall-clock seconds from there to the last tile (``run``), and processor seconds of the same (``schedule``); of merging what the
        journal holds (``merge``); seconds that all tiles slept together (``slept``); memory added at the peak, bytes a tile (``memory``);
        how busy the machine was before (``load``).
    """
    scene = empty_scene(trial.side * TILE, 2, 6.0, 1, CHUNKS)
    model, before, load = sleeper(trial.pause), _peak(), round(os.getloadavg()[0], 1)
    clocks = [_clocks()]
    mosaic = lazy_mosaic(scene, model, TILE, group=GROUP)  # type: ignore[arg-type]
    clocks.append(_clocks())
    places = [(i, j) for i in range(trial.side) for j in range(trial.side)]
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "journal.jsonl", {}) as journal, _scheduler(trial):

        def done(place: tuple[int, int], value: dict[str, Any]) -> None:
            if len(clocks) == 3:
                clocks.append(_clocks())
            journal.append(f"tile {place[0]} {place[1]}", **value)

        clocks.append(_clocks())
        run_tiles(mosaic, record, places, done)
        clocks.append(_clocks())
        statistics = BandStatistics(BANDS)
        for name in journal:
            statistics.merge((journal.get(name) or {})["statistics"])
        clocks.append(_clocks())
        assert len(journal) == len(places)
    everything = Window(0, trial.side * TILE, 0, trial.side * TILE)
    cores = (core for row in tile_windows(everything, TILE) for core in row)
    slept = sum(model.seconds(core.grown(HALO, everything), core) for core in cores)
    wall, cpu = np.diff(clocks, axis=0).T
    times = {"build": cpu[0], "begin": cpu[2], "run": wall[3], "schedule": cpu[3], "merge": cpu[4], "slept": slept}
    return asdict(trial) | {k: round(v, 3) for k, v in times.items()} | {"memory": round((_peak() - before) / len(places)), "load": load}


def _clocks() -> tuple[float, float]:
    return time.monotonic(), time.process_time()


@contextmanager
def _scheduler(trial: Trial) -> Iterator[None]:
    if trial.scheduler == "threads":
        with dask.config.set(scheduler="threads", num_workers=trial.workers):
            yield
        return
    from distributed import Client, LocalCluster

    threads = min(trial.workers, 8)
    cluster = LocalCluster(n_workers=trial.workers // threads, threads_per_worker=threads, processes=False, dashboard_address=None)
    with cluster, Client(cluster):
        yield


def _peak() -> float:
    """Peak resident bytes of this process; `resource` would begin with those of the process that started it."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def apart(trial: Trial) -> dict[str, Any]:
    """Run one case in a process of its own.

    Raises
    ------
    RuntimeError
        It failed; what it said.
    """
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.simulate", "--one", json.dumps(asdict(trial))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{trial}: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all cases and write simulation.json, which the tables of docs/research/cost.md are made from; the exit status is 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT, help="folder of simulation.json (default: docs/benchmarks)")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        print(json.dumps(simulate(Trial(**json.loads(given.one)))))
        return 0
    rows = []
    for trial in TRIALS:
        rows.append(apart(trial))
        print(rows[-1], file=sys.stderr, flush=True)
    found = {"environment": remember(environment(), given.out / "environment.json"), "rows": rows}
    (given.out / "simulation.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
