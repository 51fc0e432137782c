from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from geofuse.methods.gem.classes import COMPONENTS, ENERGY_WEIGHT, SOFTNESS, Classes, fit_classes
from geofuse.methods.gem.observation import Observation
from tests.pair.psf.test_builder import build
from tests.pairs import tensor, uncropped

SIDE = 96
NOISE, CENTRE = np.full(4, 0.01), np.array([0.1, 0.2, 0.3, 0.4])


def observation(m: np.ndarray) -> Observation:
    """An MSI in noise units around its mean, at ratio 4; the HSI is not looked at."""
    rows, cols = m.shape[1:]
    return Observation(
        torch.zeros(2, rows // 4, cols // 4, dtype=torch.float64), tensor(m), build(uncropped((rows // 4, cols // 4)), (2.0, 2.0))
    )


def fields_and_town(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Calm fields of two colours, and a third of the image of one of those colours full of detail; labels 0, 1, 2."""
    rng = np.random.default_rng(seed)
    label = np.zeros((SIDE, SIDE), int)
    label[:, 32:64], label[:, 64:] = 1, 2
    colour = np.array([[5.0, 0, -5, 10], [-5, 5, 5, -10], [-5, 5, 5, -10]])
    m = colour[label].transpose(2, 0, 1) + 0.3 * rng.normal(size=(4, SIDE, SIDE))
    return m + (label == 2) * 2 * rng.normal(size=(4, SIDE, SIDE)), label


def test_colour_and_detail_make_classes() -> None:
    m, label = fields_and_town()
    seen = observation(m)
    classes = fit_classes([seen], NOISE, CENTRE, 3, 0)
    weights = classes.weights(seen).numpy()
    assert weights.shape == (3, SIDE, SIDE)
    np.testing.assert_allclose(weights.sum(0), 1)
    assert weights.min() >= 0
    # Away from the borders between them every part has a class of its own.
    inner = [weights[:, 8:-8, left + 8 : left + 24].argmax(0) for left in (0, 32, 64)]
    assert all((part == np.bincount(part.ravel()).argmax()).mean() > 0.97 for part in inner)
    assert len({int(np.bincount(part.ravel()).argmax()) for part in inner}) == 3
    assert label.shape == (SIDE, SIDE)


def test_weights_by_hand() -> None:
    """Softmax of squared distances in the space of scaled components and log detail energy."""
    m, _ = fields_and_town()
    seen = observation(m)
    classes = fit_classes([seen], NOISE, CENTRE, 5, 0)
    scaled = m / classes.level[:, None, None] - classes.offset[:, None, None]
    components = np.tensordot(classes.axes, scaled, 1)
    np.testing.assert_allclose(classes.components(seen.m).numpy(), components, atol=1e-10)
    detail = m - seen.psf.upsample(seen.psf.forward(seen.m)).numpy()
    energy = gaussian_filter((detail**2 / classes.energy[:, None, None]).mean(0), 0.8, mode="nearest", truncate=4.5)
    log = (np.log(energy + 1e-3) - classes.log_mean) / classes.log_std
    features = np.concatenate([components, ENERGY_WEIGHT * log[None]])
    distance = ((features[None] - classes.centroids[:, :, None, None]) ** 2).sum(1)
    expected = np.exp(-(distance - distance.min(0)) / (2 * SOFTNESS**2 * classes.spread))
    np.testing.assert_allclose(classes.weights(seen).numpy(), expected / expected.sum(0), atol=1e-4)


def test_scaling_of_the_features() -> None:
    """Components are uncorrelated, the first has variance 1 and minor ones are lifted threefold at most; log energy is standardised."""
    m, _ = fields_and_town()
    seen = observation(m)
    classes = fit_classes([seen], NOISE, CENTRE, 4, 0)
    components = classes.components(seen.m).numpy().reshape(COMPONENTS, -1)
    covariance = components @ components.T / components.shape[1]
    spread = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(covariance / np.outer(spread, spread), np.eye(4), atol=1e-6)
    assert spread[0] == pytest.approx(1)
    assert spread[1:].max() <= 1
    # Brightness, not noise, is the unit: an MSI with twice the noise has the same features.
    louder = fit_classes([observation(m / 2)], 2 * NOISE, CENTRE, 4, 0)
    np.testing.assert_allclose(louder.components(tensor(m / 2)).numpy(), classes.components(seen.m).numpy(), atol=1e-8)


def test_frozen_weights_are_local() -> None:
    m, _ = fields_and_town()
    classes = fit_classes([observation(m)], NOISE, CENTRE, 6, 0)
    before = classes.weights(observation(m))
    m[:, 48, 48] += 50
    moved = ((classes.weights(observation(m)) - before).abs().amax(0) > 1e-12).nonzero() - 48
    # Blur and interpolation (8 + 1 and two coarse pixels of 4), the energy's own window, and no more.
    assert 5 < int(moved.abs().max()) <= 8 + 4 + 2 * 4 + 4


def test_the_seed_decides() -> None:
    seen = observation(fields_and_town()[0])
    one, same, other = (fit_classes([seen], NOISE, CENTRE, 12, seed) for seed in (0, 0, 1))
    assert np.array_equal(one.centroids, same.centroids)
    assert not np.array_equal(one.centroids, other.centroids)


@pytest.mark.parametrize(("bands", "count"), [(1, 12), (2, 3), (10, 12)])
def test_any_number_of_bands(bands: int, count: int) -> None:
    rng = np.random.default_rng(0)
    seen = observation(rng.normal(size=(bands, 24, 32)).cumsum(2))
    classes = fit_classes([seen, seen], np.full(bands, 0.01), np.full(bands, 0.2), count, 0)
    weights = classes.weights(seen)
    assert 1 <= len(weights) <= count
    assert torch.isfinite(weights).all()


def test_a_uniform_msi_has_classes_all_the_same() -> None:
    """Nothing to tell apart, and nothing to divide by."""
    seen = observation(np.zeros((3, 24, 24)))
    classes = fit_classes([seen], np.full(3, 0.01), np.full(3, 0.2), 12, 0)
    weights = classes.weights(seen)
    assert torch.isfinite(weights).all()
    torch.testing.assert_close(weights.sum(0), torch.ones(24, 24, dtype=torch.float64))


def test_storage() -> None:
    seen = observation(fields_and_town()[0])
    classes = fit_classes([seen], NOISE, CENTRE, 5, 0)
    restored = Classes.from_arrays(classes.arrays())
    assert isinstance(restored.log_mean, float)
    assert torch.equal(restored.weights(seen), classes.weights(seen))
    assert all(isinstance(a, np.ndarray) for a in classes.arrays().values())
    assert not torch.equal(replace(restored, spread=2 * restored.spread).weights(seen), classes.weights(seen))
