from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from affine import Affine

from geofuse.cube.bands import BandTable
from geofuse.errors import InvalidCube
from geofuse.io.read.base import Description, Request
from geofuse.io.read.open import _cube


class Stored:
    """An array in memory."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.ndim, self.dtype = values, values.shape, values.ndim, values.dtype

    def take(self, bands: Any) -> Stored:
        return Stored(self.values[bands])

    def __getitem__(self, key: Any) -> np.ndarray:
        return self.values[key]


def described(north: bool, shape: tuple[int, int, int] = (2, 3, 4)) -> Description:
    values = np.linspace(0.1, 0.5, 24, dtype=np.float32).reshape(2, 3, 4)
    place = Affine(30, 0, 5e5, 0, 30, 6e6) if north else Affine(30, 0, 5e5, 0, -30, 6e6)
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    centres = np.arange(24.0).reshape(2, 3, 4)[:, : shape[1]]
    return Description(
        "a", Stored(values), BandTable.make(["a", "b"], [500, 600]), place, 32633, (3, 4), mask=Stored(mask), centres=Stored(centres)
    )


@pytest.mark.parametrize("chunks", [None, "auto", {"y": 2, "x": 3}])
@pytest.mark.parametrize("north", [False, True])
def test_layers_lie_where_the_pixels_do(north: bool, chunks: Any) -> None:
    cube = _cube(described(north), Request("MSI", chunks=chunks))
    turn = slice(None, None, -1 if north else 1)
    np.testing.assert_array_equal(cube.values[0], np.linspace(0.1, 0.5, 24, dtype=np.float32).reshape(2, 3, 4)[0, turn])
    np.testing.assert_array_equal(cube.mask.values, np.arange(12).reshape(3, 4)[turn])
    np.testing.assert_array_equal(cube.centre_y.values, np.arange(12.0).reshape(3, 4)[turn])
    np.testing.assert_array_equal(cube.centre_x.values, np.arange(12.0, 24).reshape(3, 4)[turn])
    assert (cube.centre_y.chunks is None) == (chunks is None)
    assert cube.centre_y.attrs["units"] == "metre"


def test_layers_of_another_size() -> None:
    with pytest.raises(InvalidCube, match=r"3 x 4 pixels, but centres of \(2, 2, 4\)"):
        _cube(described(False, (2, 2, 4)), Request("MSI"))
