"""A Zarr store as others read it: the numbers of the COG of the same cube at every level, complete or absent, resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dask
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  registers .rio
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import geofuse
import geofuse.io.write.zarr as module
from geofuse.cube.schema import wrap
from geofuse.errors import InvalidOutput, RunError
from geofuse.io.read.fingerprint import content_sha256
from geofuse.io.write.cog import write_cog
from geofuse.io.write.engine import Receipt
from geofuse.io.write.zarr import write_zarr
from tests.io.write.test_cog import GRID, scene
from tests.io.write.test_resume import Source as CogSource


class Source(CogSource):
    """As for COGs, written as a store."""

    def stopped(self, path: Path, after: int, **options: object) -> None:
        self.computed, self.stop_after = 0, after
        with pytest.raises(KeyboardInterrupt), dask.config.set(scheduler="synchronous"):
            self.write(path, **options)
        self.computed, self.stop_after = 0, 10**9

    def write(self, path: Path, **options: object) -> None:
        write_zarr(self.cube(), path, progress=False, block=64, **options)  # type: ignore[arg-type]


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def levels(store: Path) -> list[np.ndarray]:
    """Stored numbers of the image and of each overview."""
    root = zarr.open_group(store, mode="r")
    return [root[f"{level}/reflectance" if level else "reflectance"][:] for level in range(len(root.attrs["multiscales"]["layout"]))]


def same_store(one: Path, other: Path) -> bool:
    """To the byte, but for nothing."""
    return content_sha256(one) == content_sha256(other)


@pytest.fixture(scope="module", params=["int16", "float32"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[xr.DataArray, Receipt, Receipt]:
    """A cube of three levels with gaps, its store, and its COG."""
    cube, folder = scene(5, chunks=100), tmp_path_factory.mktemp("zarr")
    options = {"dtype": request.param, "progress": False, "block": 256}
    return cube, write_zarr(cube, folder / "a.zarr", **options), write_cog(cube, folder / "a.tif", **options)


Pair = tuple[xr.DataArray, Receipt, Receipt]


class TestContent:
    def test_the_numbers_are_those_of_the_cog_at_every_level(self, pair: Pair) -> None:
        _, store, cog = pair
        found = levels(store.path)
        assert len(found) == 3
        for level, numbers in enumerate(found):
            with rasterio.open(cog.path, **({"overview_level": level - 1} if level else {})) as file:
                np.testing.assert_array_equal(numbers, file.read())

    def test_zarr_finds_version_3_sharded_and_consolidated(self, pair: Pair) -> None:
        root = zarr.open_consolidated(pair[1].path)
        assert root.metadata.zarr_format == 3
        assert "reflectance" in root.metadata.consolidated_metadata.flattened_metadata
        image = root["reflectance"]
        assert image.shards == (5, 256, 256)
        assert image.chunks == (5, 128, 128)
        codecs = json.loads((pair[1].path / "reflectance/zarr.json").read_text())["codecs"]
        assert [codec["name"] for codec in codecs] == ["sharding_indexed"]
        assert image.metadata.dimension_names == ("band", "y", "x")
        shards = [path for path in (pair[1].path / "reflectance/c").rglob("*") if path.is_file()]
        assert len(shards) == 3 * 3

    def test_xarray_opens_every_level(self, pair: Pair) -> None:
        cube, store, _ = pair
        for level in range(3):
            with xr.open_zarr(store.path, group=str(level) if level else None, consolidated=True) as dataset:
                image = dataset.reflectance
                assert image.chunks is not None, "lazy"
                assert image.sizes == {"band": 5, "y": -(-700 // 2**level), "x": -(-600 // 2**level)}
                assert float(image.x[0]) == pytest.approx(383469.97 + 3.6 * 2**level / 2)
                for key in ("wavelength", "fwhm", "good"):
                    np.testing.assert_array_equal(image[key].values, cube[key].values)
                assert list(map(str, image.band.values)) == list(cube.band.values)
                if level == 0:
                    np.testing.assert_array_equal(np.isnan(image.values), np.isnan(cube.values))
                    np.testing.assert_allclose(image.values, cube.values, rtol=0, atol=0.5e-4 + 1e-7)
            with xr.open_zarr(store.path / (str(level) if level else "."), consolidated=True) as alone:
                assert alone.sizes == dataset.sizes

    def test_whoever_opens_the_store_sees_the_image_and_nothing_before_it(self, pair: Pair) -> None:
        cube, store, _ = pair
        for opened in (
            xr.open_zarr(store.path),
            xr.open_zarr(store.path, consolidated=False),
            xr.open_dataset(store.path, engine="zarr", chunks={}),
        ):
            with opened as dataset:
                assert list(dataset.data_vars) == ["reflectance"]
                assert dataset.reflectance.shape == cube.shape
                np.testing.assert_allclose(dataset.reflectance[:, :9, :9].values, cube[:, :9, :9].values, rtol=0, atol=0.5e-4 + 1e-7)

    def test_rioxarray_finds_crs_and_transform(self, pair: Pair) -> None:
        with xr.open_zarr(pair[1].path) as dataset:
            for seen in (dataset.rio, dataset.reflectance.rio):
                assert seen.crs == rasterio.crs.CRS.from_epsg(32633)
                assert seen.transform() == GRID
            assert dataset.reflectance.attrs["grid_mapping"] == "spatial_ref"
        with xr.open_zarr(pair[1].path, group="1") as dataset:
            assert tuple(dataset.rio.transform())[:6] == pytest.approx((7.2, 0, 383469.97, 0, -7.2, 5818303.55))

    def test_cf_attributes(self, pair: Pair) -> None:
        with xr.open_zarr(pair[1].path, mask_and_scale=False) as dataset:
            attrs, stored = dataset.reflectance.attrs, dataset.reflectance.dtype
        if stored == np.int16:
            assert {key: attrs[key] for key in ("scale_factor", "add_offset", "_FillValue")} == {
                "scale_factor": 1e-4,
                "add_offset": 0.0,
                "_FillValue": -32768,
            }
        else:
            assert np.isnan(attrs["_FillValue"])
            assert "scale_factor" not in attrs
        assert attrs["units"] == "1"
        assert zarr.open_group(pair[1].path).attrs["Conventions"].startswith("CF-")

    def test_statistics_are_those_of_the_stored_numbers(self, pair: Pair) -> None:
        with xr.open_zarr(pair[1].path, mask_and_scale=False) as dataset:
            gaps = np.isnan(pair[0].values)
            numbers = np.where(gaps, np.nan, dataset.reflectance.values.astype(np.float64))
        with xr.open_zarr(pair[1].path, group="statistics") as table:
            found = {str(name): column.values for name, column in table.data_vars.items()}
        for name, function in (("minimum", np.nanmin), ("maximum", np.nanmax), ("mean", np.nanmean), ("stddev", np.nanstd)):
            np.testing.assert_allclose(found[name], function(numbers, axis=(1, 2)), rtol=1e-9)
        np.testing.assert_allclose(found["valid_percent"], 100 * (~gaps).mean(axis=(1, 2)))

    def test_geofuse_opens_the_same_cube_as_from_the_cog(self, pair: Pair, tmp_path: Path) -> None:
        _, store, cog = pair
        from_store, from_cog = geofuse.open_hsi(store.path), geofuse.open_hsi(cog.path)
        assert from_store.chunks is not None
        assert_same_but_for_its_place(from_store, from_cog)
        assert from_store.spatial_ref.attrs == from_cog.spatial_ref.attrs
        dtype = str(from_store.encoding["dtype"])
        again = write_zarr(from_store, tmp_path / "b.zarr", dtype=dtype, progress=False, block=256)
        for one, two in zip(levels(store.path), levels(again.path), strict=True):
            np.testing.assert_array_equal(one, two)

    def test_the_receipt_is_about_the_folder(self, pair: Pair) -> None:
        _, store, cog = pair
        files = sorted(path for path in store.path.rglob("*") if path.is_file())
        assert store.size == sum(path.stat().st_size for path in files)
        assert (store.windows_checked, store.clipped, store.valid_percent) == (cog.windows_checked, cog.clipped, cog.valid_percent)
        said = subprocess.run(
            "find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum", shell=True, cwd=store.path, capture_output=True, check=True
        )
        assert said.stdout.split()[0].decode() == store.sha256
        assert left_in(store.path.parent) == ["a.tif", "a.zarr"]

    def test_what_gdal_makes_of_it(self, pair: Pair) -> None:
        """Version 3.13 is the first to read shards (the wheel of rasterio 1.4 has 3.10): until then it says why not."""
        address = f'ZARR:"{pair[1].path}":/reflectance'
        if tuple(map(int, rasterio.__gdal_version__.split(".")[:2])) < (3, 13):
            with pytest.raises(rasterio.errors.RasterioIOError, match="sharding_indexed"):
                rasterio.open(address)
            return
        with rasterio.open(address) as file:
            np.testing.assert_array_equal(file.read(), levels(pair[1].path)[0])


def test_what_holds_no_data_takes_no_space(tmp_path: Path) -> None:
    cube = scene(2, 200, 200)
    cube.values[:, :128, :64] = np.nan
    path = write_zarr(cube, tmp_path / "a.zarr", progress=False, block=64).path
    shards = {shard.relative_to(path / "reflectance/c/0").as_posix() for shard in (path / "reflectance/c/0").rglob("*") if shard.is_file()}
    assert shards == {f"{row}/{col}" for row in range(4) for col in range(4)} - {"0/0", "1/0"}
    assert (levels(path)[0][:, :128, :64] == -32768).all()


def assert_same_but_for_its_place(one: xr.DataArray, other: xr.DataArray) -> None:
    assert json.loads(one.attrs["geofuse_source"])["href"].endswith(".zarr")
    assert json.loads(other.attrs["geofuse_source"])["href"].endswith(".tif")
    xr.testing.assert_identical(*(cube.assign_attrs(geofuse_source=None) for cube in (one, other)))


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_round_trip_of_any_cube(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    bands, rows, cols = (data.draw(st.integers(1, high)) for high in (20, 150, 150))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    values = rng.uniform(-0.1, 3.0, (bands, rows, cols)).astype(np.float32)
    values[rng.random(values.shape) < data.draw(st.sampled_from([0.0, 0.3]))] = np.nan
    values[0, 0, 0] = 0.5
    names = data.draw(st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8), min_size=bands, max_size=bands))
    cube = wrap(values, transform=GRID, crs=data.draw(st.sampled_from([32633, 3035, 4326])), names=names)
    folder, block = tmp_path_factory.mktemp("any"), data.draw(st.sampled_from([64, 128]))
    store = write_zarr(cube, folder / "a.zarr", progress=False, block=block)
    cog = write_cog(cube, folder / "a.tif", progress=False, block=block)
    assert_same_but_for_its_place(geofuse.open_msi(store.path), geofuse.open_msi(cog.path))
    for level, numbers in enumerate(levels(store.path)):
        with rasterio.open(cog.path, **({"overview_level": level - 1} if level else {})) as file:
            np.testing.assert_array_equal(numbers, file.read())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "whole.zarr"
    Source().write(path)
    return path


class TestStopped:
    @pytest.mark.parametrize("after", [1, 11])
    def test_only_unfinished_tiles_are_computed(self, whole: Path, tmp_path: Path, after: int) -> None:
        source, path = Source(), tmp_path / "a.zarr"
        source.stopped(path, after)
        assert left_in(tmp_path) == [".a.zarr.geofuse"]
        source.write(path)
        assert source.computed == source.tiles - after
        assert left_in(tmp_path) == ["a.zarr"]
        assert same_store(path, whole)

    def test_while_shards_are_filled(self, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        source, path, count = Source(), tmp_path / "a.zarr", []
        genuine = module._window

        def window(*given: object) -> np.ndarray:
            count.append(given)
            if len(count) == 5:
                raise KeyboardInterrupt
            return genuine(*given)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(module, "_window", window)
            with pytest.raises(KeyboardInterrupt, match="resume from there"):
                source.write(path)
        assert (tmp_path / ".a.zarr.geofuse" / "final.zarr" / "reflectance").is_dir()
        source.computed = 0
        source.write(path)
        assert source.computed == 0
        assert same_store(path, whole)

    def test_afresh(self, whole: Path, tmp_path: Path) -> None:
        source, path = Source(), tmp_path / "a.zarr"
        source.stopped(path, 4)
        (tmp_path / ".a.zarr.geofuse" / "final.zarr").mkdir()
        source.write(path, resume=False)
        assert source.computed == source.tiles
        assert same_store(path, whole)

    def test_killed_between_the_two_renames(self, tmp_path: Path) -> None:
        path = tmp_path / "a.zarr"
        write_zarr(scene(2, 100, 90), path, progress=False)
        killed = subprocess.run([sys.executable, "-c", BETWEEN, str(path)], check=False, timeout=120)
        assert killed.returncode == 9
        assert left_in(tmp_path) == [".a.zarr.geofuse"]
        source = Source()
        source.write(path, overwrite=True)
        assert source.computed == 0, "all of it had been done"
        assert left_in(tmp_path) == ["a.zarr"]
        assert len(levels(path)[0]) == 3


class TestInPlace:
    def test_an_existing_store_is_refused_or_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "a.zarr"
        write_zarr(scene(2, 100, 90), path, progress=False)
        before = content_sha256(path)
        with pytest.raises(InvalidOutput, match="exists"):
            write_zarr(scene(3, 100, 90), path, progress=False)
        assert content_sha256(path) == before
        write_zarr(scene(3, 100, 90), path, overwrite=True, progress=False)
        assert len(levels(path)[0]) == 3
        assert left_in(tmp_path) == ["a.zarr"]

    def test_a_folder_that_is_no_store_is_never_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "a.zarr"
        path.mkdir()
        (path / "thesis.txt").write_text("precious")
        with pytest.raises(InvalidOutput, match="no Zarr store"):
            write_zarr(scene(2, 100, 90), path, overwrite=True, progress=False)
        assert (path / "thesis.txt").read_text() == "precious"

    def test_the_old_store_comes_back_where_the_new_one_cannot_go(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "a.zarr"
        write_zarr(scene(2, 100, 90), path, progress=False)
        before, genuine = content_sha256(path), os.replace

        def replace(source: Path, target: Path) -> None:
            if source.name == "final.zarr":
                raise OSError("no")
            genuine(source, target)

        monkeypatch.setattr("geofuse.io.write.workspace.os.replace", replace)
        with pytest.raises(RunError, match="no"):
            write_zarr(scene(3, 100, 90), path, overwrite=True, progress=False)
        assert content_sha256(path) == before

    @pytest.mark.parametrize(
        ("name", "said"), [("a.tif", r"must end in \.zarr"), ("a", r"must end in \.zarr"), ("no/a.zarr", "does not exist")]
    )
    def test_other_names_are_rejected(self, name: str, said: str, tmp_path: Path) -> None:
        with pytest.raises(InvalidOutput, match=said):
            geofuse.to_zarr(scene(1, 20, 20), tmp_path / name, progress=False)
        with pytest.raises(InvalidOutput, match="to_zarr"):
            geofuse.to_cog(scene(1, 20, 20), tmp_path / "a.zarr", progress=False)
        assert left_in(tmp_path) == []

    def test_a_full_disk_is_noticed_before(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
        with pytest.raises(InvalidOutput, match="free some space"):
            write_zarr(scene(1, 100, 100), tmp_path / "a.zarr", progress=False)

    def test_without_the_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "zarr", None)
        with pytest.raises(InvalidOutput, match=r"pip install 'geofuse\[zarr\]'"):
            write_zarr(scene(1, 20, 20), tmp_path / "a.zarr", progress=False)


@pytest.mark.parametrize("level", [0, 1])
def test_a_byte_that_changed_on_the_way_is_noticed(level: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = module.fill_store

    def spoil(store: Path, *given: object) -> None:
        genuine(store, *given)  # type: ignore[arg-type]
        array = zarr.open_array(store, path=f"{level}/reflectance" if level else "reflectance", mode="r+")
        array[0, -1, -1] = array[0, -1, -1] + 1

    monkeypatch.setattr(module, "fill_store", spoil)
    with pytest.raises(RunError, match="1 of 4 windows read back differ" if level == 0 else "overview 1 read back differs"):
        write_zarr(scene(1, 100, 100), tmp_path / "a.zarr", progress=False, block=64)
    assert left_in(tmp_path) == []


def test_another_grid_read_back_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = module.level_geobox
    monkeypatch.setattr(module, "level_geobox", lambda box, level: genuine(box.pad(0), level).translate_pix(1, 0))
    with pytest.raises(RunError, match="the grid"):
        write_zarr(scene(1, 100, 100), tmp_path / "a.zarr", progress=False)


BETWEEN = """
import os, sys
from pathlib import Path
import geofuse.io.write.workspace as workspace
from tests.io.write.test_zarr import Source
workspace._replace = lambda new, target, aside: os.replace(target, aside) or os._exit(9)
Source().write(Path(sys.argv[1]), overwrite=True)
"""

KILLED = """
import sys
from tests.io.write.test_zarr import Source
Source(rows=400, cols=400, chunk=32).write(__import__("pathlib").Path(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """What nobody killed, and the seconds that it took."""
    path, begun = tmp_path_factory.mktemp("undisturbed") / "a.zarr", time.monotonic()
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=True)
    return path, time.monotonic() - begun


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_killed_at_random(seed: int, tmp_path: Path, undisturbed: tuple[Path, float]) -> None:
    path, draw = tmp_path / "a.zarr", np.random.default_rng(seed)
    whole, life = undisturbed
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stderr=subprocess.DEVNULL)
        time.sleep(draw.uniform(0.4, 1.0) * life)
        process.send_signal(signal.SIGKILL)
        process.wait()
    if not path.exists() or (tmp_path / ".a.zarr.geofuse").exists():
        subprocess.run([sys.executable, "-c", KILLED, str(path)], check=True)
    assert same_store(path, whole)
    assert left_in(tmp_path) == ["a.zarr"]
