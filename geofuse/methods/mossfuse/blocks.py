"""The blocks of MossFuse, for any width, number of heads and image size.

Facts from Du et al., arXiv:2412.04802, and the two families of blocks that it builds on: transposed attention (Zamir et al. 2022,
"Restormer") and large kernels (Ding et al. 2024, "UniRepLKNet"). Images are tensors (n, channels, rows, columns); every block
keeps the shape. Convolutions pad with zeros and have no bias unless said.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geofuse.methods.mossfuse.statistics import PixelMean, reach

EXPANSION = 2  # the feed-forward's hidden width over C; the gate doubles it
LAYER_SCALE = 1e-6


def pointwise(inputs: int, outputs: int) -> nn.Conv2d:
    """1×1 convolution."""
    return nn.Conv2d(inputs, outputs, 1, bias=False)


def depthwise(channels: int, kernel: int = 3, dilation: int = 1) -> nn.Conv2d:
    """Convolution of each channel by itself."""
    return nn.Conv2d(channels, channels, kernel, padding=dilation * (kernel // 2), dilation=dilation, groups=channels, bias=False)


def convolution(inputs: int, outputs: int, bias: bool = False) -> nn.Conv2d:
    """3×3 convolution."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)


def _pixels(x: Tensor) -> int:
    return x.shape[-2] * x.shape[-1]


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of every pixel."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (n, C, H, W)."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class GatedFeedForward(nn.Module):
    """Layer norm, 1×1 to 4C, depthwise 3×3, GELU of one half times the other, 1×1 back, residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = EXPANSION * width
        self.norm = ChannelNorm(width)
        self.expand = nn.Sequential(pointwise(width, 2 * hidden), depthwise(2 * hidden))
        self.project = pointwise(hidden, width)

    @property
    def reach(self) -> int:
        """Pixels reached to each side."""
        return reach(self.expand)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        gate, value = self.expand(self.norm(x)).chunk(2, 1)
        return x + self.project(F.gelu(gate) * value)


class TransposedAttention(nn.Module):
    """Attention between channels: softmax(temperature · q̂ k̂ᵀ) mixes the channels of v, where q̂ and k̂ have unit length over all pixels.

    q̂ k̂ᵀ is a ratio of means over pixels, which are all that it knows of the image as a whole. Once they are frozen, q and k are not
    computed at all and the attention is one constant (C, C) matrix.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of the {heads} heads")
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.query_key = nn.Sequential(pointwise(width, 2 * width), depthwise(2 * width))
        self.value = nn.Sequential(pointwise(width, width), depthwise(width))
        self.project = pointwise(width, width)
        per_head = width // heads
        # Per head: q kᵀ (c × c), then q·q, then k·k.
        self.products = PixelMean(heads, per_head, per_head + 2)

    @property
    def reach(self) -> int:
        """Pixels reached to each side."""
        return reach(self.value)

    def forward(self, x: Tensor, gate_query: Callable[[Tensor], Tensor] | None = None, scale: Tensor | None = None) -> Tensor:
        """Mix the channels of ``x``.

        Parameters
        ----------
        x : Tensor, shape (n, C, H, W)
        gate_query : callable, optional
            Applied to q, (n, C, H, W), before it is normalised.
        scale : Tensor, shape (n or 1, C, 1, 1), optional
            Multiplies the rows of q̂ k̂ᵀ.
        """

        def products() -> Tensor:
            query, key = self.query_key(x).chunk(2, 1)
            query = gate_query(query) if gate_query else query
            q, k = (self.products.counted(t).unflatten(1, (self.heads, -1)).flatten(3) for t in (query, key))
            energies = torch.stack([(q * q).sum(-1), (k * k).sum(-1)], -1)
            return torch.cat([q @ k.transpose(-1, -2), energies], -1)

        mean = self.products(products, _pixels(x))
        cross, q_energy, k_energy = mean[..., :-2], mean[..., -2], mean[..., -1]
        cosine = cross * torch.rsqrt(q_energy.clamp_min(1e-20))[..., :, None] * torch.rsqrt(k_energy.clamp_min(1e-20))[..., None, :]
        if scale is not None:
            cosine = cosine * scale.reshape(len(scale), self.heads, -1, 1)
        mixing = torch.softmax(self.temperature * cosine, -1)
        value = self.value(x).unflatten(1, (self.heads, -1)).flatten(3)
        return self.project((mixing @ value).reshape(x.shape))


