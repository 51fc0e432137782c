from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine

from geofuse.cube.bands import BandTable
from geofuse.errors import InvalidCube
from geofuse.io.read.base import LONGEST_AXIS, Description, NamesFiles, PixelArray, Reader, Request, check_description
from geofuse.io.read.formats import ENVI, GEOTIFF
from geofuse.io.read.stac import STAC
from geofuse.io.read.zarr import ZARR
from geofuse.io.write.zarr import write_zarr
from tests.io.read.test_open import UTM, WAVELENGTHS, numbers, write_envi, write_tif
from tests.io.read.test_registry import Plane
from tests.io.write.test_cog import scene


def description(**changes: Any) -> Description:
    values = np.zeros((2, 3, 4), np.float32)
    table = BandTable.make(["a", "b"], [500.0, 600.0])
    return Description(**{"place": "a", "array": Plane(values), "table": table, "transform": UTM, "crs": 32633, "block": (3, 4)} | changes)


class Claims(Plane):
    def __init__(self, *shape: int) -> None:
        self.shape = shape  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"array": Claims(3, 3, 4)}, "3 bands of pixels, but 2 in the band table"),
        ({"array": Claims(2, 0, 4)}, "no pixel"),
        ({"array": Claims(2, LONGEST_AXIS + 1, 4)}, "along a side"),
        ({"crs": None}, "no CRS"),
        ({"transform": Affine.identity()}, "no geotransform"),
        ({"transform": Affine(10, 10, 0, 10, 10, 0)}, "gives pixels no place"),
        ({"transform": Affine(10, 0, np.nan, 0, -10, 0)}, "gives pixels no place"),
    ],
)
def test_what_cannot_be_a_cube_is_rejected(changes: dict[str, Any], said: str) -> None:
    check_description(description())
    with pytest.raises(InvalidCube, match=said):
        check_description(description(**changes))


def test_bands_are_taken_with_all_that_is_known_of_each() -> None:
    whole = description(
        array=Plane(np.arange(2, dtype=np.float32).reshape(2, 1, 1)),
        spectral=np.array([True, False]),
        encoding={"scale_factor": np.array([0.1, 0.2]), "dtype": "int16"},
    )
    some = whole.take(np.array([1, 0]))
    assert some.array[:, 0, 0].tolist() == [1, 0]
    assert some.table.names == ("b", "a")
    assert some.table.wavelength.tolist() == [600, 500]
    assert some.spectral is not None
    assert some.spectral.tolist() == [False, True]
    assert some.encoding["scale_factor"].tolist() == [0.2, 0.1]
    assert some.encoding["dtype"] == "int16"
    assert whole.take(np.array([1])).shape == (1, 1, 1)


def test_readers_of_geofuse_keep_the_protocol() -> None:
    assert all(isinstance(reader, Reader) for reader in (GEOTIFF, ENVI, ZARR, STAC))
    assert [isinstance(reader, NamesFiles) for reader in (GEOTIFF, ENVI, ZARR, STAC)] == [False, False, False, True]


class TestDescriptions:
    """Of the readers of geofuse: the same image in three formats."""

    @pytest.fixture
    def found(self, tmp_path: Path) -> dict[str, Description]:
        folder, made = tmp_path, numbers()
        fields = {"wavelength": "{490, 560, 665}", "wavelength units": "nm", "reflectance scale factor": "10000"}
        paths = {
            GEOTIFF: write_tif(folder / "a.tif", made, band_tags=WAVELENGTHS),
            ENVI: write_envi(folder / "b.img", made, **fields),
        }
        return {reader.name: reader.describe(str(path), Request("HSI")) for reader, path in paths.items()}

    @pytest.mark.parametrize("name", ["GeoTIFF", "ENVI"])
    def test_metadata_and_pixels(self, found: dict[str, Description], name: str) -> None:
        about = found[name]
        assert about.shape == (3, 8, 6)
        assert about.transform == UTM
        assert about.crs.to_epsg() == 32633
        assert about.table.wavelength.tolist() == [490, 560, 665]
        assert about.sensor is None
        array: PixelArray = about.array.take(np.array([2, 0]))
        assert array.shape == (2, 8, 6)
        np.testing.assert_allclose(array[:, 2:5, 3], numbers()[[2, 0], 2:5, 3] * 1e-4, rtol=1e-6)

    def test_a_store(self, tmp_path: Path) -> None:
        cube = scene(3, 20, 30)
        write_zarr(cube, tmp_path / "a.zarr")
        about = ZARR.describe(str(tmp_path / "a.zarr"), Request("MSI"))
        assert about.shape == (3, 20, 30)
        np.testing.assert_allclose(about.array.take(np.array([1]))[0, 4:6, :], cube.values[1, 4:6], atol=1e-4)
