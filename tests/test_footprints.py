"""A swath on a map grid, fused with the true centres of its pixels: from the cube to tiles, workers and files."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

import geofuse
from geofuse.errors import InvalidCube
from geofuse.evaluation.wald import reduce
from geofuse.pair.prepare import Settings
from geofuse.pipeline.fit import prepare, read_windows
from geofuse.pipeline.pair import pair
from geofuse.run.tiles import validation_window
from geofuse.simulate import Simulation, cubes, gridded, scan, simulate_pair, swath_cube
from tests.pairs import made_up_scene, psnr

RATIO, BANDS = 4, 12
HOLE = (slice(30, 33), slice(20, 24))  # coarse pixels that hold nothing


@cache
def case() -> tuple[Simulation, xr.DataArray, xr.DataArray, xr.DataArray]:
    """A simulated pair, its HSI on the map grid, that of a swath with true centres, and the MSI: 200 fine pixels, more than two halos of a tile."""
    made = simulate_pair(made_up_scene(BANDS, 200, 200, grain=1.2), np.linspace(400, 1000, BANDS), RATIO, "qb4")
    on_map, msi = cubes(made)
    swath = swath_cube(made, scan(made.truth, RATIO))
    swath.values[:, *HOLE] = np.nan
    return made, on_map, swath, msi


@cache
def model() -> geofuse.Model:
    _, _, swath, msi = case()
    return geofuse.fit(swath, msi, method="sylvester", progress=False)


def fused(hsi: xr.DataArray, **options: object) -> np.ndarray:
    image: np.ndarray = geofuse.fuse(hsi, case()[-1], method="sylvester", progress=False, **options).values  # type: ignore[arg-type]
    return image


def lazy(cube: xr.DataArray) -> xr.DataArray:
    """In chunks that fit nothing, the true centres in others."""
    centres = {name: (("y", "x"), da.from_array(cube[name].values, chunks=(11, 17))) for name in ("centre_y", "centre_x")}
    return cube.chunk(y=13, x=19).assign_coords(centres)


@pytest.mark.slow
def test_true_centres_are_worth_nearly_a_map_grid() -> None:
    """Within a decibel of the same scene on a map grid; taken for one itself the swath is many worse."""
    made, on_map, swath, _ = case()
    image = fused(swath, model=model())
    filled = np.isfinite(image).all(0)
    others = fused(on_map), image, fused(swath.drop_vars(["centre_y", "centre_x"]))
    scores = [psnr(made.truth[:, filled][:, None], other[:, filled][:, None]) for other in others]
    print("PSNR on the map grid, with true centres, with the grid as true: " + ", ".join(f"{s:.2f} dB" for s in scores))
    assert scores[1] > scores[0] - 1
    assert scores[1] > scores[2] + 5
    assert model().report["geometry"]["true_centres"]


def test_only_what_holds_no_data_is_nodata() -> None:
    """Pixels that the grid shows twice have no centre and are no gaps."""
    _, _, swath, _ = case()
    twice = np.isnan(swath.centre_y.values) & np.isfinite(swath.values).all(0)
    assert twice.sum() > 50
    expected = np.kron(np.isnan(swath.values[0]), np.ones((RATIO, RATIO), bool))
    assert np.array_equal(np.isnan(fused(swath, model=model())[0]), expected)


@pytest.mark.parametrize("scheduler", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_tiles_equal_the_whole(scheduler: str, tmp_path: Path) -> None:
    """Lazy, in tiles and by other processes, with a model that was saved: what the whole scene in memory gives."""
    _, _, swath, _ = case()
    again = geofuse.Model.load(model().save(tmp_path / "model.safetensors"))
    whole = fused(swath, model=model(), tile=1000)
    with dask.config.set(scheduler=scheduler, num_workers=2):
        tiled = fused(lazy(swath), model=again, tile=48)
    assert np.array_equal(np.isnan(tiled), np.isnan(whole))
    assert np.nanmax(np.abs(tiled - whole)) < 1e-4


def test_other_centres_are_another_image() -> None:
    """By its name in dask, from which a run that resumes knows its tiles."""
    _, _, swath, msi = case()
    moved = swath.assign_coords(centre_x=swath.centre_x + 1.0)
    names = [geofuse.fuse(lazy(cube), msi, model=model(), progress=False).data.name for cube in (swath, swath, moved)]
    assert names[0] == names[1] != names[2]


@pytest.mark.slow
def test_the_reduced_scene_is_that_of_a_map_grid() -> None:
    """What methods are compared on is interpolated at the centres of the grid: nearer to what a map product shows than the nearest pixels are."""
    made, _, swath, msi = case()
    scene = pair(swath, msi)
    prepared, settings = prepare(scene, Settings("sylvester", progress=False), lambda step: None)
    found = reduce(prepared, read_windows(scene, [validation_window(scene.pair)])[0], settings)
    assert found is not None
    truth = found[1]
    known = np.isfinite(truth).all(0)
    assert known.mean() > 0.8
    rows, cols = known.shape
    nearest = gridded(scan(made.truth, RATIO), (50, 50), RATIO)[0]
    errors = [np.sqrt(np.mean((image[:, :rows, :cols] - made.hsi[:, :rows, :cols])[:, known] ** 2)) for image in (truth, nearest)]
    assert errors[0] < 0.4 * errors[1]


def test_centres_that_lie_elsewhere_are_rejected() -> None:
    """In degrees, say, beside a grid in metres."""
    _, _, swath, msi = case()
    with pytest.raises(InvalidCube, match=r"true centre within 1 pixel .*leave them out"):
        geofuse.fit(swath.assign_coords(centre_y=swath.centre_y / 1e5, centre_x=swath.centre_x / 1e5), msi, progress=False)
