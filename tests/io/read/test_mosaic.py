"""Mosaics of pieces of one image are that image; where pieces differ, the first that is usable counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from affine import Affine

import geofuse
from geofuse.cube.masks import Mask
from geofuse.cube.schema import geobox, wrap
from geofuse.errors import InvalidCube
from geofuse.io.read.mosaic import mosaic

GRID = Affine(10.0, 0.0, 399960.0, 0.0, -10.0, 5900040.0)


def image(
    values: np.ndarray, *, left: float = 0, top: float = 0, mask: np.ndarray | None = None, chunk: int = 16, **options: Any
) -> xr.DataArray:
    """A lazy cube whose first pixel lies at a row and column of the lattice."""
    made = wrap(
        values,
        **{"transform": GRID * Affine.translation(left, top), "crs": 32633, "names": [f"b{k}" for k in range(len(values))], "mask": mask}
        | options,
    )
    return made.chunk({"y": chunk, "x": chunk})


def scene(rows: int = 50, cols: int = 70) -> np.ndarray:
    return np.random.default_rng(0).random((3, rows, cols)).astype(np.float32)


def test_pieces_are_the_whole() -> None:
    whole = image(scene())
    pieces = [
        whole.isel(y=slice(*rows), x=slice(*cols))
        for rows, cols in (((20, 50), (0, 40)), ((0, 35), (10, 70)), ((30, 50), (35, 70)), ((0, 30), (0, 20)))
    ]
    made = mosaic(pieces)
    assert hasattr(made.data, "dask")
    assert geobox(made) == geobox(whole)
    np.testing.assert_array_equal(made.x, whole.x)
    np.testing.assert_array_equal(made.values, whole.values)
    assert made.band.values.tolist() == whole.band.values.tolist()
    np.testing.assert_array_equal(made[:, 13:40, 33:47].values, whole[:, 13:40, 33:47].values)


def test_the_first_with_data_counts() -> None:
    one, two = np.full((3, 8, 8), 0.1, np.float32), np.full((3, 8, 8), 0.2, np.float32)
    one[:, 5, 5] = np.nan
    one[1, 6, 6] = np.nan  # a gap in one band is no gap
    made = mosaic([image(one), image(two, left=4, top=4)])
    assert made.shape == (3, 12, 12)
    assert made.values[:, 4, 4] == pytest.approx(0.1)
    assert made.values[:, 5, 5] == pytest.approx(0.2)
    assert np.isnan(made.values[1, 6, 6])
    assert made.values[:, 9, 9] == pytest.approx(0.2)
    assert np.isnan(made.values[:, 0, 11]).all()


def test_what_is_masked_gives_way_to_what_is_not() -> None:
    clouds = np.zeros((8, 8), np.uint8)
    clouds[2, 2], clouds[3, 3], clouds[4, 4] = Mask.CLOUD, Mask.WATER, Mask.CLOUD
    other = np.zeros((8, 8), np.uint8)
    other[4, 4] = Mask.SHADOW
    made = mosaic([image(np.full((3, 8, 8), 0.1), mask=clouds), image(np.full((3, 8, 8), 0.2), mask=other)])
    assert [round(float(made.values[0, k, k]), 3) for k in range(1, 6)] == [0.1, 0.2, 0.1, 0.1, 0.1]
    assert [int(made.mask.values[k, k]) for k in range(1, 6)] == [0, 0, Mask.WATER, Mask.CLOUD, 0]


def test_a_layer_of_classes_that_one_lacks_says_nothing_there() -> None:
    made = mosaic([image(np.full((3, 8, 8), 0.1)), image(np.full((3, 8, 8), 0.2), left=8, mask=np.full((8, 8), 1, np.uint8))])
    np.testing.assert_array_equal(made.mask.values, np.repeat([[0, 1]], 8, axis=1).repeat(8, axis=0))


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"crs": 32632}, "different CRS"),
        ({"left": 4.5}, r"one lattice \(offset 4.5, 0 pixels\)"),
        ({"transform": Affine(20.0, 0.0, 399960.0, 0.0, -20.0, 5900040.0)}, "pixels of 10 and of 20"),
        ({"names": ["x", "y", "z"]}, "different bands"),
        ({"left": 2.0**22}, "so far apart that they span 8 x 4194312 pixels"),
    ],
)
def test_what_would_have_to_be_resampled_is_rejected(other: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidCube, match=reason):
        mosaic([image(np.ones((3, 8, 8))), image(np.ones((3, 8, 8)), **other)])


def test_only_what_is_looked_at_is_read() -> None:
    import dask.array as da

    read: list[int] = []

    def block(number: int) -> Any:
        def make(block_info: Any = None) -> np.ndarray:
            read.append(number)
            return np.full((3, 16, 16), number, np.float32)

        return da.map_blocks(make, chunks=((3,), (16,) * 4, (16,) * 4), dtype=np.float32, meta=np.empty((0, 0, 0), np.float32))

    made = mosaic([image(block(k), left=60 * k) for k in range(3)])
    read.clear()
    assert made[:, 20, 10].values.tolist() == [0.0] * 3
    assert read == [0]


def test_open_msi_takes_several_files(tmp_path: Any) -> None:
    whole = image(scene(), chunk=64)
    for name, columns in (("a", slice(0, 40)), ("b", slice(30, 70))):
        geofuse.to_cog(whole.isel(x=columns), tmp_path / f"{name}.tif", dtype="float32", progress=False)
    made = geofuse.open_msi([tmp_path / "b.tif", tmp_path / "a.tif"], bands=["b2", "b0"])
    np.testing.assert_array_equal(made.values, whole.values[[2, 0]])
    read = geofuse.open_msi([tmp_path / "b.tif", tmp_path / "a.tif"], chunks=None)
    assert isinstance(read.data, np.ndarray)
    np.testing.assert_array_equal(read.values, whole.values)
    geofuse.to_cog(whole.isel(x=slice(0, 8)).assign_coords(x=whole.x[:8] + 5), tmp_path / "c.tif", dtype="float32", progress=False)
    with pytest.raises(InvalidCube, match="MSI: pixels"):
        geofuse.open_msi([tmp_path / "a.tif", tmp_path / "c.tif"])
