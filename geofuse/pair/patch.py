"""A patch: one window of the scene with all that the solver needs to know of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from geofuse.methods.gem.coordinates import Coordinates
from geofuse.pair.gaps import fill_gaps
from geofuse.pair.grid import Window
from geofuse.pair.images import mix
from geofuse.pair.psf.builder import Psf, PsfBuilder

COMPLETE = 0.95  # share of a footprint


@dataclass
class Patch:
    """One window of the scene.

    Attributes
    ----------
    hsi : Tensor, shape (B, h, w)
        Reflectance; gaps are zero and False in ``hsi_valid``.
    msi : Tensor, shape (M, H, W)
        Reflectance; gaps are zero and False in ``msi_valid``.
    hsi_valid, msi_valid : Tensor of bool, shapes (h, w) and (H, W)
        Pixels that hold data in every band.
    psf : Psf
        The operator between both grids in this window.
    place : tuple of PsfBuilder, Window and Window, optional
        What the operator was built by, and the fine and the coarse window.
    gaps : ndarray of bool, shape (B, h, w), optional
        Where ``hsi`` is completed from other bands; None: nowhere.
    """

    hsi: Tensor
    msi: Tensor
    hsi_valid: Tensor
    msi_valid: Tensor
    psf: Psf
    place: tuple[PsfBuilder, Window, Window] | None = None
    gaps: np.ndarray | None = None

    @property
    def measured(self) -> np.ndarray:
        """How many of the valid coarse pixels every band was measured in, (B,)."""
        valid = self.hsi_valid.cpu().numpy()
        if self.gaps is None:
            return np.full(len(self.hsi), int(valid.sum()))
        return np.asarray((valid & ~self.gaps).sum((1, 2)))

    def at(self, geometry: np.ndarray) -> Patch:
        """The same images, seen through a PSF of other standard deviations and shift: (σy, σx, dy, dx), fine pixels."""
        if self.place is None:
            raise ValueError("a patch without a place has no other PSF")
        builder, fine, coarse = self.place
        sy, sx, dy, dx = (float(v) for v in geometry)
        builder = replace(builder, sigma=(sy, sx), shift=(dy, dx))
        return replace(self, psf=builder.build(fine, coarse, self.hsi_valid.cpu().numpy(), self.hsi), place=(builder, fine, coarse))

    def encode(self, coordinates: Coordinates) -> Observation:
        """Both images in subspace coordinates, gaps filled from their surroundings so that nothing spreads from them."""
        y = fill_gaps(coordinates.encode_hsi(self.hsi), self.hsi_valid)
        mixing = torch.as_tensor(coordinates.mixing, dtype=y.dtype, device=y.device)
        m = coordinates.encode_msi(self.msi)
        valid = known = None
        if not bool(self.msi_valid.all()):
            # Where the MSI is silent it is given what the HSI predicts, for whoever looks at it; the solver believes nothing there.
            m = torch.where(self.msi_valid, m, mix(mixing, self.psf.upsample(y)))
            valid = known = self.msi_valid
        if not bool(self.hsi_valid.all()):
            known = self.msi_valid & (self.psf.upsample(self.hsi_valid[None].to(y.dtype))[0] > 0.5)
        origin = (0, 0) if self.place is None else (self.place[1].top, self.place[1].left)
        return Observation(y, m, self.psf, valid, known, origin)


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


def make_patch(
    hsi: np.ndarray, msi: np.ndarray, builder: PsfBuilder, fine: Window, coarse: Window, like: Tensor, gaps: np.ndarray | None = None
) -> Patch:
    """Make a patch of two NaN-masked arrays and a `PsfBuilder`."""
    hsi_valid, msi_valid = np.isfinite(hsi).all(0), np.isfinite(msi).all(0)
    psf = builder.build(fine, coarse, hsi_valid, like)

    def tensor(image: np.ndarray, valid: np.ndarray) -> Tensor:
        return torch.as_tensor(np.where(valid, image, 0), dtype=like.dtype, device=like.device)

    def flags(valid: np.ndarray) -> Tensor:
        return torch.as_tensor(valid, device=like.device)

    return Patch(tensor(hsi, hsi_valid), tensor(msi, msi_valid), flags(hsi_valid), flags(msi_valid), psf, (builder, fine, coarse), gaps)
