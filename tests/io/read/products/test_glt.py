from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from geofuse.errors import InvalidCube
from geofuse.io.read.products import glt


@pytest.fixture
def stored(tmp_path: Path) -> Any:
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        values = rng.random((50, 30, 6), np.float32)
        file["contiguous"] = values
        file.create_dataset("chunked", data=values, chunks=(16, 30, 2))
        file.create_dataset("tall", data=values, chunks=(50, 30, 6))
        file["plane"] = values[..., 0]
    with h5py.File(tmp_path / "a.h5") as file:
        yield file


@pytest.mark.parametrize("slab", [1, 1000, 20_000, 2**26])
@pytest.mark.parametrize("name", ["contiguous", "chunked", "tall"])
def test_pixels_are_gathered_in_slabs_of_any_size(stored: Any, name: str, slab: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glt, "_SLAB_BYTES", slab)
    rng = np.random.default_rng(1)
    row, col = rng.integers(3, 47, (20, 25)), rng.integers(2, 28, (20, 25))
    none = rng.random(row.shape) < 0.3
    row[none] = col[none] = -1
    found = glt.gather(stored[name], row, col, slice(1, 5), -9.0)
    expected = np.where(none, -9.0, np.moveaxis(stored[name][:][row, col, 1:5], -1, 0))
    np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_a_plane_and_nothing(stored: Any) -> None:
    row = np.array([[0, -1], [49, 7]])
    found = glt.gather(stored["plane"], row, row // 2, slice(0, 1), np.nan)
    np.testing.assert_array_equal(found[0], [[stored["plane"][0, 0], np.nan], [stored["plane"][49, 24], stored["plane"][7, 3]]])
    assert np.isnan(glt.gather(stored["plane"], row * 0 - 1, row * 0 - 1, slice(0, 1), np.nan)).all()


def test_of_pixels_that_show_the_same_the_nearest_is_kept() -> None:
    number = np.array([[1, 1, 2], [1, 2, 3]])
    distance = np.array([[0.3, 0.1, 0.2], [0.1, 0.2, np.inf]])
    usable = np.isfinite(distance)
    assert glt._nearest_of_each(number, distance, usable).tolist() == [[False, True, True], [False, False, False]]


def test_a_line_that_would_fill_the_memory(tmp_path: Path) -> None:
    from geofuse.io.read.hdf5 import check_line

    with h5py.File(tmp_path / "b.h5", "w") as file:
        cube = file.create_dataset("cube", (4, 10_000, 10_000), "f4", chunks=(1, 100, 100))
        with pytest.raises(InvalidCube, match="one row of /cube claims 381 MiB"):
            check_line(cube)
