"""The mosaic of any tile size equals the untiled result; lazy in, lazy out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from affine import Affine
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import geofuse
from geofuse.cube.schema import wrap
from geofuse.methods.gem.filters import ComplementaryFilters
from geofuse.methods.gem.method import FittedGem
from geofuse.model import Model
from geofuse.pair.grid import GridPair, Window
from geofuse.pair.psf.builder import PsfBuilder
from geofuse.pair.scene import Scene
from geofuse.run.graph import lazy_mosaic
from tests.crops import small_cubes, small_model

REQUIREMENT = 1e-4  # reflectance


@pytest.fixture(scope="module")
def cubes(berlin: tuple[Path, Path]) -> tuple[xr.DataArray, xr.DataArray]:
    """36 × 34 coarse pixels of Berlin and every third band, in memory: larger than two halos, so that tiles do not see the whole scene."""
    hsi, msi = geofuse.open_hsi(berlin[0]).compute(), geofuse.open_msi(berlin[1]).compute()
    hsi = hsi.isel(band=slice(None, None, 3), y=slice(20, 56), x=slice(10, 44))
    return hsi, msi.sel(y=slice(float(hsi.y[0]) + 15, float(hsi.y[-1]) - 15), x=slice(float(hsi.x[0]) - 15, float(hsi.x[-1]) + 15))


@pytest.fixture(scope="module", params=["sylvester", "gem", pytest.param("gem with filters", marks=pytest.mark.slow)])
def model(request: pytest.FixtureRequest, cubes: tuple[xr.DataArray, xr.DataArray]) -> Model:
    found = geofuse.fit(*cubes, method=request.param.partition(" ")[0], progress=False)
    if request.param != "gem with filters":
        return found
    fitted = found.fitted
    assert isinstance(fitted, FittedGem)  # filters that do something, whatever this scene has to teach
    rank, scale = fitted.gem.coordinates.rank, fitted.gem.guide.scale
    weight = 0.02 * np.random.default_rng(0).normal(size=(rank, 4 * (rank + len(scale))))
    return replace(found, fitted=replace(fitted, filters=ComplementaryFilters(weight, scale)))


@pytest.mark.parametrize("tile", [64, pytest.param(150, marks=pytest.mark.slow)])
def test_tiles_equal_the_whole(model: Model, cubes: tuple[xr.DataArray, xr.DataArray], tile: int) -> None:
    whole = geofuse.fuse(*cubes, model=model, tile=5000, progress=False)
    tiled = geofuse.fuse(*cubes, model=model, tile=tile, progress=False)
    difference = float(np.abs(tiled - whole).max())
    print(f"{model.method}, tiles of {tile}: largest difference {difference:.1e}")
    assert np.array_equal(np.isnan(tiled), np.isnan(whole))
    assert difference <= REQUIREMENT


def test_a_halo_is_needed(cubes: tuple[xr.DataArray, xr.DataArray], monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above can fail: without a halo the tiles disagree with the whole."""
    model = geofuse.fit(*cubes, method="sylvester", progress=False)
    whole = geofuse.fuse(*cubes, model=model, tile=5000, progress=False)
    monkeypatch.setattr(Model, "halo", 0)
    assert float(np.abs(geofuse.fuse(*cubes, model=model, tile=64, progress=False) - whole).max()) > 10 * REQUIREMENT


