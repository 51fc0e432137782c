from __future__ import annotations

import gzip
import pickle
import warnings
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pystac
import pytest
import rasterio
import rioxarray
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp

from geofuse.api import to_zarr
from geofuse.cube.schema import check_cube, geobox
from geofuse.errors import InvalidCube, RunError
from geofuse.io.read.open import open_hsi, open_msi
from geofuse.io.read.raster import CHUNK_BYTES, RasterArray, natural_chunks

UTM = Affine(10.0, 0.0, 500000.0, 0.0, -10.0, 5800000.0)
ENVI_TYPES = {"uint8": 1, "int16": 2, "int32": 3, "float32": 4, "uint16": 12}


@pytest.fixture(autouse=True)
def _warnings_are_errors() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def write_tif(path: Path, data: np.ndarray, **profile: Any) -> Path:
    bands, rows, cols = data.shape
    tags = profile.pop("band_tags", [{}] * bands)
    scales, offsets, imagery = (profile.pop(key, None) for key in ("scales", "offsets", "imagery"))
    defaults = {"driver": "GTiff", "count": bands, "height": rows, "width": cols, "dtype": data.dtype, "crs": 32633, "transform": UTM}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = rasterio.open(path, "w", **(defaults | profile))
    with file:
        file.write(data)
        for band, tag in enumerate(tags, start=1):
            file.update_tags(band, **tag)
        for band, tag in enumerate(imagery or [], start=1):
            file.update_tags(band, ns="IMAGERY", **tag)
        file.scales = scales or [1e-4] * bands
        file.offsets = offsets or [0.0] * bands
    return path


def write_envi(path: Path, data: np.ndarray, *, compress: bool = False, **fields: str) -> Path:
    """Write an ENVI file by the description of its format, without GDAL."""
    bands, rows, cols = data.shape
    about = {
        **{"samples": cols, "lines": rows, "bands": bands, "header offset": 0, "file type": "ENVI Standard"},
        **{"data type": ENVI_TYPES[data.dtype.name], "interleave": "bsq", "byte order": 0, "file compression": int(compress)},
        "map info": "{UTM, 1, 1, 500000, 5800000, 10, 10, 33, North, WGS-84, units=Meters}",
        **{key.replace("_", " "): value for key, value in fields.items()},
    }
    path.with_suffix(".hdr").write_text("ENVI\n" + "".join(f"{key} = {value}\n" for key, value in about.items() if value is not None))
    raw = np.ascontiguousarray(data).astype(data.dtype.newbyteorder("<")).tobytes()
    path.write_bytes(gzip.compress(raw) if compress else raw)
    return path


def numbers(bands: int = 3, rows: int = 8, cols: int = 6, dtype: str = "int16") -> np.ndarray:
    return (np.arange(bands * rows * cols).reshape(bands, rows, cols) + 100).astype(dtype)


@cache
def open_whole(path: str) -> np.ndarray:
    return open_msi(path, chunks=None).values


WAVELENGTHS = [{"wavelength": "490", "wavelength_units": "nm"}, {"wavelength": "560"}, {"wavelength": "665"}]


