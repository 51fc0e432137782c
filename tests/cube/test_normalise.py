"""Arrays as the libraries of the field return them, each made by that library where it is installed."""

from __future__ import annotations

import datetime as dt
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import odc.stac
import pystac
import pytest
import rasterio
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
from affine import Affine

import geofuse
from geofuse.cube.masks import Mask, is_mask
from geofuse.cube.schema import as_cube, check_cube, geobox
from geofuse.errors import InvalidCube

UTM = Affine(10.0, 0.0, 399960.0, 0.0, -10.0, 5900040.0)
WHEN = dt.datetime(2022, 7, 4, 10, 30, 21, tzinfo=dt.UTC)
SIDE = 24


def stored(k: int) -> np.ndarray:
    """DN of band k: a ramp, with nodata (0) in the first pixel."""
    values = (np.arange(SIDE * SIDE).reshape(SIDE, SIDE) + 500 * (k + 1)).astype("uint16")
    values[0, 0] = 0
    return values


def classes() -> np.ndarray:
    """A scene classification: vegetation everywhere, but for a cloud of 2 x 2 pixels."""
    found = np.full((SIDE, SIDE), 4, "uint8")
    found[4:6, 4:6] = 9
    return found


@pytest.fixture
def item(tmp_path: Path) -> pystac.Item:
    """An item as catalogs of Sentinel-2 hold them: an asset a band, a scene classification among them."""
    layers = {"B02": stored(0), "B03": stored(1), "B04": stored(2), "SCL": classes()}
    box = {"proj:code": "EPSG:32633", "proj:shape": [SIDE, SIDE], "proj:transform": list(UTM)[:6]}
    footprint = {"type": "Polygon", "coordinates": [[[13.5, 53.2], [13.6, 53.2], [13.6, 53.3], [13.5, 53.3], [13.5, 53.2]]]}
    scene = pystac.Item("S2A_scene", footprint, [13.5, 53.2, 13.6, 53.3], WHEN, box)
    scene.stac_extensions = [f"https://stac-extensions.github.io/{name}/schema.json" for name in ("projection/v2.0.0", "raster/v1.1.0")]
    for key, values in layers.items():
        path = tmp_path / f"{key}.tif"
        profile = {"driver": "GTiff", "count": 1, "height": SIDE, "width": SIDE, "dtype": values.dtype, "nodata": 0}
        with rasterio.open(path, "w", **profile, crs=32633, transform=UTM) as file:
            file.write(values, 1)
        fields = {"raster:bands": [{"data_type": values.dtype.name, "nodata": 0}]}
        scene.add_asset(key, pystac.Asset(str(path), media_type=pystac.MediaType.COG, roles=["data"], extra_fields=fields))
    return scene


