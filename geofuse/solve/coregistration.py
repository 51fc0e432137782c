"""Bands of a hyperspectral image that do not lie exactly on each other.

Spectrometers with several detectors, or that read their bands one after the other, displace bands by some tenths of a pixel: AVIRIS
scenes show up to 0.4 of their pixels across the scan. The multispectral image lies elsewhere again. Fused detail then comes out right
in the bands near those of the MSI and displaced in the others, and no prior without direction can tell.

A displacement by δ changes a band by -δ·∇x. What the HSI has to say beyond the MSI (the innovation of the first stage) is regressed on
that, all bands at once, seen through the PSF: a Gaussian likelihood whose covariance is the estimator's own. Neighbouring bands
share their displacement (an Ornstein-Uhlenbeck prior along the spectrum, which allows for steps at the detectors), and its size is found
by maximising the evidence (MacKay 1992, doi:10.1162/neco.1992.4.3.415), within what instruments do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geofuse.response.images import mix
from geofuse.solve.em import as_like
from geofuse.solve.patch import Observation
from geofuse.solve.posterior import Prior, expected_given_msi, given_msi

CORRELATION = 20.0  # bands over which displacements are alike
WAVES = 40  # leading components of the prior along the spectrum
# Standard deviation, fine pixels, that the evidence may ask for at most. Without a limit a scene of few coarse pixels explains with
# displacements whatever is not symmetric in it, shadows above all: at ratio 8 that cost up to 0.3 dB.
LARGEST = 0.08
ROUNDS = 40
SEEN = 1.0  # singular values of the mixing beyond which the MSI sees a direction better than its noise


@dataclass(frozen=True)
class BandShifts:
    """Frozen displacements.

    Attributes
    ----------
    shift : ndarray, shape (2, B)
        Rows and columns, fine pixels, by which the content of each band lies further down and right than the MSI shows it.
    transfer : ndarray, shape (2, K, K)
        From the row and column gradients of the coefficients to the change of the coefficients.
    """

    shift: np.ndarray
    transfer: np.ndarray

    def change(self, z: Tensor) -> Tensor:
        """What the displacements make of an image of coefficients that lie as the MSI does; (K, H, W) to (K, H, W)."""
        down, right = gradients(z)
        return mix(as_like(self.transfer[0], z), down) + mix(as_like(self.transfer[1], z), right)


def gradients(image: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along rows and columns, each of shape (c, H, W)."""
    padded = F.pad(image[None], (1,) * 4, mode="replicate")[0]
    return (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2, (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2


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
    blind = _unseen(mixing)
    covariance = blind.T @ np.tensordot(prior.share, given_msi(prior, mixing).covariance, 1) @ blind
    value, vector = np.linalg.eigh(covariance)
    value, axes = np.maximum(value, 1e-6), blind @ vector  # components of the innovation that are independent of each other
    waves = _waves(len(basis))
    # Coefficient j of the displacements moves component u by (∇z)ᵀ maps[u, j].
    maps = np.einsum("ub,bj,bk->ujk", axes.T @ analysis, waves, basis)
    information, evidence = _normal_equations(seen, images, weights, prior, mixing, value, axes, maps)
    shift = _map_of(information, evidence) @ waves.T
    transfer = np.stack([blind @ blind.T @ (analysis * s) @ basis for s in shift])
    return BandShifts(-shift, transfer)


def _unseen(mixing: np.ndarray) -> np.ndarray:
    """Orthonormal directions in which the MSI says nothing, shape (K, K - rank): a change there leaves it explained."""
    _, value, right = np.linalg.svd(mixing, full_matrices=True)
    return right[int((value > SEEN).sum()) :].T


def _waves(bands: int) -> np.ndarray:
    """Square root of the prior covariance along the spectrum, its leading components; shape (bands, at most WAVES)."""
    index = np.arange(bands)
    value, vector = np.linalg.eigh(np.exp(-np.abs(index[:, None] - index) / CORRELATION))
    return (vector * np.sqrt(np.maximum(value, 0)))[:, ::-1][:, :WAVES]


def _normal_equations(
    seen: Sequence[Observation],
    images: Sequence[Tensor],
    weights: Sequence[Tensor],
    prior: Prior,
    mixing: np.ndarray,
    value: np.ndarray,
    axes: np.ndarray,
    maps: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Information matrix (2, J, 2, J) and right-hand side (2, J) of the displacements' J coefficients along rows and columns."""
    found, count = [], 0.0
    for s, z, w in zip(seen, images, weights, strict=True):
        innovation = mix(as_like(axes.T, z), (s.y - s.psf.forward(expected_given_msi(s, w, prior, mixing))) * s.complete)
        detail = torch.cat(gradients(z))
        # The upsampled HSI, around which the prior stands, is displaced already; only what it cannot show is left to explain.
        slopes = s.psf.forward(detail - s.psf.upsample(s.psf.forward(detail))) * s.complete
        found.append([_whitened_products(s, slopes, innovation[u], float(v)) for u, v in enumerate(value)])
        count += float(s.complete.sum())
    products, sums, surprise = (np.sum([[component[i] for component in patch] for patch in found], axis=0) for i in range(3))
    # An innovation larger than the model expects is not believed at its word.
    trust = 1 / np.maximum(surprise / max(count, 1), 1)
    size = maps.shape[2]
    gram = products.reshape(-1, 2, size, 2, size)
    return (
        np.einsum("u,ujk,uakbl,uml->ajbm", trust, maps, gram, maps, optimize=True),
        np.einsum("u,ujk,uak->aj", trust, maps, sums.reshape(-1, 2, size), optimize=True),
    )


def _whitened_products(seen: Observation, slopes: Tensor, innovation: Tensor, value: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Products of slopes with slopes, slopes with the innovation, and the innovation with itself, in the metric of its covariance."""
    stacked = torch.cat([slopes, innovation[None]])
    white = seen.psf.inverse(stacked, torch.full((len(stacked),), value, dtype=stacked.dtype, device=stacked.device))
    gram = (stacked.flatten(1).double() @ white.flatten(1).double().T).cpu().numpy()
    gram = (gram + gram.T) / 2
    return gram[:-1, :-1], gram[:-1, -1], gram[-1, -1]


def _map_of(information: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """Most probable coefficients (2, J), the variance along rows and along columns set by the evidence."""
    count = evidence.shape[1]
    matrix, right, axis = information.reshape(2 * count, 2 * count), evidence.ravel(), np.repeat([0, 1], count)
    variance = np.full(2, LARGEST**2)
    coefficients = np.zeros_like(right)
    for _ in range(ROUNDS):
        covariance = np.linalg.inv(matrix + np.diag(1 / variance[axis]))
        coefficients = covariance @ right
        found = coefficients**2 + np.diag(covariance)
        variance = np.clip([found[axis == i].mean() for i in (0, 1)], 1e-8, LARGEST**2)
    return coefficients.reshape(2, count)
