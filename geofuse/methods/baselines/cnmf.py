"""Coupled non-negative matrix factorisation: both images are mixtures of the same few materials.

X = W Hh and Y = (S W) Hm with endmember spectra W and abundances H, and Hh = P(Hm). Yokoya, Yairi and Iwasaki 2012, "Coupled nonnegative
matrix factorization unmixing for hyperspectral and multispectral data fusion", doi:10.1109/TGRS.2011.2161320.

The numbers below are the best single setting over the benchmark scenes (docs/research/baselines.md). The authors' program takes 30 endmembers
or more and one to three alternations of 200 updates.
"""

from __future__ import annotations

import torch
from torch import Tensor

from geofuse.pair.psf.builder import Psf

MAX_ENDMEMBERS = 40
UPDATES = 100  # multiplicative ones in each image, for every alternation
SUM_TO_ONE = 0.3  # weight of "abundances sum to one" against a band of mean brightness, all bands together
FLOOR = 1e-12


def cnmf(
    hsi: Tensor,
    msi: Tensor,
    operator: Psf,
    srf: Tensor,
    *,
    endmembers: int | None = None,
    rounds: int = 20,
    seed: int = 0,
) -> Tensor:
    """Fuse by coupled unmixing with multiplicative updates.

    Parameters
    ----------
    hsi : Tensor, shape (B, h, w)
        Reflectance; negative values count as zero.
    msi : Tensor, shape (b, H, W)
        Reflectance; negative values count as zero.
    operator : Psf
        The PSF and the interpolation.
    srf : Tensor, shape (b, B)
        Spectral response, non-negative.
    endmembers : int, optional
        Default: 40, or fewer where there are fewer bands or coarse pixels.
    rounds : int
        Alternations between the two images. Many more fit the noise of the MSI.
    seed : int
        For the random directions of the endmember search.

    Returns
    -------
    Tensor, shape (B, H, W)
    """
    x, y = hsi.flatten(1).clamp_min(0), msi.flatten(1).clamp_min(0)
    count = min(endmembers or MAX_ENDMEMBERS, len(x), x.shape[1])
    spectra = vca(x, count, seed).clamp_min(1e-3 * float(x.mean()))
    coarse = torch.full((count, x.shape[1]), 1 / count, dtype=x.dtype, device=x.device)
    for step in range(2 * UPDATES):
        if step >= UPDATES:  # the endmembers are pixels at first: let the abundances settle before they move
            spectra = update_spectra(spectra, x, coarse, 1)
        coarse = update_abundances(spectra, x, coarse, 1)
    fine = operator.upsample(coarse.reshape(count, *hsi.shape[1:])).flatten(1).clamp_min(1e-3)
    for _ in range(rounds):
        fine = update_abundances(srf @ spectra, y, fine, UPDATES)
        coarse = operator.forward(fine.reshape(count, *msi.shape[1:])).flatten(1)
        spectra = update_spectra(spectra, x, coarse, UPDATES)
    return (spectra @ fine).reshape(len(x), *msi.shape[1:])


def update_abundances(spectra: Tensor, image: Tensor, abundances: Tensor, updates: int) -> Tensor:
    """Multiplicative updates (Lee and Seung 2001) of ‖V - W H‖² over H, which also lean towards sums of one."""
    weight = SUM_TO_ONE * image.mean() * len(image) ** 0.5
    numerator = spectra.T @ image + weight**2
    gram = spectra.T @ spectra + weight**2
    for _ in range(updates):
        abundances = abundances * numerator / (gram @ abundances + FLOOR)
    return abundances


def update_spectra(spectra: Tensor, image: Tensor, abundances: Tensor, updates: int) -> Tensor:
    """Multiplicative updates of ‖V - W H‖² over W."""
    numerator, gram = image @ abundances.T, abundances @ abundances.T
    for _ in range(updates):
        spectra = spectra * numerator / (spectra @ gram + FLOOR)
    return spectra


def vca(spectra: Tensor, count: int, seed: int = 0) -> Tensor:
    """Endmembers by vertex component analysis: the pixels at the corners of the data's cone.

    Parameters
    ----------
    spectra : Tensor, shape (B, N)
    count : int
        At most min(B, N).
    seed : int
        For the random directions.

    Returns
    -------
    Tensor, shape (B, count)
        Spectra of the pixels found.

    References
    ----------
    Nascimento and Bioucas-Dias 2005, doi:10.1109/TGRS.2005.844293.
    """
    generator = torch.Generator().manual_seed(seed)
    wide = spectra.double()
    basis = torch.linalg.eigh(wide @ wide.T)[1].flip(1)[:, :count]
    projected = basis.T @ wide
    # Projective: scaling every pixel onto one plane turns the cone of spectra into a simplex.
    projected = projected / (projected.mean(1) @ projected).clamp_min(1e-12)
    corners = torch.zeros(count, 1, dtype=projected.dtype, device=projected.device)
    corners[-1] = 1
    chosen: list[int] = []
    for _ in range(count):
        direction = torch.randn(count, 1, generator=generator, dtype=torch.float64).to(projected.device)
        direction = direction - corners @ (torch.linalg.pinv(corners) @ direction)
        chosen.append(int((direction.T @ projected).abs().argmax()))
        corners = projected[:, chosen]
    return spectra[:, chosen]
