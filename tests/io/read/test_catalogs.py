"""Items of large public catalogs: their masks, and the offset of Sentinel-2 applied exactly once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pystac
import pytest

import geofuse
from geofuse.cube.masks import Mask
from geofuse.io.read.open import files_of
from geofuse.simulate.products import catalogs, landsat, sentinel2
from geofuse.viewing.describe import facts

ROUNDING = 0.5e-4 + 1e-6
LANDSAT = ["coastal", "blue", "green", "red", "nir08", "swir16", "swir22"]


def check_reflectance(path: Path, bands: list[str]) -> None:
    cube = geofuse.open_msi(path, bands=bands)
    for plane, band in zip(cube.values, ("B2", "B8"), strict=True):
        assert np.abs(plane - sentinel2.reflectance(band)).max() < ROUNDING
    rows, cols, _ = sentinel2.CLASSES[0]
    assert (cube.mask.values[2 * rows.start : 2 * rows.stop, 2 * cols.start : 2 * cols.stop] == Mask.CLOUD).all()
    assert set(np.unique(cube.mask)) == {0, Mask.CLOUD, Mask.SHADOW, Mask.SNOW, Mask.WATER}
    said = facts(cube)
    assert (said["sensor"], said["masks"], said["datetime"]) == ("Sentinel-2 L2A", ["SCL"], "2024-09-04T10:10:31Z")


@pytest.mark.parametrize(("applied", "baseline"), [(True, "05.09"), (False, "05.09"), (False, "02.14"), (False, "04.00")])
def test_earth_search(applied: bool, baseline: str, tmp_path: Path) -> None:
    path = catalogs.earth_search(tmp_path, applied=applied, baseline=baseline)
    check_reflectance(path, ["blue", "nir"])
    cube = geofuse.open_msi(path, resolution=10)
    assert cube.band.values.tolist() == ["blue", "green", "red", "rededge1", "nir", "swir16"], "each band once, as COG"
    assert "SCL.tif" in {Path(file).name for file in files_of(str(path), "blue")}


@pytest.mark.parametrize("baseline", ["05.11", "04.00", "03.01", "02.12"])
def test_planetary_computer(baseline: str, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path = catalogs.planetary_computer(tmp_path, baseline=baseline)
    check_reflectance(path, ["B02", "nir"])
    assert geofuse.open_msi(path, resolution=20).sizes == {"band": 6, "y": 60, "x": 60}
    assert not recwarn.list, "nothing is guessed, so that nothing is warned of"


def test_items_that_say_nothing_of_a_baseline(tmp_path: Path) -> None:
    path = catalogs.planetary_computer(tmp_path)
    item = json.loads(path.read_text())
    for odd in ("n/a", None, []):
        item["properties"]["s2:processing_baseline"] = odd
        path.write_text(json.dumps(item))
        with pytest.warns(UserWarning, match="declares no scale"):
            assert np.abs(geofuse.open_msi(path, bands=["B02"]).values[0] - 0.1 - sentinel2.reflectance("B2")).max() < ROUNDING


def test_landsat_of_planetary_computer(tmp_path: Path) -> None:
    path = catalogs.planetary_computer_landsat(tmp_path)
    cube = geofuse.open_msi(path, resolution=30)
    assert cube.band.values.tolist() == ["coastal", "blue", "green", "red", "nir08", "swir16", "swir22"]
    for plane, band in zip(cube.values, landsat.BANDS, strict=True):
        assert np.abs(plane - landsat.reflectance(band))[2:].max() < landsat.SCALE / 2 + 1e-7
    assert np.array_equal(cube.mask.values, geofuse.open_msi(tmp_path / landsat.NAME).mask.values)
    said = facts(cube)
    assert (said["sensor"], said["masks"]) == ("Landsat 8/9 C2 L2", ["QA_PIXEL", "QA_RADSAT"])


@pytest.mark.parametrize(
    ("make", "bands"),
    [
        (lambda folder: catalogs.earth_search(folder, applied=True), ["blue", "green", "red", "nir"]),
        (catalogs.planetary_computer, ["B02", "B03", "B04", "B08"]),
        (catalogs.planetary_computer_landsat, LANDSAT),
        (catalogs.earth_search_landsat, LANDSAT),
    ],
)
def test_the_bands_of_the_smallest_pixels_by_default(make: Callable[[Path], Path], bands: list[str], tmp_path: Path) -> None:
    cube = geofuse.open_msi(pystac.Item.from_file(make(tmp_path)))
    assert cube.band.values.tolist() == bands
    assert "mask" in cube.coords


def test_landsat_of_earth_search_is_that_of_planetary_computer(tmp_path: Path) -> None:
    cube = geofuse.open_msi(catalogs.earth_search_landsat(tmp_path))
    for plane, band in zip(cube.values, landsat.BANDS, strict=True):
        assert np.abs(plane - landsat.reflectance(band))[2:].max() < landsat.SCALE / 2 + 1e-7
    assert facts(cube)["sensor"] == "Landsat 8/9 C2 L2"


def test_a_mask_that_was_not_fetched(tmp_path: Path) -> None:
    path = catalogs.earth_search(tmp_path, applied=True)
    (tmp_path / "SCL.tif").unlink()
    with pytest.warns(UserWarning, match="SCL is left out, and nothing is masked by it"):
        assert "mask" not in geofuse.open_msi(path, bands=["blue"]).coords
