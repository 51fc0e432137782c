"""The fit: what it finds on a pair whose operators are known, what it warns of, and what it says in its report."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import geofuse
from geofuse.align.register import Registration
from geofuse.cube import wrap
from geofuse.errors import PairMismatch, RefusedInput
from geofuse.fitting import (
    METHODS,
    Ground,
    Settings,
    _refuse_baseline_offset,
    block_mean,
    check_method,
    colocated,
    lay_ground,
    read_sample,
    warnings_of,
)
from geofuse.response.estimate import EffectiveResponse
from tests.crops import small_cubes, small_model, small_pair
from tests.pairs import bell_responses, boxes, made_up_scene, naive_psf

BANDS, RATIO, COARSE = 30, 4, 32
SIGMA, SHIFT = 2.2, (0.6, -0.8)  # fine pixels


@pytest.fixture(scope="module")
def known() -> tuple[xr.DataArray, xr.DataArray, np.ndarray, np.ndarray]:
    """A made-up pair: coarse and fine cube, truth and responses."""
    size = RATIO * COARSE
    truth, srf = made_up_scene(BANDS, size, size), bell_responses(BANDS, 4)
    first = (RATIO - 1) / 2
    rows, cols = (naive_psf(RATIO, first, COARSE, size, SIGMA, shift) for shift in SHIFT)
    rng = np.random.default_rng(0)
    low, high = rows @ truth @ cols.T, np.tensordot(srf, truth, 1)
    low, high = (image + rng.normal(0, 1e-3, image.shape) for image in (low, high))
    coarse, fine = boxes((COARSE, COARSE), (size, size), RATIO)
    names = [str(k) for k in range(BANDS)]
    hsi = wrap(low, transform=coarse.affine, crs=coarse.crs, names=names, wavelength=np.linspace(450, 950, BANDS))
    return hsi, wrap(high, transform=fine.affine, crs=fine.crs, names=list("abcd")), truth, srf


def test_known_operators_are_found(known: tuple[Any, ...]) -> None:
    """PSF width, shift and what the response does to spectra, from the pair alone; and nothing to warn of."""
    hsi, msi, truth, srf = known
    model = geofuse.fit(hsi, msi, method="gem", progress=False)
    assert model.geometry.sigma == pytest.approx((SIGMA, SIGMA), abs=0.1)
    assert model.geometry.shift == pytest.approx(SHIFT, abs=0.1)
    spectra = truth.reshape(BANDS, -1)
    error = (model.response.matrix - srf) @ spectra + model.response.offset[:, None]
    assert np.sqrt((error**2).mean()) < 0.01 * np.sqrt(((srf @ spectra) ** 2).mean())
    assert model.report["warnings"] == []
    assert model.report["disagreement"]["rho"] < 0.05
    fused = geofuse.fuse(hsi, msi, model=model, progress=False).values
    upsampled = np.repeat(np.repeat(hsi.values, RATIO, 1), RATIO, 2)
    assert np.sqrt(((fused - truth) ** 2).mean()) < 0.2 * np.sqrt(((upsampled - truth) ** 2).mean())


def test_another_light_is_warned_of(known: tuple[Any, ...]) -> None:
    """A shadow over a third of the MSI: other radiometry, not another geometry."""
    hsi, msi, _, _ = known
    shaded = msi.copy()
    shaded[:, :, : shaded.sizes["x"] // 3] *= 0.6
    model = geofuse.fit(hsi, shaded, method="gem", progress=False)
    assert any("contradict" in w for w in model.report["warnings"])
    assert model.report["disagreement"]["relative"] > 0.03
    assert model.report["disagreement"]["geometric_share"] < 0.25


def test_the_report_is_plain_json_and_complete() -> None:
    report = small_model().report
    assert json.loads(json.dumps(report, allow_nan=False)) == json.loads(json.dumps(report))
    assert (report["method"], report["method_asked"], report["seed"], report["validation"]) == ("gem", "gem", 0, [])
    assert set(report["geometry"]) >= {"ratio", "shift_px", "psf_sigma_px", "psf_sigma_yx_px", "unexplained"}
    assert np.shape(report["response"]["matrix"]) == (4, 177)
    assert np.shape(report["noise"]["hsi_sigma"]) == (177,)
    assert set(report["residuals"]) == {"hsi_rel_rmse", "msi_rel_rmse"}
    for shares in report["prior_weights"].values():
        assert sum(shares) == pytest.approx(1, abs=2e-3)
    assert report["seconds"]["fit"] > 0


def test_only_methods_that_exist() -> None:
    for method in METHODS:
        check_method(method)
    with pytest.raises(RefusedInput, match=r"no method 'gme'; expected one of auto, mossfuse, gem"):
        check_method("gme")


@pytest.fixture(scope="module")
def ground() -> Ground:
    scene = geofuse.api.pair(*small_cubes())
    sample = read_sample(scene)
    return lay_ground(scene.pair, sample, sample, Settings(progress=False), lambda step: None, scene.bands.good)


def test_colocated_is_the_msi_through_the_psf(ground: Ground) -> None:
    """Spectra that are compared belong to one place: each by a Gaussian sum written out, in the order of the coarse pixels."""
    hsi, msi = colocated(ground.patches)
    coarse, fine = small_pair()
    (sy, sx), (dy, dx) = ground.geometry.sigma, ground.geometry.shift
    rows, cols = np.arange(fine.values.shape[1]), np.arange(fine.values.shape[2])
    found = 0
    for spectrum, seen in zip(hsi.T, msi.T, strict=True):
        i, j = np.argwhere(np.abs(coarse.values / 1e4 - spectrum[:, None, None]).max(0) < 1e-6)[0]
        col, row = ~fine.transform * (coarse.transform * (j + 0.5, i + 0.5))
        if min(row, col, len(rows) - row, len(cols) - col) < 5 * max(sy, sx):
            continue
        wy = np.exp(-((rows - row + 0.5 - dy) ** 2) / (2 * sy**2))
        wx = np.exp(-((cols - col + 0.5 - dx) ** 2) / (2 * sx**2))
        expected = np.einsum("byx,y,x->b", fine.values / 1e4, wy, wx) / (wy.sum() * wx.sum())
        assert seen == pytest.approx(expected, rel=2e-3)
        found += 1
    assert found > 100


def with_response(ground: Ground, bands: int) -> Ground:
    response = EffectiveResponse(np.ones((bands, 177)) / 177, np.zeros(bands), np.zeros(bands))
    return replace(ground, response=response)


def test_warnings(ground: Ground) -> None:
    model = small_model()
    assert model.gem is not None

    def told(ground: Ground, rho: float) -> str:
        assert model.gem is not None
        return " ".join(warnings_of(ground, replace(model, gem=replace(model.gem, trust=replace(model.gem.trust, rho=rho)))))

    assert told(ground, 0.0) == ""
    assert "other light" in told(replace(ground, geometric=0.0), 0.2)
    assert "wrong PSF or registration" in told(replace(ground, geometric=0.9), 0.2)
    assert "edge of its range" in told(replace(ground, geometry=replace(ground.geometry, at_limit=True)), 0.0)
    assert "fewer than 3 bands" in told(with_response(ground, 2), 0.0)
    assert "fewer than 3 bands" not in told(with_response(ground, 3), 0.0)


def test_few_coarse_pixels_are_warned_of() -> None:
    hsi, msi = small_cubes()
    model = geofuse.fit(hsi[:, :8, :8], msi, method="fuse", progress=False)
    assert any("Fewer than 100 coarse pixels" in w for w in model.report["warnings"])


@pytest.mark.parametrize(
    ("offset", "refused"),
    [
        ((0.1, 0.1, 0.1), True),
        ((-0.1, -0.09, -0.11), True),
        ((0.1, 0.1, -0.1), False),
        ((0.02, 0.02, 0.02), False),
        ((0.3, 0.3, 0.3), False),
    ],
)
def test_constant_offset(offset: tuple[float, ...], refused: bool) -> None:
    """Near a tenth and of one sign in every band is Sentinel-2's; anything else is not."""
    response = EffectiveResponse(np.ones((3, 5)), np.array(offset), np.zeros(3))
    if not refused:
        _refuse_baseline_offset(response, np.zeros((3, 7)))
        return
    with pytest.raises(PairMismatch, match=r"-1000 counts \(-0\.1\)"):
        _refuse_baseline_offset(response, np.zeros((3, 7)))


