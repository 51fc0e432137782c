"""Rasters read small: the same numbers from a COG and from a Zarr store, near the means of what they stand for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from geofuse.cube.schema import wrap
from geofuse.io.write.cog import write_cog
from geofuse.io.write.zarr import write_zarr
from geofuse.viewing.small import read_small, thinned
from geofuse.viewing.thumbnail import write_thumbnail

ROWS, COLS = 900, 640


def ramps() -> xr.DataArray:
    """Three bands that rise southwards and eastwards, with a hole."""
    y, x = np.mgrid[:ROWS, :COLS]
    values = np.stack([y / ROWS, x / COLS, (y + x) / (ROWS + COLS)]).astype("float32") * 0.5
    values[:, :200, :200] = np.nan
    from affine import Affine

    return wrap(values, transform=Affine(10, 0, 5e5, 0, -10, 5e6), crs=32633, names=["a", "b", "c"], wavelength=[650.0, 550.0, 450.0])


@pytest.mark.parametrize("ending", ["tif", "zarr"])
def test_small_bands_are_those_of_the_raster(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"ramps.{ending}"
    (write_cog if ending == "tif" else write_zarr)(ramps(), path, progress=False)
    small = read_small(path, (2, 0), 100)
    assert 50 <= max(small.shape[1:]) <= 110
    assert small.shape[2] / small.shape[1] == pytest.approx(COLS / ROWS, rel=0.05)
    middle = tuple(n // 2 for n in small.shape[1:])
    np.testing.assert_allclose(small[:, *middle], (0.25, 0.25), atol=0.02)
    assert np.isnan(small[:, 2, 2]).all()
    assert np.isfinite(small[:, -1, -1]).all()
    assert write_thumbnail(path, tmp_path / "small.png").stat().st_size > 1000


def test_of_a_lazy_cube_only_few_pixels_are_held() -> None:
    cube = ramps().chunk({"y": 256, "x": 256})
    np.testing.assert_array_equal(thinned(cube, (1,), 100), ramps().values[1:2, ::9, ::9])
