from __future__ import annotations

import math

import pytest

from benchmarks.cost_run import empty_scene
from benchmarks.simulate import CHUNKS, GROUP, HALO, TILE, Trial, record, simulate, sleeper
from geofuse.pair.grid import Window
from geofuse.run.graph import lazy_mosaic
from geofuse.run.stream import run_tiles


def test_an_inner_tile_sleeps_as_long_as_it_is_told() -> None:
    core = Window(TILE, 2 * TILE, TILE, 2 * TILE)
    everything = Window(0, 3 * TILE, 0, 3 * TILE)
    assert sleeper(0.25).seconds(core.grown(HALO, everything), core) == pytest.approx(0.25)
    corner = Window(0, TILE, 0, TILE)
    assert sleeper(0.25).seconds(corner.grown(HALO, everything), corner) < 0.25


def test_all_tiles_run_and_the_clock_agrees_with_their_sleep() -> None:
    found = simulate(Trial(4, 8, "threads", 0.05))
    assert 16 * 0.05 * 0.7 < found["slept"] < 16 * 0.05
    assert found["slept"] / 8 * 0.5 < found["run"] < found["slept"]  # beside each other, and not one after the other
    assert found["build"] > 0
    assert found["schedule"] > 0


def tasks(side: int) -> int:
    """Tasks that dask is given for a mosaic of ``side`` × ``side`` tiles."""
    counted: list[int] = []
    scene = empty_scene(side * TILE, 2, 6.0, 1, CHUNKS)
    mosaic = lazy_mosaic(scene, sleeper(0.0), TILE, group=GROUP)  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("geofuse.run.stream._run_here", lambda get, graph, keys, done: counted.append(len(graph)))
        run_tiles(mosaic, record, [(i, j) for i in range(side) for j in range(side)], lambda place, value: None)
    return counted[0]


def test_the_graph_grows_with_the_tiles_and_no_faster() -> None:
    small, large = tasks(16), tasks(48)
    assert math.log(large / small) / math.log(9) < 1.05
    assert large < 6 * 48**2
