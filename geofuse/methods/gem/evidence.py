"""What the coarse pixels say about something that the prior does not hold: regression of the innovation, in its own metric.

The innovation of the first stage is what the HSI says beyond its own upsampling and the MSI. Under the estimator's model it is Gaussian with
covariance A C Aᵀ + 1, which the eigenvectors of C take apart into independent components. What else the scene may hold (bands that are
displaced, filters that are learned) is an image of features that is seen through the PSF; its coefficients get a Gaussian prior whose size
is found by maximising the evidence (MacKay 1992, doi:10.1162/neco.1992.4.3.415).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from geofuse.methods.gem.observation import Observation
from geofuse.methods.gem.posterior import Prior, expected_given_msi, given_msi
from geofuse.pair.images import as_like, mix
from geofuse.pair.psf.builder import Psf

SEEN = 1.0  # singular values of the mixing beyond which the MSI sees a direction better than its noise
ROUNDS = 40


@dataclass(frozen=True)
class Components:
    """Directions in which the MSI says nothing and the innovation's components are independent: ``axes`` (K, U), their variance (U,)."""

    axes: np.ndarray
    value: np.ndarray

    @property
    def projector(self) -> np.ndarray:
        """Onto these directions, shape (K, K): a change there leaves the MSI explained."""
        return self.axes @ self.axes.T


def unseen_components(prior: Prior, mixing: np.ndarray) -> Components:
    """Components of the pooled covariance given the MSI, within what the MSI does not see; mixing (M, K)."""
    _, singular, right = np.linalg.svd(mixing, full_matrices=True)
    blind = right[int((singular > SEEN).sum()) :].T
    value, vector = np.linalg.eigh(blind.T @ np.tensordot(prior.share, given_msi(prior, mixing).covariance, 1) @ blind)
    return Components(blind @ vector, np.maximum(value, 1e-6))


@dataclass(frozen=True)
class Equations:
    """Normal equations of every component: ``gram`` (U, F, F), ``right`` (U, F), and ``power`` (U,), the innovation's own square."""

    gram: np.ndarray
    right: np.ndarray
    power: np.ndarray

    def gain(self, coefficients: np.ndarray) -> float:
        """By how much the coefficients (U, F) bring down the square of the innovation."""
        fitted = np.einsum("uf,ufg,ug->", coefficients, self.gram, coefficients)
        return float(2 * (coefficients * self.right).sum() - fitted)


def innovation_of(seen: Observation, weights: Tensor, prior: Prior, mixing: np.ndarray, components: Components) -> Tensor:
    """What the HSI says beyond its own upsampling and the MSI, in the components that the MSI does not see; shape (U, h, w)."""
    left = seen.y - seen.psf.forward(expected_given_msi(seen, weights, prior, mixing))
    return mix(as_like(components.axes.T, left), left)


def beyond_upsampling(psf: Psf, image: Tensor) -> Tensor:
    """What a change of the prior mean (c, H, W) shows to the HSI, (c, h, w), less its coarse part, which the upsampled HSI holds already."""
    return psf.forward(image - psf.upsample(psf.forward(image)))


def plausible(power: np.ndarray, count: float) -> np.ndarray:
    """Weight of every component, at most 1: an innovation whose mean square is larger than the model expects counts for less."""
    weight: np.ndarray = 1 / np.maximum(power / max(count, 1), 1)
    return weight


def in_squares(number: Callable[[tuple[int, int]], np.ndarray], side: int, shape: tuple[int, int]) -> np.ndarray:
    """An image of a shape (h, w) that is constant over squares; ``number`` makes one value a square, of the shape that it is given."""
    values = number((-(-shape[0] // side), -(-shape[1] // side)))
    return np.kron(values, np.ones((side, side), values.dtype))[: shape[0], : shape[1]]


class Regression:
    """Regression of the innovation on features, as often as asked for with other coarse pixels.

    Parameters
    ----------
    seen, features, weights : sequences
        Per patch: observation, feature images (F, H, W), soft class weights (J, H, W).
    prior : Prior
        Of the first stage, around the upsampled HSI.
    mixing : ndarray, shape (M, K)
    components : Components
    """

    def __init__(
        self,
        seen: Sequence[Observation],
        features: Sequence[Tensor],
        weights: Sequence[Tensor],
        prior: Prior,
        mixing: np.ndarray,
        components: Components,
    ) -> None:
        self._seen, self._value = seen, components.value
        self._innovation, self._shown = [], []
        for s, f, w in zip(seen, features, weights, strict=True):
            self._innovation.append(innovation_of(s, w, prior, mixing, components) * s.complete)
            self._shown.append(beyond_upsampling(s.psf, f) * s.complete)

    def equations(self, used: Sequence[Tensor] | None = None) -> Equations:
        """Normal equations of all coarse pixels, or of those that are 1 in ``used``, one mask (h, w) per patch."""
        found, count = [], 0.0
        for k, s in enumerate(self._seen):
            mask = torch.ones_like(s.complete) if used is None else used[k]
            shown, innovation = self._shown[k] * mask, self._innovation[k] * mask
            found.append([_whitened_products(s, shown, innovation[u], float(v)) for u, v in enumerate(self._value)])
            count += float((s.complete * mask).sum())
        gram, right, power = (np.sum([[component[i] for component in patch] for patch in found], axis=0) for i in range(3))
        weight = plausible(power, count)
        return Equations(gram * weight[:, None, None], right * weight[:, None], power * weight)


def most_probable(gram: np.ndarray, right: np.ndarray, unit: np.ndarray, groups: np.ndarray, largest: float) -> np.ndarray:
    """Coefficients under a Gaussian prior, its variance in every group of features set by the evidence.

    Parameters
    ----------
    gram, right : ndarray, shapes (U, F, F) and (U, F)
    unit : ndarray, shape (U,)
        Variance of the prior is the group's times this.
    groups : ndarray of int, shape (F,)
    largest : float
        Variance that a group may get at most.

    Returns
    -------
    ndarray, shape (U, F)
    """
    variance, eye = np.full(groups.max() + 1, largest), np.eye(len(groups))
    coefficients = np.zeros_like(right)
    for _ in range(ROUNDS):
        covariance = np.linalg.inv(gram + eye / (variance[groups] * unit[:, None])[:, None])
        coefficients = np.einsum("ufg,ug->uf", covariance, right)
        found = (coefficients**2 + np.einsum("uff->uf", covariance)) / unit[:, None]
        variance = np.clip([found[:, groups == k].mean() for k in range(len(variance))], 1e-9, largest)
    return coefficients


def _whitened_products(seen: Observation, shown: Tensor, innovation: Tensor, value: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Products of features with features, features with the innovation, and the innovation with itself, in the metric of its covariance."""
    stacked = torch.cat([shown, innovation[None]])
    white = seen.psf.inverse(stacked, torch.full((len(stacked),), value, dtype=stacked.dtype, device=stacked.device))
    gram = (stacked.flatten(1).double() @ white.flatten(1).double().T).cpu().numpy()
    gram = (gram + gram.T) / 2
    return gram[:-1, :-1], gram[:-1, -1], gram[-1, -1]


def apart_from(seen: Observation, image: Tensor) -> Observation:
    """The observation without what an image of coefficients (K, H, W) shows in it."""
    return replace(seen, y=seen.y - seen.psf.forward(image) * seen.psf.observed)