class TestBerlin:
    def test_values_grid_and_bands_are_those_rasterio_reads(self, berlin: tuple[Path, Path]) -> None:
        for path, opened in zip(berlin, (open_hsi, open_msi), strict=True):
            cube = opened(path)
            check_cube(cube, "test")
            with rasterio.open(path) as file:
                raw = file.read()
                np.testing.assert_allclose(cube.values, np.where(raw == -99, np.nan, raw / 10000), rtol=1e-7)
                assert geobox(cube).transform == file.transform
                assert geobox(cube).crs.epsg == 32633
                assert tuple(cube.band.values) == file.descriptions
                assert cube.wavelength.values.tolist() == [float(file.tags(i)["wavelength"]) for i in file.indexes]
                assert cube.fwhm.values.tolist() == [float(file.tags(i)["fwhm"]) for i in file.indexes]
            assert cube.good.all()
            assert cube.encoding["dtype"] == "int16"
            assert cube.encoding["_FillValue"] == -99

    def test_envi_and_geotiff_are_the_same_cube(self, berlin: tuple[Path, Path], shared_data: Path) -> None:
        for path, name in zip(berlin, ("EnMAP", "HighResolution"), strict=True):
            tiff = open_msi(path)
            envi = open_msi(shared_data / "berlin_envi" / f"{name}_BerlinUrbanGradient.hdr")
            np.testing.assert_array_equal(envi.values, tiff.values)
            np.testing.assert_array_equal(envi.wavelength, tiff.wavelength)
            np.testing.assert_array_equal(envi.fwhm, tiff.fwhm)
            assert envi.spatial_ref.attrs == tiff.spatial_ref.attrs
        assert envi.band.values.tolist() == ["band 3", "band 8", "band 14", "band 25"]

    @pytest.mark.parametrize("percent", [0.1, 30, 60, 90, 99, 99.99])
    @pytest.mark.parametrize("which", [0, 1])
    def test_truncated(self, berlin: tuple[Path, Path], tmp_path: Path, percent: float, which: int) -> None:
        whole = berlin[which].read_bytes()
        cut = tmp_path / "cut.tif"
        cut.write_bytes(whole[: int(len(whole) * percent / 100)])
        with pytest.raises(InvalidCube, match=r"cut\.tif: truncated|GDAL cannot read"):
            open_hsi(cut)

    def test_bands_by_name_and_number(self, berlin: tuple[Path, Path]) -> None:
        everything = open_msi(berlin[1])
        some = open_msi(berlin[1], bands=["804.60 nm", 1])
        np.testing.assert_array_equal(some.values, everything.values[[3, 0]])
        np.testing.assert_array_equal(some.wavelength, [804.6, 484.3])
        for wrong in ("NIR", 0, 5, True, []):
            with pytest.raises(InvalidCube, match=r"no band|empty"):
                open_msi(berlin[1], bands=wrong if wrong == [] else [wrong])  # type: ignore[list-item]

    def test_threads_read_the_same(self, berlin: tuple[Path, Path]) -> None:
        cube = open_msi(berlin[1], chunks={"y": 50, "x": 40, "band": 1})
        assert cube.data.npartitions == 4 * 14 * 13
        with dask.config.set(scheduler="threads", num_workers=8):
            threaded = cube.values
        np.testing.assert_array_equal(threaded, open_msi(berlin[1], chunks=None).values)

    def test_opened_arrays_find_their_wavelengths_again(self, berlin: tuple[Path, Path]) -> None:
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # rioxarray with affine 3
        cube = open_hsi(rioxarray.open_rasterio(berlin[0], masked=True))
        np.testing.assert_array_equal(cube.wavelength, open_hsi(berlin[0]).wavelength)
        part = open_hsi(rioxarray.open_rasterio(berlin[0]).isel(band=[5, 2]))
        np.testing.assert_array_equal(part.wavelength, open_hsi(berlin[0]).wavelength[[5, 2]])

    def test_a_cube_passes_through(self, berlin: tuple[Path, Path]) -> None:
        cube = open_hsi(berlin[0])
        xr.testing.assert_identical(open_hsi(cube), cube)


