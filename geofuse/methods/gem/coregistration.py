"""Bands of a hyperspectral image that do not lie exactly on each other.

Spectrometers with several detectors, or that read their bands one after the other, displace bands by some tenths of a pixel: AVIRIS
scenes show up to 0.4 of their pixels across the scan. The multispectral image lies elsewhere again. Fused detail then comes out right
in the bands near those of the MSI and displaced in the others, and no prior without direction can tell.

A displacement by δ changes a band by -δ·∇x. The innovation of the first stage is regressed on that (`geofuse.methods.gem.evidence`), all bands at
once: neighbours share their displacement (an Ornstein-Uhlenbeck prior along the spectrum, which allows for steps at the detectors), and its
size is set by the evidence, within what instruments do. Cross-validation decides whether there is any: coarse pixels that took no part have to
be predicted better with it. See docs/research/coregistration.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geofuse.methods.gem.evidence import Regression, in_squares, most_probable, unseen_components
from geofuse.methods.gem.observation import Observation
from geofuse.methods.gem.posterior import Prior
from geofuse.pair.images import as_like, gradients, mix_gradients

CORRELATION = 20.0  # bands over which displacements are alike
WAVES = 40  # leading components of the prior along the spectrum
# Standard deviation, fine pixels, that the evidence may ask for at most. Without a limit a scene of few coarse pixels explains with
# displacements whatever is not symmetric in it, shadows above all (docs/research/coregistration.md).
LARGEST = 0.08
# How much of it is applied to fine pixels. Coarse ones also show as displacement what is asymmetric in the scene, such as shadows.
APPLIED = 0.6
FOLDS, SQUARE = 5, 4  # parts of the coarse pixels, in squares of so many


@dataclass(frozen=True)
class BandShifts:
    """Frozen displacements.

    Attributes
    ----------
    shift : ndarray, shape (2, B)
        Rows and columns, fine pixels, by which the content of each band lies further down and right than the MSI shows it.
    transfer : ndarray, shape (2, K, K)
        From the row and column gradients of the coefficients to the change of the coefficients; 0 where no displacement was confirmed.
    """

    shift: np.ndarray
    transfer: np.ndarray

    def change(self, z: Tensor) -> Tensor:
        """What the displacements make of an image of coefficients that lie as the MSI does; (K, H, W) to (K, H, W)."""
        return mix_gradients(as_like(np.concatenate(list(self.transfer), axis=1), z), z)


def fit_band_shifts(
    seen: Sequence[Observation],
    images: Sequence[Tensor],
    weights: Sequence[Tensor],
    prior: Prior,
    mixing: np.ndarray,
    basis: np.ndarray,
    analysis: np.ndarray,
) -> BandShifts:
    """Estimate the displacement of every band.

    Parameters
    ----------
    seen, images, weights : sequences
        Per patch: observation, estimate of the first stage (K, H, W), soft class weights (J, H, W).
    prior : Prior
        Of the first stage, around the upsampled HSI.
    mixing : ndarray, shape (M, K)
    basis : ndarray, shape (B, K)
        From coefficients to bands in units of their noise.
    analysis : ndarray, shape (K, B)
        Left inverse of ``basis``.
    """
    components, waves = unseen_components(prior, mixing), _waves(len(basis))
    regression = Regression(seen, [torch.cat(gradients(z)) for z in images], weights, prior, mixing, components)
    size, rank = waves.shape[1], basis.shape[1]
    # Coefficient j of the displacements moves component u by (∇z)ᵀ maps[u, j].
    maps = np.einsum("ub,bj,bk->ujk", components.axes.T @ analysis, waves, basis)

    def equations(used: Sequence[Tensor] | None = None) -> tuple[np.ndarray, np.ndarray]:
        found = regression.equations(used)
        gram = found.gram.reshape(-1, 2, rank, 2, rank)
        blocks = [[np.tensordot(maps @ gram[:, i, :, j], maps, ((0, 2), (0, 2))) for j in range(2)] for i in range(2)]
        right = [np.tensordot(maps, found.right.reshape(-1, 2, rank)[:, i], ((0, 2), (0, 1))) for i in range(2)]
        return np.block(blocks), np.concatenate(right)

    def learn(gram: np.ndarray, right: np.ndarray) -> np.ndarray:
        axis = np.repeat([0, 1], size)
        return most_probable(gram[None], right[None], np.ones(1), axis, LARGEST**2)[0]

    gains = []
    for part in _parts(seen):
        gram, right = equations(part)
        found = learn(*equations([1 - p for p in part]))
        gains.append(2 * found @ right - found @ gram @ found)
    confirmed = np.mean(gains) > np.std(gains, ddof=1) / np.sqrt(FOLDS)
    shift = confirmed * learn(*equations()).reshape(2, size) @ waves.T
    return BandShifts(-shift, np.stack([components.projector @ (analysis * (APPLIED * s)) @ basis for s in shift]))


def _parts(seen: Sequence[Observation]) -> list[list[Tensor]]:
    """The coarse pixels in `FOLDS` parts, each a list of one mask (h, w) per patch: 1 where a pixel belongs to it."""
    rng = np.random.default_rng(0)
    parts: list[list[Tensor]] = [[] for _ in range(FOLDS)]
    for s in seen:
        number = in_squares(
            lambda shape: rng.permutation(np.arange(shape[0] * shape[1]) % FOLDS).reshape(shape), SQUARE, (s.y.shape[1], s.y.shape[2])
        )
        for k, part in enumerate(parts):
            part.append(as_like(number == k, s.y))
    return parts


def _waves(bands: int) -> np.ndarray:
    """Square root of the prior covariance along the spectrum, its leading components; shape (bands, at most WAVES)."""
    index = np.arange(bands)
    value, vector = np.linalg.eigh(np.exp(-np.abs(index[:, None] - index) / CORRELATION))
    return (vector * np.sqrt(np.maximum(value, 0)))[:, ::-1][:, :WAVES]
