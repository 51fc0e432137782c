"""The baselines as fusion methods: they take sums over the whole image, and are given both images with their gaps filled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geofuse.methods.base import EVERYTHING, Arrays, Cost, Inner, Role, Tick, Values
from geofuse.methods.baselines.cnmf import cnmf
from geofuse.methods.baselines.gsa import gsa, regression
from geofuse.methods.baselines.hysure import hysure
from geofuse.methods.baselines.interpolate import bicubic
from geofuse.methods.baselines.mlp import mlp
from geofuse.methods.baselines.subspace import denoise
from geofuse.pair.gaps import fill_about_mean
from geofuse.pair.patch import Patch
from geofuse.pair.prepare import PreparedPair, Settings

Make = Callable[[Tensor, Tensor, Patch, Tensor, int], Tensor]
"""From HSI (B, h, w), MSI (M, H, W), patch, response (M, B) and seed to reflectance (B, H, W)."""


@dataclass(frozen=True)
class FittedBaseline:
    """A baseline with all that it needs to know; it is fitted anew on the image that it is given.

    Attributes
    ----------
    make : callable
    srf : ndarray, shape (M, B)
        Effective response.
    seed : int
    """

    make: Make
    srf: np.ndarray
    seed: int

    halo: None = None

    def apply(self, patch: Patch, inner: Inner = EVERYTHING) -> Tensor:
        """Fuse the whole scene; see `geofuse.methods.base.FittedMethod`."""
        hsi, msi = (fill_about_mean(image, valid) for image, valid in ((patch.hsi, patch.hsi_valid), (patch.msi, patch.msi_valid)))
        response = torch.as_tensor(self.srf, dtype=hsi.dtype, device=hsi.device)
        return self.make(hsi, msi, patch, response, self.seed)[:, *inner]

    def state(self) -> tuple[Arrays, Values]:
        """See `geofuse.methods.base.FittedMethod`."""
        return {"srf": self.srf}, {"seed": self.seed}


@dataclass(frozen=True)
class Baseline:
    """A method to compare with; see `geofuse.methods.base.FusionMethod`."""

    name: str
    summary: str
    reference: str
    make: Make
    quick: bool = False
    role: Role = "baseline"

    def cost(self, ratio: float) -> Cost:
        """The whole scene, all bands."""
        return Cost(None, images=3)

    def fit(self, prepared: PreparedPair, settings: Settings, tick: Tick) -> FittedBaseline:
        """Keep what `FittedBaseline.apply` needs."""
        return FittedBaseline(self.make, prepared.response.matrix, settings.seed)

    def restore(self, arrays: Arrays, values: Values) -> FittedBaseline:
        """Undo `FittedBaseline.state`."""
        return FittedBaseline(self.make, arrays["srf"], int(values["seed"]))


HYSURE = Baseline(
    "hysure",
    "subspace coefficients with edges in few places (vector total variation)",
    "Simoes et al. 2015, doi:10.1109/TGRS.2014.2375320",
    lambda hsi, msi, patch, srf, seed: hysure(hsi, msi, patch.psf, srf),
)
CNMF = Baseline(
    "cnmf",
    "coupled non-negative matrix factorisation",
    "Yokoya, Yairi and Iwasaki 2012, doi:10.1109/TGRS.2011.2161320",
    lambda hsi, msi, patch, srf, seed: cnmf(hsi, msi, patch.psf, srf, seed=seed),
)
GSA = Baseline(
    "gsa",
    "Gram-Schmidt adaptive detail injection",
    "Aiazzi, Baronti and Selva 2007, doi:10.1109/TGRS.2007.901007",
    lambda hsi, msi, patch, srf, seed: denoise(gsa(hsi, msi, patch.psf), hsi),
    quick=True,
)
REGRESSION = Baseline(
    "regression",
    "detail injection by regression of every band on all MSI bands",
    "Yokoya, Grohnfeldt and Chanussot 2017, doi:10.1109/MGRS.2016.2637824",
    lambda hsi, msi, patch, srf, seed: denoise(regression(hsi, msi, patch.psf), hsi),
    quick=True,
)
MLP = Baseline(
    "mlp",
    "per-pixel network from MSI pixel to spectrum, learned at the coarse scale",
    "after Shah and Duarte 2025 (SpectraLift), arXiv:2507.13339",
    lambda hsi, msi, patch, srf, seed: mlp(hsi, msi, patch.psf, seed=seed),
)
BICUBIC = Baseline(
    "bicubic",
    "interpolation of the HSI: what any fusion has to beat",
    "Keys 1981, doi:10.1109/TASSP.1981.1163711",
    lambda hsi, msi, patch, srf, seed: bicubic(hsi, msi, patch.psf),
    quick=True,
)
