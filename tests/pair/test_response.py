"""Made-up spectra of a few materials, whose response is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geofuse.pair.response import estimate_response, non_negative_response, relative_misfit, scaled_table
from geofuse.simulate import simulate
from tests.pairs import bell_responses, made_up_scene

BANDS, COUNT = 60, 4
HSI_NOISE, MSI_NOISE = 0.004, 0.001


def spectra(offset: float = 0.0, gain: float = 1.0, seed: int = 0, side: int = 30) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Clean and noisy spectra (B, N), and what the MSI makes of them (M, N)."""
    rng = np.random.default_rng(seed)
    clean = made_up_scene(BANDS, side, side, seed=seed).reshape(BANDS, -1)
    response = gain * bell_responses(BANDS, COUNT)
    seen = response @ clean + offset
    return clean, clean + HSI_NOISE * rng.normal(size=clean.shape), seen, seen + MSI_NOISE * rng.normal(size=seen.shape)


@pytest.mark.parametrize("gain", [1.0, 1.25])
def test_reproduces_the_msi_to_the_noise(gain: float) -> None:
    clean, hsi, seen, msi = spectra(gain=gain)
    half = clean.shape[1] // 2
    found = estimate_response(hsi[:, :half], msi[:, :half])
    assert found.matrix.shape == (COUNT, BANDS)
    assert (found.matrix >= 0).all()
    assert not found.offset.any()
    error = found.matrix @ clean[:, half:] - seen[:, half:]  # pixels that it has not seen, without noise
    assert np.sqrt((error**2).mean(1)).max() < MSI_NOISE
    # And what it says of itself is right: both noises, that of the HSI averaged by the weights.
    noise = np.sqrt(MSI_NOISE**2 + HSI_NOISE**2 * (found.matrix**2).sum(1))
    assert found.residual == pytest.approx(noise / np.sqrt((msi[:, :half] ** 2).mean(1)), rel=0.15)
    assert found.method == "estimated"


@pytest.mark.parametrize("offset", [0.05, -0.03])
def test_an_offset_is_found(offset: float) -> None:
    clean, hsi, seen, msi = spectra(offset)
    found = estimate_response(hsi, msi)
    assert found.offset == pytest.approx(np.full(COUNT, offset), abs=0.004)
    error = found.matrix @ clean + found.offset[:, None] - seen
    assert np.sqrt((error**2).mean(1)).max() < MSI_NOISE


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(1, 1000))
def test_no_offset_where_there_is_none(seed: int) -> None:
    _, hsi, _, msi = spectra(seed=seed, side=16)
    assert not estimate_response(hsi, msi).offset.any()


def test_bad_bands_take_no_part() -> None:
    _, hsi, _, msi = spectra()
    good = np.ones(BANDS, bool)
    good[25:33] = False
    broken = hsi.copy()
    broken[25:33] = 1e6 * np.random.default_rng(1).normal(size=(8, hsi.shape[1]))
    found = estimate_response(broken, msi, good)
    assert not found.matrix[:, ~good].any()
    assert found.residual.max() < 0.02
    # Where every band is bad, the flags say nothing.
    assert np.array_equal(estimate_response(hsi, msi, np.zeros(BANDS, bool)).matrix, estimate_response(hsi, msi).matrix)


@pytest.mark.parametrize(("bands", "pixels"), [(60, 12), (60, 25), (2, 400), (1, 50)])
def test_small_problems(bands: int, pixels: int) -> None:
    _, hsi, _, msi = spectra()
    found = estimate_response(hsi[10 : 10 + bands, :pixels], msi[:, :pixels])
    assert np.isfinite(found.matrix).all()
    assert (found.matrix >= 0).all()


def test_smoothness_is_chosen_by_the_data() -> None:
    """With many pixels and no noise a narrow response is found as narrow as it is; with few noisy ones it is not made up of spikes."""
    clean, hsi, _, _ = spectra()
    rng = np.random.default_rng(0)
    rich = np.clip(clean + 0.2 * rng.random(clean.shape), 0, None)  # every band on its own
    narrow = np.zeros((1, BANDS))
    narrow[0, 20:23] = 0.25, 0.5, 0.25
    sharp = estimate_response(rich, narrow @ rich)
    assert sharp.matrix[0, 20:23].sum() > 0.9
    broad = estimate_response(hsi[:, :40], (bell_responses(BANDS, COUNT) @ hsi)[:, :40] + 0.01 * rng.normal(size=(COUNT, 40)))
    assert (broad.matrix > 1e-4).sum(1).min() > 5


