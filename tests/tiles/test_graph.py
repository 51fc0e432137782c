"""The mosaic of any tile size equals the untiled result; lazy in, lazy out."""

from __future__ import annotations

from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

import geofuse
from geofuse.model import Model

REQUIREMENT = 1e-4  # reflectance


@pytest.fixture(scope="module")
def cubes(berlin: tuple[Path, Path]) -> tuple[xr.DataArray, xr.DataArray]:
    """36 × 34 coarse pixels of Berlin, in memory: larger than two halos, so that tiles do not see the whole scene."""
    hsi, msi = geofuse.open_hsi(berlin[0]).compute(), geofuse.open_msi(berlin[1]).compute()
    hsi = hsi.isel(y=slice(20, 56), x=slice(10, 44))
    return hsi, msi.sel(y=slice(float(hsi.y[0]) + 15, float(hsi.y[-1]) - 15), x=slice(float(hsi.x[0]) - 15, float(hsi.x[-1]) + 15))


@pytest.fixture(scope="module", params=["fuse", "gem", "mossfuse"])
def model(request: pytest.FixtureRequest, cubes: tuple[xr.DataArray, xr.DataArray]) -> Model:
    return geofuse.fit(*cubes, method=request.param, progress=False, network_seconds=3)


@pytest.mark.parametrize("tile", [64, 150])
def test_tiles_equal_the_whole(model: Model, cubes: tuple[xr.DataArray, xr.DataArray], tile: int) -> None:
    whole = geofuse.fuse(*cubes, model=model, tile=5000, progress=False)
    tiled = geofuse.fuse(*cubes, model=model, tile=tile, progress=False)
    difference = float(np.abs(tiled - whole).max())
    print(f"{model.method}, tiles of {tile}: largest difference {difference:.1e}")
    assert np.array_equal(np.isnan(tiled), np.isnan(whole))
    assert difference <= REQUIREMENT


def test_a_halo_is_needed(cubes: tuple[xr.DataArray, xr.DataArray], monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above can fail: without a halo the tiles disagree with the whole."""
    model = geofuse.fit(*cubes, method="fuse", progress=False)
    whole = geofuse.fuse(*cubes, model=model, tile=5000, progress=False)
    monkeypatch.setattr(Model, "halo", 0)
    assert float(np.abs(geofuse.fuse(*cubes, model=model, tile=64, progress=False) - whole).max()) > 10 * REQUIREMENT


def test_nodata_does_not_spread_over_tiles(cubes: tuple[xr.DataArray, xr.DataArray]) -> None:
    hsi, msi = cubes
    hsi, msi = hsi.copy(), msi.copy()
    hsi[:, 10:12, 8:9] = np.nan
    msi[:, 200:230, 40:90] = np.nan
    model = geofuse.fit(hsi, msi, method="gem", progress=False)
    whole = geofuse.fuse(hsi, msi, model=model, tile=5000, progress=False)
    tiled = geofuse.fuse(hsi, msi, model=model, tile=64, progress=False)
    assert np.array_equal(np.isnan(tiled), np.isnan(whole))
    assert float(np.abs(tiled - whole).max()) <= REQUIREMENT
    # Fine pixels whose centre lies on a coarse pixel without data, and those of the MSI without data: worked out from coordinates alone.
    lost = msi.isel(band=0).isnull().sel(y=whole.y, x=whole.x, method="nearest")
    coarse_lost = hsi.isel(band=0).isnull().sel(y=whole.y, x=whole.x, method="nearest").values
    assert np.array_equal(whole.isel(band=0).isnull().values, lost.values | coarse_lost)


def test_lazy_in_lazy_out_and_nothing_is_fitted_again(cubes: tuple[xr.DataArray, xr.DataArray], monkeypatch: pytest.MonkeyPatch) -> None:
    hsi, msi = (cube.chunk() for cube in cubes)
    fused = geofuse.fuse(hsi, msi, method="fuse", tile=100, progress=False)
    assert isinstance(fused.data, da.Array)
    monkeypatch.setattr("geofuse.fitting.fit_scene", None)
    with dask.config.set(scheduler="synchronous"):
        corner = fused[:, :20, :20].compute()
    assert corner.shape == (177, 20, 20)
    assert bool(np.isfinite(corner).all())
