"""Gaussian averages of images, known at the points of a lattice, one direction after the other.

A Gaussian average is smooth: wherever its window is wide, a lattice coarser than the pixels holds all of it. Along each direction two small
banded matrices do the work, one from pixels to points and one back; at the edges the outermost pixel (or point) is repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geofuse.pair.images import STRIPE

BLOCK = 32  # outputs


@dataclass(frozen=True)
class Lattice:
    """Averages along one direction.

    Attributes
    ----------
    gather : Tensor, shape (points, pixels)
        From pixels to averages at the points; rows sum to 1.
    scatter : Tensor, shape (pixels, points)
        From values at the points to averages at the pixels; rows sum to 1.
    """

    gather: Tensor
    scatter: Tensor

    @staticmethod
    def along(pixels: int, sigma: float, reach: int, step: int, first: int, like: Tensor) -> Lattice:
        """Make the averages of ``pixels`` pixels.

        Parameters
        ----------
        pixels : int
        sigma, reach : float and int
            Standard deviation of the Gaussian, and where it is cut; pixels.
        step, first : int
            Pixels between points, and the pixel of the first one.
        like : Tensor
            Gives dtype and device.

        Examples
        --------
        >>> short = Lattice.along(7, sigma=1.0, reach=2, step=3, first=1, like=torch.zeros(1))
        >>> short.gather.shape, short.scatter.shape
        (torch.Size([2, 7]), torch.Size([7, 2]))
        """
        first = min(first, pixels - 1)  # a window smaller than a step
        points = np.arange(first, pixels, step)
        gather, scatter = np.zeros((len(points), pixels)), np.zeros((pixels, len(points)))
        for offset in range(-reach, reach + 1):
            weight = np.exp(-0.5 * (offset / sigma) ** 2)
            np.add.at(gather, (np.arange(len(points)), np.clip(points + offset, 0, pixels - 1)), weight)
            # Points go on beyond the edges in the same steps, and what they hold is that of the last one inside.
            place = np.arange(pixels) + offset - first
            hit = np.flatnonzero(place % step == 0)
            np.add.at(scatter, (hit, np.clip(place[hit] // step, 0, len(points) - 1)), weight)
        gather, scatter = (matrix / matrix.sum(1, keepdims=True) for matrix in (gather, scatter))
        return Lattice(*(torch.as_tensor(matrix, dtype=like.dtype, device=like.device) for matrix in (gather, scatter)))

    @property
    def points(self) -> int:
        """Points of the lattice."""
        return len(self.gather)

    def averages(self, image: Tensor) -> Tensor:
        """Averages at the points along the last axis: (..., pixels) to (..., points)."""
        return _multiplied(image, self.gather)

    def spread(self, values: Tensor) -> Tensor:
        """Averages at the pixels along the last axis: (..., points) to (..., pixels)."""
        return _multiplied(values, self.scatter)

    def stripes(self) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
        """Stripes of pixels, the points that they reach, and the parts of both matrices."""
        for pixels in _cut(self.gather.shape[1], STRIPE):
            near = _extent(self.gather[:, pixels].any(1) | self.scatter[pixels].any(0))
            yield pixels, near, self.gather[near, pixels].contiguous(), self.scatter[pixels, near].contiguous()


def _multiplied(image: Tensor, matrix: Tensor) -> Tensor:
    out = image.new_empty(*image.shape[:-1], len(matrix))
    for rows in _cut(len(matrix), BLOCK):
        used = _extent(matrix[rows].any(0))
        out[..., rows] = image[..., used] @ matrix[rows, used].T
    return out


def _cut(size: int, length: int) -> Iterator[slice]:
    return (slice(start, min(start + length, size)) for start in range(0, size, length))


def _extent(flags: Tensor) -> slice:
    """From the first that is set to the last."""
    found = flags.nonzero().flatten()
    return slice(int(found[0]), int(found[-1]) + 1)
