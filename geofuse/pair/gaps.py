"""Filling gaps before interpolation, so that nodata does not spread."""

from __future__ import annotations

import torch
from torch import Tensor

from geofuse.pair.images import blur

FILL_REACH = 4  # pixels


def masked_mean(image: Tensor, valid: Tensor) -> Tensor:
    """Mean of each band over the valid pixels, shape (B, 1, 1); zero where there are none."""
    return (image * valid).sum((1, 2), keepdim=True) / valid.sum().clamp(min=1)


def fill_about_mean(image: Tensor, valid: Tensor) -> Tensor:
    """Fill gaps, as `fill_gaps`, in an image whose mean is not zero."""
    mean = masked_mean(image, valid)
    return fill_gaps(image - mean, valid) + mean


def fill_gaps(image: Tensor, valid: Tensor) -> Tensor:
    """Fill invalid pixels by a Gaussian average of valid ones, the scene mean (zero) where none is near."""
    if bool(valid.all()):
        return image
    offsets = torch.arange(-FILL_REACH, FILL_REACH + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * offsets**2)
    flags = valid.to(image.dtype)
    weighted = blur(torch.cat([image * flags, flags[None]]), kernel)
    smooth = weighted[:-1] / weighted[-1].clamp(min=1e-12)
    return torch.where(valid, image, torch.where(weighted[-1] > 1e-6, smooth, torch.zeros_like(smooth)))
