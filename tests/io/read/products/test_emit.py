from __future__ import annotations

import pickle
from pathlib import Path

import dask
import h5py
import numpy as np
import pytest
import xarray as xr
from pyproj import Transformer

from geofuse import open_hsi, open_msi
from geofuse.cube.masks import Mask
from geofuse.cube.schema import geobox
from geofuse.errors import InvalidCube, RunError
from geofuse.io.read.open import files_of
from geofuse.simulate.products import emit, truth
from geofuse.viewing.describe import describe, facts


@pytest.fixture(scope="module")
def granule(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return emit.write(tmp_path_factory.mktemp("emit"))


def orthorectified(path: Path, name: str, group: str | None = None) -> np.ndarray:
    """The user guide's algorithm, plainly: subtract 1 from the GLT where it is not 0, and take those pixels."""
    values = xr.open_dataset(path, engine="h5netcdf", group=group)[name].values  # fill values become NaN
    location = xr.open_dataset(path, engine="h5netcdf", group="location", mask_and_scale=False)
    glt_x, glt_y = location.glt_x.values, location.glt_y.values
    out = np.full((*glt_x.shape, *values.shape[2:]), np.nan, values.dtype)
    valid = (glt_x != 0) & (glt_y != 0)
    out[valid] = values[glt_y[valid] - 1, glt_x[valid] - 1]
    return out


class TestPixels:
    def test_orthorectified_as_the_user_guide_does(self, granule: Path) -> None:
        expected = np.moveaxis(orthorectified(granule, "reflectance"), -1, 0)
        for chunks in ("auto", {"y": 7, "x": 11, "band": 100}, None):
            np.testing.assert_array_equal(open_hsi(granule, chunks=chunks).values, expected)

    def test_grid(self, granule: Path) -> None:
        cube = open_hsi(granule)
        with h5py.File(granule) as file:
            left, size, _, top, _, down = file.attrs["geotransform"]
        assert tuple(geobox(cube).affine)[:6] == (size, 0, left, 0, down, top)
        assert geobox(cube).crs.epsg == 4326
        np.testing.assert_allclose(cube.x[0], left + size / 2, rtol=1e-15)

    def test_shows_the_truth_at_the_true_place(self, granule: Path) -> None:
        cube = open_hsi(granule).load()
        counted = np.isfinite(cube.centre_y.values) & np.isfinite(cube.values[0])
        x, y = Transformer.from_crs(4326, truth.CRS, always_xy=True).transform(cube.centre_x.values[counted], cube.centre_y.values[counted])
        good = cube.good.values
        expected = truth.footprint(x, y, cube.wavelength.values[good], emit.GSD)
        np.testing.assert_allclose(cube.values[good][:, counted], expected, atol=2e-6)
        beside = truth.footprint(x + emit.GSD / 2, y, cube.wavelength.values[good], emit.GSD)
        assert np.abs(beside - expected).max() > 0.01  # half a pixel shows

    def test_lazy_and_picklable(self, granule: Path) -> None:
        cube = open_hsi(granule)
        with dask.config.set(scheduler="threads", num_workers=4):
            np.testing.assert_array_equal(pickle.loads(pickle.dumps(cube)).chunk({"y": 20}).values, cube.values)

    def test_bands(self, granule: Path) -> None:
        cube = open_hsi(granule)
        assert cube.shape[0] == 285
        np.testing.assert_allclose(cube.wavelength, emit.WAVELENGTHS, rtol=1e-6)
        absorbed = np.any([(low < emit.WAVELENGTHS) & (high > emit.WAVELENGTHS) for low, high in emit.ABSORBED], 0)
        assert not cube.good.values[absorbed].any()
        some = open_hsi(granule, bands=["600-700nm", 3])
        np.testing.assert_array_equal(some.values[-1], cube.values[2])

    def test_negative_entries_name_the_same_raw_pixels(self, granule: Path, tmp_path: Path) -> None:
        with h5py.File(granule) as file:
            tables = {name: file["location"][name][:] for name in ("glt_x", "glt_y")}
        changed = {name: np.where(np.indices(table.shape).sum(0) % 3 == 0, -table, table) for name, table in tables.items()}
        np.testing.assert_array_equal(open_hsi(emit.write(tmp_path, **changed)).values, open_hsi(granule).values)


class TestCentres:
    def test_every_raw_pixel_that_is_shown_counts_once(self, granule: Path) -> None:
        cube = open_hsi(granule).load()
        with h5py.File(granule) as file:
            glt_x, glt_y = file["location/glt_x"][:], file["location/glt_y"][:]
            lon, lat = file["location/lon"][:], file["location/lat"][:]
        counted = np.isfinite(cube.centre_y.values)
        raw = list(zip(glt_y[counted] - 1, glt_x[counted] - 1, strict=True))
        shown = {(row - 1, col - 1) for row, col in zip(glt_y[glt_y > 0], glt_x[glt_x > 0], strict=True)}
        assert len(raw) == len(set(raw))
        assert set(raw) == shown
        np.testing.assert_array_equal(cube.centre_y.values[counted], [lat[place] for place in raw])
        np.testing.assert_array_equal(cube.centre_x.values[counted], [lon[place] for place in raw])
        assert cube.centre_x.attrs["units"] == "degrees_east"

    def test_the_nearest_pixel_of_the_grid_is_kept(self, granule: Path) -> None:
        cube = open_hsi(granule).load()
        with h5py.File(granule) as file:
            number = file["location/glt_y"][:].astype(int) * 10_000 + file["location/glt_x"][:]
            lon, lat = file["location/lon"][:], file["location/lat"][:]
        y, x = np.meshgrid(cube.y.values, cube.x.values, indexing="ij")
        for raw in np.unique(number[number > 0])[::7]:
            same = np.argwhere(number == raw)
            place = raw // 10_000 - 1, raw % 10_000 - 1
            metres = [np.hypot(y[row, col] - lat[place], (x[row, col] - lon[place]) * np.cos(np.radians(y[row, col]))) for row, col in same]
            kept = [bool(np.isfinite(cube.centre_y.values[row, col])) for row, col in same]
            assert kept.index(True) == int(np.argmin(metres))
            assert sum(kept) == 1

    def test_the_same_whatever_the_chunks(self, granule: Path) -> None:
        whole, parts = open_hsi(granule, chunks=None), open_hsi(granule, chunks={"y": 5, "x": 9})
        for name in ("centre_y", "centre_x", "mask"):
            np.testing.assert_array_equal(parts[name].values, whole[name].values)
        assert isinstance(whole.mask.data, np.ndarray)


class TestMask:
    def test_flags_of_the_mask_file(self, granule: Path) -> None:
        cube = open_hsi(granule)
        raw = orthorectified(granule.with_name(emit.GRANULE.format("MASK")), "mask")
        for flag, bands in ((Mask.CLOUD, (0, 4)), (Mask.CIRRUS, (1,)), (Mask.WATER, (2,)), (Mask.DEFECT, (3,))):
            np.testing.assert_array_equal((cube.mask.values & flag) > 0, np.any([raw[..., band] == 1 for band in bands], 0))
        assert cube.mask.attrs["flag_meanings"].split()[:2] == ["cloud", "cirrus"]
        assert cube.encoding["masks"] == ["cloud", "cirrus", "defect", "water"]

    def test_flags_by_name_in_any_order(self, granule: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(emit, "MASK_BANDS", ("Cloud Flag", "cirrus  flag", "Water Flag", "other", "SpecTf-Cloud Flag", "a", "b", "c"))
        cube = open_hsi(emit.write(tmp_path))
        np.testing.assert_array_equal(cube.mask.values & ~Mask.DEFECT, open_hsi(granule).mask.values & ~Mask.DEFECT)

    def test_none_without_the_file(self, tmp_path: Path) -> None:
        cube = open_hsi(emit.write(tmp_path, mask=False, bands=5))
        assert "mask" not in cube.coords
        assert "masks" not in cube.encoding

    def test_of_another_granule(self, granule: Path, tmp_path: Path) -> None:
        path = emit.write(tmp_path, mask=False, bands=5, rows=30)
        path.with_name(emit.GRANULE.format("MASK")).write_bytes(granule.with_name(emit.GRANULE.format("MASK")).read_bytes())
        with pytest.raises(InvalidCube, match=r"the mask beside it, EMIT.*has the shape \(40, 36, 8\), and the swath \(30, 36\)"):
            open_hsi(path)


class TestRecognised:
    @pytest.mark.parametrize("which", ["reflectance", "mask", "folder"])
    def test_by_any_of_its_files(self, granule: Path, which: str) -> None:
        source = {"reflectance": granule, "mask": granule.with_name(emit.GRANULE.format("MASK")), "folder": granule.parent}[which]
        cube = open_hsi(source)
        assert cube.encoding["sensor"] == cube.encoding["reader"] == "EMIT L2A"
        assert {Path(file).name for file in files_of(str(source))} >= {emit.GRANULE.format("RFL"), emit.GRANULE.format("MASK")}

    def test_by_content_and_not_by_name(self, granule: Path, tmp_path: Path) -> None:
        (tmp_path / "a.bin").write_bytes(granule.read_bytes())
        assert open_hsi(tmp_path / "a.bin").shape == open_hsi(granule).shape

    def test_two_granules_in_a_folder(self, granule: Path, tmp_path: Path) -> None:
        for name in ("a.nc", "b.nc"):
            (tmp_path / name).write_bytes(granule.read_bytes())
        with pytest.raises(InvalidCube, match=r"2 EMIT granules: a\.nc, b\.nc; pass the file of one"):
            open_hsi(tmp_path)

    def test_what_info_shows(self, granule: Path) -> None:
        cube = open_msi(granule)
        known = facts(cube)
        assert known["sensor"] == "EMIT L2A"
        assert known["datetime"] == "2022-09-03T16:31:29Z"
        assert known["masks"] == ["cloud", "cirrus", "defect", "water"]
        assert 10 < known["nodata_percent"] < 60
        assert "masks       cloud, cirrus, defect, water" in describe(cube, "a")


class TestRejected:
    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"wavelengths": np.arange(4, dtype=np.float32)}, "needs|bands|match|broadcast|shape|wavelengths"),
            ({"glt_x": np.full((3, 3), 1, np.int32)}, "shape"),
            ({"geotransform": np.zeros(3)}, "geotransform"),
            ({"spatial_ref": np.bytes_("nonsense")}, "CRS"),
        ],
    )
    def test_inconsistent(self, changes: dict, said: str, tmp_path: Path) -> None:
        path = emit.write(tmp_path, bands=5)
        with h5py.File(path, "r+") as file:
            for name, value in changes.items():
                if name in file.attrs:
                    file.attrs[name] = value
                    continue
                place = next(group for group in ("location", "sensor_band_parameters") if name in file[group])
                del file[place][name]
                file[place][name] = value
        with pytest.raises(InvalidCube, match=said):
            open_hsi(path)

    def test_a_table_that_points_outside(self, tmp_path: Path) -> None:
        path = emit.write(tmp_path, bands=5)
        with h5py.File(path, "r+") as file:
            file["location/glt_y"][20, 30] = 10_000
        with pytest.raises((InvalidCube, RunError), match=r"points at raw pixel \(10000"):
            open_hsi(path).load()

    def test_pixels_in_another_file(self, granule: Path, tmp_path: Path) -> None:
        path = emit.write(tmp_path, bands=5)
        with h5py.File(path, "r+") as file:
            del file["reflectance"]
            file["reflectance"] = h5py.ExternalLink(str(granule), "reflectance")
        with pytest.raises(InvalidCube):
            open_hsi(path)

    def test_changed_while_in_use(self, tmp_path: Path) -> None:
        cube = open_hsi(emit.write(tmp_path, bands=5, mask=False))
        emit.write(tmp_path, bands=5, mask=False, rows=50)
        with pytest.raises(RunError, match=r"changed|points at|damaged"):
            cube.load()

    def test_h5py_is_missing(self, granule: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "h5py", None)
        with pytest.raises(InvalidCube, match=r"needs the package h5py: pip install 'geofuse\[sensors\]'"):
            open_hsi(granule)

    @pytest.mark.parametrize("percent", [1, 30, 90, 99.9])
    def test_truncated(self, granule: Path, tmp_path: Path, percent: float) -> None:
        (tmp_path / "a.nc").write_bytes(granule.read_bytes()[: int(granule.stat().st_size * percent / 100)])
        with pytest.raises(InvalidCube):
            open_hsi(tmp_path / "a.nc")
