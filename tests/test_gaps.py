"""Gaps and defects of single bands: they cost their band, where they are, and nothing else; tiles agree with the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import geofuse
from geofuse.pipeline.fit import guarded
from tests.crops import small_cubes, small_model

COARSE_BAND, EMPTY = 60, 30


def scattered() -> tuple[xr.DataArray, xr.DataArray]:
    """2 % of the values of every band of the HSI are missing, so that hardly a pixel is complete; one band is half empty, one empty."""
    hsi, msi = (cube.compute() for cube in small_cubes())
    hsi.values[np.random.default_rng(0).random(hsi.shape) < 0.02] = np.nan
    hsi.values[COARSE_BAND, :, : hsi.sizes["x"] // 2] = np.nan
    hsi.values[EMPTY] = np.nan
    assert np.isfinite(hsi.values).all(0).sum() == 0
    return hsi, msi


@pytest.fixture(scope="module")
def gappy() -> tuple[xr.DataArray, xr.DataArray, geofuse.Model]:
    hsi, msi = scattered()
    return hsi, msi, geofuse.fit(hsi, msi, method="auto", progress=False)


@pytest.fixture(scope="module")
def fused(gappy: tuple[Any, ...]) -> xr.DataArray:
    hsi, msi, model = gappy
    return geofuse.fuse(hsi, msi, model=model, progress=False)


def test_every_band_is_nodata_where_it_was_and_nowhere_else(gappy: tuple[Any, ...], fused: xr.DataArray) -> None:
    """The coarse pixel that the centre of a fine one lies on decides, band by band."""
    hsi, msi, _ = gappy
    seen = hsi.sel(x=fused.x, y=fused.y, method="nearest").values
    valid = np.isfinite(msi.sel(x=fused.x, y=fused.y, method="nearest").values).all(0)
    expected = np.isfinite(seen) & valid
    # on the border between two coarse pixels both are nearest
    assert (np.isfinite(fused.values) == expected).mean() > 0.999
    assert np.isnan(fused.values[EMPTY]).all()
    assert 0.4 < np.isfinite(fused.values[COARSE_BAND]).mean() < 0.6


def test_an_empty_band_is_carried_and_not_good(fused: xr.DataArray) -> None:
    good = small_cubes()[0].good.values.copy()
    good[EMPTY] = False
    assert np.array_equal(fused.good.values, good)
    assert fused.sizes["band"] == len(good)


def test_gaps_hardly_change_the_rest(fused: xr.DataArray) -> None:
    """Against the same scene without gaps."""
    whole = geofuse.fuse(*small_cubes(), model=small_model(), progress=False)
    change = (fused - whole).values
    assert np.sqrt(np.nanmean(change**2)) < 0.12 * float(whole.std())


def test_tiles_with_gaps_are_the_whole(gappy: tuple[Any, ...], fused: xr.DataArray) -> None:
    hsi, msi, model = gappy
    tiled = geofuse.fuse(hsi, msi, model=model, tile=48, progress=False)
    assert np.array_equal(np.isfinite(tiled.values), np.isfinite(fused.values))
    assert np.nanmax(np.abs(tiled.values - fused.values)) < 1e-4


def test_gaps_are_told(gappy: tuple[Any, ...]) -> None:
    hsi, _, model = gappy
    said = " ".join(w["message"] for w in model.report["warnings"])
    assert f"Bands of the HSI without any data where the images overlap: 1 (bands {hsi.band.values[EMPTY]})" in said
    assert "Bands of the HSI that lack data where others have it: 17" in said
    assert np.shape(model.report["response"]["matrix"]) == (4, 177)
    assert model.report["noise"]["hsi_sigma"][EMPTY] is None
    assert {"gem", "bicubic", "gsa"} <= {row["method"] for row in model.report["validation"] if "psnr_db" in row}


def test_models_with_gaps_are_kept(gappy: tuple[Any, ...], fused: xr.DataArray, tmp_path: Any) -> None:
    hsi, msi, model = gappy
    again = geofuse.fuse(hsi, msi, model=geofuse.Model.load(model.save(tmp_path / "model.safetensors")), progress=False)
    assert np.array_equal(again.values, fused.values, equal_nan=True)


@pytest.mark.parametrize("method", ["regression", "bicubic"])
def test_baselines_live_with_gaps(method: str) -> None:
    hsi, msi = scattered()
    msi.values[3] = np.nan
    fused = geofuse.fuse(hsi, msi, method=method, progress=False)
    assert np.isfinite(fused.values).mean() > 0.8
    assert any("Bands of the MSI without any data" in w["message"] for w in geofuse.report(fused).to_dict()["warnings"])


def test_a_hot_pixel_changes_nothing_far_away() -> None:
    """One value of the HSI, one of the MSI: nodata there, the same spectra elsewhere."""
    hsi, msi = (cube.compute() for cube in small_cubes())
    calm = geofuse.fuse(hsi, msi, method="sylvester", progress=False)
    hot = hsi.copy(deep=True)
    hot.values[40, 3, 3] = 0.9
    fused = geofuse.fuse(hot, msi, method="sylvester", progress=False)
    far = (fused - calm).values[:, 60:, 60:]
    assert np.sqrt((far**2).mean()) < 1e-4
    lost = np.isnan(fused.values)
    assert lost[40].sum() == pytest.approx((30 / 3.6) ** 2, rel=0.2)
    assert lost.sum() == lost[40].sum()
    assert any("Values of the HSI that stand apart" in w["message"] for w in geofuse.report(fused).to_dict()["warnings"])


def test_undeclared_nodata_is_no_offset() -> None:
    """-9999 scaled to reflectance, in both images."""
    hsi, msi = (cube.compute() for cube in small_cubes())
    hsi.values[:, 2:5, 2:5] = -0.9999
    msi.values[:, 20:60, 20:60] = -0.9999
    fused = geofuse.fuse(hsi, msi, method="regression", progress=False)
    assert fused.min() > -0.5
    said = " ".join(w["message"] for w in geofuse.report(fused).to_dict()["warnings"])
    assert "Values of the HSI that are no reflectance, taken for nodata: 1593 (-0.9999 at row 2, column 2" in said
    assert "Values of the MSI that are no reflectance, taken for nodata: 6400 (-0.9999 at row 20, column 20" in said


def test_evaluation_computes_as_the_fit_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread an operation, no gradients; and the caller's settings are put back."""
    found: list[tuple[int, bool]] = []

    def compare(*_: Any) -> list[dict[str, Any]]:
        found.append((torch.get_num_threads(), torch.is_grad_enabled()))
        return [{"method": "bicubic", "psnr_db": 1.0}]

    monkeypatch.setattr("geofuse.pipeline.fit.compare", compare)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        geofuse.api.evaluate(*small_cubes(), methods="bicubic", progress=False)
        assert found == [(1, False)]
        assert torch.get_num_threads() == 2
        with guarded():
            assert not torch.backends.cudnn.allow_tf32
    finally:
        torch.set_num_threads(before)
