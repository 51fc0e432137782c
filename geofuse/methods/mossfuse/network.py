"""MossFuse: two encoders that split each modality into a shared and a complementary feature, and decoders that put them together.

Facts from Du et al., "Unsupervised Hyperspectral and Multispectral Image Fusion via Self-Supervised Modality Decoupling",
arXiv:2412.04802. The network knows nothing of reflectance: it runs on all bands or on a few subspace coefficients alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from geofuse.methods.mossfuse.blocks import (
    LargeKernelBlock,
    SpatialAggregation,
    SpectralAggregation,
    TransposedAttentionBlock,
    convolution,
    pointwise,
)
from geofuse.methods.mossfuse.statistics import reach


class Features(NamedTuple):
    """What the encoders make of a pair; each of shape (n, C, H, W)."""

    shared_msi: Tensor
    spatial: Tensor
    shared_hsi: Tensor
    spectral: Tensor


class Reconstructions(NamedTuple):
    """What the training-only decoders give back, all on the fine grid."""

    msi: Tensor
    hsi: Tensor
    coarse_msi: Tensor


def _attention(width: int, heads: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(TransposedAttentionBlock(width, heads) for _ in range(blocks)))


def _large_kernels(width: int, kernels: Sequence[int]) -> nn.Sequential:
    return nn.Sequential(*(LargeKernelBlock(width, kernel) for kernel in kernels))


def _head(width: int, outputs: int, bias: bool) -> nn.Sequential:
    return nn.Sequential(convolution(width, width // 2, bias), nn.LeakyReLU(), convolution(width // 2, outputs, bias))


class MossFuse(nn.Module):
    """The fusion network with its training-only decoders.

    Parameters
    ----------
    bands, msi_bands : int
        Channels of the hyperspectral (or coefficient) and of the multispectral image.
    width : int
        C, feature channels; a multiple of ``heads``.
    blocks : int
        Transposed-attention blocks per stage.
    heads : int
        Attention heads.
    kernels : sequence of int
        Of the large-kernel blocks in a head, one after the other.

    Notes
    -----
    At 31 and 3 bands, width 48 and one block the published program has 585,485 parameters. The published facts leave open what is
    counted and which layers have biases. Exactly one simple reading gives that figure, and it is the one used here: the three
    training-only decoders are counted, the degradation estimator is not; each of them has the shape of the fusion decoder without its
    aggregations (1×1, blocks, 3×3 to C/2, LeakyReLU, 3×3); the attention of an aggregation has its own 1×1 output besides the
    one behind the sum; no convolution has a bias except the last two of the training-only decoders and the first 1×1 of a
    large-kernel block.
    """

    def __init__(
        self, bands: int, msi_bands: int, width: int = 48, blocks: int = 1, heads: int = 8, kernels: Sequence[int] = (7, 0, 0)
    ) -> None:
        super().__init__()
        self.channels = (bands, msi_bands, width)
        self.encode_msi = nn.Sequential(convolution(msi_bands, width), _attention(width, heads, blocks))
        self.shared_from_msi = nn.Sequential(_large_kernels(width, kernels), _attention(width, heads, 1))
        self.spatial_from_msi = _large_kernels(width, kernels)
        self.encode_hsi = nn.Sequential(convolution(bands, width), _attention(width, heads, blocks))
        self.shared_from_hsi = nn.Sequential(_attention(width, heads, 1), _large_kernels(width, kernels))
        self.spectral_from_hsi = _attention(width, heads, 1)
        self.merge = pointwise(2 * width, width)
        self.add_spatial = SpatialAggregation(width, heads)
        self.add_spectral = SpectralAggregation(width, heads)
        self.decode = nn.Sequential(_attention(width, heads, blocks), _head(width, bands, bias=False))
        self.training_decoders = nn.ModuleDict(
            {
                name: nn.Sequential(pointwise(2 * width, width), _attention(width, heads, blocks), _head(width, outputs, bias=True))
                for name, outputs in (("msi", msi_bands), ("hsi", bands), ("coarse_msi", msi_bands))
            }
        )

    @property
    def reach(self) -> int:
        """Fine pixels that the fused image reaches to each side once the statistics are frozen."""
        msi = reach(self.encode_msi) + max(reach(self.shared_from_msi), reach(self.spatial_from_msi))
        hsi = reach(self.encode_hsi) + max(reach(self.shared_from_hsi), reach(self.spectral_from_hsi))
        return max(msi, hsi) + reach(self.add_spatial) + reach(self.add_spectral) + reach(self.decode)

    def forward(self, hsi: Tensor, msi: Tensor) -> Tensor:
        """Fuse a pair on the fine grid.

        Parameters
        ----------
        hsi : Tensor, shape (n, B, H, W)
            The coarse image, already upsampled.
        msi : Tensor, shape (n, b, H, W)

        Returns
        -------
        Tensor, shape (n, B, H, W)
        """
        return self.fuse(self.encode(hsi, msi))

    def encode(self, hsi: Tensor, msi: Tensor) -> Features:
        """Split both images into shared and complementary features."""
        fine, coarse = self.encode_msi(msi), self.encode_hsi(hsi)
        return Features(
            shared_msi=self.shared_from_msi(fine),
            spatial=self.spatial_from_msi(fine),
            shared_hsi=self.shared_from_hsi(coarse),
            spectral=self.spectral_from_hsi(coarse),
        )

    def fuse(self, features: Features) -> Tensor:
        """Decode the four features into the fused image."""
        shared = self.merge(torch.cat([features.shared_msi, features.shared_hsi], 1))
        return self.decode(self.add_spectral(self.add_spatial(shared, features.spatial), features.spectral))

    def reconstruct(self, features: Features) -> Reconstructions:
        """Decode what each pair of features must still know: the MSI, the HSI, and the MSI at coarse resolution."""
        f, decoders = features, self.training_decoders
        pairs = {"msi": (f.shared_msi, f.spatial), "hsi": (f.shared_hsi, f.spectral), "coarse_msi": (f.shared_msi, f.shared_hsi)}
        return Reconstructions(**{name: decoders[name](torch.cat(pair, 1)) for name, pair in pairs.items()})


def on_device(network: MossFuse, device: torch.device, copies: dict[torch.device, MossFuse]) -> MossFuse:
    """The network itself where it is on this device, else a copy, which is kept in ``copies``: `torch.nn.Module.to` would move the network."""
    if next(network.parameters()).device == device:
        return network
    if device not in copies:
        copies[device] = deepcopy(network).to(device)
    return copies[device]
