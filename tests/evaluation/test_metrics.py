"""Scores against torchmetrics and against formulas written out."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
import torchmetrics.functional.image as reference
from scipy.ndimage import gaussian_filter

from geofuse.errors import InvalidInput
from geofuse.evaluation import metrics
from geofuse.evaluation.metrics import score


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    truth = 0.3 + 0.2 * gaussian_filter(rng.normal(size=(7, 40, 33)), (0, 2, 2)) / 0.14
    return truth, truth + rng.normal(size=truth.shape) * np.linspace(0.005, 0.05, 7)[:, None, None]


def torchmetrics_scores(truth: np.ndarray, guess: np.ndarray, ratio: float) -> dict[str, float]:
    """The same scores by torchmetrics."""
    t, g = (torch.as_tensor(a)[None] for a in (truth, guess))
    return {
        "psnr_db": float(reference.peak_signal_noise_ratio(g[0], t[0], data_range=1.0, reduction="elementwise_mean", dim=(1, 2))),
        "sam_deg": float(reference.spectral_angle_mapper(g, t).rad2deg()),
        "ergas": float(reference.error_relative_global_dimensionless_synthesis(g, t, ratio=ratio)),
        "ssim": float(reference.structural_similarity_index_measure(g, t, data_range=1.0)),
        "uqi": float(reference.universal_image_quality_index(g, t)),
        "rmse": float(((g - t) ** 2).mean().sqrt()),
    }


def structure(truth: np.ndarray, guess: np.ndarray, c1: float, c2: float) -> np.ndarray:
    """Wang and Bovik's index image; the universal index has c1 = c2 = 0."""

    def smooth(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, 1.5, radius=5, mode="mirror", axes=(1, 2))

    mt, mg = smooth(truth), smooth(guess)
    vt, vg, cov = smooth(truth**2) - mt**2, smooth(guess**2) - mg**2, smooth(truth * guess) - mt * mg
    return (2 * mt * mg + c1) * (2 * cov + c2) / ((mt**2 + mg**2 + c1) * (vt + vg + c2))


def test_scores_equal_torchmetrics(pair: tuple[np.ndarray, np.ndarray]) -> None:
    # torchmetrics takes its logarithm in single precision.
    assert score(*pair, 4) == pytest.approx(torchmetrics_scores(*pair, 4), rel=1e-6)


def test_scores_equal_their_formulas(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, guess = pair
    mse = ((truth - guess) ** 2).mean((1, 2))
    cosine = (truth * guess).sum(0) / np.sqrt((truth**2).sum(0) * (guess**2).sum(0))
    expected = {
        "psnr_db": (10 * np.log10(1 / mse)).mean(),
        "sam_deg": np.degrees(np.arccos(cosine)).mean(),
        "ergas": 100 / 4 * np.sqrt((mse / truth.mean((1, 2)) ** 2).mean()),
        "ssim": structure(truth, guess, 1e-4, 9e-4).mean(),
        "uqi": structure(truth, guess, 0, 0)[:, 5:-5, 5:-5].mean(),
        "rmse": np.sqrt(mse.mean()),
    }
    assert score(truth, guess, 4) == pytest.approx(expected, rel=1e-9)


def test_psnr_is_the_mean_over_bands_not_of_the_whole(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, guess = pair
    whole = 10 * np.log10(1 / ((truth - guess) ** 2).mean())
    assert score(truth, guess, 4)["psnr_db"] > whole + 1


def test_an_exact_estimate() -> None:
    truth = np.random.default_rng(0).random((3, 20, 20))
    scores = score(truth, truth, 4)
    assert scores["psnr_db"] == np.inf
    assert scores["ssim"] == pytest.approx(1)
    assert scores["uqi"] == pytest.approx(1)
    assert scores["sam_deg"] == pytest.approx(0, abs=1e-5)
    assert scores["rmse"] == scores["ergas"] == 0


@pytest.mark.parametrize("values", [1, 3 * 40 * 33, 2**21])
def test_blocks_do_not_matter(pair: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch, values: int) -> None:
    expected = score(*pair, 4)
    monkeypatch.setattr(metrics, "BLOCK_VALUES", values)
    assert score(*pair, 4) == pytest.approx(expected, rel=1e-12)


def test_invalid_pixels_are_left_out(pair: tuple[np.ndarray, np.ndarray]) -> None:
    """What lies under a gap must not matter, and the rest must count as if cropped."""
    truth, guess = pair
    holed, wrong = truth.copy(), guess.copy()
    holed[2, :, 20:] = np.nan
    wrong[:, :, 20:] += 7
    masked, cropped = score(holed, wrong, 4), score(truth[..., :20], guess[..., :20], 4)
    for key in ("psnr_db", "sam_deg", "ergas", "rmse"):
        assert masked[key] == pytest.approx(cropped[key])
    # The structural indices keep the windows centred 5 pixels or more from the gap.
    assert masked["ssim"] == pytest.approx(structure(truth, guess, 1e-4, 9e-4)[..., :15].mean())
    assert masked["uqi"] == pytest.approx(structure(truth, guess, 0, 0)[:, 5:-5, 5:15].mean())


def test_structure_is_nan_where_no_window_is_whole(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, guess = (a.copy() for a in pair)
    truth[0, ::6, ::6] = np.nan
    scores = score(truth, guess, 4)
    assert np.isnan(scores["ssim"])
    assert np.isnan(scores["uqi"])
    assert np.isfinite(scores["psnr_db"])


def test_a_black_pixel_has_no_angle() -> None:
    truth = np.random.default_rng(0).random((4, 12, 12))
    guess = truth * 2  # same direction everywhere
    truth[:, 3, 3] = 0
    assert score(truth, guess, 4)["sam_deg"] == pytest.approx(0, abs=1e-4)


def test_low_contrast_keeps_its_quality_index() -> None:
    """Dark, smooth bands: with single precision the index would drown in its own guard against division by zero."""
    rng = np.random.default_rng(1)
    truth = (0.02 + 1e-3 * rng.normal(size=(2, 30, 30))).astype(np.float32)
    assert score(truth, truth + np.float32(1e-5) * rng.normal(size=truth.shape), 4)["uqi"] > 0.999


def test_refusals() -> None:
    with pytest.raises(InvalidInput, match=r"\(3, 8, 8\).*\(3, 8, 9\)"):
        score(np.zeros((3, 8, 8)), np.zeros((3, 8, 9)), 4)
    with pytest.raises(InvalidInput, match="no pixel is valid"):
        score(np.full((3, 8, 8), np.nan), np.zeros((3, 8, 8)), 4)


def test_importing_takes_no_torch() -> None:
    code = "import sys, geofuse.evaluation.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
