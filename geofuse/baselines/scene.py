"""The baselines on a patch of a scene: gaps filled before, whole scene at once."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from geofuse.baselines.cnmf import cnmf
from geofuse.baselines.gsa import gsa, regression
from geofuse.baselines.interpolate import bicubic
from geofuse.response.gaps import fill_gaps
from geofuse.solve.patch import Patch

BASELINES = ("bicubic", "gsa", "regression", "cnmf")


def apply_baseline(method: str, patch: Patch, srf: np.ndarray) -> Tensor:
    """Fuse a patch with one of `BASELINES`; reflectance, shape (B, H, W).

    Parameters
    ----------
    method : str
    patch : Patch
        The whole scene: these methods take sums over the image.
    srf : ndarray, shape (M, B)
        Effective response, which CNMF needs.
    """
    hsi, msi = (_filled(image, valid) for image, valid in ((patch.hsi, patch.hsi_valid), (patch.msi, patch.msi_valid)))
    if method == "bicubic":
        return bicubic(hsi, msi, patch.psf)
    if method == "gsa":
        return gsa(hsi, msi, patch.psf)
    if method == "regression":
        return regression(hsi, msi, patch.psf)
    return cnmf(hsi, msi, patch.psf, torch.as_tensor(srf, dtype=hsi.dtype, device=hsi.device))


def _filled(image: Tensor, valid: Tensor) -> Tensor:
    count = valid.sum().clamp(min=1)
    mean = (image * valid).sum((1, 2), keepdim=True) / count
    return fill_gaps(image - mean, valid) + mean
