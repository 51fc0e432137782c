from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import odc.geo.xr  # registers .odc, an independent reader of the grid
import pytest
import rasterio
import rioxarray
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from geofuse.cube.schema import as_cube, check_cube, geobox, wrap
from geofuse.errors import InvalidCube

BERLIN = Affine(3.6, 0, 383469.97, 0, -3.6, 5818303.55)
TRANSFORMS = st.builds(
    lambda a, e, c, f: Affine(a, 0.0, c, 0.0, -e, f),
    *[st.floats(1e-5, 1e4, allow_subnormal=False)] * 2,
    *[st.floats(-1e7, 1e7, allow_subnormal=False)] * 2,
)


def cube_of(bands: int = 2, rows: int = 5, cols: int = 4, **kwargs: Any) -> xr.DataArray:
    data = np.arange(bands * rows * cols, dtype=np.float32).reshape(bands, rows, cols) / 100
    defaults = {"transform": BERLIN, "crs": 32633, "names": [f"b{i}" for i in range(bands)]}
    return wrap(data, **(defaults | kwargs))


def never(block: np.ndarray) -> np.ndarray:
    raise AssertionError("a pixel was computed")


def untouchable(shape: tuple[int, ...], dtype: str = "float32") -> da.Array:
    return da.zeros(shape, dtype=dtype, chunks=2).map_blocks(never, dtype=dtype, meta=np.empty((0,) * len(shape), dtype))


