"""Plans by hand, and from metadata alone."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.transform import from_origin

import geofuse
from geofuse.cube.schema import wrap
from geofuse.errors import InvalidCube, InvalidInput, InvalidPair
from geofuse.methods.gem.filters import REACH
from geofuse.methods.gem.method import HALO_COARSE, HALO_FINE
from geofuse.methods.registry import get_method
from geofuse.pair.grid import Window
from geofuse.pair.scene import Scene
from geofuse.run.plan import BASE_MEMORY, DEVICE_TILES, TILES, make_plan
from geofuse.run.scheduling import Engine
from geofuse.run.tiles import tile_windows
from tests.crops import small_cubes, small_model, small_pair


def untouchable(bands: int, rows: int, cols: int) -> da.Array:
    """An array of which no pixel may be read."""

    def touch() -> np.ndarray:
        raise AssertionError("a pixel was read")

    return da.from_delayed(dask.delayed(touch)(), (bands, rows, cols), np.float32)


def cube(bands: int, rows: int, cols: int, pixel: float, west: float = 383_472.37, north: float = 5_818_302.35) -> Any:
    transform = Affine(pixel, 0, west, 0, -pixel, north)
    names = [f"{k}" for k in range(bands)]
    return wrap(
        untouchable(bands, rows, cols), transform=transform, crs="EPSG:32633", names=names, wavelength=np.linspace(460, 2400, bands)
    )


GEM = get_method("gem").cost(25 / 3)
BERLIN = cube(177, 80, 60, 30.0), cube(4, 660, 494, 3.6, 383_469.97, 5_818_303.55)


def test_reading_is_noticed() -> None:
    with pytest.raises(AssertionError, match="a pixel was read"):
        BERLIN[0].compute()


def test_berlin_by_hand() -> None:
    """The 3.6 m image less its first column, whose centres lie outside the 30 m image; tiles of 400 are four."""
    with dask.config.set(num_workers=2):
        plan = BERLIN[0].mossfuse.plan(BERLIN[1], tile=400)
    assert plan.shape == (177, 660, 493)
    assert (plan.crs, plan.pixel, plan.device) == ("EPSG:32633", pytest.approx(3.6), "cpu")
    assert "660 x 493 pixels of 3.6, EPSG:32633" in str(plan)
    wkt = 'LOCAL_CS["site grid",UNIT["metre",1]]'  # what a CRS without a code has; nobody reads the like in a plan
    assert str(replace(plan, crs=wkt)).splitlines()[0].endswith("pixels of 3.6, site grid")
    assert plan.ratio == pytest.approx(25 / 3)
    assert (plan.tile, plan.tiles, plan.workers) == (400, 4, 2)
    assert plan.bytes_written == 2 * 177 * 660 * 493
    # Rows 0 … 400 + halo and 400 - halo … 660, columns alike, would be 1.6 times the image; so all tiles are read together, once.
    assert (plan.group, plan.times_read) == (2, 1.0)
    assert plan.bytes_read == pytest.approx(4 * 660 * 494 * (4 + 177 / (25 / 3) ** 2), abs=1)
    # A task holds at least its part of both images as float32, and what it returns; and the group's part of both images is held beside it.
    assert plan.memory_per_task > 4 * (177 * 400 * 400 + (400 + plan.halo) ** 2 * (4 + 177 / (25 / 3) ** 2))
    assert plan.memory > BASE_MEMORY + 2 * plan.memory_per_task + plan.bytes_read


def test_tiles_are_large_where_they_keep_the_workers_busy() -> None:
    large = Scene.of(cube(64, 1200, 1200, 30.0), cube(4, 10000, 10000, 3.6, 383_469.97, 5_818_303.55))
    with dask.config.set(num_workers=2):
        assert make_plan(large, GEM).tile == 1024
        assert geofuse.plan(*BERLIN).tile == 512, "a scene of one tile would keep one worker busy"


def test_library_and_command_line_plan_the_same(tmp_path: Path) -> None:
    """In that order, since the command line sets the allocator of the process to keep freed memory."""
    for name, (bands, side, pixel) in {"hsi": (64, 1200, 30.0), "msi": (4, 10_000, 3.6)}.items():
        about = {"count": bands, "height": side, "width": side, "dtype": "int16", "crs": "EPSG:32633"}
        grid = from_origin(383_470, 5_818_303, pixel, pixel)
        with rasterio.open(tmp_path / f"{name}.tif", "w", transform=grid, sparse_ok=True, tiled=True, **about) as file:  # no pixel on disk
            for band in range(1, bands + 1):
                file.update_tags(band, wavelength=400 + 10 * band, wavelength_units="nm")
    program = """
