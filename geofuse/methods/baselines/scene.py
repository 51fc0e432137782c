"""The baselines on a patch of a scene: gaps filled before, whole scene at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from geofuse.methods.baselines.cnmf import cnmf
from geofuse.methods.baselines.gsa import gsa, regression
from geofuse.methods.baselines.hysure import hysure
from geofuse.methods.baselines.interpolate import bicubic
from geofuse.methods.baselines.mlp import mlp
from geofuse.methods.baselines.subspace import denoise
from geofuse.pair.gaps import fill_gaps
from geofuse.pair.patch import Patch

BASELINES = ("bicubic", "gsa", "regression", "cnmf", "hysure", "mlp")


def apply_baseline(method: str, patch: Patch, srf: np.ndarray, *, seed: int = 0, progress: bool = False) -> Tensor:
    """Fuse a patch with one of `BASELINES`; reflectance, shape (B, H, W).

    Parameters
    ----------
    method : str
    patch : Patch
        The whole scene: these methods take sums over the image.
    srf : ndarray, shape (M, B)
        Effective response, which CNMF and HySure need.
    seed : int
        For CNMF's endmember search and the network's training.
    progress : bool
        Show a progress bar, for the methods that take a while.
    """
    hsi, msi = (_filled(image, valid) for image, valid in ((patch.hsi, patch.hsi_valid), (patch.msi, patch.msi_valid)))
    response = torch.as_tensor(srf, dtype=hsi.dtype, device=hsi.device)
    methods: dict[str, Callable[[], Tensor]] = {
        "bicubic": lambda: bicubic(hsi, msi, patch.psf),
        "gsa": lambda: denoise(gsa(hsi, msi, patch.psf), hsi),
        "regression": lambda: denoise(regression(hsi, msi, patch.psf), hsi),
        "cnmf": lambda: cnmf(hsi, msi, patch.psf, response, seed=seed),
        "hysure": lambda: hysure(hsi, msi, patch.psf, response, progress=progress),
        "mlp": lambda: mlp(hsi, msi, patch.psf, seed=seed, progress=progress),
    }
    return methods[method]()


def _filled(image: Tensor, valid: Tensor) -> Tensor:
    count = valid.sum().clamp(min=1)
    mean = (image * valid).sum((1, 2), keepdim=True) / count
    return fill_gaps(image - mean, valid) + mean
