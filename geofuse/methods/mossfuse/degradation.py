"""The degradation estimator of MossFuse: S and P from the pair alone, by gradient descent.

S·X and P(Y) are both the MSI at coarse resolution; S and P are what makes them agree. It exists to reproduce the published method;
`geofuse.align` and `geofuse.response` estimate the same things better.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geofuse.methods.mossfuse.losses import apply_response


class Degradation(nn.Module):
    """A spectral response and a point-spread function, both free to be fitted.

    S is a non-negative (b, B) matrix with rows summing to 1. P is an anisotropic Gaussian with Σ⁻¹ = MᵀM, M lower-triangular, centred on
    (r - 1)/2 in area registration and 3r pixels wide: one coarse pixel more on each side. The published program's kernel is r - 1
    wide, off centre by half a pixel for an even r, and its S may turn negative.

    Parameters
    ----------
    bands, msi_bands : int
    ratio : int
        r, fine pixels per coarse pixel.
    """

    offsets: Tensor

    def __init__(self, bands: int, msi_bands: int, ratio: int) -> None:
        super().__init__()
        self.ratio = ratio
        self.free_response = nn.Parameter(torch.zeros(msi_bands, bands))
        # Starts at a standard deviation of half a coarse pixel. In units of the ratio, one step size suits every ratio.
        self.root = nn.Parameter(torch.tensor([2.0, 0.0, 2.0]))
        offsets = (torch.arange(3 * ratio, dtype=torch.float32) - (3 * ratio - 1) / 2) / ratio
        self.register_buffer("offsets", torch.stack(torch.meshgrid(offsets, offsets, indexing="ij")), persistent=False)

    @property
    def srf(self) -> Tensor:
        """S, shape (b, B)."""
        positive = F.softplus(self.free_response)
        return positive / positive.sum(1, keepdim=True)

    @property
    def kernel(self) -> Tensor:
        """P's weights, shape (3r, 3r), sum 1."""
        m11, m21, m22 = self.root
        dy, dx = self.offsets
        square = (m11 * dy) ** 2 + (m21 * dy + m22 * dx) ** 2
        return torch.softmax(-0.5 * square.flatten(), 0).reshape(square.shape)

    def psf(self, fine: Tensor) -> Tensor:
        """Blur and sample, the image reflected at its edges: (n, c, H, W) to (n, c, H/r, W/r)."""
        n, c = fine.shape[:2]
        rows, cols = (_reflected(size, self.ratio, fine.device) for size in fine.shape[-2:])
        padded = fine[..., rows, :][..., cols]
        coarse = F.conv2d(padded.reshape(n * c, 1, *padded.shape[-2:]), self.kernel[None, None], stride=self.ratio)
        return coarse.reshape(n, c, *coarse.shape[-2:])

    def fit(self, hsi: Tensor, msi: Tensor, steps: int = 1000, rate: float = 0.2, tick: Callable[[], None] = lambda: None) -> list[float]:
        """Fit S and P to one pair by minimising mean |S·X - P(Y)|; returns the loss of every step.

        Parameters
        ----------
        hsi : Tensor, shape (n, B, h, w)
        msi : Tensor, shape (n, b, r·h, r·w)
        steps : int
        rate : float
            Adam's first step size; it falls to zero on a cosine.
        tick : callable
            Called after every step.
        """
        optimizer = torch.optim.Adam(self.parameters(), rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        losses = []
        for _ in range(steps):
            loss = F.l1_loss(apply_response(self.srf, hsi), self.psf(msi))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            tick()
        return losses


def _reflected(size: int, margin: int, device: torch.device) -> Tensor:
    """Indices of a line with a margin reflected at both ends (half-sample symmetric)."""
    index = torch.arange(-margin, size + margin, device=device) % (2 * size)
    return torch.where(index < size, index, 2 * size - 1 - index)
