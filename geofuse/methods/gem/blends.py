"""Per-pixel blends of what belongs to classes: Σ_j w_j v_j and Σ_j w_j C_j x, with soft weights w."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geofuse.pair.images import as_like

# Differences between classes that the estimator ignores, relative to signal and noise together: less than is known of them.
ALIKE = 0.03
CHUNK = 2048  # pixels: ten components of them, weighted for all classes, stay in a core's cache


def blend(weights: Tensor, vectors: Tensor) -> Tensor:
    """Σ_j w_j v_j per pixel: weights (J, H, W) and vectors (J, K) to (K, H, W)."""
    return (vectors.T @ weights.flatten(1)).reshape(vectors.shape[1], *weights.shape[1:])


def class_mix(weights: Tensor, matrices: Tensor, image: Tensor) -> Tensor:
    """Σ_j w_j · (matrix_j @ image): per-pixel blend of J linear maps (J, d, c); (c, H, W) to (d, H, W)."""
    flat, shares = image.flatten(1), weights.flatten(1)
    if len(matrices) == 1:
        return (matrices[0] @ flat).reshape(-1, *image.shape[1:])
    out = image.new_empty(matrices.shape[1], flat.shape[1])
    side_by_side = matrices.transpose(0, 1).flatten(1)
    for start in range(0, flat.shape[1], CHUNK):
        pixels = slice(start, start + CHUNK)
        weighted = shares[:, None, pixels] * flat[:, pixels]
        torch.mm(side_by_side, weighted.flatten(0, 1), out=out[:, pixels])
    return out.reshape(-1, *image.shape[1:])


@dataclass(frozen=True)
class Covariances:
    """Covariances of the classes, split into what all of them share and a few directions in which they differ.

    Classes differ in the strong components of a scene and are alike in the weak ones, so most of Σ_j w_j C_j x is one product for all.

    Attributes
    ----------
    common : Tensor, shape (K, K)
    axes : Tensor, shape (K, r)
    parts : Tensor, shape (J, r, r)
        C_j is ``common + axes @ parts[j] @ axes.T``.
    """

    common: Tensor
    axes: Tensor
    parts: Tensor

    @staticmethod
    def split(covariance: np.ndarray, share: np.ndarray, alike: float, like: Tensor) -> Covariances:
        """Find the directions.

        Parameters
        ----------
        covariance : ndarray, shape (J, K, K)
            In units of the HSI's noise.
        share : ndarray, shape (J,)
            Share of the scene's pixels in each class.
        alike : float
            Differences below this are ignored, relative to the mean covariance and the noise together.
        like : Tensor
            Gives dtype and device.

        Examples
        --------
        >>> covariance = np.stack([np.diag([9.0, 1.0, 1.0]), np.diag([4.0, 1.0, 1.0])])
        >>> Covariances.split(covariance, np.array([0.5, 0.5]), 0.01, torch.zeros(1)).axes.shape
        torch.Size([3, 1])
        """
        common = np.tensordot(share, covariance, 1)
        value, vector = np.linalg.eigh(common + np.eye(len(common)))
        root, inverse = (vector * np.sqrt(value)) @ vector.T, (vector / np.sqrt(value)) @ vector.T
        apart = inverse @ (covariance - common) @ inverse
        directions = np.linalg.svd(np.concatenate(list(apart), axis=1), full_matrices=False)[0]
        turned = directions.T @ apart @ directions
        kept = next(r for r in range(len(common) + 1) if _largest(turned, r) <= alike or r == len(common))
        axes = root @ directions[:, :kept]
        return Covariances(*(as_like(a, like) for a in (common, axes, turned[:, :kept, :kept])))

    def __call__(self, weights: Tensor, image: Tensor) -> Tensor:
        """Σ_j w_j C_j @ image for weights (J, H, W) that sum to 1; (K, H, W) to (K, H, W)."""
        flat = image.flatten(1)
        out = self.common @ flat
        if self.parts.shape[1]:
            seen = (self.axes.T @ flat).unflatten(1, image.shape[1:])
            out.addmm_(self.axes, class_mix(weights, self.parts, seen).flatten(1))
        return out.unflatten(1, image.shape[1:])


def _largest(matrices: np.ndarray, kept: int) -> float:
    """Largest Frobenius norm of what is lost when only the first directions are kept."""
    left = matrices.copy()
    left[:, :kept, :kept] = 0
    return float(np.linalg.norm(left, axis=(1, 2)).max())
