"""The solver against the same Gaussian written out in full."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geofuse.methods.gem.em import posterior_covariance
from geofuse.methods.gem.observation import Observation
from geofuse.methods.gem.posterior import MAX_ITERATIONS, Prior, conjugate_gradients, given_msi, solve
from tests.methods.gem.gaussians import Problem, random_problem, spd
from tests.pair.psf.test_builder import build, turned_pair, weights_of
from tests.pairs import tensor

shapes = st.tuples(st.integers(1, 4), st.integers(1, 4))
sizes = {"shape": shapes, "ratio": st.integers(2, 3), "bands": st.integers(1, 4), "rank": st.integers(1, 3), "seed": st.integers(0, 2**16)}


def solve_image(problem: Problem, base: np.ndarray, weights: np.ndarray, prior: Prior, **options: float) -> np.ndarray:
    return solve(problem.seen, tensor(base), tensor(weights), prior, problem.mixing, **{"tolerance": 1e-13, **options}).z.numpy()  # type: ignore[arg-type]


def pixelwise(covariances: np.ndarray) -> np.ndarray:
    """Block-diagonal matrix of one covariance (K, K) a pixel."""
    count, rank, _ = covariances.shape
    full = np.zeros((count, rank, count, rank))
    full[np.arange(count), :, np.arange(count), :] = covariances
    return full.reshape(count * rank, count * rank)


@settings(max_examples=40, deadline=None)
@given(**sizes, missing=st.sampled_from([0.0, 0.3]))
def test_one_class(shape: tuple[int, int], ratio: int, bands: int, rank: int, seed: int, missing: float) -> None:
    problem, rng = random_problem(shape, ratio, bands, rank, seed, missing), np.random.default_rng(seed + 1)
    covariance, base = spd(rank, rng, 5.0), rng.normal(size=(rank, *problem.m.shape[1:]))
    found = solve_image(problem, base, np.ones((1, *problem.m.shape[1:])), Prior.single(covariance))
    pixels = base[0].size
    expected, _ = problem.posterior(problem.flat(base), np.kron(np.eye(pixels), covariance))
    np.testing.assert_allclose(found, problem.image(expected), atol=1e-8)


@settings(max_examples=30, deadline=None)
@given(**sizes, share=st.sampled_from([0.05, 0.5, 1.0]))
def test_gaps_in_the_msi(shape: tuple[int, int], ratio: int, bands: int, rank: int, seed: int, share: float) -> None:
    """Nothing is learned from pixels that were not observed, whatever is written there."""
    problem, rng = random_problem(shape, ratio, bands, rank, seed), np.random.default_rng(seed + 1)
    covariance, base = spd(rank, rng, 5.0), rng.normal(size=(rank, *problem.m.shape[1:]))
    problem.valid = rng.random(base.shape[1:]) >= share
    problem.m[:, ~problem.valid] = 1e3
    found = solve_image(problem, base, np.ones((1, *base.shape[1:])), Prior.single(covariance))
    expected, _ = problem.posterior(problem.flat(base), np.kron(np.eye(base[0].size), covariance))
    np.testing.assert_allclose(found, problem.image(expected), atol=1e-7)


def test_one_class_needs_no_iteration() -> None:
    """The direct solution is exact where every pixel is observed."""
    problem, rng = random_problem((4, 4), 3, 2, 3, 0), np.random.default_rng(1)
    base, weights = tensor(rng.normal(size=(3, 12, 12))), torch.ones(1, 12, 12, dtype=torch.float64)
    solution = solve(problem.seen, base, weights, Prior.single(spd(3, rng)), problem.mixing, tolerance=1e-10)
    assert solution.iterations == 0


def random_prior(classes: int, rank: int, rng: np.random.Generator) -> Prior:
    covariance = np.stack([spd(rank, rng, 10 ** rng.uniform(-1, 1.5)) for _ in range(classes)])
    share = rng.random(classes)
    return Prior(covariance, rng.normal(size=(classes, rank)), share / share.sum())


@settings(max_examples=40, deadline=None)
@given(**sizes, classes=st.integers(2, 4), missing=st.sampled_from([0.0, 0.3]))
def test_several_classes(shape: tuple[int, int], ratio: int, bands: int, rank: int, seed: int, classes: int, missing: float) -> None:
    """Every pixel belongs to one class: the prior is a Gaussian, and so is all that follows."""
    problem, rng = random_problem(shape, ratio, bands, rank, seed, missing), np.random.default_rng(seed + 1)
    prior, base = random_prior(classes, rank, rng), rng.normal(size=(rank, *problem.m.shape[1:]))
    label = rng.integers(classes, size=problem.m.shape[1:])
    found = solve_image(problem, base, np.eye(classes)[label].transpose(2, 0, 1), prior)
    mean = problem.flat(base) + prior.mean[label.ravel()].ravel()
    expected, _ = problem.posterior(mean, pixelwise(prior.covariance[label.ravel()]))
    np.testing.assert_allclose(found, problem.image(expected), atol=1e-8)


@settings(max_examples=25, deadline=None)
@given(**sizes, classes=st.integers(2, 4))
def test_soft_classes(shape: tuple[int, int], ratio: int, bands: int, rank: int, seed: int, classes: int) -> None:
    """What is blended are the pixel's posteriors given the MSI, class by class around one mean; the HSI then conditions their blend."""
    problem, rng = random_problem(shape, ratio, bands, rank, seed), np.random.default_rng(seed + 1)
    prior, base = random_prior(classes, rank, rng), rng.normal(size=(rank, *problem.m.shape[1:]))
    weights = rng.dirichlet(np.ones(classes), problem.m.shape[1:]).transpose(2, 0, 1)
    found = solve_image(problem, base, weights, prior)
    flat, mixing = weights.reshape(classes, -1), problem.mixing
    mean = base.reshape(rank, -1) + prior.mean.T @ flat
    surprise, given_all = problem.m.reshape(bands, -1) - mixing @ mean, np.zeros((flat.shape[1], rank, rank))
    for w, covariance in zip(flat, prior.covariance, strict=True):
        precision = np.linalg.inv(covariance) + mixing.T @ mixing
        mean = mean + w * (np.linalg.inv(precision) @ mixing.T @ surprise)
        given_all += w[:, None, None] * np.linalg.inv(precision)
    stacked, spread = mean.T.ravel(), pixelwise(given_all)
    a = np.kron(problem.operator, np.eye(rank))
    dual = np.linalg.solve(a @ spread @ a.T + np.eye(len(a)), problem.flat(problem.y) - a @ stacked)
    np.testing.assert_allclose(found, problem.image(stacked + spread @ a.T @ dual), atol=1e-7)


