"""The fit: what it finds on a pair whose operators are known, what it warns of, and what it says in its report."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import geofuse
from geofuse.cube.schema import wrap
from geofuse.errors import InvalidInput
from tests.crops import small_cubes, small_model
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
    assert any(w["code"] == "contradiction" for w in model.report["warnings"])
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
    with pytest.raises(InvalidInput, match=r"no method 'gme'; expected one of auto, gem"):
        geofuse.fit(*small_cubes(), method="gme", progress=False)


def test_auto_chooses_by_validation() -> None:
    """The table of the reduced scene is in the report, and the method is one of those that explain both images."""
    model = geofuse.fit(*small_cubes(), method="auto", progress=False)
    table = {row["method"]: row for row in model.report["validation"]}
    assert {"gem", "sylvester", "bicubic"} <= set(table)
    assert model.method in ("gem", "sylvester")
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
