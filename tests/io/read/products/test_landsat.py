"""Landsat 8/9 Collection 2 Level-2 products, against the truth in the place of each pixel."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

import geofuse
from geofuse.cube.masks import Mask
from geofuse.cube.schema import geobox
from geofuse.cube.sources import source_of
from geofuse.errors import InvalidCube
from geofuse.io.read.open import files_of
from geofuse.simulate.products import landsat
from geofuse.viewing.describe import facts


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return landsat.write(tmp_path_factory.mktemp("product"))


@pytest.fixture
def spoilt(product: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(product, tmp_path / product.name))


@pytest.mark.parametrize("text", [False, True])
def test_bands_grid_and_date(text: bool, tmp_path: Path) -> None:
    cube = geofuse.open_msi(landsat.write(tmp_path, text=text))
    assert cube.band.values.tolist() == list(landsat.BANDS)
    assert cube.wavelength.values.tolist() == pytest.approx(list(landsat.BANDS.values()))
    assert ((cube.fwhm > 15) & (cube.fwhm < 190)).all()
    assert geobox(cube).affine == Affine(30, 0, landsat.CORNER[0], 0, -30, landsat.CORNER[1]), (
        "pixels are areas, also where the tag says points"
    )
    assert str(cube.time.values)[:23] == landsat.TAKEN[:23]
    assert np.isnan(cube.values[:, :2]).all()
    for plane, band in zip(cube.values, landsat.BANDS, strict=True):
        assert np.abs(plane - landsat.reflectance(band))[2:].max() < landsat.SCALE / 2 + 1e-7


def test_both_quality_layers_are_the_mask(product: Path) -> None:
    expected = np.zeros((40, 40), np.uint8)
    for (rows, cols, _), flag in zip(landsat.PLACES, (Mask.CLOUD, Mask.SHADOW, Mask.CIRRUS, Mask.WATER), strict=True):
        expected[rows, cols] = flag
    expected[landsat.SATURATED] = Mask.SATURATED
    expected[:2] = Mask.DEFECT
    cube = geofuse.open_msi(product)
    assert np.array_equal(cube.mask.values, expected)
    assert facts(cube)["masks"] == ["QA_PIXEL", "QA_RADSAT"]


def test_any_file_of_it(product: Path) -> None:
    whole = geofuse.open_msi(product)
    for name in ("MTL.json", "SR_B4.TIF", "QA_PIXEL.TIF", "ST_B10.TIF"):
        cube = geofuse.open_msi(product / f"{landsat.NAME}_{name}")
        assert np.array_equal(cube.values, whole.values, equal_nan=True)
    assert facts(whole)["sensor"] == "Landsat 8/9 C2 L2"
    assert (source_of(whole)["id"], source_of(whole)["gsd"]) == (landsat.NAME, 30)


def test_a_choice_of_bands(product: Path) -> None:
    cube = geofuse.open_msi(product, bands="red,B5,SR_B2,1600-1620nm")
    assert cube.band.values.tolist() == ["SR_B4", "SR_B5", "SR_B2", "SR_B6"]
    names = [Path(file).name.removeprefix(landsat.NAME) for file in files_of(str(product), "red")]
    assert names[1:] == ["_MTL.json", "_SR_B4.TIF", "_QA_PIXEL.TIF", "_QA_RADSAT.TIF"]


def test_a_folder_of_several_products(spoilt: Path) -> None:
    other = landsat.NAME.replace("LC09", "LC08")
    for path in list(spoilt.iterdir()):
        shutil.copy(path, path.with_name(path.name.replace(landsat.NAME, other)))
    with pytest.raises(InvalidCube, match=f"holds 2 products .{other}"):
        geofuse.open_msi(spoilt)
    assert source_of(geofuse.open_msi(spoilt / f"{other}_MTL.json"))["id"] == other


def test_other_landsats_are_left_to_other_readers(spoilt: Path) -> None:
    path = spoilt / f"{landsat.NAME}_MTL.json"
    path.write_text(path.read_text().replace("LANDSAT_9", "LANDSAT_7"))
    with pytest.raises(InvalidCube, match="this is a folder"):
        geofuse.open_msi(spoilt)
    with pytest.warns(UserWarning, match="declares no scale"):
        assert geofuse.open_msi(spoilt / f"{landsat.NAME}_SR_B4.TIF").shape == (1, 40, 40)


def test_damaged_products(spoilt: Path, tmp_path: Path) -> None:
    path = spoilt / f"{landsat.NAME}_MTL.json"
    good = json.loads(path.read_text())
    good["LANDSAT_METADATA_FILE"]["LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"]["REFLECTANCE_MULT_BAND_3"] = "0"
    path.write_text(json.dumps(good))
    with pytest.raises(InvalidCube, match="no number for REFLECTANCE_MULT_BAND_3"):
        geofuse.open_msi(spoilt)
    assert geofuse.open_msi(spoilt, bands="red").shape == (1, 40, 40)
    band = spoilt / f"{landsat.NAME}_SR_B4.TIF"
    shutil.move(band, tmp_path / "elsewhere.tif")
    with pytest.raises(InvalidCube, match="holds 0 files of SR_B4"):
        geofuse.open_msi(spoilt, bands="red")
    os.symlink(tmp_path / "elsewhere.tif", band)
    with pytest.raises(InvalidCube, match="link that leads out"):
        geofuse.open_msi(spoilt, bands="red")
    (spoilt / f"{landsat.NAME}_QA_PIXEL.TIF").unlink()
    assert facts(geofuse.open_msi(spoilt, bands="blue"))["masks"] == ["QA_RADSAT"]


@pytest.mark.parametrize("text", ["", "[]", '{"LANDSAT_METADATA_FILE": 3}', "[" * 100_000, '{"LANDSAT_METADATA_FILE": {"a": []}}'])
def test_json_that_is_no_metadata(text: str, spoilt: Path) -> None:
    (spoilt / f"{landsat.NAME}_MTL.json").write_text(text)
    with pytest.raises(InvalidCube, match="this is a folder"):
        geofuse.open_msi(spoilt)
