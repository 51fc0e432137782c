"""EM against the likelihood, computed densely, and against data whose statistics are known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from geofuse.methods.gem import em
from geofuse.methods.gem.coordinates import Coordinates
from geofuse.methods.gem.em import JITTER, calibrate, mean_square, refine_classes, second_moment, symmetric
from geofuse.methods.gem.posterior import Prior, given_msi, solve
from geofuse.pair.patch import Patch
from tests.methods.gem.gaussians import Problem, random_problem, spd
from tests.pairs import tensor


def frame_of(mixing: np.ndarray, msi_sigma: np.ndarray) -> Coordinates:
    """Coordinates in which HSI bands are the coefficients and the MSI bands have the given noise."""
    rank = mixing.shape[1]
    return Coordinates(np.ones(rank), np.zeros(rank), np.eye(rank), np.eye(rank), mixing, np.zeros(len(mixing)), msi_sigma)


def patch_of(problem: Problem) -> Patch:
    seen = problem.seen
    everywhere = torch.ones(seen.m.shape[1:], dtype=torch.bool)
    return Patch(seen.y, seen.m, torch.as_tensor(problem.observed), everywhere, seen.psf)


def drawn(mixing: np.ndarray, shape: tuple[int, int], ratio: int, seed: int, covariance: np.ndarray, noise: np.ndarray) -> Problem:
    """A pair drawn from the model: a smooth image plus white detail of the given covariance, both with noise."""
    bands, rank = mixing.shape
    problem, rng = random_problem(shape, ratio, bands, rank, seed), np.random.default_rng(seed + 1)
    size = problem.m.shape[1:]
    smooth = np.stack([gaussian_filter(rng.normal(size=size), 3 * ratio, mode="reflect") for _ in range(rank)])
    truth = 5 * smooth / smooth.std() + np.tensordot(np.linalg.cholesky(covariance), rng.normal(size=(rank, *size)), 1)
    return observe(problem, mixing, truth, noise)


def observe(problem: Problem, mixing: np.ndarray, truth: np.ndarray, noise: np.ndarray) -> Problem:
    """Both images of a truth (K, H, W)."""
    rng = np.random.default_rng(99)
    blurred = (problem.operator @ truth.reshape(len(truth), -1).T).T.reshape(problem.y.shape)
    msi = np.tensordot(mixing, truth, 1) + noise[:, None, None] * rng.normal(size=problem.m.shape)
    return replace(problem, mixing=mixing, y=blurred + rng.normal(size=blurred.shape), m=msi)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_round_raises_the_likelihood(seed: int) -> None:
    """Exactly so before the jitter, which is no part of EM and taken off again here."""
    rng = np.random.default_rng(seed)
    rank, bands = 2, 3
    problem = drawn(rng.normal(size=(bands, rank)), (4, 4), 2, seed, spd(rank, rng, 3.0), np.array([0.3, 0.6, 1.2]))
    frame, covariance = frame_of(problem.mixing, np.full(bands, 2.0)), np.eye(rank)
    base = problem.flat(problem.seen.psf.upsample(tensor(problem.y)).numpy())
    pixels = problem.operator.shape[1]

    def likelihood(sigma: np.ndarray, noise: np.ndarray) -> float:
        return problem.log_likelihood(base, np.kron(np.eye(pixels), sigma), noise**2)

    before = likelihood(covariance, frame.msi_sigma)
    gains = []
    for _ in range(8):
        frame, covariance = calibrate([patch_of(problem)], frame, covariance, rounds=1)
        after = likelihood(covariance - JITTER * np.eye(rank), frame.msi_sigma)
        gains.append(after - before)
        before = likelihood(covariance, frame.msi_sigma)
    assert min(gains) > -1e-6  # the images are in double precision, the solve is to 1e-3 at worst and direct here
    assert gains[0] > 1
    # Rounds in one call are the same rounds.
    again, same = calibrate([patch_of(problem)], frame_of(problem.mixing, np.full(bands, 2.0)), np.eye(rank), rounds=8)
    np.testing.assert_allclose(same, covariance, rtol=1e-8)
    np.testing.assert_allclose(again.msi_sigma, frame.msi_sigma, rtol=1e-8)


@pytest.mark.parametrize("start", [0.5, 4.0])
def test_msi_noise_is_found(start: float) -> None:
    """Five bands that see two coefficients alike: what these do not explain is noise. A first guess is too high rather than too low."""
    rng, noise = np.random.default_rng(0), np.array([0.4, 0.8, 0.6, 1.0, 0.5])
    angle = 2 * np.pi * np.arange(5) / 5
    problem = drawn(np.column_stack([np.cos(angle), np.sin(angle)]), (10, 10), 3, 0, spd(2, rng, 2.0), noise)
    frame, _ = calibrate([patch_of(problem)], frame_of(problem.mixing, start * noise), np.eye(2), rounds=20)
    assert frame.msi_sigma == pytest.approx(noise, rel=0.15)


def test_prior_covariance_is_found() -> None:
    """Where the MSI sees all coefficients, the scatter of the truth around the interpolated HSI comes out."""
    rng = np.random.default_rng(0)
    truth = np.tensordot(np.linalg.cholesky(spd(2, rng, 4.0)), rng.normal(size=(2, 30, 30)), 1)
    noise, mixing = np.full(3, 0.2), np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    problem = observe(random_problem((10, 10), 3, 3, 2, 0), mixing, truth, noise)
    _, found = calibrate([patch_of(problem)], frame_of(mixing, noise), np.eye(2), rounds=20)
    detail = (truth - problem.seen.psf.upsample(tensor(problem.y)).numpy()).reshape(2, -1)
    np.testing.assert_allclose(found, detail @ detail.T / detail.shape[1], rtol=0.05, atol=0.05)


def test_two_patches_weigh_by_their_pixels() -> None:
    rng, noise = np.random.default_rng(0), np.array([0.4, 0.8, 0.6])
    covariance = spd(2, rng, 2.0)
    one = drawn(rng.normal(size=(3, 2)), (6, 6), 3, 0, covariance, noise)
    twice = calibrate([patch_of(one), patch_of(one)], frame_of(one.mixing, noise), np.eye(2), rounds=5)
    once = calibrate([patch_of(one)], frame_of(one.mixing, noise), np.eye(2), rounds=5)
    np.testing.assert_allclose(twice[1], once[1], rtol=1e-9)
    np.testing.assert_allclose(twice[0].msi_sigma, once[0].msi_sigma, rtol=1e-9)


def test_noise_never_falls_below_a_thousandth_of_the_image() -> None:
    problem = drawn(np.eye(2), (5, 5), 2, 0, np.eye(2), np.array([1e-9, 1e-9]))
    frame, _ = calibrate([patch_of(problem)], frame_of(problem.mixing, np.full(2, 1e-3)), np.eye(2), rounds=40)
    level = np.sqrt((problem.m**2).mean((1, 2)))
    assert (frame.msi_sigma >= 1e-3 * level * (1 - 1e-9)).all()


@dataclass
class TwoClasses:
    """Left calm and right lively, around a known base."""

    problem: Problem
    base: Tensor
    weights: Tensor
    covariance: np.ndarray
    mean: np.ndarray

    @classmethod
    def make(cls) -> TwoClasses:
        rng = np.random.default_rng(0)
        covariance, mean = np.stack([spd(2, rng, 2.0), spd(2, rng, 20.0)]), np.array([[0.0, 0.5], [2.0, -1.0]])
        label = np.zeros((36, 36), int)
        label[:, 18:] = 1
        base = np.stack([gaussian_filter(rng.normal(size=(36, 36)), 4) * 20 for _ in range(2)])
        detail = np.einsum("hwkl,hwl->khw", np.linalg.cholesky(covariance)[label], rng.normal(size=(36, 36, 2)))
        mixing = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, -1.0]])
        problem = observe(random_problem((12, 12), 3, 3, 2, 0), mixing, base + mean[label].transpose(2, 0, 1) + detail, np.ones(3))
        return cls(problem, tensor(base), tensor(np.eye(2)[label].transpose(2, 0, 1)), covariance, mean)

    def refine(self, start: Prior, rounds: int, shrinkage: float, weights: Tensor | None = None) -> tuple[Prior, np.ndarray]:
        weights = self.weights if weights is None else weights
        prior, (solution,) = refine_classes([self.problem.seen], [self.base], [weights], start, self.problem.mixing, rounds, shrinkage)
        return prior, solution.z.numpy()

    def solve(self, prior: Prior, tolerance: float) -> np.ndarray:
        return solve(self.problem.seen, self.base, self.weights, prior, self.problem.mixing, tolerance=tolerance).z.numpy()


def test_classes_find_their_own_covariance_and_mean() -> None:
    case = TwoClasses.make()
    start = Prior(np.stack([3 * np.eye(2)] * 2), np.zeros((2, 2)), np.full(2, 0.5))
    prior, z = case.refine(start, 15, 0.0)
    assert prior.share == pytest.approx([0.5, 0.5])
    for j, expected in enumerate(case.covariance):  # 648 pixels a class
        spread = np.sqrt(np.diag(expected))
        np.testing.assert_allclose(prior.mean[j], case.mean[j], atol=4 * spread.max() / np.sqrt(648) + 0.1)
        np.testing.assert_allclose(prior.covariance[j] / np.outer(spread, spread), expected / np.outer(spread, spread), atol=0.2)
    assert np.abs(z - case.solve(prior, 1e-9)).max() < 0.02


def test_one_round_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scatter around the class mean plus posterior covariance, blended with the pooled one by pixels against shrinkage."""
    monkeypatch.setattr(em, "ALIKE", 0.0)
    case = TwoClasses.make()
    seen = case.problem.seen
    start = Prior(np.stack([3 * np.eye(2), 5 * np.eye(2)]), np.zeros((2, 2)), np.full(2, 0.5))
    shrinkage = 200.0
    prior, _ = case.refine(start, 1, shrinkage)
    d = case.solve(start, 1e-3) - case.base.numpy()
    given_all, spectrum, pixels = given_msi(start, case.problem.mixing), seen.psf.spectrum.numpy().ravel(), seen.pixels
    scatters, means = [], []
    for w, c in zip(case.weights.numpy(), given_all.covariance, strict=True):
        count = w.sum()
        mean = (w * d).sum((1, 2)) / (count + shrinkage)
        left = (d - mean[:, None, None]).reshape(2, -1)
        # Of all combinations of pixels, as many as there are coarse pixels are seen by the HSI, each with its own gain.
        inside = (sum(np.linalg.inv(np.linalg.inv(c) + g * np.eye(2)) for g in spectrum) + (pixels - len(spectrum)) * c) / pixels
        scatters.append((w.ravel() * left) @ left.T / count + inside)
        means.append(mean)
    pooled = (scatters[0] + scatters[1]) / 2
    share = 648 / (648 + shrinkage)
    np.testing.assert_allclose(prior.mean, means, atol=1e-8)
    for found, scatter in zip(prior.covariance, scatters, strict=True):
        np.testing.assert_allclose(found, share * scatter + (1 - share) * pooled + JITTER * np.eye(2), atol=1e-8)