def test_turned_grids() -> None:
    """Where the direct solution is only a preconditioner: against the dense solution with the operator's own weights."""
    psf, rng = build(turned_pair(), (2.5, 2.5)), np.random.default_rng(0)
    operator = weights_of(psf).flatten(2).flatten(0, 1).numpy()
    mixing, base = rng.normal(size=(2, 2)), rng.normal(size=(2, *psf.shape))
    seen = Observation(tensor(rng.normal(size=(2, *psf.observed.shape))), tensor(rng.normal(size=(2, *psf.shape))), psf)
    covariance = spd(2, rng, 5.0)
    solution = solve(seen, tensor(base), torch.ones(1, *psf.shape, dtype=torch.float64), Prior.single(covariance), mixing, tolerance=1e-12)
    assert solution.iterations < MAX_ITERATIONS
    given = np.linalg.inv(np.linalg.inv(covariance) + mixing.T @ mixing)
    centre = base.reshape(2, -1) + given @ mixing.T @ (seen.m.numpy().reshape(2, -1) - mixing @ base.reshape(2, -1))
    left = (seen.y * psf.observed).numpy().reshape(2, -1) - centre @ operator.T
    dual = np.linalg.solve(np.kron(given, operator @ operator.T) + np.eye(left.size), left.ravel()).reshape(2, -1)
    np.testing.assert_allclose(solution.z.numpy().reshape(2, -1), centre + given @ dual @ operator, atol=1e-8)


def test_equal_classes_are_one_class() -> None:
    problem, rng = random_problem((3, 4), 3, 2, 3, 5), np.random.default_rng(1)
    covariance, base = spd(3, rng), rng.normal(size=(3, *problem.m.shape[1:]))
    weights = rng.dirichlet(np.ones(4), problem.m.shape[1:]).transpose(2, 0, 1)
    four = Prior(np.stack([covariance] * 4), np.zeros((4, 3)), np.full(4, 0.25))
    one = solve_image(problem, base, np.ones_like(weights[:1]), Prior.single(covariance))
    np.testing.assert_allclose(solve_image(problem, base, weights, four), one, atol=1e-10)


