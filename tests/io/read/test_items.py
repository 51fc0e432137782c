"""STAC items as sources: by path, with their date, and with assets of different pixel size."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr
from affine import Affine

from geofuse.cube.masks import Mask
from geofuse.cube.schema import geobox
from geofuse.cube.sources import SOURCE
from geofuse.errors import InvalidCube
from geofuse.io.read.items import is_item, read_item
from geofuse.io.read.open import files_of, open_hsi, open_msi
from geofuse.simulate.products import landsat

WHEN = dt.datetime(2022, 7, 4, 12, 30, 21, tzinfo=dt.timezone(dt.timedelta(hours=2)))
SIZE = 24  # pixels of 10 m


def noise(seed: int, side: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 5000, (1, side, side)).astype("uint16")


def add(item: pystac.Item, folder: Path, key: str, values: np.ndarray, pixel: float, **fields: Any) -> np.ndarray:
    """Write one asset, north-west corner at 399960, 5900040; return its reflectance."""
    profile = {
        "driver": "GTiff",
        "count": len(values),
        "height": values.shape[1],
        "width": values.shape[2],
        "dtype": values.dtype,
        "nodata": 0,
    }
    with rasterio.open(folder / f"{key}.tif", "w", **profile, crs=32633, transform=Affine(pixel, 0, 399960, 0, -pixel, 5900040)) as file:
        file.write(values)
    fields.setdefault("raster:bands", [{"scale": 1e-4, "nodata": 0}] * len(values))
    roles = fields.pop("roles", ["data"])
    item.add_asset(key, pystac.Asset(f"./{key}.tif", media_type=pystac.MediaType.COG, roles=roles, extra_fields=fields))
    return values * 1e-4


def sentinel(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """An item as those of Sentinel-2: bands of 10, 20 and 60 m, a true-colour composite and a scene classification."""
    item = pystac.Item("S2A_T33UUU", None, None, WHEN, {"gsd": 10})
    bands = {"B02": (10, 0.49), "B03": (10, 0.56), "B05": (20, 0.704), "B09": (60, 0.945)}
    made = {
        key: add(item, folder, key, noise(k, SIZE * 10 // pixel), pixel, **{"eo:bands": [{"name": key, "center_wavelength": micrometres}]})
        for k, (key, (pixel, micrometres)) in enumerate(bands.items())
    }
    add(item, folder, "visual", np.repeat(noise(8, SIZE), 3, 0), 10, **{"eo:bands": [{"name": key} for key in ("B04", "B03", "B02")]})
    add(item, folder, "SCL", noise(9, SIZE // 2) % 11, 20)
    return write(item, folder), made


def write(item: pystac.Item, folder: Path, name: str = "item.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(item.to_dict(include_self_link=False)))
    return path


class TestResolution:
    def test_larger_pixels_are_repeated(self, tmp_path: Path) -> None:
        path, made = sentinel(tmp_path)
        cube = open_msi(path, bands=["B02", "B05", "B09"], resolution=10)
        assert geobox(cube).affine == Affine(10, 0, 399960, 0, -10, 5900040)
        assert cube.shape == (3, SIZE, SIZE)
        assert cube.chunks is not None
        assert cube.wavelength.values.tolist() == [490.0, 704.0, 945.0]
        for plane, (key, factor) in zip(cube.values, {"B02": 1, "B05": 2, "B09": 6}.items(), strict=True):
            np.testing.assert_allclose(plane, np.kron(made[key][0], np.ones((factor, factor))), rtol=1e-6)

    def test_smaller_pixels_are_averaged(self, tmp_path: Path) -> None:
        path, made = sentinel(tmp_path)
        cube = open_msi(path, bands="B03,B05", resolution=20)
        assert geobox(cube).affine == Affine(20, 0, 399960, 0, -20, 5900040)
        np.testing.assert_allclose(cube.values[0], made["B03"][0].reshape(12, 2, 12, 2).mean((1, 3)), rtol=1e-5)
        np.testing.assert_allclose(cube.values[1], made["B05"][0], rtol=1e-6)

    def test_all_bands_of_the_item_but_composites_and_classes(self, tmp_path: Path) -> None:
        cube = open_msi(sentinel(tmp_path)[0], resolution=10)
        assert cube.band.values.tolist() == ["B02", "B03", "B05", "B09"]

    def test_nothing_is_resampled_unasked(self, tmp_path: Path) -> None:
        path, _ = sentinel(tmp_path)
        with pytest.raises(InvalidCube, match=r"not on one grid.*B02 10, B05 20.*resolution=10"):
            open_msi(path, bands=["B02", "B05"])
        with pytest.raises(InvalidCube, match=r"several raster assets.*bands=.*resolution="):
            open_msi(path)

    def test_what_lies_outside_an_asset_is_nodata(self, tmp_path: Path) -> None:
        item = pystac.Item("scene", None, None, WHEN, {})
        add(item, tmp_path, "B02", noise(0, SIZE), 10)
        small = add(item, tmp_path, "B05", noise(1, SIZE // 4), 20)
        cube = open_msi(write(item, tmp_path), bands=["B02", "B05"], resolution=10)
        assert cube.shape == (2, SIZE, SIZE)
        np.testing.assert_allclose(cube.values[1, :12, :12], np.kron(small[0], np.ones((2, 2))), rtol=1e-6)
        assert np.isnan(cube.values[1, 12:]).all()
        assert np.isnan(cube.values[1, :, 12:]).all()

    @pytest.mark.parametrize(
        ("resolution", "said"), [(15.0, "no whole number"), (-10.0, "expected a pixel size"), (float("nan"), "pixel size")]
    )
    def test_sizes_that_make_no_sense(self, resolution: float, said: str, tmp_path: Path) -> None:
        with pytest.raises(InvalidCube, match=said):
            open_msi(sentinel(tmp_path)[0], bands=["B02", "B05"], resolution=resolution)

    def test_a_scene_classification_is_no_band(self, tmp_path: Path) -> None:
        path, _ = sentinel(tmp_path)
        with pytest.warns(UserWarning, match="S2A_T33UUU: SCL left out"):
            assert open_msi(path, bands=["B05", "SCL"]).band.values.tolist() == ["B05"]


@pytest.mark.parametrize("chunks", ["auto", None])
def test_a_layer_of_classes_in_a_file_is_its_mask(chunks: str | None, tmp_path: Path) -> None:
    """As Earth Engine exports a scene, or odc-stac's bands are stacked: QA_PIXEL among the bands, of their type."""
    quality = np.full((8, 8), landsat.CLEAR)
    quality[2:4, 1:5], quality[5, 5] = landsat.CLOUD, landsat.SHADOW
    profile = {"driver": "GTiff", "count": 3, "height": 8, "width": 8, "dtype": "uint16", "crs": 32633}
    with rasterio.open(tmp_path / "a.tif", "w", **profile, transform=Affine(30, 0, 399960, 0, -30, 5900040)) as file:
        file.write(np.stack([noise(0, 8)[0], quality.astype("uint16"), noise(1, 8)[0]]))
        file.descriptions, file.scales = ("SR_B4", "QA_PIXEL", "SR_B5"), [2.75e-05] * 3
    cube = open_msi(tmp_path / "a.tif", chunks=chunks)
    assert cube.band.values.tolist() == ["SR_B4", "SR_B5"]
    expected = np.select([quality == landsat.CLOUD, quality == landsat.SHADOW], [Mask.CLOUD, Mask.SHADOW], 0)
    np.testing.assert_array_equal(cube.mask.values, expected)
    np.testing.assert_array_equal(open_msi(tmp_path / "a.tif", bands=[1])[:, 1:4].mask.values, expected[1:4])
    assert open_msi(tmp_path / "a.tif", bands="QA_PIXEL").band.values.tolist() == ["QA_PIXEL"], "asked for by name"


