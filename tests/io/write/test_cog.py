from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import warnings
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rio_cogeo.cogeo import cog_info, cog_validate

import geofuse.io.write.cog as cog
from geofuse.cube.schema import geobox, wrap
from geofuse.errors import InvalidCube, InvalidOutput, RunError
from geofuse.io.read.open import open_hsi, open_msi
from geofuse.io.write.cog import write_cog
from geofuse.io.write.engine import Receipt
from geofuse.io.write.space import check_space
from geofuse.io.write.staging import StagingRaster
from geofuse.io.write.statistics import BandStatistics

GRID = Affine(3.6, 0, 383469.97, 0, -3.6, 5818303.55)


def scene(bands: int = 3, rows: int = 700, cols: int = 600, chunks: int | None = None, seed: int = 0) -> xr.DataArray:
    rng = np.random.default_rng(seed)
    data = rng.uniform(-0.02, 1.1, (bands, rows, cols)).astype(np.float32)
    data[:, : rows // 5, : cols // 3] = np.nan
    wavelength = 400 + np.arange(bands) * 10 / 3
    return wrap(
        da.from_array(data, chunks=(bands, chunks, chunks)) if chunks else data,
        transform=GRID,
        crs=32633,
        names=[f"{nm:.2f} nm" for nm in wavelength],
        wavelength=wavelength,
        fwhm=np.linspace(5, 7, bands),
    )


def failing(error: type[BaseException], after: int = 3) -> xr.DataArray:
    """A lazy cube of four tiles, of which only the first so many can be computed."""
    computed: list[object] = []

    def fail(block: np.ndarray, block_id: tuple[int, ...]) -> np.ndarray:
        computed.append(block_id)
        if len(computed) > after:
            raise error
        return block

    cube = scene(1, 64, 64, chunks=32)
    return cube.copy(data=cube.data.map_blocks(fail, dtype="float32", meta=np.empty((0, 0, 0), "f4")))


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def cube() -> xr.DataArray:
    return scene(5)


@pytest.fixture(scope="module")
def receipt(cube: xr.DataArray, tmp_path_factory: pytest.TempPathFactory) -> Receipt:
    path = tmp_path_factory.mktemp("cog") / "a.tif"
    return write_cog(cube, path, progress=False, extra_tags={"licence": "CC BY-SA 4.0"})


class TestContent:
    def test_it_is_a_valid_cog(self, receipt: Receipt) -> None:
        valid, errors, said = cog_validate(receipt.path, strict=True)
        assert valid, (errors, said)
        info = cog_info(receipt.path)
        assert info.COG
        assert info.Compression == "DEFLATE"
        assert [(level.Decimation, level.Blocksize) for level in info.IFD] == [(0, (512, 512)), (2, (512, 512))]

    def test_rasterio_reads_what_was_written(self, receipt: Receipt, cube: xr.DataArray) -> None:
        with rasterio.open(receipt.path) as file:
            raw = file.read()
            assert file.dtypes == ("int16",) * 5
            assert set(file.nodatavals) == {-32768.0}
            assert set(file.scales) == {1e-4}
            assert set(file.offsets) == {0.0}
            assert file.transform == GRID
            assert file.crs == rasterio.crs.CRS.from_epsg(32633)
            assert file.descriptions == tuple(cube.band.values)
            assert file.interleaving.name == "band"
            assert file.tags()["AREA_OR_POINT"] == "Area"
            assert file.tags()["TIFFTAG_SOFTWARE"].startswith("geofuse")
            assert file.tags()["licence"] == "CC BY-SA 4.0"
            for band in file.indexes:
                tags, imagery = file.tags(band), file.tags(band, ns="IMAGERY")
                assert float(tags["wavelength"]) == float(cube.wavelength[band - 1])
                assert float(tags["fwhm"]) == float(cube.fwhm[band - 1])
                assert tags["wavelength_units"] == "nm"
                assert float(imagery["CENTRAL_WAVELENGTH_UM"]) == pytest.approx(float(cube.wavelength[band - 1]) / 1000, rel=1e-12)
                assert float(imagery["FWHM_UM"]) == pytest.approx(float(cube.fwhm[band - 1]) / 1000, rel=1e-12)
        np.testing.assert_array_equal(raw == -32768, np.isnan(cube.values))
        assert np.nanmax(np.abs(raw * 1e-4 - np.where(raw == -32768, np.nan, cube.values.astype(np.float64)))) <= 0.5e-4 * (1 + 1e-9)

    def test_viewers_find_red_green_and_blue(self, tmp_path: Path) -> None:
        """The bands nearest to 665, 560 and 490 nm, whatever their order; the fourth is not taken for an alpha band."""
        made = scene(4, 40, 30).assign_coords(wavelength=("band", [700.0, 492.0, 561.0, 664.0]))
        for dtype in ("int16", "float32"):
            path = write_cog(made, tmp_path / f"{dtype}.tif", dtype=dtype, progress=False).path
            assert cog_validate(path, strict=True)[0]
            with rasterio.open(path) as file:
                assert [colour.name for colour in file.colorinterp[1:]] == ["blue", "green", "red"]
                assert file.colorinterp[0].name in ("gray", "undefined")
                assert {flags[0].name for flags in file.mask_flag_enums} == {"nodata"}

    def test_no_colours_where_there_is_no_visible_light(self, tmp_path: Path) -> None:
        made = scene(4, 40, 30).assign_coords(wavelength=("band", [850.0, 1610.0, 2190.0, 2300.0]))
        with rasterio.open(write_cog(made, tmp_path / "a.tif", progress=False).path) as file:
            assert not {"red", "green", "blue", "alpha"} & {colour.name for colour in file.colorinterp}

    @pytest.mark.parametrize(("compression", "tag"), [("deflate", "DEFLATE"), ("zstd", "ZSTD")])
    def test_compression_is_lossless_and_predicted(self, compression: str, tag: str, tmp_path: Path) -> None:
        made = scene(3, 96, 96)
        path = write_cog(made, tmp_path / "a.tif", compression=compression, progress=False).path
        with rasterio.open(path) as file:
            assert file.tags(ns="IMAGE_STRUCTURE")["COMPRESSION"] == tag
            assert file.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "2"
            raw = file.read(masked=True).filled(0) * 1e-4
        np.testing.assert_allclose(raw, np.nan_to_num(made.values), atol=0.51e-4)

    def test_statistics_are_those_of_the_pixels(self, receipt: Receipt) -> None:
        with rasterio.open(receipt.path) as file:
            for band in file.indexes:
                raw = file.read(band, masked=True)
                tags = {key: float(value) for key, value in file.tags(band).items() if key.startswith("STATISTICS_")}
                values = raw.compressed().astype(np.float64)
                assert tags["STATISTICS_MINIMUM"] == values.min()
                assert tags["STATISTICS_MAXIMUM"] == values.max()
                assert tags["STATISTICS_MEAN"] == pytest.approx(values.mean(), rel=1e-12)
                assert tags["STATISTICS_STDDEV"] == pytest.approx(values.std(), rel=1e-12)
                assert tags["STATISTICS_VALID_PERCENT"] == pytest.approx(100 * values.size / raw.size, rel=1e-3)

    def test_overviews_average_the_valid_pixels(self, receipt: Receipt) -> None:
        with rasterio.open(receipt.path) as file, rasterio.open(receipt.path, overview_level=0) as half:
            full = file.read(1, masked=True)[:700, :600].astype(np.float64).filled(np.nan).reshape(350, 2, 300, 2)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                expected = np.nanmean(full, axis=(1, 3))
            overview = half.read(1, masked=True).astype(np.float64).filled(np.nan)
            np.testing.assert_array_equal(np.isnan(overview), np.isnan(expected))
            assert np.nanmax(np.abs(overview - expected)) <= 0.5 + 1e-9

    def test_the_receipt_is_about_the_file(self, receipt: Receipt, cube: xr.DataArray) -> None:
        content = receipt.path.read_bytes()
        assert receipt.size == len(content)
        assert receipt.sha256 == hashlib.sha256(content).hexdigest()
        assert receipt.windows_checked == 5 * 2 * 2
        assert receipt.valid_percent == pytest.approx(100 * np.isfinite(cube.values).mean())
        assert left_in(receipt.path.parent) == ["a.tif"]

    def test_geofuse_opens_the_same_cube(self, receipt: Receipt, cube: xr.DataArray) -> None:
        again = open_hsi(receipt.path)
        np.testing.assert_array_equal(np.isnan(again.values), np.isnan(cube.values))
        np.testing.assert_allclose(again.values, cube.values, rtol=0, atol=0.5e-4 + 1e-7)
        for key in ("band", "wavelength", "fwhm", "good", "x", "y"):
            np.testing.assert_array_equal(again[key].values, cube[key].values)
        assert again.spatial_ref.attrs == cube.spatial_ref.attrs
        # and once more through: now nothing changes at all
        second = write_cog(again, receipt.path.with_name("b.tif"), progress=False)
        with rasterio.open(receipt.path) as one, rasterio.open(second.path) as two:
            np.testing.assert_array_equal(one.read(), two.read())
        second.path.unlink()


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_round_trip_of_any_cube(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    bands, rows, cols = (data.draw(st.integers(1, high)) for high in (4, 150, 150))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    values = rng.uniform(-0.1, 3.0, (bands, rows, cols)).astype(np.float32)
    values[rng.random(values.shape) < data.draw(st.sampled_from([0.0, 0.3]))] = np.nan
    values[0, 0, 0] = 0.5  # a cube without any data is rejected when it is opened
    chunks = data.draw(st.one_of(st.none(), st.tuples(st.integers(1, 4), st.integers(40, 150), st.integers(40, 150))))
    names = data.draw(st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8), min_size=bands, max_size=bands))
    unknown = st.one_of(st.just(float("nan")), st.floats(300, 2600)) if data.draw(st.booleans()) else st.floats(300, 2600)
    columns = {key: data.draw(st.lists(unknown, min_size=bands, max_size=bands)) for key in ("wavelength", "fwhm")}
    size, x, y = data.draw(st.floats(0.1, 1000)), data.draw(st.floats(1e5, 9e5)), data.draw(st.floats(1e5, 9e6))
    cube = wrap(
        da.from_array(values, chunks=chunks) if chunks else values,
        transform=Affine(size, 0, x, 0, -size * 1.5, y),
        crs=data.draw(st.sampled_from([32633, 3035, 25832])),
        names=names,
        good=data.draw(st.lists(st.booleans(), min_size=bands, max_size=bands)),
        **columns,
    )
    dtype = data.draw(st.sampled_from(["int16", "float32"]))
    receipt = write_cog(cube, tmp_path_factory.mktemp("trip") / "a.tif", dtype=dtype, block=64, progress=False)
    again = open_msi(receipt.path)
    assert cog_validate(receipt.path, strict=True)[0]
    assert geobox(again) == geobox(cube)
    for key in ("band", "wavelength", "fwhm", "good"):
        np.testing.assert_array_equal(again[key].values, cube[key].values)
    np.testing.assert_array_equal(np.isnan(again.values), np.isnan(values))
    np.testing.assert_allclose(again.values, values, rtol=0, atol=0.5e-4 + 2e-7 if dtype == "int16" else 0)


