"""HySure: both images are explained by coefficients in a spectral subspace whose edges lie in few places.

    minimise over X   ½ ‖E A(X) - x‖² + ½ ‖S E X - y‖² + λ Σ_pixels sqrt(Σ_k |∇X_k|²)

with the coarse image x, the fine image y, the PSF A, the spectral response S and a basis E: vector total variation, so that the edges
of all coefficients fall together. Simões, Bioucas-Dias, Almeida and Chanussot 2015, "A convex formulation for hyperspectral image
superresolution via subspace-based regularization", doi:10.1109/TGRS.2014.2375320.

What follows the paper: the objective, the subspace found in the coarse image, the alternating direction method (SALSA). What does not:

- The paper leaves the basis open (its program takes 10 endmembers as columns) and weighs its terms by hand (1 for the fine image, λ = 5e-4). Here the
  bands are divided by their noise, the basis is that of the principal components, each scaled to unit variance, and the coefficients
  are deviations from the mean spectrum. Then λ = 1 is within 0.02 dB of the best setting over the benchmark scenes, 1 to 9 dB above the paper's
  own on the three cases compared (docs/research/baselines.md).
- The paper's splitting needs a circular blur on a regular grid. Here the two data terms are one block, solved exactly in the coarse image's
  eigenvectors of AAᵀ at any ratio and offset, and the differences end at the edges of the image instead of wrapping around.
- It stops on the primal and dual residuals instead of after 200 iterations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from scipy.fft import dctn, idctn
from torch import Tensor

from geofuse.methods.baselines.subspace import signal_subspace
from geofuse.methods.gem.noise import msi_noise
from geofuse.methods.gem.posterior import conjugate_gradients
from geofuse.pair.images import as_like, mix
from geofuse.pair.psf.builder import Psf

TV_WEIGHT = 1.0
TOLERANCE, MAX_ITERATIONS = 5e-4, 500
OVER_RELAXATION = 1.6  # between 1.5 and 1.8 converges fastest (Boyd et al. 2011, section 3.4.3)
BALANCE, BALANCE_EVERY, BALANCE_UNTIL = 5.0, 5, 200  # residual balancing (same, section 3.4.1), which must end for convergence


def hysure(hsi: Tensor, msi: Tensor, operator: Psf, srf: Tensor) -> Tensor:
    """Fuse by vector total variation in a subspace, with both images in units of their noise and every coefficient in its standard deviation.

    Parameters
    ----------
    hsi : Tensor, shape (B, h, w)
        Reflectance.
    msi : Tensor, shape (M, H, W)
        Reflectance.
    operator : Psf
        The PSF and the interpolation.
    srf : Tensor, shape (M, B)
        Spectral response.

    Returns
    -------
    Tensor, shape (B, H, W)
    """
    space = signal_subspace(hsi)
    basis = space.vectors * space.deviation
    response = srf.double().cpu().numpy()
    # The sensors' constant difference is no edge and no spectrum: without this it would be spread over both.
    expected = (operator.forward(msi) - mix(srf, hsi) * operator.observed).sum((1, 2)) / operator.observed.sum().clamp_min(1)
    centre = expected.double().cpu().numpy() + response @ space.mean
    msi_sigma = msi_noise([msi.double().cpu().numpy()])
    problem = Problem(
        (hsi - _column(space.mean, hsi)) / _column(space.sigma, hsi),
        (msi - _column(centre, msi)) / _column(msi_sigma, msi),
        operator,
        basis,
        (response * space.sigma) @ basis / msi_sigma[:, None],
        TV_WEIGHT,
    )
    coefficients = minimise(problem)
    return mix(as_like(basis * space.sigma[:, None], hsi), coefficients) + _column(space.mean, hsi)


@dataclass(frozen=True)
class Problem:
    """The objective: ½ ‖basis A(X) - hsi‖² + ½ ‖mixing X - msi‖² + tv_weight · TV(X).

    Attributes
    ----------
    hsi : Tensor, shape (B, h, w)
    msi : Tensor, shape (M, H, W)
    operator : Psf
    basis : ndarray, shape (B, K)
    mixing : ndarray, shape (M, K)
    tv_weight : float
    """

    hsi: Tensor
    msi: Tensor
    operator: Psf
    basis: np.ndarray
    mixing: np.ndarray
    tv_weight: float

    def start(self) -> Tensor:
        """The interpolated coarse coefficients, (K, H, W)."""
        return self.operator.upsample(mix(as_like(np.linalg.pinv(self.basis), self.hsi), self.hsi))


class DataStep:
    """Proximal step of both data terms: argmin ½ ‖basis A(X) - hsi‖² + ½ ‖mixing X - msi‖² + μ/2 ‖X - target‖².

    The two quadratic forms of the coefficients are diagonalised together, which leaves one equation a component,
    (AᵀA + p) δ = Aᵀ e + g, for the step δ from the target; e and g are what the target leaves unexplained in the two images. Solved as
    δ = Aᵀ c + g / p with (AAᵀ + p) c = e - A g / p, which loses no digits in single precision where p is tiny: there g is nought.
    """

    def __init__(self, problem: Problem, penalty: float, accuracy: float = TOLERANCE) -> None:
        p, self._problem, self._accuracy = problem, problem, accuracy
        self._basis, self._mixing = as_like(p.basis, p.hsi), as_like(p.mixing, p.msi)
        self.set_penalty(penalty)

    def set_penalty(self, penalty: float) -> None:
        """Choose μ."""
        p = self._problem
        fine, coarse = p.mixing.T @ p.mixing + penalty * np.eye(p.mixing.shape[1]), p.basis.T @ p.basis
        value, vector = scipy.linalg.eigh(fine, coarse)
        self._value, self._vector = as_like(value, p.msi), as_like(vector, p.msi)
        self._from_hsi, self._from_msi = as_like((p.basis @ vector).T, p.hsi), as_like((p.mixing @ vector).T, p.msi)

    def __call__(self, target: Tensor) -> Tensor:
        """Solve for the target (K, H, W)."""
        p, value = self._problem, self._value[:, None, None]
        coarse = mix(self._from_hsi, p.hsi - mix(self._basis, p.operator.forward(target))) * p.operator.observed
        fine = mix(self._from_msi, p.msi - mix(self._mixing, target)) / value
        coarse = invert(p.operator, coarse - p.operator.forward(fine), 1 / self._value, self._accuracy) / value
        return target + mix(self._vector, fine + p.operator.adjoint(coarse))


def invert(operator: Psf, right: Tensor, weight: Tensor, accuracy: float = TOLERANCE) -> Tensor:
    """Apply (weight · AAᵀ + 1)⁻¹ to (K, h, w): at once where the operator can, else by conjugate gradients from there."""

    def forward(coarse: Tensor) -> Tensor:
        return weight[:, None, None] * operator.forward(operator.adjoint(coarse)) + coarse

    return conjugate_gradients(forward, lambda coarse: operator.inverse(coarse, weight), right, accuracy)[0]


def minimise(problem: Problem, tolerance: float = TOLERANCE, max_iterations: int = MAX_ITERATIONS) -> Tensor:
    """Alternating direction method of multipliers with X = U (data terms) and ∇X = V (total variation); coefficients (K, H, W).

    Afonso, Bioucas-Dias and Figueiredo 2011 (SALSA, doi:10.1109/TIP.2010.2076294); stopping and balancing after Boyd et al. 2011
    (doi:10.1561/2200000016).
    """
    x = problem.start()
    u, v = x, differences(x)
    penalty = (problem.tv_weight or 1.0) / max(float(length(v).mean()), 1e-12)
    data_step, smooth = DataStep(problem, penalty, tolerance), Smoother(x)
    du, dv = torch.zeros_like(u), torch.zeros_like(v)
    for iteration in range(max_iterations):
        x = smooth(u - du + adjoint_differences(v - dv))
        slope = differences(x)
        ahead, slope_ahead = x + (OVER_RELAXATION - 1) * (x - u), slope + (OVER_RELAXATION - 1) * (slope - v)
        before = u, v
        u, v = data_step(ahead + du), shrink(slope_ahead + dv, problem.tv_weight / penalty)
        du, dv = du + ahead - u, dv + slope_ahead - v
        primal = _norm(x - u, slope - v) / max(_norm(x, slope), _norm(u, v), 1e-30)
        # Du and Dᵀdv cancel at the solution, so their sum is no scale to compare with; either alone is.
        moved = float((u - before[0] + adjoint_differences(v - before[1])).norm())
        dual = moved / max(float(du.norm()), 1e-30)
        if max(primal, dual) <= tolerance:
            break
        if iteration % BALANCE_EVERY == BALANCE_EVERY - 1 and iteration < BALANCE_UNTIL:
            factor = 2.0 if primal > BALANCE * dual else 0.5 if dual > BALANCE * primal else 1.0
            if factor != 1.0:
                penalty, du, dv = penalty * factor, du / factor, dv / factor
                data_step.set_penalty(penalty)
    return u


class Smoother:
    """(1 + ∇ᵀ∇)⁻¹ on images of one shape, diagonal under the cosine transform because differences end at the edges."""

    def __init__(self, like: Tensor) -> None:
        rows, cols = (2 - 2 * np.cos(np.pi * np.arange(n) / n) for n in like.shape[1:])
        dtype = torch.empty(0, dtype=like.dtype).numpy().dtype
        self._denominator = (1 + rows[:, None] + cols[None]).astype(dtype)

    def __call__(self, image: Tensor) -> Tensor:
        """Solve for one image (K, H, W)."""
        spectrum = dctn(image.cpu().numpy(), axes=(1, 2), norm="ortho") / self._denominator
        return torch.as_tensor(idctn(spectrum, axes=(1, 2), norm="ortho"), device=image.device)


def differences(image: Tensor) -> Tensor:
    """Forward differences along rows and columns, zero at the last ones: (K, H, W) to (2, K, H, W)."""
    slope = image.new_zeros(2, *image.shape)
    slope[0, :, :-1] = image[:, 1:] - image[:, :-1]
    slope[1, :, :, :-1] = image[:, :, 1:] - image[:, :, :-1]
    return slope


def adjoint_differences(slope: Tensor) -> Tensor:
    """Transpose of `differences`: (2, K, H, W) to (K, H, W)."""
    image = torch.zeros_like(slope[0])
    image[:, 1:] += slope[0, :, :-1]
    image[:, :-1] -= slope[0, :, :-1]
    image[:, :, 1:] += slope[1, :, :, :-1]
    image[:, :, :-1] -= slope[1, :, :, :-1]
    return image


def length(slope: Tensor) -> Tensor:
    """Length of the gradient of all coefficients together in every pixel: (2, K, H, W) to (H, W)."""
    return slope.square().sum((0, 1)).sqrt()


def shrink(slope: Tensor, threshold: float) -> Tensor:
    """Shorten the gradient in every pixel by ``threshold``, at most to zero: the proximal step of the vector total variation."""
    return slope * (1 - threshold / length(slope).clamp_min(1e-30)).clamp_min(0)


def _norm(image: Tensor, slope: Tensor) -> float:
    return float((image.square().sum() + slope.square().sum()).sqrt())


def _column(array: np.ndarray, image: Tensor) -> Tensor:
    """One value a band, to be broadcast over an image."""
    return as_like(array, image)[:, None, None]