def test_extremes() -> None:
    """A prior without doubt is returned; one that knows nothing returns what reproduces both images."""
    problem, rng = random_problem((3, 3), 2, 3, 2, 3), np.random.default_rng(1)
    base, weights = rng.normal(size=(2, 6, 6)), np.ones((1, 6, 6))
    np.testing.assert_allclose(solve_image(problem, base, weights, Prior.single(1e-9 * np.eye(2))), base, atol=1e-6)
    # More MSI bands than coefficients: the pixel's own least squares, when the HSI agrees with it.
    problem.m = np.einsum("mk,khw->mhw", problem.mixing, truth := rng.normal(size=(2, 6, 6)))
    problem.y = (problem.operator @ truth.reshape(2, -1).T).T.reshape(2, 3, 3)
    np.testing.assert_allclose(solve_image(problem, base, weights, Prior.single(1e9 * np.eye(2))), truth, atol=1e-6)


def test_given_msi() -> None:
    """Conditioning on the MSI: precisions add."""
    rng = np.random.default_rng(0)
    prior, mixing = random_prior(3, 4, rng), rng.normal(size=(2, 4))
    found = given_msi(prior, mixing)
    for j, covariance in enumerate(prior.covariance):
        expected = np.linalg.inv(np.linalg.inv(covariance) + mixing.T @ mixing)
        np.testing.assert_allclose(found.covariance[j], expected, atol=1e-10)
        np.testing.assert_allclose(found.gain[j], expected @ mixing.T, atol=1e-10)
    pooled = np.tensordot(prior.share, found.covariance, 1)
    np.testing.assert_allclose((found.vector * found.value) @ found.vector.T, pooled, atol=1e-10)
    np.testing.assert_allclose(prior.pooled, sum(s * c for s, c in zip(prior.share, prior.covariance, strict=True)))


@settings(max_examples=20, deadline=None)
@given(**sizes)
def test_posterior_covariance(shape: tuple[int, int], ratio: int, bands: int, rank: int, seed: int) -> None:
    """Mean of the diagonal blocks of the full posterior covariance."""
    problem = random_problem(shape, ratio, bands, rank, seed)
    covariance = spd(rank, np.random.default_rng(seed + 1), 4.0)
    pixels = problem.operator.shape[1]
    _, full = problem.posterior(np.zeros(pixels * rank), np.kron(np.eye(pixels), covariance))
    blocks = full.reshape(pixels, rank, pixels, rank)[np.arange(pixels), :, np.arange(pixels), :]
    given_covariance = given_msi(Prior.single(covariance), problem.mixing).covariance[0]
    np.testing.assert_allclose(posterior_covariance(given_covariance, [problem.seen]), blocks.mean(0), atol=1e-8)


def test_posterior_covariance_of_two_patches_is_their_mean() -> None:
    one, two = random_problem((3, 3), 2, 2, 2, 0).seen, random_problem((4, 2), 2, 2, 2, 1).seen
    covariance = spd(2, np.random.default_rng(0))
    both = posterior_covariance(covariance, [one, two])
    parts = [s.pixels * posterior_covariance(covariance, [s]) for s in (one, two)]
    np.testing.assert_allclose(both, sum(parts) / (one.pixels + two.pixels))


def test_a_start_changes_the_way_and_not_the_end() -> None:
    problem, rng = random_problem((4, 4), 3, 2, 3, 7), np.random.default_rng(1)
    prior, base = random_prior(3, 3, rng), tensor(rng.normal(size=(3, 12, 12)))
    weights = tensor(np.eye(3)[rng.integers(3, size=(12, 12))].transpose(2, 0, 1))
    cold = solve(problem.seen, base, weights, prior, problem.mixing, tolerance=1e-12)
    warm = solve(problem.seen, base, weights, prior, problem.mixing, tolerance=1e-12, start=cold.x)
    assert 0 < cold.iterations <= MAX_ITERATIONS
    assert warm.iterations <= 1
    torch.testing.assert_close(warm.z, cold.z, atol=1e-9, rtol=0)
    rough = solve(problem.seen, base, weights, prior, problem.mixing, tolerance=1e-3)
    assert rough.iterations < cold.iterations
    assert float((rough.z - cold.z).abs().max()) < 0.05


def test_conjugate_gradients_against_numpy() -> None:
    rng = np.random.default_rng(0)
    matrix = tensor(spd(18, rng, 10.0))
    target = tensor(rng.normal(size=(2, 3, 3)))
    found, iterations = conjugate_gradients(lambda v: (matrix @ v.flatten()).reshape(v.shape), lambda v: v / 10, target, 1e-12, None)
    np.testing.assert_allclose(found.flatten().numpy(), np.linalg.solve(matrix.numpy(), target.flatten().numpy()), atol=1e-9)
    assert iterations <= 2 * 18
    assert not conjugate_gradients(lambda v: v, lambda v: v, torch.zeros(1, 2, 2), 1e-6, None)[0].any()