class TestWrap:
    def test_contract(self) -> None:
        cube = cube_of(3, wavelength=[490.0, 1400.0, np.nan], fwhm=[60, 10, np.nan], encoding={"scale_factor": 1e-4})
        assert cube.dims == ("band", "y", "x")
        assert cube.dtype == np.float32
        assert cube.attrs["units"] == "1"
        assert cube.indexes["band"].tolist() == ["b0", "b1", "b2"]
        assert cube.wavelength.dtype == cube.fwhm.dtype == np.float64
        assert cube.good.values.tolist() == [True, False, True]
        assert cube.encoding["scale_factor"] == 1e-4
        np.testing.assert_allclose(cube.x[:2], [383471.77, 383475.37])
        np.testing.assert_allclose(cube.y[:2], [5818301.75, 5818298.15])

    def test_other_libraries_read_the_same_place(self) -> None:
        cube = cube_of()
        assert cube.rio.crs.to_epsg() == 32633
        assert cube.rio.transform() == BERLIN
        assert cube.rio.transform(recalc=True).almost_equals(BERLIN, 1e-6)
        assert cube.odc.geobox.crs.epsg == 32633
        assert cube.odc.geobox.transform.almost_equals(BERLIN, 1e-6)
        assert cube.spatial_ref.attrs["crs_wkt"].startswith("PROJCRS")  # WKT 2

    @settings(deadline=None)
    @given(TRANSFORMS, st.integers(1, 6), st.integers(1, 6))
    def test_the_transform_comes_back_exactly(self, transform: Affine, rows: int, cols: int) -> None:
        cube = wrap(np.zeros((1, rows, cols)), transform=transform, crs=32633, names=["a"])
        assert geobox(cube).transform == transform
        assert geobox(cube).shape == (rows, cols)
        assert Affine.from_gdal(*map(float, cube.spatial_ref.attrs["GeoTransform"].split())) == transform

    @settings(deadline=None)
    @given(st.integers(0, 30), st.integers(1, 30), st.integers(0, 30), st.integers(1, 30))
    def test_a_slice_has_the_grid_of_its_pixels(self, top: int, height: int, left: int, width: int) -> None:
        part = cube_of(1, 64, 64).isel(y=slice(top, top + height), x=slice(left, left + width))
        expected = rasterio.windows.transform(rasterio.windows.Window(left, top, width, height), BERLIN)
        assert geobox(part).transform.almost_equals(expected, 1e-9)
        assert geobox(as_cube(part)) == geobox(part)

    def test_moved_coordinates_move_the_grid(self) -> None:
        cube = cube_of()
        moved = cube.assign_coords(x=cube.x + 0.4 * 3.6)
        assert geobox(moved).transform.almost_equals(BERLIN @ Affine.translation(0.4, 0), 1e-6)
        assert geobox(as_cube(moved)).transform.almost_equals(BERLIN @ Affine.translation(0.4, 0), 1e-6)

    def test_dask_stays_lazy(self) -> None:
        cube = wrap(untouchable((2, 4, 4), "float64"), transform=BERLIN, crs=32633, names=["a", "b"])
        assert cube.dtype == np.float32
        assert cube.chunks is not None

    def test_attrs_are_plain_json(self) -> None:
        cube = cube_of(attrs={"n": np.float32(1.5), "list": (1, np.int64(2)), "array": np.arange(2), "handle": object(), "text": "x"})
        assert json.loads(json.dumps(cube.attrs)) == {"n": 1.5, "list": [1, 2], "array": [0, 1], "text": "x", "units": "1"}

    @pytest.mark.parametrize("crs", [32633, "EPSG:32633", rasterio.crs.CRS.from_epsg(32633), odc.geo.CRS("EPSG:32633")])
    def test_any_spelling_of_the_crs(self, crs: Any) -> None:
        assert cube_of(crs=crs).spatial_ref.attrs == cube_of().spatial_ref.attrs

    def test_esri_spelling_becomes_the_epsg_crs(self) -> None:
        esri = rasterio.crs.CRS.from_epsg(32633).to_wkt(version="WKT1_ESRI")
        assert "EPSG" not in esri
        assert cube_of(crs=esri).spatial_ref.attrs == cube_of().spatial_ref.attrs

    def test_a_projection_without_one_of_its_parameters(self) -> None:
        whole = rasterio.crs.CRS.from_epsg(32633).to_wkt(version="WKT1_GDAL")
        with pytest.raises(InvalidCube, match="its CRS does not say the 'longitude_of_natural_origin'"):
            cube_of(crs=whole.replace("central_meridian", "central_merridian"))

    def test_a_crs_without_a_code_is_kept(self) -> None:
        local = "+proj=laea +lat_0=52.5 +lon_0=13.4 +ellps=GRS80 +units=m"
        assert rasterio.crs.CRS.from_user_input(cube_of(crs=local).rio.crs) == rasterio.crs.CRS.from_string(local)

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"transform": Affine(3.6, 0, 0, 0, 3.6, 0)}, "north up"),
            ({"transform": Affine.rotation(10) @ BERLIN}, "not rotated"),
            ({"names": ["only one"]}, "2 bands"),
            ({"wavelength": [1.0]}, "one length"),
            ({"crs": None}, "no CRS"),
            ({"crs": "EPSG:abc"}, "not understood"),
        ],
    )
    def test_refusals(self, changed: dict[str, Any], said: str) -> None:
        with pytest.raises(InvalidCube, match=said):
            cube_of(**changed)

    @pytest.mark.parametrize("shape", [(2, 3), (1, 0, 4), (0, 2, 2)])
    def test_shapes_that_are_no_cube(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(InvalidCube, match="at least one pixel"):
            wrap(np.zeros(shape), transform=BERLIN, crs=32633, names=["a"] * shape[0])


class TestAsCube:
    def test_a_cube_comes_back_as_it_is(self) -> None:
        cube = cube_of(3, wavelength=[490, 560, np.nan], good=[True, False, True], attrs={"a": 1}, encoding={"_FillValue": -99})
        again = as_cube(cube)
        xr.testing.assert_identical(cube, again)
        assert again.encoding == cube.encoding

    @settings(deadline=None)
    @given(st.permutations(["lat", "lon", "wavelength"]), st.booleans(), st.booleans())
    def test_any_order_and_direction(self, order: list[str], south_up: bool, westward: bool) -> None:
        cube = cube_of(2, 3, 4, wavelength=[490.0, 560.0], crs=4326, transform=Affine(0.1, 0, 8, 0, -0.2, 50))
        coords = {"lat": cube.y.values, "lon": cube.x.values, "wavelength": [0.49, 0.56]}
        given = xr.DataArray(cube.values, dims=("wavelength", "lat", "lon"), coords=coords).rio.write_crs(4326)
        given = given.isel(lat=slice(None, None, -1 if south_up else 1), lon=slice(None, None, -1 if westward else 1))
        result = as_cube(given.transpose(*order))
        np.testing.assert_array_equal(result.values, cube.values)
        np.testing.assert_array_equal(result.wavelength, [490.0, 560.0])
        assert geobox(result).transform.almost_equals(geobox(cube).transform, 1e-9)
        assert geobox(result).crs.epsg == 4326

    def test_nothing_is_computed(self) -> None:
        coords = {"latitude": np.arange(6.0), "longitude": -np.arange(4.0), "nodata": 0}
        array = xr.DataArray(untouchable((4, 2, 6), "uint16"), dims=("longitude", "bands", "latitude"), coords=coords)
        array.attrs |= {"_FillValue": 0, "scale_factor": 1e-4}
        cube = as_cube(array.rio.write_crs(4326))
        check_cube(cube, "HSI")
        with pytest.raises(AssertionError, match="a pixel was computed"):
            cube.compute()

    @pytest.mark.parametrize(
        "options",
        [{}, {"masked": True}, {"mask_and_scale": True}, {"chunks": {"x": 100}}, {"parse_coordinates": False}, {"band_as_variable": True}],
        ids=str,
    )
    def test_every_way_that_rioxarray_opens(self, berlin: tuple[Path, Path], options: dict[str, Any]) -> None:
        with rasterio.open(berlin[1]) as file:
            expected = np.where(file.read() == -99, np.nan, file.read() * 1e-4)
            transform = file.transform
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cube = as_cube(rioxarray.open_rasterio(berlin[1], **options))
        check_cube(cube, "MSI")
        assert cube.chunks is not None  # rioxarray opens lazily, and it stays so
        np.testing.assert_allclose(cube.values, expected, rtol=2e-7)
        assert geobox(cube).transform == transform
        assert cube.encoding["scale_factor"] == 1e-4
        assert cube.encoding["_FillValue"] == -99

    def test_reflectance_made_by_hand_is_not_scaled_again(self, berlin: tuple[Path, Path]) -> None:
        with xr.set_options(keep_attrs=True):
            by_hand = rioxarray.open_rasterio(berlin[1]) * 1e-4
        assert by_hand.attrs["scale_factor"] == 1e-4  # xarray keeps what is no longer true
        assert float(as_cube(by_hand).max()) == pytest.approx(0.9, abs=0.2)

    def test_dataset_with_one_variable_a_band(self) -> None:
        plane = cube_of(1)[0].drop_vars(["band", "wavelength", "fwhm", "good"])
        numbers = (plane * 100).astype("uint16")
        dataset = xr.Dataset({"blue": numbers.assign_attrs(nodata=0), "red": (numbers * 2).assign_attrs(nodata=0)})
        with pytest.warns(UserWarning, match="declares no scale"):
            cube = as_cube(dataset)
        assert cube.band.values.tolist() == ["blue", "red"]
        assert np.isnan(cube.values[:, 0, 0]).all()
        np.testing.assert_allclose(cube.values[1].ravel()[1:], 2e-4 * np.arange(1, 20), rtol=1e-6)

    def test_variables_with_their_own_scales(self) -> None:
        plane = cube_of(1)[0].drop_vars(["band", "wavelength", "fwhm", "good"])
        ones = xr.ones_like(plane).astype("int16")
        dataset = xr.Dataset({"a": ones.assign_attrs(scale_factor=0.5), "b": ones.assign_attrs(scale_factor=0.25, add_offset=1.0)})
        np.testing.assert_array_equal(as_cube(dataset).values[:, 0, 0], np.float32([0.5, 1.25]))

    def test_dataset_with_one_cube_and_its_wavelengths(self) -> None:
        cube = cube_of(3)
        plain = cube.drop_vars(["band", "wavelength", "fwhm", "good"]).rename(band="bands")
        beside = {"wavelengths": ("bands", [490.0, 560.0, 665.0]), "fwhm": ("bands", [10.0] * 3), "good_wavelengths": ("bands", [1, 0, 1])}
        with pytest.warns(UserWarning, match="layers of classes are no bands: mask left out"):
            result = as_cube(xr.Dataset({"reflectance": plain, "mask": plain[0], **beside}))
        np.testing.assert_array_equal(result.wavelength, [490.0, 560.0, 665.0])
        np.testing.assert_array_equal(result.good, [True, False, True])
        np.testing.assert_array_equal(result.fwhm, [10.0] * 3)

    @pytest.mark.parametrize("flags", [["1", "0", "1"], [1, 0, 1], [True, False, True], [1.0, 0.0, 1.0]])
    def test_bad_bands_in_attributes(self, flags: list[Any]) -> None:
        """As text too: files hold nothing else."""
        given = cube_of(3).drop_vars(["wavelength", "fwhm", "good"]).assign_attrs(bbl=flags)
        assert as_cube(given).good.values.tolist() == [True, False, True]

    def test_single_plane_and_single_time(self) -> None:
        plane = cube_of(1).isel(band=0).drop_vars(["band", "good"]).rename("pan")
        assert as_cube(plane).band.values.tolist() == ["pan"]
        assert as_cube(plane.expand_dims(time=["2020-01-01"])).shape == (1, 5, 4)

    def test_stackstac_and_attribute_crs(self) -> None:
        plain = cube_of().drop_vars("spatial_ref")
        plain.encoding.clear()
        assert geobox(as_cube(plain.assign_coords(epsg=32633))).crs.epsg == 32633
        assert geobox(as_cube(plain.assign_attrs(crs="EPSG:32633"))).crs.epsg == 32633

    def test_coordinates_in_float32(self) -> None:
        x = (13.29672 + np.arange(300) * 3.3e-5).astype(np.float32)
        y = (52.5 - np.arange(300) * 3.3e-5).astype(np.float32)
        array = xr.DataArray(np.ones((1, 300, 300), np.float32), dims=("band", "y", "x"), coords={"y": y, "x": x}).rio.write_crs(4326)
        assert geobox(as_cube(array)).transform.a == pytest.approx(3.3e-5, rel=1e-3)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda a: a.drop_vars("spatial_ref"), "no CRS"),
            (lambda a: a.assign_coords(x=[0.0, 1.0, 2.0, 4.0]), "evenly spaced"),
            (lambda a: a.drop_vars("x").assign_coords(x=("x", list("abcd"))), "finite numbers"),
            (lambda a: a.rename(y="downtrack"), "rename the dims|not .band, y, x."),
            (lambda a: a.expand_dims(time=2), "select one time"),
            (lambda a: a.astype("complex64"), "expected numbers"),
            (lambda a: a.astype(bool), "expected numbers"),
            (lambda a: a.assign_coords(wavelength=("band", ["red", "green"])), "not numeric"),
            (lambda a: a.assign_coords(wavelength=("band", [-1.0, 2.0])), "positive"),
            (lambda a: xr.Dataset({"one": a, "two": a}), "one .band, y, x. variable"),
            (lambda a: xr.Dataset({"n": ("t", [1])}), "neither"),
            (lambda a: a.values, "DataArray or Dataset"),
        ],
    )
    def test_refusals(self, change: Any, said: str) -> None:
        given = cube_of().drop_vars(["wavelength", "fwhm", "good"])
        with pytest.raises(InvalidCube, match=said):
            as_cube(change(given))

    def test_one_pixel_without_a_size_is_rejected(self) -> None:
        array = xr.DataArray(np.ones((1, 1, 1)), dims=("band", "y", "x"), coords={"y": [0.5], "x": [0.5]}).rio.write_crs(32633)
        with pytest.raises(InvalidCube, match="size is unknown"):
            as_cube(array)

    def test_rotated_grids_are_rejected(self) -> None:
        array = xr.DataArray(np.ones((1, 3, 3)), dims=("band", "y", "x")).rio.write_crs(32633)
        with pytest.raises(InvalidCube, match="rotated"):
            as_cube(array.rio.write_transform(Affine.rotation(10) @ BERLIN))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.isel(y=slice(0, 0)), "no pixel"),
        (lambda c: c.transpose("y", "x", "band"), "dims"),
        (lambda c: c.astype("float64"), "float32"),
        (lambda c: c.drop_vars("good"), "missing"),
        (lambda c: c.drop_vars("spatial_ref"), "no CRS"),
        (lambda c: c.isel(y=slice(None, None, -1)), "rows must run south"),
        (lambda c: c.isel(x=[0, 1, 3]), "evenly spaced"),
        (lambda c: c.values, "ndarray"),
    ],
)
def test_check_cube_refuses_and_names_the_role(change: Any, said: str) -> None:
    with pytest.raises(InvalidCube, match=f"^MSI: .*{said}"):
        check_cube(change(cube_of()), "MSI")


