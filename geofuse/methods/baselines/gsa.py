"""Sharpening by detail injection: fused = interpolated HSI + gain · (fine image - what the coarse image already shows of it).

The two methods differ in what is taken off. Component substitution (`gsa`) builds it from the HSI, multi-resolution analysis
(`regression`) from the blurred MSI. Yokoya, Grohnfeldt and Chanussot 2017 (doi:10.1109/MGRS.2016.2637824) compare both.
"""

from __future__ import annotations

import torch
from torch import Tensor

from geofuse.pair.gaps import fill_about_mean
from geofuse.pair.psf.builder import Psf

RIDGE = 1e-4  # of the mean variance: hundreds of nearly collinear bands, a few hundred pixels


def gsa(hsi: Tensor, msi: Tensor, operator: Psf) -> Tensor:
    """Adaptive Gram-Schmidt sharpening, each HSI band by the MSI band that it correlates with most.

    For every MSI band an intensity is regressed on the HSI bands assigned to it; the MSI band minus the interpolated intensity is
    the detail, injected with the gain cov(band, intensity) / var(intensity).

    Parameters
    ----------
    hsi : Tensor, shape (B, h, w)
        Reflectance.
    msi : Tensor, shape (b, H, W)
        Reflectance.
    operator : Psf
        The PSF, with which the MSI is brought to the coarse grid, and the interpolation.

    Returns
    -------
    Tensor, shape (B, H, W)

    References
    ----------
    Aiazzi, Baronti and Selva 2007, "Improving component substitution pansharpening through multivariate regression of MS + Pan data",
    doi:10.1109/TGRS.2007.901007.
    """
    fused = operator.upsample(hsi)
    seen = operator.observed.flatten() > 0
    bands, band_mean = _centred(hsi.flatten(1)[:, seen])
    fine, fine_mean = _centred(operator.forward(msi).flatten(1)[:, seen])
    covariance = bands @ fine.T
    assigned = (covariance / torch.outer(bands.norm(dim=1), fine.norm(dim=1)).clamp_min(1e-12)).argmax(1)
    for k in range(len(msi)):
        group = assigned == k
        if not group.any():
            continue
        weights = _solve(bands[group] @ bands[group].T, covariance[group, k])
        coarse = weights @ bands[group]
        gain = bands[group] @ coarse / (coarse @ coarse).clamp_min(1e-12)
        intensity = torch.tensordot(weights, fused[group], 1) + (fine_mean[k] - weights @ band_mean[group])
        fused[group] += gain[:, None, None] * (msi[k] - intensity)
    return fused


def regression(hsi: Tensor, msi: Tensor, operator: Psf) -> Tensor:
    """Hypersharpening: each HSI band by its own synthetic fine band, the best linear combination of the MSI bands.

    The combination is regressed at the coarse scale, so its gain is 1; what the blurred and interpolated MSI shows of it is taken off.

    Parameters
    ----------
    hsi : Tensor, shape (B, h, w)
        Reflectance.
    msi : Tensor, shape (b, H, W)
        Reflectance.
    operator : Psf
        The PSF, with which the MSI is brought to the coarse grid, and the interpolation.

    Returns
    -------
    Tensor, shape (B, H, W)

    References
    ----------
    Selva, Aiazzi, Butera, Chiarantini and Baronti 2015, "Hyper-sharpening: a first approach on SIM-GA data",
    doi:10.1109/JSTARS.2015.2440092.
    """
    low, seen = operator.forward(msi), operator.observed > 0
    bands, _ = _centred(hsi.flatten(1)[:, seen.flatten()])
    fine, _ = _centred(low.flatten(1)[:, seen.flatten()])
    # Coarse pixels that the MSI does not cover would be read as black.
    low = fill_about_mean(low, seen)
    weights = _solve(fine @ fine.T, fine @ bands.T).T
    return operator.upsample(hsi) + torch.tensordot(weights, msi - operator.upsample(low), 1)


def _centred(pixels: Tensor) -> tuple[Tensor, Tensor]:
    mean = pixels.mean(1)
    return pixels - mean[:, None], mean


def _solve(gram: Tensor, right: Tensor) -> Tensor:
    """Ridge regression from normal equations."""
    scale = gram.diagonal().mean().clamp_min(1e-12)
    return torch.linalg.solve(gram + RIDGE * scale * torch.eye(len(gram), dtype=gram.dtype, device=gram.device), right)
