"""MossFuse as the learned guided step of the estimator.

The paper's idea (arXiv 2412.04802), shared and complementary features of both modalities, decoupled and aggregated, on K subspace
coefficients instead of hundreds of bands. What comes out is not an image but a way to *redraw* one: for every pixel, attention over its
7 × 7 neighbours (the pixel itself left out) and a gate per coefficient that mixes the attended value into the prior mean of the last stage.
The gates start at zero, so that the untrained network is exactly GEM; the MAP solve behind it keeps the result faithful to both
observations, whatever the network proposes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geofuse.network.blocks import LargeKernelBlock, SpatialAggregation, SpectralAggregation, TransposedAttentionBlock, pointwise
from geofuse.network.mossfuse import Features
from geofuse.network.statistics import freeze, reach

WINDOW = 7
HEADS = 4


class GuideNetwork(nn.Module):
    """Learned guided step.

    Parameters
    ----------
    coefficients : int
        K, channels of the estimate.
    guides : int
        Channels of the MSI features.
    width : int
        Feature width, a multiple of 8.
    """

    scale: Tensor
    guide_scale: Tensor

    def __init__(self, coefficients: int, guides: int, width: int = 16) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {"coefficients": coefficients, "guides": guides, "width": width}
        self.register_buffer("scale", torch.ones(coefficients))
        self.register_buffer("guide_scale", torch.ones(guides))
        self.msi_embed = nn.Sequential(nn.Conv2d(guides, width, 3, padding=1), LargeKernelBlock(width, 7))
        self.hsi_embed = nn.Sequential(nn.Conv2d(coefficients, width, 3, padding=1), TransposedAttentionBlock(width, HEADS))
        self.msi_shared, self.msi_detail = LargeKernelBlock(width, 0), LargeKernelBlock(width, 0)
        self.hsi_shared, self.hsi_detail = LargeKernelBlock(width, 0), TransposedAttentionBlock(width, HEADS)
        self.merge = pointwise(2 * width, width)
        self.spatial, self.spectral = SpatialAggregation(width, HEADS), SpectralAggregation(width, HEADS)
        self.attention = nn.Conv2d(width, WINDOW**2, 1)
        self.gate = nn.Conv2d(width, coefficients, 1)
        self._start()

    def _start(self) -> None:
        """Attention starts as a Gaussian of standard deviation 1.2 pixels, the gates at zero."""
        offset = torch.arange(WINDOW) - WINDOW // 2
        distance = offset[:, None].square() + offset[None].square()
        with torch.no_grad():
            self.attention.weight.mul_(0.1)
            self.attention.bias.copy_((-distance / (2 * 1.2**2)).flatten())  # type: ignore[union-attr]
            self.gate.weight.zero_()
            self.gate.bias.zero_()  # type: ignore[union-attr]

    @property
    def reach(self) -> int:
        """Pixels that the frozen network reaches to each side."""
        msi, hsi = reach(self.msi_embed), reach(self.hsi_embed)
        merged = max(msi + reach(self.msi_shared), msi + reach(self.msi_detail), hsi + reach(self.hsi_shared)) + reach(self.spatial)
        # The features decide on weights; what these weigh lies in a window of its own.
        return max(max(merged, hsi + reach(self.hsi_detail)) + reach(self.spectral), WINDOW // 2)

    def encode(self, estimate: Tensor, guide: Tensor) -> Features:
        """Shared and complementary features of both modalities, each (n, width, H, W)."""
        m = self.msi_embed(guide / self.guide_scale[:, None, None])
        h = self.hsi_embed(estimate / self.scale[:, None, None])
        return Features(
            shared_msi=self.msi_shared(m), spatial=self.msi_detail(m), shared_hsi=self.hsi_shared(h), spectral=self.hsi_detail(h)
        )

    def redraw(self, base: Tensor, estimate: Tensor, features: Features) -> Tensor:
        """Prior mean (n, K, H, W) from the one of GEM (``base``) and the attended neighbours of ``estimate``."""
        merged = self.merge(torch.cat([features.shared_msi, features.shared_hsi], 1))
        x = self.spectral(self.spatial(merged, features.spatial), features.spectral)
        weight = self.attention(x)
        middle = WINDOW**2 // 2
        weight = torch.softmax(torch.cat([weight[:, :middle], weight[:, middle + 1 :]], 1), 1)
        return base + torch.tanh(self.gate(x)) * (_attend(estimate, weight) - base)

    def forward(self, base: Tensor, estimate: Tensor, guide: Tensor) -> Tensor:
        """Redraw one image: ``base`` and ``estimate`` (K, H, W), ``guide`` (C, H, W), to (K, H, W)."""
        return self.redraw(base[None], estimate[None], self.encode(estimate[None], guide[None]))[0]

    @staticmethod
    def restore(settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> GuideNetwork:
        """Rebuild a frozen network from its settings and weights."""
        network = GuideNetwork(**settings)
        network.load_state_dict({k: torch.as_tensor(np.array(v)) for k, v in arrays.items()})
        freeze(network)
        return network


def _attend(image: Tensor, weight: Tensor) -> Tensor:
    """Weighted sum of the neighbours of every pixel, itself left out: (n, K, H, W) and (n, WINDOW² - 1, H, W) to (n, K, H, W)."""
    half = WINDOW // 2
    height, width = image.shape[-2:]
    padded = F.pad(image, (half,) * 4, mode="replicate")
    offsets = [(dy, dx) for dy in range(WINDOW) for dx in range(WINDOW) if (dy, dx) != (half, half)]
    total = torch.zeros_like(image)
    for k, (dy, dx) in enumerate(offsets):
        total = torch.addcmul(total, weight[:, k : k + 1], padded[..., dy : dy + height, dx : dx + width])
    return total