class TransposedAttentionBlock(nn.Module):
    """Layer norm, transposed attention, residual; then the gated feed-forward."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.attention = TransposedAttention(width, heads)
        self.feed_forward = GatedFeedForward(width)

    @property
    def reach(self) -> int:
        """Pixels reached to each side."""
        return reach(self.attention) + reach(self.feed_forward)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        return self.feed_forward(x + self.attention(self.norm(x)))


class LargeKernel(nn.Module):
    """Depthwise 7×7 beside 5×5, 3×3 (dilation 2) and 3×3 (dilation 3), a batch norm behind each, summed.

    Outside training the branches are merged into the one 7×7 convolution that equals them.
    """

    SIZE = 7
    BRANCHES = ((7, 1), (5, 1), (3, 2), (3, 3))

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(depthwise(width, kernel, dilation) for kernel, dilation in self.BRANCHES)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in self.BRANCHES)

    @property
    def reach(self) -> int:
        """Pixels reached to each side."""
        return max(map(reach, self.convolutions))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the branches."""
        if self.training:
            return torch.stack([norm(conv(x)) for conv, norm in zip(self.convolutions, self.norms, strict=True)]).sum(0)
        kernel, bias = self.merged()
        return F.conv2d(x, kernel, bias, padding=self.SIZE // 2, groups=x.shape[1])

    def merged(self) -> tuple[Tensor, Tensor]:
        """Kernel (C, 1, 7, 7) and bias (C,) of the single equivalent convolution."""
        kernels, biases = [], []
        for (size, dilation), conv, norm in zip(self.BRANCHES, self.convolutions, self.norms, strict=True):
            assert isinstance(conv, nn.Conv2d)  # what a ModuleList holds is not known to type checkers
            assert isinstance(norm, nn.BatchNorm2d)
            # A batch norm is affine, with its running statistics: gain and bias can be had by passing 0 and 1 through it.
            zero = norm.weight.new_zeros(1, norm.num_features, 1, 1)
            bias = F.batch_norm(zero, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps).flatten()
            gain = F.batch_norm(zero + 1, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps).flatten() - bias
            margin = (self.SIZE - dilation * (size - 1) - 1) // 2
            place = slice(margin, self.SIZE - margin, dilation)
            kernel = conv.weight.new_zeros(len(gain), 1, self.SIZE, self.SIZE)
            kernel[:, :, place, place] = conv.weight * gain[:, None, None, None]
            kernels.append(kernel)
            biases.append(bias)
        return torch.stack(kernels).sum(0), torch.stack(biases).sum(0)


class SqueezeExcitation(nn.Module):
    """Scale every channel by a gate of the channel means: C → C/4 → C, with biases (Hu, Shen and Sun 2018)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = max(width // 4, 1)
        self.mean = PixelMean(width)
        self.gate = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Apply the gate."""
        return x * self.gate(self.mean(lambda: self.mean.counted(x).sum((-2, -1)), _pixels(x)))[..., None, None]


class ResponseNorm(nn.Module):
    """Global response normalisation (Woo et al. 2023): scale channels by their energy over the image, relative to the other channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.energy = PixelMean(width)
        self.gamma = nn.Parameter(torch.zeros(width, 1, 1))
        self.beta = nn.Parameter(torch.zeros(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise."""
        amplitude = (self.energy(lambda: self.energy.counted(x * x).sum((-2, -1)), _pixels(x)) + 1e-12).sqrt()
        relative = amplitude / (amplitude.mean(1, keepdim=True) + 1e-6)
        return x + self.gamma * (x * relative[..., None, None]) + self.beta


class LargeKernelBlock(nn.Module):
    """Large depthwise kernel, squeeze-and-excitation and a pointwise feed-forward, with a small layer scale and a residual.

    Parameters
    ----------
    width : int
    kernel : int
        7, or 0 for a block whose depthwise part is the identity.
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        if kernel not in (0, 7):
            raise ValueError(f"kernel is {kernel}; 0 and 7 exist")
        hidden = 4 * width
        self.depthwise = nn.Sequential(LargeKernel(width), nn.BatchNorm2d(width)) if kernel else nn.Sequential()
        self.squeeze = SqueezeExcitation(width)
        self.feed_forward = nn.Sequential(
            nn.Conv2d(width, hidden, 1), nn.GELU(), ResponseNorm(hidden), pointwise(hidden, width), nn.BatchNorm2d(width)
        )
        self.scale = nn.Parameter(torch.full((width, 1, 1), LAYER_SCALE))

    @property
    def reach(self) -> int:
        """Pixels reached to each side."""
        return reach(self.depthwise) + reach(self.feed_forward)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        return x + self.scale * self.feed_forward(self.squeeze(self.depthwise(x)))


class PixelGate(nn.Sequential):
    """One weight in 0 … 1 for every pixel: (n, C, H, W) to (n, 1, H, W)."""

    def __init__(self, width: int) -> None:
        hidden = max(width // 8, 1)
        super().__init__(pointwise(width, hidden), nn.ReLU(), pointwise(hidden, hidden), nn.ReLU(), pointwise(hidden, 1), nn.Sigmoid())


class ChannelGate(nn.Module):
    """One weight in 0 … 1 for every channel, from the channel means: (n, C, H, W) to (n or 1, C, 1, 1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = max(width // 8, 1)
        self.mean = PixelMean(width)
        self.gate = nn.Sequential(
            pointwise(width, hidden), nn.GELU(), pointwise(hidden, hidden), nn.GELU(), pointwise(hidden, width), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the channels."""
        return self.gate(self.mean(lambda: self.mean.counted(x).sum((-2, -1)), _pixels(x))[..., None, None])


class Aggregation(nn.Module):
    """What the two aggregations share: attention on x, a path for y, one 1×1 behind their sum, residual, feed-forward."""

    def __init__(self, width: int, heads: int, path: nn.Conv2d) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.attention = TransposedAttention(width, heads)
        self.path = path
        self.pixel_gate = PixelGate(width)
        self.channel_gate = ChannelGate(width)
        self.project = pointwise(width, width)
        self.feed_forward = GatedFeedForward(width)

    @property
    def reach(self) -> int:
        """Pixels reached to each side."""
        return max(reach(self.attention), reach(self.path)) + reach(self.feed_forward)


class SpatialAggregation(Aggregation):
    """Spatial-aware aggregation of features x with spatial detail y.

    Where y shows structure, q counts more in the attention on x; the attention's output chooses the channels of y that are added.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads, depthwise(width))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Aggregate two images (n, C, H, W) into one."""
        attended = self.attention(self.norm(x), gate_query=lambda query: query * self.pixel_gate(y))
        return self.feed_forward(x + self.project(attended + self.path(y) * self.channel_gate(attended)))


class SpectralAggregation(Aggregation):
    """Spectral-aware aggregation of features x with spectral detail y: the mirror of `SpatialAggregation`.

    Here y weighs the channels of q, and the attention's output chooses the pixels of y. A positive weight per channel cancels in the
    normalisation of q over pixels, so it is applied behind it.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads, pointwise(width, width))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Aggregate two images (n, C, H, W) into one."""
        attended = self.attention(self.norm(x), scale=self.channel_gate(y))
        return self.feed_forward(x + self.project(attended + self.path(y) * self.pixel_gate(attended)))
