"""Operations on stacks of image planes that the whole estimator is made of."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# Rows per block: wide enough for fast matrix products, narrow enough to stay in cache.
BLOCK = 64
STRIPE = 16  # rows of 20 coefficients of a tile that stay in a core's cache, and what is made of them


def blur(image: Tensor, kernel: Tensor, mode: str = "constant") -> Tensor:
    """Separable correlation of (c, H, W) with a symmetric 1-D kernel; ``mode`` as in `torch.nn.functional.pad`.

    Written as products with small banded matrices, several times faster on a CPU than one-channel convolutions.
    """
    reach = len(kernel) // 2
    padded = F.pad(image[None], (reach, reach, reach, reach), mode=mode)[0]
    band = _band(kernel, min(BLOCK, max(image.shape[1:])))
    return _correlate_columns(_correlate_rows(padded, band, image.shape[1], reach), band, image.shape[2], reach)


def _band(kernel: Tensor, block: int) -> Tensor:
    """The kernel on ``block`` successive positions, shape (block, block + 2 reach)."""
    band = kernel.new_zeros(block, block + len(kernel) - 1)
    for k in range(block):
        band[k, k : k + len(kernel)] = kernel
    return band


def _correlate_rows(padded: Tensor, band: Tensor, size: int, reach: int) -> Tensor:
    out = padded.new_empty(padded.shape[0], size, padded.shape[2])
    for start in range(0, size, len(band)):
        stop = min(start + len(band), size)
        torch.matmul(band[: stop - start, : stop - start + 2 * reach], padded[:, start : stop + 2 * reach], out=out[:, start:stop])
    return out


def _correlate_columns(padded: Tensor, band: Tensor, size: int, reach: int) -> Tensor:
    out = padded.new_empty(padded.shape[0], padded.shape[1], size)
    for start in range(0, size, len(band)):
        stop = min(start + len(band), size)
        out[..., start:stop] = padded[..., start : stop + 2 * reach] @ band[: stop - start, : stop - start + 2 * reach].T
    return out


def mix(matrix: Tensor, image: Tensor) -> Tensor:
    """Multiply the channels of (c, H, W) by a matrix (d, c): (d, H, W)."""
    return (matrix @ image.flatten(1)).reshape(len(matrix), *image.shape[1:])


def gradients(image: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along rows and columns, each of shape (c, H, W); the edge pixels count twice."""
    return _differences(F.pad(image[None], (1,) * 4, mode="replicate")[0])


def mix_gradients(matrix: Tensor, image: Tensor) -> Tensor:
    """Multiply the gradients of (c, H, W), down and right, by a matrix (d, 2 c): (d, H, W).

    Row blocks follow each other, so that the gradients never leave the cache.
    """
    height = image.shape[1]
    out = image.new_empty(len(matrix), *image.shape[1:])
    for start in range(0, height, STRIPE):
        stop = min(start + STRIPE, height)
        first, last = start == 0, stop == height
        around = image[:, start - (not first) : stop + (not last)]
        padded = F.pad(around[None], (1, 1, int(first), int(last)), mode="replicate")[0]
        out[:, start:stop] = mix(matrix, torch.cat(_differences(padded)))
    return out


def _differences(padded: Tensor) -> tuple[Tensor, Tensor]:
    return (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2, (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2


def as_like(array: np.ndarray, tensor: Tensor) -> Tensor:
    """A host array as a tensor of the same dtype and device as ``tensor``."""
    return torch.as_tensor(np.ascontiguousarray(array), dtype=tensor.dtype, device=tensor.device)
