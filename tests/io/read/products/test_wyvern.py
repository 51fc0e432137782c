from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio

from geofuse import open_hsi
from geofuse.cube.masks import Mask
from geofuse.errors import InvalidCube
from geofuse.io.read.open import files_of
from geofuse.simulate.products import truth, wyvern
from geofuse.viewing.describe import facts


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wyvern.write(tmp_path_factory.mktemp("wyvern"))


def item_of(delivery: Path) -> Path:
    return next(delivery.glob("*/*.json"))


def test_the_truth_at_its_place_and_wavelength(delivery: Path) -> None:
    cube = open_hsi(delivery)
    expected = truth.footprint(*np.meshgrid(cube.x, cube.y), wyvern.WAVELENGTHS, wyvern.GSD, samples=3)
    known = ~wyvern.empty(*cube.shape[1:])
    np.testing.assert_allclose(cube.values[:, known], expected[:, known], atol=6e-5)
    assert np.isnan(cube.values[:, ~known]).all()
    np.testing.assert_allclose(cube.wavelength, wyvern.WAVELENGTHS)
    np.testing.assert_allclose(cube.fwhm, wyvern.FWHM)
    found = facts(cube)
    assert (found["sensor"], found["datetime"], found["crs"]) == ("Wyvern L2A", wyvern.TAKEN, truth.CRS)


def test_its_usable_data_mask(delivery: Path) -> None:
    cube = open_hsi(delivery)
    assert facts(cube)["masks"] == ["WYVERN DATA MASK"]
    layers = wyvern.mask(*cube.shape[1:])
    for layer, flag in ((1, Mask.CLOUD), (2, Mask.HAZE), (3, Mask.SHADOW)):
        np.testing.assert_array_equal((cube.mask.values & flag) > 0, layers[layer] == 1)


def test_whatever_file_of_it_is_given(delivery: Path) -> None:
    item = item_of(delivery)
    for source in (
        item.parent,
        item,
        item.with_suffix(".tiff"),
        item.with_name(f"{item.stem}_data_mask.tiff"),
        pystac.Item.from_file(item),
    ):
        assert facts(open_hsi(source))["sensor"] == "Wyvern L2A"
    assert {Path(file).suffix for file in files_of(str(delivery))} >= {".json", ".tiff"}


@pytest.mark.parametrize("name", ["", "*/*.json", "*/*l1b.tiff"])
def test_radiance_is_rejected(name: str, tmp_path: Path) -> None:
    root = wyvern.write(tmp_path, level="L1B")
    with pytest.raises(InvalidCube, match="Wyvern L1B: radiance at the top of the atmosphere; expected L2A"):
        open_hsi(next(root.glob(name)) if name else root)
    with pytest.raises(InvalidCube, match=r"holds radiance .*expected surface reflectance"):
        open_hsi(pystac.Item.from_file(item_of(root)))


def test_several_scenes_are_rejected(tmp_path: Path) -> None:
    root = wyvern.write(tmp_path)
    item = item_of(root)
    (item.parent / "other.json").write_bytes(item.read_bytes())
    with pytest.raises(InvalidCube, match="2 scenes in one folder"):
        open_hsi(root)


def test_an_image_alone_is_a_geotiff(delivery: Path, tmp_path: Path) -> None:
    image = item_of(delivery).with_suffix(".tiff")
    alone = tmp_path / image.name
    alone.write_bytes(image.read_bytes())
    with pytest.warns(UserWarning, match="declares no scale"):
        cube = open_hsi(alone)
    np.testing.assert_allclose(cube.wavelength, wyvern.WAVELENGTHS)


def test_the_item_is_what_the_image_is(delivery: Path) -> None:
    """The sample is true to itself: what rasterio says is what the item says."""
    item = json.loads(item_of(delivery).read_text())["assets"]["Cloud optimized GeoTiff"]
    with rasterio.open(item_of(delivery).with_suffix(".tiff")) as file:
        assert (file.nodata, file.dtypes[0], file.count) == (item["raster:bands"][0]["nodata"], "uint16", len(item["eo:bands"]))