def plain(array: xr.DataArray | xr.Dataset, **expected: str) -> xr.DataArray:
    """As a cube, with the warnings that are expected and no other ones."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cube = as_cube(array)
    said = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    assert len(said) == len(expected), said
    for part in expected.values():
        assert any(part in message for message in said), said
    check_cube(cube, "MSI")
    return cube


class TestOdcStac:
    def loaded(self, item: pystac.Item, *bands: str) -> xr.Dataset:
        return odc.stac.load([item], bands=bands, chunks={})

    def test_as_it_is_returned(self, item: pystac.Item) -> None:
        dataset = self.loaded(item, "B02", "B03", "B04")
        assert dataset.sizes["time"] == 1
        cube = plain(dataset, scale="declares no scale")
        assert cube.chunks is not None
        assert cube.band.values.tolist() == ["B02", "B03", "B04"]
        assert cube.time.values == np.datetime64("2022-07-04T10:30:21")
        assert geobox(cube).affine == UTM
        assert np.array_equal(cube.x, dataset.x)
        expected = np.stack([np.where(stored(k) == 0, np.nan, stored(k) * 1e-4) for k in range(3)])
        np.testing.assert_allclose(cube.values, expected, rtol=1e-6)

    def test_to_array(self, item: pystac.Item) -> None:
        cube = plain(self.loaded(item, "B02", "B04").to_array(), scale="declares no scale")
        assert cube.band.values.tolist() == ["B02", "B04"]
        np.testing.assert_allclose(cube.values[1, 5], stored(2)[5] * 1e-4, rtol=1e-6)

    def test_to_array_of_one_time(self, item: pystac.Item) -> None:
        cube = plain(self.loaded(item, "B02", "B04").isel(time=0).to_array(dim="band"), scale="declares no scale")
        assert cube.shape == (2, SIDE, SIDE)

    @pytest.mark.parametrize("as_array", [False, True])
    def test_a_scene_classification_is_a_mask(self, item: pystac.Item, as_array: bool) -> None:
        dataset = self.loaded(item, "B02", "SCL", "B03")
        cube = plain(dataset.to_array() if as_array else dataset, scale="declares no scale", mask="SCL used as a mask")
        assert cube.band.values.tolist() == ["B02", "B03"]
        assert cube.chunks is not None
        assert np.isfinite(cube.values[1, 4:6, 4:6]).all()
        assert np.array_equal(np.argwhere(cube.mask.values), [[4, 4], [4, 5], [5, 4], [5, 5]])
        assert set(cube.mask.values[4:6, 4:6].ravel()) == {Mask.CLOUD}

    def test_several_times_are_rejected(self, item: pystac.Item) -> None:
        dataset = self.loaded(item, "B02")
        twice = xr.concat([dataset, dataset.assign_coords(time=dataset.time + np.timedelta64(1, "D"))], dim="time")
        with pytest.raises(InvalidCube, match=r"2 times; select one with dataset.isel\(time=0\)"):
            as_cube(twice)

    def test_opened_as_an_msi(self, item: pystac.Item) -> None:
        with pytest.warns(UserWarning, match="declares no scale"):
            cube = geofuse.open_msi(self.loaded(item, "B02", "B03"), bands=["B03"])
        assert cube.band.values.tolist() == ["B03"]


def stacked(centre: bool) -> xr.DataArray:
    """What `stackstac.stack` returns for one item with its defaults (float64, NaN for nodata), coordinates of corners or centres."""
    bands = ["B02", "B03", "SCL"]
    values = np.stack([stored(0) * 1e-4, stored(1) * 1e-4, classes()])[None]
    shift = 5.0 if centre else 0.0
    coords: dict[str, Any] = {
        "time": [np.datetime64("2022-07-04T10:30:21", "ns")],
        "id": ("time", ["S2A_scene"]),
        "band": bands,
        "x": 399960.0 + shift + 10 * np.arange(SIDE),
        "y": 5900040.0 - shift - 10 * np.arange(SIDE),
        "platform": "sentinel-2a",
        "title": ("band", ["Blue", "Green", "Classes"]),
        "common_name": ("band", np.array(["blue", "green", None], dtype=object)),
        "center_wavelength": ("band", np.array([0.49, 0.56, None], dtype=object)),
        "full_width_half_max": ("band", np.array([0.098, 0.045, None], dtype=object)),
        "raster:bands": ("band", np.array([[{"scale": 1e-4}], [{"scale": 1e-4}], None], dtype=object)),
        "proj:shape": np.array({SIDE}, dtype=object),
        "proj:transform": np.array(set(UTM[:6]), dtype=object),
        "epsg": 32633,
    }
    attrs = {"spec": object(), "crs": "epsg:32633", "transform": UTM, "resolution": 10.0}
    return xr.DataArray(values, dims=("time", "band", "y", "x"), coords=coords, attrs=attrs)


class TestStackstac:
    def test_as_it_is_returned(self) -> None:
        cube = plain(stacked(centre=False), corners="corners", mask="SCL used as a mask")
        assert geobox(cube).affine == UTM, "half a pixel off, were the corners taken for centres"
        assert cube.band.values.tolist() == ["B02", "B03"]
        assert cube.wavelength.values.tolist() == [490.0, 560.0]
        assert cube.fwhm.values.tolist() == [98.0, 45.0]
        assert cube.time.values == np.datetime64("2022-07-04T10:30:21")
        assert (cube.mask.values[4:6, 4:6] == Mask.CLOUD).all()
        assert cube.mask.values.sum() == 4 * Mask.CLOUD

    def test_a_part_of_it(self) -> None:
        cube = plain(stacked(centre=False)[..., 3:, 5:], corners="corners", mask="SCL used as a mask")
        assert geobox(cube).affine == UTM @ Affine.translation(5, 3)

    def test_coordinates_of_centres_stay(self) -> None:
        array = stacked(centre=True)
        cube = plain(array, mask="SCL used as a mask")
        assert geobox(cube).affine == UTM
        assert np.array_equal(cube.x, array.x)


class TestMasks:
    def test_flags_and_bytes_among_wider_numbers_are_no_bands(self, item: pystac.Item) -> None:
        dataset = odc.stac.load([item], bands=["B02", "B03"]).isel(time=0)
        dataset["clear"] = dataset.B02 > 600
        dataset["zone"] = (dataset.B02 % 3).astype("uint8")
        dataset["state"] = dataset.B02.assign_attrs(flag_values=[0, 1])
        cube = plain(dataset, scale="declares no scale", left="clear, zone, state left out")
        assert cube.band.values.tolist() == ["B02", "B03"]

    def test_landsat(self, item: pystac.Item) -> None:
        dataset = odc.stac.load([item], bands=["B02", "B03"]).isel(time=0).rename(B02="red", B03="nir08")
        dataset["qa_pixel"] = xr.full_like(dataset.red, 21824)
        dataset.qa_pixel[2, 2] = 22280  # cloud
        cube = plain(dataset, scale="declares no scale", mask="qa_pixel used as a mask")
        assert np.argwhere(cube.mask.values).tolist() == [[2, 2]]
        assert cube.mask.values[2, 2] == Mask.CLOUD

    def test_bytes_alone_are_an_image(self) -> None:
        planes = {name: (("y", "x"), np.full((4, 4), 90, "uint8"), {"scale_factor": 0.01}) for name in ("r", "g", "b")}
        array = xr.Dataset(planes, coords={"y": 40.0 - 10 * np.arange(4), "x": 10.0 * np.arange(4)}).rio.write_crs(32633)
        assert as_cube(array).band.values.tolist() == ["r", "g", "b"]

    @pytest.mark.parametrize(
        "name", ["SCL", "scl", "QA_PIXEL", "qa60", "pixel_qa", "Fmask", "cloud_mask", "cloud-mask", "mask", "CLD", "quality"]
    )
    def test_names_of_layers_of_classes(self, name: str) -> None:
        assert is_mask(name)

    @pytest.mark.parametrize("name", ["blue", "B8A", "nir08", "swir16", "coastal", "460.00 nm", "water vapour", "scl2", "band 1", ""])
    def test_names_of_bands(self, name: str) -> None:
        assert not is_mask(name)


class TestWavelengthsInNames:
    def test_long_name_of_rioxarray(self) -> None:
        names = ("460.00 nm", "Band 2 (0.5600 Micrometers)", "nir 842nm")
        array = xr.DataArray(np.full((3, 4, 4), 0.2), dims=("band", "y", "x"), coords={"y": 4.0 - np.arange(4), "x": np.arange(4.0)})
        cube = as_cube(array.assign_attrs(long_name=names).rio.write_crs(32633))
        assert cube.wavelength.values.tolist() == [460.0, 560.0, 842.0]

    def test_variables_of_a_dataset(self) -> None:
        plane = xr.DataArray(np.full((4, 4), 0.2), dims=("y", "x"), coords={"y": 4.0 - np.arange(4), "x": np.arange(4.0)})
        cube = as_cube(xr.Dataset({"reflectance_490nm": plane, "665.0 nm": plane * 2}).rio.write_crs(32633))
        assert cube.wavelength.values[1] == 665.0

    def test_descriptions_of_a_file(self, tmp_path: Path) -> None:
        profile = {"driver": "GTiff", "count": 2, "height": 8, "width": 8, "dtype": "float32", "crs": 32633, "transform": UTM}
        with rasterio.open(tmp_path / "a.tif", "w", **profile) as file:
            file.write(np.random.default_rng(0).random((2, 8, 8), np.float32))
            file.descriptions = ("Band 1 (460.5 Nanometers)", "Band 2 (0.5600 Micrometers)")
        assert geofuse.open_hsi(tmp_path / "a.tif").wavelength.values.tolist() == [460.5, 560.0]