class TestWavelengths:
    def test_imagery_domain(self, tmp_path: Path) -> None:
        imagery = [{"CENTRAL_WAVELENGTH_UM": f"0.{n}", "FWHM_UM": "0.0123"} for n in (49, 56, 665)]
        cube = open_hsi(write_tif(tmp_path / "a.tif", numbers(), imagery=imagery))
        np.testing.assert_array_equal(cube.wavelength, [490.0, 560.0, 665.0])
        np.testing.assert_array_equal(cube.fwhm, [12.3] * 3)

    def test_tags_win_over_the_rounded_imagery_domain(self, tmp_path: Path) -> None:
        imagery = [{"CENTRAL_WAVELENGTH_UM": "0.5"}] * 3
        cube = open_hsi(write_tif(tmp_path / "a.tif", numbers(), imagery=imagery, band_tags=WAVELENGTHS))
        np.testing.assert_array_equal(cube.wavelength, [490.0, 560.0, 665.0])

    @pytest.mark.parametrize("units", ["Micrometers", "Nanometers", "Unknown", None])
    def test_envi_units(self, tmp_path: Path, units: str | None) -> None:
        values = "{490, 560, 1400}" if units == "Nanometers" else "{0.49, 0.56, 1.4}"
        path = write_envi(tmp_path / "a.bsq", numbers(), wavelength=values, wavelength_units=units, reflectance_scale_factor="10000")
        cube = open_hsi(path)
        np.testing.assert_array_equal(cube.wavelength, [490.0, 560.0, 1400.0])
        assert cube.good.values.tolist() == [True, True, False]

    def test_envi_bad_bands(self, tmp_path: Path) -> None:
        path = write_envi(tmp_path / "a.bsq", numbers(), wavelength="{490, 560, 665}", bbl="{1, 0, 1}", reflectance_scale_factor="10000")
        assert open_hsi(path).good.values.tolist() == [True, False, True]

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"wavelength": "{490, abc, 665}"}, "not a number"),
            ({"wavelength": "{490, nan, 665}"}, "not a number"),
            ({"wavelength": "{490, -560, 665}"}, "positive"),
            ({"wavelength": "{490, 0, 665}"}, "positive"),
            ({"wavelength": "{490, 560}"}, "2 values of 'wavelength' for 3 bands"),
            ({"wavelength": "{490, 560, 665}", "wavelength_units": "Wavenumber"}, "not understood"),
            ({"wavelength": "{490, 560, 665}", "wavelength_units": "Micrometers"}, "not wavelengths of light"),
            ({"wavelength": "{490, 560, 665}", "fwhm": "{10, 10}"}, "'fwhm'"),
            ({"wavelength": "{490, 560, 665}", "fwhm": "{10, -1, 10}"}, "wide"),
            ({"wavelength": "{490, 560, 665}", "bbl": "{1}"}, "'bbl'"),
        ],
    )
    def test_unreadable_in_envi(self, tmp_path: Path, fields: dict[str, str], said: str) -> None:
        path = write_envi(tmp_path / "a.bsq", numbers(), reflectance_scale_factor="10000", **fields)
        with pytest.raises(InvalidCube, match=said):
            open_hsi(path)

    @pytest.mark.parametrize("wrong", ["", "n/a", "-1", "0", "inf"])
    def test_unreadable_in_tags(self, tmp_path: Path, wrong: str) -> None:
        path = write_tif(tmp_path / "a.tif", numbers(), band_tags=[*WAVELENGTHS[:2], {"wavelength": wrong}])
        with pytest.raises(InvalidCube, match=r"wavelength"):
            open_hsi(path)

    def test_some_bands_only(self, tmp_path: Path) -> None:
        path = write_tif(tmp_path / "a.tif", numbers(), band_tags=[*WAVELENGTHS[:2], {}])
        with pytest.raises(InvalidCube, match="2 of 3 bands"):
            open_hsi(path)
        np.testing.assert_array_equal(open_msi(path).wavelength, [490.0, 560.0, np.nan])

    def test_none_at_all_is_accepted_with_a_warning_for_an_hsi_only(self, tmp_path: Path) -> None:
        path = write_tif(tmp_path / "a.tif", numbers())
        assert np.isnan(open_msi(path).wavelength).all()
        with pytest.warns(UserWarning, match="no wavelengths"):
            assert np.isnan(open_hsi(path).wavelength).all()