@pytest.mark.parametrize("method", ["sylvester", pytest.param("gem", marks=pytest.mark.slow)])
def test_nodata_does_not_spread_over_tiles(cubes: tuple[xr.DataArray, xr.DataArray], method: str) -> None:
    hsi, msi = cubes
    hsi, msi = hsi.copy(), msi.copy()
    hsi[:, 10:12, 8:9] = np.nan
    msi[:, 200:230, 40:90] = np.nan
    model = geofuse.fit(hsi, msi, method=method, progress=False)
    whole = geofuse.fuse(hsi, msi, model=model, tile=5000, progress=False)
    tiled = geofuse.fuse(hsi, msi, model=model, tile=64, progress=False)
    assert np.array_equal(np.isnan(tiled), np.isnan(whole))
    assert float(np.abs(tiled - whole).max()) <= REQUIREMENT
    # Fine pixels whose centre lies on a coarse pixel without data, and those of the MSI without data: worked out from coordinates alone.
    lost = msi.isel(band=0).isnull().sel(y=whole.y, x=whole.x, method="nearest")
    coarse_lost = hsi.isel(band=0).isnull().sel(y=whole.y, x=whole.x, method="nearest").values
    assert np.array_equal(whole.isel(band=0).isnull().values, lost.values | coarse_lost)


def test_lazy_in_lazy_out_and_nothing_is_fitted_again(cubes: tuple[xr.DataArray, xr.DataArray], monkeypatch: pytest.MonkeyPatch) -> None:
    hsi, msi = (cube.chunk() for cube in cubes)
    fused = geofuse.fuse(hsi, msi, method="sylvester", tile=100, progress=False)
    assert isinstance(fused.data, da.Array)
    monkeypatch.setattr("geofuse.pipeline.fit.fit_scene", None)
    with dask.config.set(scheduler="synchronous"):
        corner = fused[:, :20, :20].compute()
    assert corner.shape == (59, 20, 20)
    assert bool(np.isfinite(corner).all())


class Surveyor:
    """A model that returns the place of every pixel (row, column and 1), and notes what it was given."""

    def __init__(self, halo: int, tiled: bool = True, planes: int = 177) -> None:
        self.halo, self.tiled, self.planes = halo, tiled, planes
        self.given: list[tuple[tuple[int, ...], tuple[int, ...], Window, Window]] = []

    def builder(self, pair: GridPair) -> PsfBuilder:
        return PsfBuilder(pair, (pair.ratio / 2, pair.ratio / 2))

    def apply(
        self, hsi: np.ndarray, msi: np.ndarray, pair: GridPair, fine: Window, coarse: Window, device: str, core: Window
    ) -> np.ndarray:
        self.given.append((hsi.shape, msi.shape, fine, coarse))
        rows, cols = np.mgrid[core.slices]
        return np.concatenate([rows[None], cols[None], np.ones((self.planes - 2, *core.shape))]).astype(np.float32)


@settings(max_examples=8, deadline=None, phases=[Phase.generate])  # shrinking would take minutes
@given(tile=st.integers(16, 200), halo=st.integers(0, 60), group=st.integers(1, 4))
def test_every_tile_lands_in_its_place_and_gets_its_halo_alone(tile: int, halo: int, group: int) -> None:
    scene, model = Scene.of(*small_cubes()), Surveyor(halo)
    output, size = scene.pair.output, scene.pair.fine.shape
    mosaic = lazy_mosaic(scene, model, tile, group=group)  # type: ignore[arg-type]
    assert mosaic.shape == (177, *output.shape)
    assert max(mosaic.chunks[1] + mosaic.chunks[2]) <= tile
    assert model.given == [], "nothing is computed before it is asked for"
    expected = np.mgrid[output.slices]
    assert np.array_equal(mosaic.compute(scheduler="synchronous")[:2], expected)
    assert len(model.given) == mosaic.npartitions
    for hsi, msi, fine, coarse in model.given:
        assert hsi == (177, *coarse.shape)
        assert msi == (4, *fine.shape)
        assert max(fine.shape) <= tile + 2 * halo
        assert 0 <= fine.top < fine.bottom <= size[0]
        assert 0 <= fine.left < fine.right <= size[1]