class TestStreaming:
    @pytest.mark.parametrize("chunks", [100, 256, 512, 601])
    def test_every_chunk_is_computed_once_and_any_chunks_give_one_file(self, tmp_path: Path, chunks: int) -> None:
        reference = write_cog(scene(2), tmp_path / "reference.tif", progress=False)
        computed: Counter[tuple[int, ...]] = Counter()
        lock = threading.Lock()

        def seen(block: np.ndarray, block_id: tuple[int, ...]) -> np.ndarray:
            with lock:
                computed[block_id] += 1
            return block

        cube = scene(2)
        lazy = cube.copy(data=da.from_array(cube.values, chunks=(1, chunks, chunks)).map_blocks(seen, dtype="float32"))
        lazy.encoding = cube.encoding
        computed.clear()
        receipt = write_cog(lazy, tmp_path / "a.tif", progress=False)
        assert set(computed.values()) == {1}
        assert len(computed) == lazy.data.npartitions
        with rasterio.open(reference.path) as one, rasterio.open(receipt.path) as two:
            np.testing.assert_array_equal(one.read(), two.read())

    def test_few_tiles_are_held_at_a_time(self, tmp_path: Path) -> None:
        """One a worker, and one that is being handed on."""
        alive, most, lock = 0, 0, threading.Lock()

        def count(step: int) -> None:
            nonlocal alive, most
            with lock:
                alive, most = alive + step, max(most, alive + step)

        def seen(block: np.ndarray) -> np.ndarray:
            tile = block.copy()
            count(1)
            weakref.finalize(tile, count, -1)
            return tile

        cube = scene(2, 500, 400, chunks=100)
        lazy = cube.copy(data=cube.data.map_blocks(seen, dtype="float32", meta=np.empty((0, 0, 0), "f4")))
        with dask.config.set(num_workers=3):
            write_cog(lazy, tmp_path / "a.tif", progress=False)
        assert 1 <= most <= 4
        assert alive == 0

    @pytest.mark.slow
    def test_memory_does_not_follow_the_scene(self, tmp_path: Path) -> None:
        program = """
import resource, sys
import dask, dask.array as da, numpy as np
from affine import Affine
from geofuse.cube.schema import wrap
from geofuse.io.write.cog import write_cog
side = int(sys.argv[1])
dask.config.set(num_workers=2)
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
data = da.random.default_rng(0).random((48, side, side), chunks=(48, 256, 256), dtype="float32") // 0.25 * 0.25  # packs quickly
cube = wrap(data, transform=Affine(1, 0, 5e5, 0, -1, 5e6), crs=32633, names=[""] * 48)
write_cog(cube, sys.argv[2], progress=False)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) / 1024)
"""
        grown = {}
        for side in (256, 1280):
            command = [sys.executable, "-c", program, str(side), str(tmp_path / f"{side}.tif")]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            grown[side] = float(done.stdout)
        assert grown[256] < 100, grown
        assert grown[1280] < 200, grown  # of 315 MB, or 471 MB with its int16 staging raster

    def test_progress_goes_to_stderr_in_ascii_or_nowhere(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        write_cog(scene(1, 64, 64), tmp_path / "quiet.tif", progress=False)
        assert capfd.readouterr() == ("", "")
        write_cog(scene(1, 64, 64), tmp_path / "shown.tif", progress=True)
        out, err = capfd.readouterr()
        assert out == ""
        assert "writing" in err
        assert err.isascii()


class TestRefusals:
    def never(self) -> xr.DataArray:
        def fail(block: np.ndarray) -> np.ndarray:
            raise AssertionError("something was computed")

        cube = scene(1, 64, 64, chunks=32)
        return cube.copy(data=cube.data.map_blocks(fail, dtype="float32", meta=np.empty((0, 0, 0), "f4")))

    def test_existing_output_stays(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        path.write_text("precious")
        with pytest.raises(InvalidOutput, match=r"exists.*overwrite"):
            write_cog(self.never(), path, progress=False)
        assert path.read_text() == "precious"
        assert left_in(tmp_path) == ["a.tif"]

    def test_folders(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidOutput, match="does not exist"):
            write_cog(self.never(), tmp_path / "none" / "a.tif", progress=False)
        with pytest.raises(InvalidOutput, match="is a folder"):
            write_cog(self.never(), tmp_path, progress=False, overwrite=True)
        assert left_in(tmp_path) == []

    @pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that nobody can write to")
    def test_unwritable_folder(self) -> None:
        with pytest.raises(InvalidOutput, match="cannot write into /proc"):
            write_cog(self.never(), "/proc/a.tif", progress=False)

    def test_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 1000})())
        with pytest.raises(InvalidOutput, match="GB are free"):
            write_cog(self.never(), tmp_path / "a.tif", progress=False)
        check_space([tmp_path / "a.tif"], 1000)

    def test_unknown_compression(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidOutput, match="expected deflate or zstd"):
            write_cog(scene(1, 32, 32), tmp_path / "a.tif", compression="lzw", progress=False)
        assert left_in(tmp_path) == []

    def test_other_arguments(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="int16"):
            write_cog(self.never(), tmp_path / "a.tif", dtype="uint8")
        with pytest.raises(ValueError, match="power of two"):
            write_cog(self.never(), tmp_path / "a.tif", block=500)
        with pytest.raises(InvalidCube, match="output: "):
            write_cog(self.never().drop_vars("spatial_ref"), tmp_path / "a.tif")


