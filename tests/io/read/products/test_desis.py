from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from geofuse import open_hsi
from geofuse.cube.masks import Mask
from geofuse.cube.schema import geobox
from geofuse.errors import InvalidCube
from geofuse.io.read.open import files_of
from geofuse.simulate.products import desis, truth
from geofuse.viewing.describe import facts

ROWS, COLS = 32, 30


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return desis.write(tmp_path_factory.mktemp("desis"))


def test_the_truth_at_its_place_and_wavelength(delivered: Path) -> None:
    cube = open_hsi(delivered, chunks={"y": 10, "x": 10})
    expected = truth.footprint(*np.meshgrid(cube.x.values, cube.y.values), cube.wavelength.values, desis.GSD)
    np.testing.assert_allclose(cube.values[:, :, 2:], expected[:, :, 2:], atol=5.1e-5)
    assert np.isnan(cube.values[:, :, :2]).all()
    assert geobox(cube).affine == desis.transform(ROWS, COLS)
    np.testing.assert_allclose(cube.wavelength, desis.WAVELENGTHS, atol=5e-4)
    assert (cube.fwhm == 3.5).all()
    assert cube.good.all()


def test_gain_and_offset_of_each_band(tmp_path: Path) -> None:
    old = "<gainOfBand>1.0E-4</gainOfBand><offsetOfBand>0.0</offsetOfBand><deadPixels>0</deadPixels></band>\n<band><bandNumber>8<"
    folder = desis.write(tmp_path, metadata={old: old.replace("1.0E-4", "2.5E-4").replace(">0.0<", ">-0.2<")})
    with rasterio.open(folder / f"{desis.BASE}-SPECTRAL_IMAGE.tif") as image:
        raw = image.read(7)
    np.testing.assert_allclose(open_hsi(folder, bands=[7]).values[0, :, 2:], raw[:, 2:] * 2.5e-4 - 0.2, atol=1e-6)


def test_flags(delivered: Path) -> None:
    layers = desis.quality(ROWS, COLS).astype(bool)
    mask = open_hsi(delivered).mask.values
    for flag, bands in ((Mask.SHADOW, [0]), (Mask.SNOW, [2]), (Mask.HAZE, [3, 4]), (Mask.CLOUD, [5, 6]), (Mask.WATER, [7])):
        np.testing.assert_array_equal((mask & flag) > 0, layers[bands].any(0))


@pytest.mark.parametrize("name", [None, "METADATA.xml", "SPECTRAL_IMAGE.tif", "QL_QUALITY-2.tif", "SPECTRAL_IMAGE.hdr"])
def test_recognised_by_its_folder_and_any_of_its_files(delivered: Path, name: str | None) -> None:
    source = delivered if name is None else delivered / f"{desis.BASE}-{name}"
    cube = open_hsi(source, bands=[1])
    assert cube.encoding["sensor"] == "DESIS L2A"
    assert {Path(file).suffix for file in files_of(str(source))} >= {".xml", ".tif"}
    known = facts(cube)
    assert known["datetime"] == "2022-07-12T22:35:40Z"
    assert known["masks"] == ["cloud", "shadow", "snow", "water", "haze"]


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"<processingLevel>L2A": "<processingLevel>L1C"}, "DESIS L1C; expected L2A"),
        ({"<bandNumber>9<": "<bandNumber>10<"}, "number the bands"),
        ({"</bandNumber><wavelengthCenterOfBand>401.275": "</bandNumber><wavelengthCenterOfBand>"}, "wavelengthCenterOfBand"),
    ],
)
def test_rejected(tmp_path: Path, metadata: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidCube, match=said):
        open_hsi(desis.write(tmp_path, metadata=metadata))