def test_one_that_is_not_understood_is_left_out(tmp_path: Path) -> None:
    profile = {"driver": "GTiff", "count": 2, "height": 8, "width": 8, "dtype": "uint16", "crs": 32633}
    with rasterio.open(tmp_path / "a.tif", "w", **profile, transform=Affine(30, 0, 399960, 0, -30, 5900040)) as file:
        file.write(np.repeat(noise(0, 8), 2, 0))
        file.descriptions, file.scales = ("SR_B4", "QA60"), [2.75e-05] * 2
    with pytest.warns(UserWarning, match=r"a\.tif: QA60 left out"):
        assert "mask" not in open_msi(tmp_path / "a.tif").coords


class TestItem:
    def test_date_and_origin_come_with_the_cube(self, tmp_path: Path) -> None:
        path, _ = sentinel(tmp_path)
        cube = open_msi(path, bands=["B02", "B03"])
        assert cube.time.values == np.datetime64("2022-07-04T10:30:21")
        about = json.loads(cube.attrs[SOURCE])
        assert about == {"href": str(path), "id": "S2A_T33UUU", "datetime": "2022-07-04T10:30:21Z", "gsd": 10.0}
        asset = pystac.Item.from_file(str(path)).assets["B05"]
        assert json.loads(open_msi(asset).attrs[SOURCE]) == about

    def test_a_file_says_its_own(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        item = pystac.Item("scene", None, None, WHEN, {})
        add(item, tmp_path, "a", noise(0, 8), 10)
        with rasterio.open(path, "r+") as file:
            file.scales = [1e-4]
            file.update_tags(acquisition_time="2021-05-06T07:08:09Z", TIFFTAG_DATETIME="2024:01:01 00:00:00")
        cube = open_msi(path)
        assert cube.time.values == np.datetime64("2021-05-06T07:08:09")
        assert json.loads(cube.attrs[SOURCE]) == {"href": str(path), "id": None, "datetime": "2021-05-06T07:08:09Z", "gsd": None}

    def test_a_file_without_a_date_has_none(self, berlin: tuple[Path, Path]) -> None:
        cube = open_msi(berlin[1])
        assert "time" not in cube.coords
        assert json.loads(cube.attrs[SOURCE])["datetime"] is None

    def test_the_cube_and_not_what_lies_beside_it(self, tmp_path: Path) -> None:
        """As geofuse writes its own items: an uncertainty of as many bands."""
        item = pystac.Item("fused", None, None, WHEN, {})
        bands = [{"name": f"b{k}", "eo:center_wavelength": 0.4 + k / 10, "raster:scale": 1e-4} for k in range(3)]
        made = add(item, tmp_path, "data", np.repeat(noise(0, 8), 3, 0), 10, bands=bands, **{"raster:bands": []})
        add(item, tmp_path, "uncertainty", np.repeat(noise(1, 8), 3, 0), 10, roles=["uncertainty"], bands=bands)
        cube = open_hsi(write(item, tmp_path), bands=["450-650nm", 1])
        assert cube.wavelength.values.tolist() == [500.0, 600.0, 400.0]
        np.testing.assert_allclose(cube.values, made, rtol=1e-6)

    def test_files_behind_an_item(self, tmp_path: Path) -> None:
        path, _ = sentinel(tmp_path)
        assert files_of(str(path), "B02,B05") == [str(path), *(str(tmp_path / f"{key}.tif") for key in ("B02", "B05", "SCL"))]
        assert files_of("a.tif") == ["a.tif"]

    def test_by_an_address_of_the_web(self, tmp_path: Path) -> None:
        path, _ = sentinel(tmp_path)
        handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            Thread(target=server.serve_forever, daemon=True).start()
            item = read_item(f"http://127.0.0.1:{server.server_port}/{path.name}")
            server.shutdown()
        assert item.id == "S2A_T33UUU"
        assert item.assets["B02"].get_absolute_href() == f"http://127.0.0.1:{server.server_port}/B02.tif"

    def test_by_address(self, tmp_path: Path) -> None:
        path, _ = sentinel(tmp_path)
        assert open_msi(path.as_uri(), bands="B02").shape == (1, SIZE, SIZE)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "cannot be read as a STAC item"),
            ("[]", "expected a STAC item.*'list'"),
            ('{"type": "Collection"}', "expected a STAC item.*'Collection'"),
            ('{"type": "Feature", "assets": {}}', "cannot be read as a STAC item"),
            ('{"type": "Feature", "assets": 3, "id": "a"}', "expected a STAC item"),
            ("[" * 100_000, "cannot be read as a STAC item"),
        ],
    )
    def test_json_that_is_no_item(self, text: str, said: str, tmp_path: Path) -> None:
        path = tmp_path / "a.json"
        path.write_text(text)
        with pytest.raises(InvalidCube, match=rf"a\.json: {said}"):
            open_msi(path)

    def test_no_such_item(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidCube, match=r"a\.json: no such file"):
            open_msi(tmp_path / "a.json")
        assert not is_item("a.tif")