class TestFailures:
    """Whatever happens, the folder holds afterwards what it held before."""

    @pytest.fixture
    def old(self, tmp_path: Path) -> Path:
        path = tmp_path / "a.tif"
        path.write_text("precious")
        return path

    def untouched(self, old: Path) -> bool:
        return left_in(old.parent) == ["a.tif"] and old.read_text() == "precious"

    @pytest.mark.parametrize("error", [RunError, ZeroDivisionError, InvalidCube])
    def test_what_another_run_would_not_mend_leaves_nothing(self, old: Path, error: type[BaseException]) -> None:
        with pytest.raises(error), dask.config.set(scheduler="synchronous"):
            write_cog(failing(error), old, overwrite=True, progress=False)
        assert self.untouched(old)

    @pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError])
    def test_what_was_finished_is_kept(self, old: Path, error: type[BaseException]) -> None:
        with pytest.raises(RunError if error is OSError else error) as raised, dask.config.set(scheduler="synchronous"):
            write_cog(failing(error), old, overwrite=True, progress=False)
        assert error is MemoryError or "kept in .a.tif.geofuse" in str(raised.value)
        assert left_in(old.parent) == [".a.tif.geofuse", "a.tif"]
        assert old.read_text() == "precious"

    @pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError])
    def test_nothing_is_kept_where_nothing_was_finished_or_it_was_not_wanted(self, old: Path, error: type[BaseException]) -> None:
        for options in ({"cube": failing(error, after=0)}, {"cube": failing(error), "resume": False}):
            with pytest.raises(RunError if error is OSError else error), dask.config.set(scheduler="synchronous"):
                write_cog(**options, path=old, overwrite=True, progress=False)
            assert self.untouched(old)

    @pytest.mark.parametrize("step", ["_compress", "copy_here"])
    def test_while_finishing(self, old: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
        """A full disk: the tiles are kept, and the next run compresses them."""

        def fail(*args: Any, **kwargs: Any) -> None:
            raise OSError(28, "No space left on device")

        cube = scene(1, chunks=512)
        with monkeypatch.context() as patch:
            patch.setattr(cog, step, fail)
            with pytest.raises(RunError, match=r"No space left.*kept in \.a\.tif\.geofuse"):
                write_cog(cube, old, overwrite=True, progress=False)
        assert old.read_text() == "precious"
        write_cog(cube, old, overwrite=True, progress=False)
        assert left_in(old.parent) == ["a.tif"]
        assert open_hsi(old).shape == cube.shape

    def test_pixels_that_are_not_those_written(self, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def spoil(vrt: Path, final: Path, staging: StagingRaster, *args: Any) -> None:
            with staging.path(0).open("r+b") as file:
                pixel = staging.read(file.fileno(), 0, 1, (699, 599, 1, 1))
                staging.write(file.fileno(), 0, 1, 699, 599, pixel + pixel.dtype.type(1))
            compress(vrt, final, staging, *args)

        compress = cog._compress
        monkeypatch.setattr(cog, "_compress", spoil)
        with pytest.raises(RunError, match=r"1 of 12 windows.*band 2 at row 512, column 512"):
            write_cog(scene(3), old, overwrite=True, progress=False)
        assert self.untouched(old)

    def test_headers_without_pixels(self, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def empty(vrt: Path, final: Path, *args: Any) -> None:
            with rasterio.open(vrt) as file, rasterio.open(final, "w", **(file.profile | {"driver": "GTiff", "sparse_ok": True})):
                pass

        monkeypatch.setattr(cog, "_compress", empty)
        with pytest.raises(RunError, match="windows read back differ"):
            write_cog(scene(3), old, overwrite=True, progress=False)
        assert self.untouched(old)

    def test_replacing_takes_the_old_side_files_along(self, old: Path) -> None:
        old.with_name("a.tif.aux.xml").write_text("<PAMDataset/>")
        old.with_name("b.tif.aux.xml").write_text("<PAMDataset/>")
        write_cog(scene(1, 64, 64), old, overwrite=True, progress=False)
        assert left_in(old.parent) == ["a.tif", "b.tif.aux.xml"]
        assert cog_validate(old, strict=True)[0]


class TestValues:
    def test_clipping_is_counted_and_told(self, tmp_path: Path) -> None:
        cube = scene(1, 32, 32)
        cube.values[0, 20, :3] = [5.0, -4.0, np.inf]
        with pytest.warns(UserWarning, match="3 values beyond"):
            receipt = write_cog(cube, tmp_path / "a.tif", progress=False)
        assert receipt.clipped == 3
        with rasterio.open(receipt.path) as file:
            assert file.read(1)[20, :3].tolist() == [32767, -32767, -32768]

    def test_float32_is_exact(self, tmp_path: Path) -> None:
        cube = scene(2)
        receipt = write_cog(cube, tmp_path / "a.tif", dtype="float32", progress=False, extra_tags={"reflectance_scale": "10000"})
        with rasterio.open(receipt.path) as file:
            np.testing.assert_array_equal(file.read(), cube.values)
            assert np.isnan(file.nodata)
            assert file.profile["predictor"] if "predictor" in file.profile else file.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "3"
        assert cog_validate(receipt.path, strict=True)[0]
        np.testing.assert_array_equal(open_hsi(receipt.path).values, cube.values)

    def test_a_band_without_data(self, tmp_path: Path) -> None:
        cube = scene(2, 32, 32)
        cube.values[0] = np.nan
        receipt = write_cog(cube, tmp_path / "a.tif", progress=False)
        with rasterio.open(receipt.path) as file:
            assert file.tags(1)["STATISTICS_VALID_PERCENT"] == "0"
            assert "STATISTICS_MEAN" not in file.tags(1)
            assert (file.read(1) == -32768).all()

    @given(st.lists(st.lists(st.integers(-32767, 32767), max_size=20), min_size=1, max_size=8))
    def test_statistics_do_not_depend_on_the_tiles(self, tiles: list[list[int]]) -> None:
        statistics = BandStatistics(1)
        for tile in tiles:
            statistics.add(0, np.array(tile, dtype=np.int16), len(tile) + 1)
        values = np.concatenate([np.array(tile, dtype=np.float64) for tile in tiles])
        tags = statistics.tags(0)
        if values.size:
            assert float(tags["STATISTICS_MEAN"]) == pytest.approx(values.mean(), rel=1e-9, abs=1e-9)
            assert float(tags["STATISTICS_STDDEV"]) == pytest.approx(values.std(), rel=1e-9, abs=1e-6)
            assert float(tags["STATISTICS_MAXIMUM"]) == values.max()
        assert float(tags["STATISTICS_VALID_PERCENT"]) == pytest.approx(100 * values.size / (values.size + len(tiles)), rel=1e-3)