class TestScale:
    def test_integers_without_scale(self, tmp_path: Path) -> None:
        path = write_tif(tmp_path / "a.tif", numbers(), scales=[1.0] * 3)
        with pytest.warns(UserWarning, match=r"a\.tif.*0\.0001.*DataArray"):
            cube = open_msi(path)
        np.testing.assert_allclose(cube.values, numbers() * 1e-4, rtol=1e-6)

    def test_each_band_has_its_own(self, tmp_path: Path) -> None:
        path = write_tif(tmp_path / "a.tif", numbers(2), scales=[0.5, 0.25], offsets=[0.0, -1.0], nodata=100)
        raw = numbers(2)
        expected = np.where(raw == 100, np.nan, raw * np.array([0.5, 0.25])[:, None, None] + np.array([0.0, -1.0])[:, None, None])
        with pytest.warns(UserWarning, match="not reflectance"):
            np.testing.assert_array_equal(open_msi(path).values, expected.astype(np.float32))

    @pytest.mark.parametrize(
        "fields",
        [
            {"reflectance_scale_factor": "1000"},
            {"description": "{cube, scaled between 0 and 1000}"},
            {"data_gain_values": "{0.001, 0.001, 0.001}"},
        ],
    )
    @pytest.mark.parametrize("dtype", ["int16", "uint16", "float32"])
    def test_envi_declarations(self, tmp_path: Path, fields: dict[str, str], dtype: str) -> None:
        path = write_envi(tmp_path / "a.bsq", numbers(dtype=dtype), data_ignore_value="100", **fields)
        expected = numbers() * 1e-3
        expected[0, 0, 0] = np.nan
        np.testing.assert_allclose(open_msi(path).values, expected, rtol=1e-6)

    def test_floats_are_reflectance(self, tmp_path: Path) -> None:
        data = np.linspace(-0.01, 1.2, 24, dtype=np.float32).reshape(1, 4, 6)
        data[0, 0, :4] = [np.nan, np.inf, -9999.0, 0.5]
        cube = open_msi(write_tif(tmp_path / "a.tif", data, scales=[1.0], nodata=-9999.0))
        assert np.isnan(cube.values[0, 0, :3]).all()
        np.testing.assert_array_equal(cube.values.ravel()[3:], data.ravel()[3:])

    def test_floats_that_are_not_reflectance_warn(self, tmp_path: Path) -> None:
        path = write_tif(tmp_path / "a.tif", numbers(dtype="float32"), scales=[1.0] * 3)
        with pytest.warns(UserWarning, match="not reflectance"):
            open_msi(path)

    def test_masks_of_their_own(self, tmp_path: Path) -> None:
        path = write_tif(tmp_path / "a.tif", numbers())
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
            mask = np.full((8, 6), 255, np.uint8)
            mask[2, 3] = 0
            file.write_mask(mask)
        np.testing.assert_array_equal(np.isnan(open_msi(path).values), np.broadcast_to(mask == 0, (3, 8, 6)))


@pytest.mark.parametrize("kind", ["tif", "zarr"])
def test_pixels_are_read_later_from_another_folder(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tif(tmp_path / "a.tif", numbers())
    if kind == "zarr":
        path = to_zarr(open_msi(path), tmp_path / "a.zarr", dtype="float32", progress=False)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    cube = open_msi(path.name)
    monkeypatch.chdir(tmp_path / "elsewhere")
    np.testing.assert_allclose(cube.values, numbers() * 1e-4, rtol=1e-6)


class TestAlpha:
    """A band that says where there is data shows nothing of the ground: it masks, and is no band of the cube."""

    @staticmethod
    def write(path: Path, data: np.ndarray, **profile: Any) -> Path:
        path = write_tif(path, data, **profile)
        with rasterio.open(path, "r+") as file:
            file.colorinterp = [*[ColorInterp.undefined] * (len(data) - 1), ColorInterp.alpha]
        return path

    @pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])  # GDAL masks by the first two only
    @pytest.mark.parametrize("nodata", [None, 99])
    def test_of_an_msi(self, dtype: str, nodata: int | None, tmp_path: Path) -> None:
        data = numbers(4, dtype=dtype)
        data[3, 1:, :] = 255
        data[3, 0] = 0
        path = self.write(tmp_path / "a.tif", data, nodata=nodata)
        cube = open_msi(path)
        np.testing.assert_array_equal(np.isnan(cube.values), np.broadcast_to(data[3] == 0, (3, 8, 6)))
        np.testing.assert_allclose(cube.values[:, 1:], data[:3, 1:] * 1e-4, rtol=1e-6)
        assert open_msi(path, bands=[2, 1]).band.values.tolist() == ["B002", "B001"]

    def test_of_an_hsi_has_no_wavelength(self, tmp_path: Path) -> None:
        data = numbers(4)
        data[3] = 255
        cube = open_hsi(self.write(tmp_path / "a.tif", data, band_tags=[*WAVELENGTHS, {}]))
        np.testing.assert_array_equal(cube.wavelength, [490.0, 560.0, 665.0])
        with pytest.raises(InvalidCube, match="2 of 3 bands"):
            open_hsi(self.write(tmp_path / "b.tif", data, band_tags=[*WAVELENGTHS[:2], {}, {}]))

    def test_of_an_item_that_does_not_tell_of_it(self, tmp_path: Path) -> None:
        data = numbers(4)
        data[3] = 255
        bands = [{"name": name, "eo:center_wavelength": 0.4 + i / 10, "raster:scale": 1e-3} for i, name in enumerate("abc")]
        path = str(self.write(tmp_path / "a.tif", data, scales=[1.0] * 4))
        cube = open_hsi(pystac.Asset(path, roles=["data"], extra_fields={"bands": bands}))
        assert cube.band.values.tolist() == ["a", "b", "c"]
        np.testing.assert_allclose(cube.values, data[:3] * 1e-3, rtol=1e-6)
        with pytest.raises(InvalidCube, match="item describes 5 bands and the file has 4"):
            open_hsi(pystac.Asset(path, roles=["data"], extra_fields={"bands": [*bands, {"name": "d"}, {"name": "e"}]}))

    def test_alone(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidCube, match="no band but an alpha band"):
            open_msi(self.write(tmp_path / "a.tif", numbers(1)))


