"""Whole-image statistics that can be recorded once and frozen.

Attention, squeeze-and-excitation, response normalisation and channel gates make every pixel depend on the whole image. All of
them reach it through *means over pixels* (of products, squares or values) and through nothing else. `PixelMean` is the one place
where such a mean is taken: live while a network is fitted, recorded in one pass over the scene, then frozen. A network whose means
are frozen is a local operator, so that a tile with a halo of its reach yields the numbers of the whole scene.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from geofuse.errors import RunError

Mode = Literal["live", "record", "frozen", "missing"]


class PixelMean(nn.Module):
    """A mean over the pixels of an image, per sample while live, one constant when frozen.

    Parameters
    ----------
    *shape : int
        Shape of the mean of one sample.
    """

    value: Tensor
    pixels: Tensor

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.mode: Mode = "live"
        self.known: Tensor | None = None
        self.register_buffer("value", torch.zeros(shape))
        self.register_buffer("pixels", torch.zeros(()))

    def forward(self, total: Callable[[], Tensor], pixels: int) -> Tensor:
        """Return the mean, shape (n, *shape), or (1, *shape) when frozen; `RunError` when frozen without having been recorded.

        Parameters
        ----------
        total : callable
            Computes the sum over pixels of every sample, shape (n, *shape), of what `counted` leaves; not called when frozen.
        pixels : int
            Pixels in a sample.
        """
        if self.mode == "frozen":
            return self.value[None]
        if self.mode == "missing":
            raise RunError(
                "a frozen network met a statistic that was never recorded: pass an image through within recording(network) first"
            )
        sums = total()
        count = sums.new_full((len(sums),), pixels) if self.known is None else self.known.sum((1, 2, 3)).clamp(min=1)
        mean = sums / count.reshape(-1, *[1] * (sums.ndim - 1))
        if self.mode == "record":
            self._add(sums.detach().sum(0), count.sum())
        return mean

    def counted(self, x: Tensor) -> Tensor:
        """An image (n, C, H, W) with zeros where it does not count (see `counting`)."""
        return x if self.known is None else x * self.known

    def _add(self, sums: Tensor, new: Tensor) -> None:
        """Update the running mean, every pixel of every call weighing the same."""
        self.pixels += new
        self.value += (sums / new - self.value) * (new / self.pixels)


def statistics(module: nn.Module) -> list[PixelMean]:
    """All whole-image statistics inside ``module``."""
    return [m for m in module.modules() if isinstance(m, PixelMean)]


@contextmanager
def recording(module: nn.Module) -> Iterator[None]:
    """Record the statistics of the images that pass through ``module`` in this block, starting afresh.

    The module is in evaluation mode and without gradients meanwhile, and its statistics are live again afterwards.
    """
    module.eval()
    for statistic in statistics(module):
        statistic.value.zero_()
        statistic.pixels.zero_()
        statistic.mode = "record"
    try:
        with torch.no_grad():
            yield
    finally:
        thaw(module)


@contextmanager
def counting(module: nn.Module, known: Tensor | None) -> Iterator[None]:
    """Count only known pixels in the statistics of this block: 1 or 0, shape (n, 1, H, W); None: all of them."""
    for statistic in statistics(module):
        statistic.known = known
    try:
        yield
    finally:
        for statistic in statistics(module):
            statistic.known = None


def freeze(module: nn.Module) -> None:
    """Use the recorded statistics from now on; batch norms use their running ones.

    Parts that no image passed through while recording, such as decoders for training only, must not be used any more.
    """
    module.eval()
    for statistic in statistics(module):
        statistic.mode = "frozen" if float(statistic.pixels) else "missing"


def thaw(module: nn.Module) -> None:
    """Compute every statistic from the image at hand again."""
    for statistic in statistics(module):
        statistic.mode = "live"


def reach(module: nn.Module) -> int:
    """Pixels that a frozen module reaches to each side, counted from its kernels.

    A module that is not a chain of its children states its own ``reach``; a chain adds up; what has no kernel reaches nothing.

    Examples
    --------
    >>> reach(nn.Sequential(nn.Conv2d(3, 3, 7), nn.GELU(), nn.Conv2d(3, 3, 3, dilation=2)))
    5
    """
    own = getattr(module, "reach", None)
    if own is not None:
        return int(own)
    if isinstance(module, nn.Conv2d):
        # The later half of an even kernel is the longer one.
        return max(d * k // 2 if k % 2 == 0 else d * (k - 1) // 2 for k, d in zip(module.kernel_size, module.dilation, strict=True))
    if isinstance(module, nn.Sequential):
        return sum(map(reach, module))
    return 0