def test_check_cube_reads_no_pixel() -> None:
    check_cube(wrap(untouchable((2, 4, 4)), transform=BERLIN, crs=32633, names=["a", "b"]), "HSI")


class TestTrueCentres:
    """Coordinates ``centre_y`` and ``centre_x``: where pixels lie that were moved onto the grid."""

    @staticmethod
    def cube(**kwargs: Any) -> xr.DataArray:
        y, x = np.mgrid[:5, :4]
        given = {"centre_y": 5818301.75 - 3.6 * y + 1, "centre_x": 383471.77 + 3.6 * x - 0.5}
        return cube_of(**(given | kwargs))

    def test_they_stay_with_their_pixels(self) -> None:
        cube = self.cube()
        part = as_cube(cube.isel(band=[1], y=slice(1, 4), x=[2, 3]))
        assert part.centre_y.dims == part.centre_x.dims == ("y", "x")
        np.testing.assert_allclose(part.centre_y - part.y, 1.0, atol=1e-6)
        np.testing.assert_allclose(part.centre_x - part.x, -0.5, atol=1e-6)

    def test_other_names_and_directions(self) -> None:
        """Rows that run north, transposed, and as a Dataset whose centres are variables."""
        cube = self.cube()
        turned = cube.isel(y=slice(None, None, -1)).transpose("x", "band", "y").rename(y="lat", x="lon")
        dataset = turned.to_dataset(name="reflectance").reset_coords(["centre_y", "centre_x"])
        for other in (turned, dataset):
            again = as_cube(other)
            np.testing.assert_array_equal(again.centre_y.values, cube.centre_y.values)
            np.testing.assert_array_equal(again.centre_x.values, cube.centre_x.values)

    def test_they_stay_lazy(self) -> None:
        cube = as_cube(self.cube(centre_y=untouchable((5, 4), "float64"), centre_x=untouchable((5, 4), "float64")))
        check_cube(cube, "HSI")
        assert cube.centre_y.chunks is not None

    @pytest.mark.parametrize(
        "given",
        [{"centre_x": None}, {"centre_y": np.zeros((4, 5))}, {"centre_x": np.zeros((5, 4), int)}],
    )
    def test_both_or_neither_floats_of_the_shape_of_the_grid(self, given: dict[str, Any]) -> None:
        with pytest.raises(InvalidCube, match=r"expected centre_y and centre_x, floats of shape \(5, 4\)"):
            self.cube(**given)

    def test_one_that_was_dropped(self) -> None:
        with pytest.raises(InvalidCube, match=r"HSI: true centres .* give both or none"):
            check_cube(self.cube().drop_vars("centre_x"), "HSI")