class TestRefusals:
    def rejected(self, path: Any, said: str) -> None:
        with pytest.raises(InvalidCube, match=said) as error:
            open_hsi(path)
        assert "\n" not in str(error.value)

    def test_what_is_not_there(self, tmp_path: Path) -> None:
        self.rejected(tmp_path / "none.tif", "none.tif: no such file")
        self.rejected(tmp_path, "this is a folder")
        self.rejected("http://127.0.0.1:9/none.tif", "GDAL cannot read it")
        self.rejected(42, "expected a path")
        (tmp_path / "alone.hdr").write_text("ENVI")
        self.rejected(tmp_path / "alone.hdr", "no data file beside")

    @pytest.mark.parametrize("content", [b"", b"II", b"II*\0", b"hello", b"II*\0" + b"\xff" * 64, b"II+\0\x08\0\0\0" + b"\xff" * 64])
    def test_what_is_no_raster(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "a.tif"
        path.write_bytes(content)
        self.rejected(path, "GDAL cannot read|truncated or damaged")

    def test_no_place(self, tmp_path: Path) -> None:
        self.rejected(write_tif(tmp_path / "a.tif", numbers(), crs=None), "no CRS")
        self.rejected(write_tif(tmp_path / "b.tif", numbers(), transform=Affine.identity()), "no geotransform")

    def test_no_data(self, tmp_path: Path) -> None:
        empty = np.full((3, 600, 40), 7, np.int16)
        self.rejected(write_tif(tmp_path / "a.tif", empty, nodata=7, blockxsize=16, blockysize=16, tiled=True), "no data")
        self.rejected(write_tif(tmp_path / "b.tif", np.full((1, 4, 4), np.nan, np.float32)), "no data")
        with pytest.raises(InvalidCube, match="no data"):
            open_hsi(xr.full_like(open_hsi(write_tif(tmp_path / "c.tif", numbers(), band_tags=WAVELENGTHS)), np.nan).compute())

    def test_one_pixel_of_one_band_is_data(self, tmp_path: Path) -> None:
        data = np.full((20, 300, 300), 7, np.int16)
        data[11, 299, 3] = 8
        profile = {"nodata": 7, "tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
        assert int(open_msi(write_tif(tmp_path / "a.tif", data, **profile)).notnull().sum()) == 1

    def test_complex_numbers(self, tmp_path: Path) -> None:
        self.rejected(write_tif(tmp_path / "a.tif", np.ones((1, 4, 4), np.complex64)), "complex")

    @pytest.mark.parametrize("compress", [False, True])
    @pytest.mark.parametrize("kept", [0.0, 0.3, 0.6, 0.9, 0.999])
    def test_truncated_envi(self, tmp_path: Path, compress: bool, kept: float) -> None:
        noise = np.random.default_rng(0).integers(0, 10000, (3, 40, 50)).astype(np.int16)
        path = write_envi(tmp_path / "a.bsq", noise, compress=compress, reflectance_scale_factor="10000", wavelength="{490, 560, 665}")
        np.testing.assert_allclose(open_hsi(path).values, noise * 1e-4, rtol=1e-6)
        raw = path.read_bytes()
        path.write_bytes(raw[: int(len(raw) * kept)])
        self.rejected(path, "truncated|GDAL cannot read")

    @pytest.mark.parametrize("compress", [False, True])
    def test_envi_headers_that_lie_about_the_size(self, tmp_path: Path, compress: bool) -> None:
        path = write_envi(tmp_path / "a.bsq", numbers(), compress=compress, lines="100000", samples="100000")
        self.rejected(path, "truncated|GDAL cannot read|TB of pixels")

    def test_geotiff_that_claims_terabytes(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        size = {"height": 2_000_000, "width": 2_000_000, "count": 1, "dtype": "int16", "crs": 32633, "transform": UTM}
        with rasterio.open(path, "w", driver="GTiff", sparse_ok=True, tiled=True, blockxsize=4096, blockysize=4096, **size):
            pass
        self.rejected(path, "TB of pixels")

    @pytest.mark.parametrize(
        "profile", [{"interleave": "band"}, {"interleave": "pixel", "compress": "deflate"}, {"tiled": True, "bigtiff": "yes"}]
    )
    @settings(deadline=None)
    @given(part=st.floats(0, 0.9999))
    def test_geotiff_cut_anywhere(self, tmp_path_factory: pytest.TempPathFactory, profile: dict[str, Any], part: float) -> None:
        noise = np.random.default_rng(0).integers(0, 10000, (3, 64, 48)).astype(np.int16)
        path = write_tif(tmp_path_factory.mktemp("cut") / "a.tif", noise, band_tags=WAVELENGTHS, blockxsize=16, blockysize=16, **profile)
        open_hsi(path)
        raw = path.read_bytes()
        path.write_bytes(raw[: int(len(raw) * part)])
        self.rejected(path, "truncated|GDAL cannot read")

    def test_damage_in_the_middle_fails_the_run_and_says_where(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 10000, (3, 256, 64)).astype(np.int16)
        path = write_tif(tmp_path / "a.tif", noise, compress="deflate", tiled=True, blockxsize=64, blockysize=64, band_tags=WAVELENGTHS)
        cube = open_hsi(path, chunks={"y": 64})
        with path.open("r+b") as file:
            with rasterio.open(path) as source:
                file.seek(int(source.get_tag_item("BLOCK_OFFSET_0_2", "TIFF", bidx=1)))
            file.write(b"\0" * 64)
        with pytest.raises(RunError, match=r"a\.tif: could not read rows 128-192"):
            cube[:, 128:192].compute()


class TestLaziness:
    def test_south_up_rasters_are_turned(self, tmp_path: Path) -> None:
        north = open_msi(write_tif(tmp_path / "n.tif", numbers()))
        turned = write_tif(tmp_path / "s.tif", numbers()[:, ::-1], transform=Affine(10.0, 0.0, 500000.0, 0.0, 10.0, 5800000.0 - 80.0))
        south = open_msi(turned)
        assert south.chunks is not None
        np.testing.assert_array_equal(south.values, north.values)
        assert geobox(south) == geobox(north)

    def test_a_slice_reads_only_its_window(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        cube = open_msi(write_tif(tmp_path / "a.tif", numbers(3, 80, 60)))
        seen: list[tuple[int, ...]] = []
        original = RasterArray.__getitem__

        def spy(self: RasterArray, key: Any) -> np.ndarray:
            result = original(self, key)
            seen.append(result.shape)
            return result

        monkeypatch.setattr(RasterArray, "__getitem__", spy)
        part = cube[1:2, 10:14, 20:23]
        assert not seen
        np.testing.assert_allclose(part.values, numbers(3, 80, 60)[1:2, 10:14, 20:23] * 1e-4, rtol=1e-6)
        assert seen == [(1, 4, 3)]
        np.testing.assert_allclose(cube.isel(band=[2, 0], y=[79, 70]).values, numbers(3, 80, 60)[[2, 0]][:, [79, 70]] * 1e-4, rtol=1e-6)

    @settings(deadline=None)
    @given(data=st.data())
    def test_indexing_is_that_of_numpy(self, berlin: tuple[Path, Path], data: st.DataObject) -> None:
        array = RasterArray(str(berlin[1]), (1, 2, 3, 4), 660, 494, (1e-4,) * 4, (0.0,) * 4, (-99.0,) * 4)
        steps = st.sampled_from([-7, -1, 1, 5])
        edges = st.one_of(st.none(), st.integers(-12, 12))
        lists = st.lists(st.integers(-4, 3), min_size=1, max_size=5)
        one = st.one_of(st.integers(-3, 3), st.builds(slice, edges, edges, steps), lists)
        key = tuple(data.draw(one) for _ in range(3))
        whole = open_whole(str(berlin[1]))
        expected = whole
        for axis in (2, 1, 0):
            expected = expected[(slice(None),) * axis + (key[axis],)]
        np.testing.assert_array_equal(array[key], expected)

    def test_cubes_travel_to_other_processes(self, berlin: tuple[Path, Path]) -> None:
        cube = open_msi(berlin[1])
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(cube)).values, cube.values)

    def test_nothing_is_left_beside_the_input(self, tmp_path: Path) -> None:
        path = write_envi(tmp_path / "a.bsq", numbers(), compress=True, reflectance_scale_factor="10000")
        open_msi(path).compute()
        assert sorted(file.name for file in tmp_path.iterdir()) == ["a.bsq", "a.hdr"]

    @settings(deadline=None)
    @given(
        bands=st.integers(1, 400),
        height=st.integers(1, 20000),
        width=st.integers(1, 20000),
        block=st.sampled_from([(1, 0), (64, 64), (512, 512)]),
    )
    def test_chunks_are_whole_blocks_of_bounded_size(self, bands: int, height: int, width: int, block: tuple[int, int]) -> None:
        rows, cols = block[0], block[1] or width
        chunk = natural_chunks((bands, height, width), (rows, cols))
        assert chunk[0] == bands
        assert chunk[1] % rows == 0 or chunk[1] == height
        assert chunk[2] % cols == 0 or chunk[2] == width
        assert 4 * np.prod(chunk) <= max(CHUNK_BYTES, 4 * bands * rows * cols)


BLUE = {"eo:bands": [{"name": "B02", "common_name": "blue", "center_wavelength": 0.49}], "raster:bands": [{"scale": 1e-4, "offset": -0.1}]}
RED = {"bands": [{"name": "B04", "eo:common_name": "red", "eo:center_wavelength": 0.665, "raster:scale": 1e-4, "raster:offset": -0.1}]}


class TestStac:
    @pytest.fixture
    def item(self, tmp_path: Path) -> Callable[..., pystac.Item]:
        def make(**assets: dict[str, Any]) -> pystac.Item:
            item = pystac.Item("scene", None, None, datetime(2020, 1, 1), {})
            for key, fields in assets.items():
                pixel = fields.pop("pixel", 10.0)
                data = fields.pop("data", numbers(1))
                transform = Affine(pixel, 0, 500000.0, 0, -pixel, 5800000.0)
                href = str(write_tif(tmp_path / f"{key}.tif", data, scales=[1.0] * len(data), transform=transform))
                item.add_asset(key, pystac.Asset(href, media_type=pystac.MediaType.COG, roles=["data"], extra_fields=fields))
            return item

        return make

    def test_one_asset_a_band(self, item: Callable[..., pystac.Item]) -> None:
        scene = item(B02=dict(BLUE), B04=dict(RED, data=numbers(1) * 2))
        cube = open_msi(scene, bands=["red", "B02"])
        assert cube.band.values.tolist() == ["red", "B02"]
        np.testing.assert_array_equal(cube.wavelength, [665.0, 490.0])
        expected = np.concatenate([numbers(1) * 2, numbers(1)]) * 1e-4 - 0.1
        np.testing.assert_allclose(cube.values, expected, rtol=1e-5, atol=1e-7)

    def test_which_asset_must_be_said(self, item: Callable[..., pystac.Item]) -> None:
        scene = item(B02=dict(BLUE), B04=dict(RED))
        with pytest.raises(InvalidCube, match="several raster assets: B02, B04"):
            open_msi(scene)
        with pytest.raises(InvalidCube, match=r"no band 'nir'.*B02, B04"):
            open_msi(scene, bands=["nir"])
        assert open_msi(scene.assets["B04"]).wavelength.item() == 665.0

    def test_pixels_of_different_size(self, item: Callable[..., pystac.Item]) -> None:
        scene = item(B02=dict(BLUE), B04=dict(RED, pixel=20.0))
        with pytest.raises(InvalidCube, match=r"not on one grid.*blue 10, red 20"):
            open_msi(scene, bands=["blue", "red"])

    def test_the_cube_among_the_assets(self, item: Callable[..., pystac.Item]) -> None:
        bands = [{"name": f"b{i}", "eo:center_wavelength": 0.4 + i / 10, "raster:scale": 1e-4} for i in range(3)]
        scene = item(reflectance={"bands": bands, "data": numbers(3)}, mask={"bands": [{"name": "m"}]})
        cube = open_hsi(scene)
        np.testing.assert_array_equal(cube.wavelength, [400.0, 500.0, 600.0])
        assert cube.band.values.tolist() == ["b0", "b1", "b2"]