def test_a_class_without_pixels_gets_the_pooled_covariance() -> None:
    case = TwoClasses.make()
    three = torch.cat([case.weights, torch.zeros_like(case.weights[:1])])
    start = Prior(np.stack([3 * np.eye(2)] * 3), np.zeros((3, 2)), np.array([0.5, 0.5, 0.0]))
    prior, _ = case.refine(start, 2, 300.0, three)
    assert not prior.mean[2].any()
    np.testing.assert_allclose(prior.covariance[2], prior.covariance[:2].mean(0), rtol=1e-3)


def test_sums() -> None:
    rng = np.random.default_rng(0)
    image, weight = rng.normal(size=(3, 4, 5)), rng.random((4, 5))
    flat = image.reshape(3, -1)
    np.testing.assert_allclose(second_moment(tensor(image)), flat @ flat.T)
    np.testing.assert_allclose(second_moment(tensor(image), tensor(weight)), np.einsum("ip,jp,p->ij", flat, flat, weight.ravel()))
    valid = weight > 0.4
    np.testing.assert_allclose(mean_square(tensor(image), torch.as_tensor(valid)), (image[:, valid] ** 2).mean(1))
    lopsided = rng.normal(size=(3, 3))
    np.testing.assert_allclose(symmetric(lopsided), (lopsided + lopsided.T) / 2 + JITTER * np.eye(3))


def test_held_rounds_leave_the_noise_and_let_the_covariance_grow() -> None:
    rng = np.random.default_rng(3)
    problem = drawn(rng.normal(size=(3, 2)), (8, 8), 2, 3, 4 * np.eye(2), np.array([0.3, 0.6, 1.2]))
    start = frame_of(problem.mixing, np.array([0.3, 0.6, 1.2]))
    small = 1e-2 * np.eye(2)
    held, covariance = calibrate([patch_of(problem)], start, small, rounds=5, held=5)
    assert np.array_equal(held.msi_sigma, start.msi_sigma)
    assert np.trace(covariance) > 10 * np.trace(small)
    free, _ = calibrate([patch_of(problem)], start, small, rounds=5)
    assert (free.msi_sigma / start.msi_sigma).max() > 2  # what the small covariance does not explain went into the noise