@given(rows=st.integers(1, 50), cols=st.integers(1, 50), side=st.integers(1, 20), seed=st.integers(0, 99))
def test_block_mean(rows: int, cols: int, side: int, seed: int) -> None:
    """Against a loop over blocks."""
    rng = np.random.default_rng(seed)
    image = np.where(rng.random((rows, cols)) < 0.3, np.nan, rng.random((rows, cols)))
    small = block_mean(image, side)
    assert max(small.shape) <= side
    step = -(-max(rows, cols) // side)
    for i, row in enumerate(small):
        for j, value in enumerate(row):
            block = image[i * step : (i + 1) * step, j * step : (j + 1) * step]
            inside = block[np.isfinite(block)]
            assert value == pytest.approx(inside.mean() if inside.size else np.nan, nan_ok=True)


def test_auto_chooses_by_validation() -> None:
    """The table of the reduced scene is in the report, and the method is one of those that explain both images."""
    model = geofuse.fit(*small_cubes(), method="auto", progress=False)
    table = {row["method"]: row for row in model.report["validation"]}
    assert {"gem", "fuse", "mossfuse", "bicubic"} <= set(table)
    assert model.method in ("fuse", "mossfuse")
    assert model.report["method_asked"] == "auto"
    assert table[model.method]["psnr_db"] > table["bicubic"]["psnr_db"]


def test_a_given_response_is_used_as_it_is() -> None:
    matrix = np.random.default_rng(0).random((4, 177))
    model = geofuse.fit(*small_cubes(), method="bicubic", srf=matrix, progress=False)
    assert model.response.matrix == pytest.approx(matrix / matrix.sum(1, keepdims=True))
    assert model.response.method == "given matrix"


def test_torch_is_left_as_it_was() -> None:
    """Threads and gradients are of the process; a fit gives them back."""
    before = torch.get_num_threads(), torch.is_grad_enabled()
    geofuse.fit(*small_cubes(), method="bicubic", progress=False)
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == before


def test_geometry_can_be_given(ground: Ground) -> None:
    given_geometry = Registration((3.0, 3.0), (0.0, 0.0), 0.1)
    again = lay_ground(ground.pair, ground.samples, ground.samples, Settings(progress=False), lambda step: None, geometry=given_geometry)
    assert again.geometry is given_geometry
