"""The losses of MossFuse (Du et al., arXiv:2412.04802)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from geofuse.methods.mossfuse.network import Features, Reconstructions

DECOUPLING_WEIGHT = 0.1


def apply_response(srf: Tensor, image: Tensor) -> Tensor:
    """MSI bands of hyperspectral pixels: (b, B) and (n, B, H, W) to (n, b, H, W)."""
    return torch.einsum("mb,nbhw->nmhw", srf, image)


def consistency(fused: Tensor, hsi: Tensor, msi: Tensor, psf: Callable[[Tensor], Tensor], srf: Tensor) -> Tensor:
    """How far the fused image is from explaining both observations: mean |P(Z) - X| + mean |S·Z - Y|.

    Parameters
    ----------
    fused : Tensor, shape (n, B, H, W)
    hsi : Tensor, shape (n, B, h, w)
    msi : Tensor, shape (n, b, H, W)
    psf : callable
        P, from the fine to the coarse grid.
    srf : Tensor, shape (b, B)
        S, rows sum to 1.
    """
    return F.l1_loss(psf(fused), hsi) + F.l1_loss(apply_response(srf, fused), msi)


def decoupling(features: Features) -> Tensor:
    """Pull the two shared features together, push each complementary feature away.

    -log(e^cos(sm, sh) / (e^cos(sm, sh) + e^cos(sm, cm) + e^cos(sh, ch) + e^cos(cm, ch))), with the cosine over flattened features of a
    sample; s shared, c complementary, m and h the modalities. It lies between 0.34 (shared equal, the rest opposed) and 2.2.
    """

    def cosine(a: Tensor, b: Tensor) -> Tensor:
        return F.cosine_similarity(a.flatten(1), b.flatten(1))

    f = features
    together = cosine(f.shared_msi, f.shared_hsi)
    apart = (cosine(f.shared_msi, f.spatial), cosine(f.shared_hsi, f.spectral), cosine(f.spatial, f.spectral))
    return (torch.logsumexp(torch.stack([together, *apart]), 0) - together).mean()


def reconstruction(decoded: Reconstructions, hsi: Tensor, msi: Tensor, coarse_msi: Tensor) -> Tensor:
    """How far the training-only decoders are from giving back Y, X and the coarse MSI.

    The features live on the fine grid, so X and the coarse MSI are compared there, upsampled: all shapes (n, channels, H, W).
    """
    return F.l1_loss(decoded.msi, msi) + F.l1_loss(decoded.hsi, hsi) + F.l1_loss(decoded.coarse_msi, coarse_msi)
