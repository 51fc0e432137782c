"""The estimation problem written out as one big Gaussian: what the solver must agree with on small images.

Unknowns are the coefficients of all fine pixels, stacked pixel by pixel (K of each). Dense, slow and plain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from geofuse.methods.gem.observation import Observation
from geofuse.pair.grid import GridPair
from geofuse.pair.psf.builder import PsfBuilder
from tests.pairs import naive_operator, tensor, uncropped, whole


@dataclass
class Problem:
    """A small pair of whitened images and the operators behind them."""

    operator: np.ndarray  # (coarse pixels, fine pixels); rows of unobserved pixels are zero
    mixing: np.ndarray  # (M, K)
    observed: np.ndarray  # (h, w)
    y: np.ndarray  # (K, h, w)
    m: np.ndarray  # (M, H, W)
    valid: np.ndarray | None = None  # (H, W): where m was observed; None: everywhere

    @property
    def seen(self) -> Observation:
        """The same for the solver."""
        pair = pair_of(self.observed.shape, self.m.shape[1] // self.observed.shape[0])
        psf = builder_of(self).build(whole(pair.fine.shape), whole(pair.coarse.shape), self.observed, torch.zeros(1, dtype=torch.float64))
        return Observation(tensor(self.y), tensor(self.m), psf, None if self.valid is None else torch.as_tensor(self.valid))

    def flat(self, image: np.ndarray) -> np.ndarray:
        """(K, H, W) to stacked pixels."""
        return image.reshape(len(image), -1).T.ravel()

    def image(self, stacked: np.ndarray) -> np.ndarray:
        """Stacked pixels to (K, H, W)."""
        return stacked.reshape(-1, self.mixing.shape[1]).T.reshape(-1, *self.m.shape[1:])

    def observations(self, noise: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Matrix, values and noise variances of everything that was observed; ``noise`` (M,) are the MSI's variances."""
        bands, rank = self.mixing.shape
        used = self.observed.ravel()
        fine = self.operator.shape[1]
        matrix = np.concatenate([np.kron(self.operator[used], np.eye(rank)), np.kron(np.eye(fine), self.mixing)])
        values = np.concatenate([self.flat(self.y).reshape(-1, rank)[used].ravel(), self.flat(self.m)])
        variance = np.concatenate([np.ones(rank * used.sum()), np.tile(np.ones(bands) if noise is None else noise, fine)])
        if self.valid is None:
            return matrix, values, variance
        kept = np.concatenate([np.ones(rank * used.sum(), bool), np.repeat(self.valid.ravel(), bands)])
        return matrix[kept], values[kept], variance[kept]

    def posterior(self, mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of all unknowns, given a prior mean (N·K,) and covariance (N·K, N·K)."""
        matrix, values, variance = self.observations()
        gain = np.linalg.solve(matrix @ covariance @ matrix.T + np.diag(variance), matrix @ covariance).T
        return mean + gain @ (values - matrix @ mean), covariance - gain @ matrix @ covariance

    def log_likelihood(self, mean: np.ndarray, covariance: np.ndarray, noise: np.ndarray) -> float:
        """Log density of both images under the prior, the unknowns integrated out."""
        matrix, values, variance = self.observations(noise)
        spread = matrix @ covariance @ matrix.T + np.diag(variance)
        left = values - matrix @ mean
        return float(-0.5 * (left @ np.linalg.solve(spread, left) + np.linalg.slogdet(spread)[1] + len(left) * np.log(2 * np.pi)))


def pair_of(shape: tuple[int, ...], ratio: int) -> GridPair:
    """Grids of a small problem."""
    return uncropped((shape[0], shape[1]), ratio=float(ratio))


def builder_of(problem: Problem) -> PsfBuilder:
    """Its PSF."""
    ratio = problem.m.shape[1] // problem.observed.shape[0]
    return PsfBuilder(pair_of(problem.observed.shape, ratio), (0.5 * ratio, 0.6 * ratio), (0.2, -0.1))


def random_problem(shape: tuple[int, int], ratio: int, bands: int, rank: int, seed: int, missing: float = 0.0) -> Problem:
    """Images without any meaning: an identity of algebra has to hold for all of them."""
    rng = np.random.default_rng(seed)
    observed = rng.random(shape) >= missing
    msi = rng.normal(size=(bands, shape[0] * ratio, shape[1] * ratio))
    problem = Problem(np.empty(0), rng.normal(size=(bands, rank)), observed, np.empty(0), msi)
    pair, builder = pair_of(shape, ratio), builder_of(problem)
    problem.operator = naive_operator(pair, builder.sigma, builder.shift) * observed.ravel()[:, None]
    problem.y = rng.normal(size=(rank, *shape))
    return problem


def spd(rank: int, rng: np.random.Generator, scale: float = 1.0) -> np.ndarray:
    """A covariance."""
    root = rng.normal(size=(rank, rank))
    return scale * (root @ root.T / rank + 0.1 * np.eye(rank))
