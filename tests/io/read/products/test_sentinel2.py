"""Sentinel-2 L2A products as SAFE folders, against the truth in the place of each pixel."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import dask
import numpy as np
import pytest
from affine import Affine

import geofuse
from geofuse.cube.masks import Mask
from geofuse.cube.schema import geobox
from geofuse.cube.sources import source_of
from geofuse.errors import InvalidCube
from geofuse.io.read.open import files_of
from geofuse.io.read.raster import RasterArray
from geofuse.simulate.products import sentinel2
from geofuse.viewing.describe import facts

ROUNDING = 0.5e-4 + 1e-6  # half a count


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sentinel2.write(tmp_path_factory.mktemp("product"))


@pytest.fixture
def spoilt(product: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(product, tmp_path / product.name))


def clear(size: int) -> np.ndarray:
    classes = sentinel2.classification(60)
    return ~sentinel2.hidden(classes == 9, size, (1200 // size,) * 2)


def test_ten_metres_by_default(product: Path) -> None:
    cube = geofuse.open_msi(product)
    assert cube.band.values.tolist() == ["B02", "B03", "B04", "B08"]
    assert cube.wavelength.values.tolist() == [492.7, 559.8, 664.6, 832.8]
    assert cube.fwhm.values.tolist() == [65, 35, 30, 105], "of the response at half its maximum, not from end to end"
    assert geobox(cube).affine == Affine(10, 0, sentinel2.CORNER[0], 0, -10, sentinel2.CORNER[1])
    assert geobox(cube).crs.to_epsg() == 32633
    assert str(cube.time.values) == "2024-09-04T10:10:31.024000000"
    for plane, band in zip(cube.values, ("B2", "B3", "B4", "B8"), strict=True):
        assert np.abs(plane - sentinel2.reflectance(band))[clear(10)].max() < ROUNDING


def test_all_bands_of_ten_and_twenty_metres(product: Path) -> None:
    cube = geofuse.open_msi(product, resolution=10)
    assert cube.band.values.tolist() == ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
    assert (np.diff(cube.sel(band=["B8A", "B11"]).wavelength) > 0).all()
    repeated = np.kron(sentinel2.reflectance("B11"), np.ones((2, 2)))
    assert np.abs(cube.sel(band="B11").values - repeated)[clear(10)].max() < ROUNDING
    coarse = geofuse.open_msi(product, bands="B01,red,700-710nm,swir22", resolution=60)
    assert coarse.band.values.tolist() == ["B01", "B04", "B05", "B12"]
    assert np.abs(coarse.values[0] - sentinel2.reflectance("B1"))[clear(60)].max() < ROUNDING
    assert geofuse.open_msi(product, bands=["B02"], resolution=20).shape == (1, 60, 60), "one band, too"
    with pytest.raises(InvalidCube, match=r"not on one grid.*resolution=10"):
        geofuse.open_msi(product, bands=["B02", "B05"])


def test_the_scene_classification_is_the_mask(product: Path) -> None:
    cube = geofuse.open_msi(product, resolution=10)
    expected = np.zeros((60, 60), np.uint8)
    for (rows, cols, _), flag in zip(sentinel2.CLASSES, (Mask.CLOUD, Mask.SHADOW, Mask.SNOW, Mask.WATER), strict=True):
        expected[rows, cols] = flag
    assert dask.is_dask_collection(cube.mask.data)
    assert cube.mask.dtype == np.uint8
    assert np.array_equal(cube.mask.values, np.kron(expected, np.ones((2, 2))))
    assert np.array_equal(geofuse.open_msi(product, bands="B11").mask.values, expected)
    assert np.array_equal(geofuse.open_msi(product, bands="B11", chunks=None).mask.values, expected)
    assert np.array_equal(pickle.loads(pickle.dumps(cube.mask)).values, cube.mask.values)
    assert np.array_equal(cube[:, 20:40, 30:].mask.values, cube.mask.values[20:40, 30:])


def test_products_before_the_offset(tmp_path: Path) -> None:
    cube = geofuse.open_msi(sentinel2.write(tmp_path, offset=0, nodata_rows=2))
    assert np.isnan(cube.values[:, :12]).all()
    assert np.abs(cube.values[0] - sentinel2.reflectance("B2"))[12:][clear(10)[12:]].max() < ROUNDING


def test_any_file_of_it(product: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = geofuse.open_msi(product)
    images = sorted(product.rglob("*.jp2"))
    for path in (product / "MTD_MSIL2A.xml", images[0], images[-1], product / "manifest.safe"):
        assert geofuse.open_msi(path).equals(whole)
    monkeypatch.chdir(images[0].parent)
    assert geofuse.open_msi(images[0].name).equals(whole)


def test_what_is_said_of_it(product: Path) -> None:
    cube = geofuse.open_msi(product)
    said = facts(cube)
    assert (said["sensor"], said["gsd_m"], said["datetime"], said["masks"]) == ("Sentinel-2 L2A", 10, "2024-09-04T10:10:31Z", ["SCL"])
    assert said["nodata_percent"] == 0
    source = source_of(cube)
    assert (source["id"], source["href"], source["gsd"]) == (sentinel2.NAME, str(product), 10)
    assert {key: cube.encoding[key] for key in ("scale_factor", "add_offset", "_FillValue", "dtype")} == {
        **{"scale_factor": 1e-4, "add_offset": -0.1, "_FillValue": 0.0, "dtype": "uint16"}
    }


def test_files_of_which_the_pixels_depend(product: Path) -> None:
    names = [Path(file).name for file in files_of(str(product), "B02,B11", 10)]
    assert names[0] == product.name
    assert sorted(name[-11:-4] for name in names[2:]) == ["B02_10m", "B11_20m", "SCL_20m"]


def test_a_missing_mask_is_said(spoilt: Path) -> None:
    scl = next(spoilt.rglob("*SCL*"))
    scl.write_bytes(scl.read_bytes()[:200])
    with pytest.warns(UserWarning, match="SCL is left out, and nothing is masked by it"):
        assert "mask" not in geofuse.open_msi(spoilt).coords


def test_without_its_mask_it_opens_all_the_same(spoilt: Path) -> None:
    next(spoilt.rglob("*SCL*")).unlink()
    assert "mask" not in geofuse.open_msi(spoilt).coords


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('<BOA_QUANTIFICATION_VALUE unit="none">10000<', '<BOA_QUANTIFICATION_VALUE unit="none">0<', "BOA_QUANTIFICATION_VALUE of 0"),
        ('band_id="1">-1000', 'band_id="1">x', "give 'x' for .; expected a number"),
        ("<n1:General_Info>", "<n1:General_Info><!--", "no XML"),
        ("Spectral_Information_List", "List", "name no bands"),
        ("<VALUES>0.2", "<VALUES>x", "no list of numbers"),
    ],
)
def test_damaged_metadata(spoilt: Path, old: str, new: str, said: str) -> None:
    path = spoilt / "MTD_MSIL2A.xml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InvalidCube, match=said):
        geofuse.open_msi(spoilt)


def test_incomplete_products(spoilt: Path) -> None:
    next(spoilt.rglob("*B03_10m.jp2")).unlink()
    with pytest.raises(InvalidCube, match="R10m holds 0 files of B03"):
        geofuse.open_msi(spoilt)
    assert geofuse.open_msi(spoilt, bands=["B02"]).shape == (1, 120, 120)
    granule = next(spoilt.glob("GRANULE/*"))
    shutil.copytree(granule, granule.with_name("L2A_OTHER"))
    with pytest.raises(InvalidCube, match="holds 2 tiles"):
        geofuse.open_msi(spoilt)


def test_links_out_of_the_product(spoilt: Path, tmp_path: Path) -> None:
    image = next(spoilt.rglob("*B02_10m.jp2"))
    shutil.move(image, tmp_path / "elsewhere.jp2")
    os.symlink(tmp_path / "elsewhere.jp2", image)
    with pytest.raises(InvalidCube, match="link that leads out of the product"):
        geofuse.open_msi(spoilt)


def test_bands_that_are_not_there(product: Path) -> None:
    with pytest.raises(InvalidCube, match="no band 'B10'"):
        geofuse.open_msi(product, bands=["B10"])


def test_opening_decodes_a_block_a_band(product: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of JPEG 2000 any pixel costs a tile; twenty metres are repeated in whole chunks."""
    read, genuine = [], RasterArray._read
    monkeypatch.setattr(RasterArray, "_read", lambda *given: read.append(given[0].path) or genuine(*given))
    cube = geofuse.open_msi(product, resolution=10)
    assert len(read) == len(set(read)) == len(cube.band)
    assert all(len(sizes) == 1 for sizes in cube.chunks[1:])