class TestBands:
    @pytest.mark.parametrize(
        ("bands", "expected"),
        [
            ("2", [2]),
            ("1-3,7", [1, 2, 3, 7]),
            ([3, "1-2"], [3, 1, 2]),
            ("0.46-0.475um", [1, 2, 3, 4]),
            ("460.00 nm,500-506nm", [1, 10]),
            ("2,1-3", [2, 1, 3]),
        ],
    )
    @pytest.mark.parametrize("opened", [open_hsi, open_msi])
    def test_of_a_file(self, opened: Callable[..., xr.DataArray], bands: Any, expected: list[int], berlin: tuple[Path, Path]) -> None:
        whole = opened(berlin[0])
        part = opened(berlin[0], bands=bands)
        assert part.band.values.tolist() == [str(whole.band.values[k - 1]) for k in expected]
        assert opened(whole, bands=bands).equals(part)

    @pytest.mark.parametrize("bands", ["0", "178", "5-2", "nir", "3000-4000nm", [], "", "1-1000"])
    def test_that_are_not_there(self, bands: Any, berlin: tuple[Path, Path]) -> None:
        with pytest.raises(InvalidCube, match=r"no band .*1 to 177.*460 to 2\d\d\d nm|bands= is empty"):
            open_hsi(berlin[0], bands=bands)
