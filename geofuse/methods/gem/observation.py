"""What the estimator observes in a patch: both images in noise-whitened subspace coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geofuse.methods.gem.coordinates import Coordinates
from geofuse.pair.gaps import fill_gaps
from geofuse.pair.images import mix
from geofuse.pair.patch import Patch
from geofuse.pair.psf.builder import Psf

COMPLETE = 0.95  # share of a footprint


@dataclass
class Observation:
    """What is observed in a patch, whitened.

    Attributes
    ----------
    y : Tensor, shape (K, h, w)
    m : Tensor, shape (M, H, W)
    psf : Psf
    valid : Tensor of bool, shape (H, W), optional
        Fine pixels where the MSI holds data; None: all of them.
    known : Tensor of bool, shape (H, W), optional
        Fine pixels where both images do: those that statistics are taken over; None: all of them.
    origin : tuple of int
        Row and column of the first fine pixel in the scene.
    """

    y: Tensor
    m: Tensor
    psf: Psf
    valid: Tensor | None = None
    known: Tensor | None = None
    origin: tuple[int, int] = (0, 0)

    @property
    def pixels(self) -> int:
        """Number of fine pixels."""
        return self.m.shape[-2] * self.m.shape[-1]

    @property
    def known_pixels(self) -> int:
        """Number of fine pixels where both images hold data."""
        return self.pixels if self.known is None else int(self.known.sum())

    @property
    def complete(self) -> Tensor:
        """Coarse pixels that the HSI observes and of whose footprint the MSI misses next to nothing; 1 or 0, shape (h, w)."""
        if self.valid is None:
            return self.psf.observed
        return self.psf.observed * (self.psf.forward(self.valid[None].to(self.m.dtype))[0] > COMPLETE)

    def masked(self, image: Tensor) -> Tensor:
        """The image (c, H, W) with zeros where one of the two holds no data."""
        return image if self.known is None else image * self.known


def encode(patch: Patch, coordinates: Coordinates) -> Observation:
    """Both images of a patch in subspace coordinates, gaps filled from their surroundings so that nothing spreads from them."""
    y = fill_gaps(coordinates.encode_hsi(patch.hsi), patch.hsi_valid)
    mixing = torch.as_tensor(coordinates.mixing, dtype=y.dtype, device=y.device)
    m = coordinates.encode_msi(patch.msi)
    valid = known = None
    if not bool(patch.msi_valid.all()):
        # Gaps of the MSI are given what the HSI predicts, for the filters; the solver does not use them.
        m = torch.where(patch.msi_valid, m, mix(mixing, patch.psf.upsample(y)))
        valid = known = patch.msi_valid
    if not bool(patch.hsi_valid.all()):
        known = patch.msi_valid & (patch.psf.upsample(patch.hsi_valid[None].to(y.dtype))[0] > 0.5)
    origin = (0, 0) if patch.place is None else (patch.place[1].top, patch.place[1].left)
    return Observation(y, m, patch.psf, valid, known, origin)