def test_a_model_that_is_not_local_gets_the_whole_scene_at_once() -> None:
    scene, model = Scene.of(*small_cubes()), Surveyor(0, tiled=False)
    mosaic = lazy_mosaic(scene, model, 20)  # type: ignore[arg-type]
    assert mosaic.npartitions == 1
    assert np.array_equal(mosaic.compute(scheduler="synchronous")[:2], np.mgrid[scene.pair.output.slices])
    assert [(fine.shape, coarse.shape) for _, _, fine, coarse in model.given] == [(scene.pair.fine.shape, scene.pair.coarse.shape)]


def test_a_task_is_a_tile() -> None:
    """The model travels once, not with every tile: the graph does not grow with its size."""
    scene, model = Scene.of(*small_cubes()), Surveyor(10)
    graph = dict(lazy_mosaic(scene, model, 40).__dask_graph__())  # type: ignore[arg-type]
    names = [key if isinstance(key, str) else key[0] for key in graph]
    assert sum(name.startswith("fuse_tile") for name in names) == 12
    assert sum(name.startswith("Surveyor") for name in names) == 1


class Counting:
    """An image that counts the pixels that are read from it."""

    ndim, dtype = 3, np.dtype(np.float32)

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.read = shape, 0

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, cols = (range(*s.indices(n)) for s, n in zip(key[1:], self.shape[1:], strict=True))
        self.read += len(rows) * len(cols)
        return np.zeros((self.shape[0], len(rows), len(cols)), np.float32)


@pytest.mark.parametrize(("group", "limit"), [(1, 2.0), (3, 1.3)])
def test_a_group_reads_together(group: int, limit: float) -> None:
    """Pixels read of each image, over its pixels; the chunks of the source do not matter."""
    sources = Counting((8, 288, 288)), Counting((4, 2400, 2400))
    cubes = [
        wrap(
            da.from_array(source, chunks=(-1, chunk, chunk), lock=False, asarray=False, fancy=True, meta=np.empty((0, 0, 0), np.float32)),
            transform=Affine(pixel, 0, 4e5, 0, -pixel, 5.8e6),
            crs=32633,
            names=[str(k) for k in range(source.shape[0])],
        )
        for source, chunk, pixel in zip(sources, (100, 700), (30.0, 3.6), strict=True)
    ]
    for source in sources:
        source.read = 0
    mosaic = lazy_mosaic(Scene.of(*cubes), Surveyor(75, planes=8), 400, group=group)  # type: ignore[arg-type]
    assert mosaic.map_blocks(lambda tile: tile[:1, :1, :1], dtype="f4").sum().compute(scheduler="threads") > 0
    for source in sources:
        assert 1 <= source.read / (source.shape[1] * source.shape[2]) <= limit


def test_the_same_mosaic_has_the_same_name(tmp_path: Path) -> None:
    """So that an interrupted run is known again in another process; and another model or tile makes another image."""
    scene, model = Scene.of(*small_cubes()), small_model()
    again = Model.load(model.save(tmp_path / "m.safetensors"))
    name = lazy_mosaic(scene, model, 70).name
    assert lazy_mosaic(Scene.of(*small_cubes()), again, 70).name == name
    assert lazy_mosaic(scene, model, 71).name != name
    assert lazy_mosaic(scene, small_model("sylvester"), 70).name != name


def test_processes_are_handed_the_way_to_the_pixels() -> None:
    """And not the pixels, which would be packed for each tile of a group."""
    scene, model = Scene.of(*small_cubes()), small_model()
    with dask.config.set(scheduler="processes"):
        mosaic = lazy_mosaic(scene, model, 70, group=2)
    graph = dict(mosaic.__dask_graph__())
    tasks = {key: task for key, task in graph.items() if key[0] == mosaic.name}
    assert len(graph) == len(tasks) + 2, "model, grids, tiles: nothing that reads"
    assert max(len(cloudpickle.dumps(task)) for task in tasks.values()) < 30_000
    shared = lazy_mosaic(scene, model, 70, group=2)
    assert mosaic.name == shared.name
    assert np.array_equal(mosaic.compute(scheduler="synchronous"), shared.compute(scheduler="synchronous"), equal_nan=True)