def test_reproducible() -> None:
    _, hsi, _, msi = spectra(side=12)
    assert np.array_equal(estimate_response(hsi, msi, seed=3).matrix, estimate_response(hsi, msi, seed=3).matrix)


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (1.08, 0.02)])
def test_table(gain: float, offset: float) -> None:
    """A table in any scale, and what the sensors differ by; what is left is the noise."""
    _, hsi, _, msi = spectra()
    found = scaled_table(7 * bell_responses(BANDS, COUNT), hsi, gain * msi + offset, "some sensor")
    assert found.matrix == pytest.approx(gain * bell_responses(BANDS, COUNT), rel=5e-3)
    assert found.offset == pytest.approx(offset, abs=1e-3)
    assert found.method == "some sensor"
    expected = gain * np.hypot(MSI_NOISE, HSI_NOISE * np.sqrt((bell_responses(BANDS, COUNT) ** 2).sum(1)))
    assert found.residual == pytest.approx(expected / np.sqrt(((gain * msi + offset) ** 2).mean(1)), rel=0.05)


def test_misfit_by_hand() -> None:
    hsi, msi = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])
    assert relative_misfit(np.array([[2.0]]), np.array([0.5]), hsi, msi) == pytest.approx([np.sqrt((0.5**2 + 0.5**2) / (9 + 16))])


@pytest.mark.parametrize("kind", ["qb4", "s2"])
def test_jasper(shared_data: Path, kind: str) -> None:
    """A real cube through Gaussian responses; the MSI is brought to the coarse grid by the simulation's own PSF."""
    scene = simulate("jasper", 4, kind, shared_data)
    hsi, msi = scene.hsi.reshape(len(scene.hsi), -1), (scene.dh @ scene.msi @ scene.dw.T).reshape(len(scene.msi), -1)
    found = estimate_response(hsi, msi)
    gain = (scene.dh**2).sum(1).mean() * (scene.dw**2).sum(1).mean()
    noise = np.sqrt(scene.srf**2 @ scene.hsi_noise**2 + gain * scene.msi_noise**2) / np.sqrt((msi**2).mean(1))
    assert (found.matrix >= 0).all()
    assert not found.offset.any()
    assert (found.residual < 1.15 * noise).all()


def misplaced(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Share of every band's weight that lies elsewhere than that of the truth."""
    return np.asarray(np.abs(found / found.sum(1, keepdims=True) - truth / truth.sum(1, keepdims=True)).sum(1) / 2)


def test_a_right_prior_is_kept_and_the_gain_is_that_of_the_data() -> None:
    _, hsi, _, msi = spectra(gain=1.25)
    truth = bell_responses(BANDS, COUNT)
    found, without = estimate_response(hsi, msi, prior=7 * truth), estimate_response(hsi, msi)
    assert misplaced(found.matrix, truth).max() < 1e-3 < misplaced(without.matrix, truth).min()
    assert found.matrix.sum(1) == pytest.approx(1.25 * truth.sum(1), rel=0.01)
    assert found.moved == pytest.approx(misplaced(found.matrix, truth), abs=1e-9)
    assert without.moved is None


def test_a_wrong_prior_gives_way() -> None:
    """Bands in reversed order: the MSI is reproduced as well as without, and the report can say which bands moved."""
    clean, hsi, seen, msi = spectra()
    found = estimate_response(hsi, msi, prior=bell_responses(BANDS, COUNT)[::-1])
    error = np.sqrt(((found.matrix @ clean + found.offset[:, None] - seen) ** 2).mean(1))
    assert error.max() < 2 * MSI_NOISE
    assert found.moved is not None
    assert found.moved.min() > 0.5


def test_bands_that_nothing_is_known_of_are_estimated_as_without() -> None:
    _, hsi, _, msi = spectra()
    prior = bell_responses(BANDS, COUNT)
    prior[1] = 0
    found = estimate_response(hsi, msi, prior=prior)
    np.testing.assert_array_equal(found.matrix[1], estimate_response(hsi, msi).matrix[1])
    assert found.moved is not None
    np.testing.assert_array_equal(np.isnan(found.moved), [False, True, False, False])


def test_a_few_materials_without_noise_in_single_precision() -> None:
    """The Gram matrix of 200 bands of three spectra has rank three: rounded to float32 it is not positive."""
    rng = np.random.default_rng(0)
    hsi = (rng.random((200, 3)) @ rng.random((3, 4000))).astype(np.float32)
    msi = bell_responses(200, COUNT) @ hsi
    found = non_negative_response(hsi, msi)
    assert np.abs(found @ hsi - msi).max() < 1e-3 * msi.max()