import geofuse
from geofuse.cli import main
print(geofuse.plan(geofuse.open_hsi("hsi.tif"), geofuse.open_msi("msi.tif"), method="gem"), flush=True)
main(["fuse", "hsi.tif", "msi.tif", "-o", "out.tif", "--method", "gem", "--plan"])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    lines = done.stdout.splitlines()
    assert len(lines) == 14, done.stderr
    assert lines[:7] == lines[7:]


def test_plan_has_the_parameters_of_fuse() -> None:
    assert inspect.signature(geofuse.plan).parameters == inspect.signature(geofuse.fuse).parameters


@pytest.mark.parametrize(("options", "said"), [({"seed": -1}, "seed"), ({"method": "gsa", "uncertainty": True}, "uncertainty")])
def test_plan_refuses_what_fuse_refuses(options: dict[str, Any], said: str) -> None:
    for verb in (geofuse.plan, geofuse.fuse):
        with pytest.raises(InvalidInput, match=said):
            verb(*BERLIN, **options)


@pytest.mark.parametrize("block", [256, 512, 1024])
def test_groups_know_the_blocks_of_the_files(block: int) -> None:
    """What is decoded is counted block by block; larger groups, where blocks are large, decode less of it."""
    pair = cube(64, 1700, 1700, 60.0), cube(4, 10_000, 10_000, 10.0)
    unknown = make_plan(Scene.of(*pair), get_method("gem").cost(6.0), tile=512, memory=10**13)
    for image in pair:
        image.encoding["preferred_chunks"] = {"y": block, "x": block}
    plan = make_plan(Scene.of(*pair), get_method("gem").cost(6.0), tile=512, memory=10**13)

    def decoded(group: int) -> float:
        side, size = plan.tile * group, 10_000
        blocks = [{p // block for p in range(max(at - plan.halo, 0), min(at + side + plan.halo, size))} for at in range(0, size, side)]
        return (sum(min(block, size - k * block) for row in blocks for k in row) / size) ** 2

    assert plan.times_read <= unknown.times_read <= 1.3
    assert decoded(plan.group) < 0.75 * decoded(unknown.group)


def test_groups_grow_until_little_is_read_twice() -> None:
    large = Scene.of(cube(224, 1200, 1200, 30.0), cube(4, 10000, 10000, 3.6, 383_469.97, 5_818_303.55))
    with dask.config.set(num_workers=2):
        roomy, tight = make_plan(large, GEM, memory=8 * 10**9), make_plan(large, GEM, tile=512, memory=2_800 * 10**6)
    assert roomy.times_read <= 1.3
    assert roomy.group > 1
    assert tight.memory <= 2_800 * 10**6  # and reads more often, where larger groups do not fit
    assert tight.group < roomy.group or tight.workers < roomy.workers


def test_halo_is_that_of_the_model() -> None:
    assert geofuse.plan(*BERLIN).halo == np.ceil(max(HALO_COARSE * 25 / 3, HALO_FINE)) + REACH
    for method in ("gem", "sylvester"):
        assert geofuse.plan(*small_cubes(), method=method).halo == small_model(method).halo


def test_the_page() -> None:
    lines = str(geofuse.plan(*BERLIN, tile=512)).splitlines()
    assert lines[0] == "output   177 bands, 660 x 493 pixels of 3.6, EPSG:32633"
    assert lines[1].split()[:2] == ["ratio", "8.333"]
    assert lines[2].startswith("tiles    2 of 512 x 512, halo ")
    assert lines[4].startswith("writes   115 MB")


def test_plan_takes_what_fuse_takes() -> None:
    options: dict[str, Any] = {"method": "gem", "srf": "auto", "model": None, "tile": 256, "device": "cpu", "progress": False, "seed": 3}
    assert geofuse.plan(*BERLIN, **options).tile == 256
    with pytest.raises(InvalidInput, match="Hubble"):
        geofuse.plan(*BERLIN, srf="Hubble")
    with pytest.raises(InvalidInput, match="no method 'magic'"):
        geofuse.plan(*BERLIN, method="magic")
    with pytest.raises(InvalidInput, match="'abacus' cannot be used"):
        geofuse.plan(*BERLIN, device="abacus")
    with pytest.raises(InvalidInput, match="177 HSI and 4 MSI bands; found 177 and 3"):
        geofuse.plan(BERLIN[0], BERLIN[1][:3], model=small_model())


@pytest.mark.parametrize("method", ["gsa", "cnmf", "regression", "bicubic", "hysure", "mlp"])
def test_methods_that_are_not_local_take_one_tile(method: str) -> None:
    plan = geofuse.plan(*BERLIN, method=method)
    assert (plan.tile, plan.tiles, plan.workers) == (660, 1, 1)


def test_memory_decides_tile_and_workers() -> None:
    def plan(memory: int) -> Any:
        with dask.config.set(num_workers=8):
            return geofuse.plan(*BERLIN, memory=memory)

    roomy = plan(10**12)
    assert (roomy.tile, roomy.tiles, roomy.workers) == (256, 6, 6), "six tiles for eight workers, not two"
    assert plan(roomy.memory) == roomy  # just enough is enough
    assert plan(roomy.memory - 1).memory < roomy.memory
    plans = [plan(memory) for memory in range(1_500 * 10**6, roomy.memory, 500 * 10**6)]
    assert all(p.memory <= 1_500 * 10**6 + 500 * 10**6 * k for k, p in enumerate(plans))
    assert plans[0].workers < roomy.workers
    times = [max(sum(sizes) / p.workers, max(sizes)) for p in plans for sizes in [[h * w for h, w in seen(p)]]]
    assert all(later <= 1.5 * sooner for sooner, later in pairwise(times)), "more memory never makes it much slower"
    assert times[-1] < times[0]
    with pytest.raises(InvalidInput, match=r"tiles of 128 pixels, and 900 MB are allowed") as error:
        plan(900 * 10**6)
    assert "Allow more memory" in str(error.value)


def test_processes_take_more_than_threads() -> None:
    with dask.config.set(num_workers=2):
        threads = geofuse.plan(*BERLIN, tile=256)
        with dask.config.set(scheduler="processes"):
            processes = geofuse.plan(*BERLIN, tile=256)
            assert processes.group == 1, "what a group reads would be packed for each of its tiles"
        with dask.config.set({"geofuse.cluster": "distributed"}):
            assert geofuse.plan(*BERLIN, tile=256).memory > processes.memory
    assert processes.memory > threads.memory + 2 * 400e6


def test_a_given_cluster_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its workers run as many tasks as they have threads, whatever we would like; so their memory decides about the tile."""

    def plan(memory: int, limit: int = 10**12) -> Any:
        monkeypatch.setattr("geofuse.run.plan.engine", lambda: Engine(4, 10, memory))
        return geofuse.plan(*BERLIN, memory=limit)

    roomy, tight = plan(10**12), plan(1_200 * 10**6)
    assert (roomy.workers, tight.workers) == (40, 40)
    assert roomy.tile > tight.tile
    assert tight.memory <= 10 * 1_200 * 10**6 + BASE_MEMORY
    assert plan(10**12, 1_200 * 10**6) == tight, "the limit of the run is that of each worker"
    with pytest.raises(
        InvalidInput, match="one worker of the cluster with all its threads: start workers with more memory or fewer threads"
    ):
        plan(500 * 10**6)


def test_a_gpu_is_given_what_it_can_hold() -> None:
    large = Scene.of(cube(224, 1200, 1200, 30.0), cube(4, 10000, 10000, 3.6, 383_469.97, 5_818_303.55))

    def plan(free: int, memory: int = 64 * 10**9) -> Any:
        return make_plan(large, GEM, device="cuda", device_memory=free, memory=memory)

    plans = [plan(int(free * 10**9)) for free in (0.5, 2, 6, 80)]
    assert [p.tile for p in plans] == sorted(p.tile for p in plans)
    assert plans[0].tile < max(TILES) < plans[-1].tile == max(DEVICE_TILES)
    assert all(p.device_memory <= free * 10**9 for p, free in zip(plans, (0.5, 2, 6, 80), strict=True))
    assert plan(80 * 10**9, memory=4 * 10**9).tile < max(DEVICE_TILES), "the tile must fit the machine, too"
    assert str(plans[-1]).splitlines()[-1].startswith("device   cuda (")
    assert make_plan(large, GEM).device_memory == 0


def seen(plan: Any) -> list[tuple[int, int]]:
    """Rows and columns of Berlin that each tile sees."""
    pair = Scene.of(*BERLIN).pair
    everything = Window(0, pair.fine.shape[0], 0, pair.fine.shape[1])
    return [w.grown(plan.halo, everything).shape for row in tile_windows(pair.output, plan.tile) for w in row]


def test_a_big_tile_with_enough_memory_is_fused_with_it() -> None:
    """What `plan` allows is not rejected after the fit: both know the same limit."""
    needed = geofuse.plan(*small_cubes(), tile=4096).memory
    fused = geofuse.fuse(*small_cubes(), model=small_model(), tile=4096, memory=needed, progress=False)
    assert fused.chunks is not None
    with pytest.raises(InvalidInput, match="are allowed"):
        geofuse.fuse(*small_cubes(), model=small_model(), tile=4096, memory=BASE_MEMORY, progress=False)


@pytest.mark.parametrize("tile", [-1, 0, 15])
def test_senseless_tiles_are_rejected(tile: int) -> None:
    with pytest.raises(InvalidInput, match=f"The tile size is {tile}; expected a whole number of pixels, 16 or more"):
        geofuse.plan(*BERLIN, tile=tile)


@given(tile=st.integers(16, 700), rows=st.integers(10, 60), cols=st.integers(10, 60))
def test_bytes_read_are_those_of_the_windows(tile: int, rows: int, cols: int) -> None:
    """Against the windows themselves, one by one."""
    scene = Scene.of(cube(20, rows, cols, 40.0), cube(3, 400, 300, 10.0, 383_400.0, 5_818_400.0))
    plan = make_plan(scene, get_method("gem").cost(scene.pair.ratio), tile=tile, memory=10**13)
    everything = Window(0, scene.pair.fine.shape[0], 0, scene.pair.fine.shape[1])
    assert plan.tiles == sum(len(row) for row in tile_windows(scene.pair.output, tile))
    groups = tile_windows(scene.pair.output, tile * plan.group)
    seen = [w.grown(plan.halo, everything).shape for row in groups for w in row]
    assert plan.bytes_read == pytest.approx(4 * sum(h * w for h, w in seen) * (3 + 20 / 16), abs=1)


def test_everything_that_metadata_tell_is_refused_without_reading() -> None:
    hsi, msi = BERLIN
    for first, second, error, message in (
        (msi, hsi, InvalidPair, "more bands in the HSI"),
        (hsi, hsi, InvalidPair, "more bands in the HSI"),
        (cube(177, 80, 60, 3.6), msi, InvalidPair, "pixel-size ratio"),
        (cube(177, 400, 400, 1.2), msi, InvalidPair, "swap"),
        (hsi, cube(4, 660, 494, 3.6, west=500_000), InvalidPair, "do not overlap"),
        (hsi.drop_vars("spatial_ref"), msi, InvalidCube, "no CRS"),
    ):
        with pytest.raises(error, match=message):
            geofuse.plan(first, second)
        with pytest.raises(error, match=message):
            geofuse.fuse(first, second, progress=False)


def test_a_file_is_planned_as_its_cube(tmp_path: Path) -> None:
    hsi, msi = small_pair()
    lazy = geofuse.open_hsi(hsi.write(tmp_path / "h.tif")), geofuse.open_msi(msi.write(tmp_path / "m.tif"))
    now = (c.compute() for c in lazy)
    assert geofuse.plan(*lazy) == geofuse.plan(*now)


def test_the_graph_of_many_tiles_is_counted() -> None:
    """Four times the tiles: nothing else that a task or a group holds is larger."""

    def planned(side: int) -> geofuse.Plan:
        scene = Scene.of(cube(64, side // 6, side // 6, 60.0), cube(4, side, side, 10.0))
        with dask.config.set(num_workers=2):
            return make_plan(scene, get_method("gem").cost(scene.pair.ratio), tile=128, memory=10**12)

    small, large = planned(12_000), planned(24_000)
    assert small.group == large.group
    assert large.tiles > 30_000
    # 20 to 28 kB a tile were measured at 4,096 to 40,000 tiles: see benchmarks/simulate.py
    assert 20_000 <= (large.memory - small.memory) / (large.tiles - small.tiles) <= 30_000
