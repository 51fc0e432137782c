"""A patch: one window of the scene with all that the solver needs to know of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from geofuse.pair.grid import Window
from geofuse.pair.psf.builder import Psf, PsfBuilder
from geofuse.pair.scene import Sample


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
    positions : ndarray, shape (2, h, w), optional
        True centres of the coarse pixels in fine index coordinates; None: those of the grid.
    """

    hsi: Tensor
    msi: Tensor
    hsi_valid: Tensor
    msi_valid: Tensor
    psf: Psf
    place: tuple[PsfBuilder, Window, Window] | None = None
    gaps: np.ndarray | None = None
    positions: np.ndarray | None = None

    @property
    def measured(self) -> np.ndarray:
        """How many of the valid coarse pixels every band was measured in, (B,)."""
        valid = self.hsi_valid.cpu().numpy()
        if self.gaps is None:
            return np.full(len(self.hsi), int(valid.sum()))
        return np.asarray((valid & ~self.gaps).sum((1, 2)))

    def at(self, geometry: np.ndarray) -> Patch:
        """The same images, seen through a PSF of other standard deviations and shift: (σy, σx, dy, dx), fine pixels."""
        builder, fine, coarse = placed(self)
        sy, sx, dy, dx = (float(v) for v in geometry)
        builder = replace(builder, sigma=(sy, sx), shift=(dy, dx))
        psf = builder.build(fine, coarse, self.hsi_valid.cpu().numpy(), self.hsi, self.positions)
        return replace(self, psf=psf, place=(builder, fine, coarse))


def placed(patch: Patch) -> tuple[PsfBuilder, Window, Window]:
    """What a patch was built by, and its fine and coarse window."""
    if patch.place is None:
        raise ValueError("a patch without a place has no other PSF")
    return patch.place


def part_of(patch: Patch, window: Window) -> Patch:
    """A part of a patch, with the coarse pixels that touch it.

    Parameters
    ----------
    patch : Patch
    window : Window
        Rows and columns of the patch's fine pixels.
    """
    builder, fine, coarse = placed(patch)
    part = window.offset(fine.top, fine.left)
    seen = builder.coarse_window(part)
    rows, cols = seen.offset(-coarse.top, -coarse.left).slices
    hsi, valid = patch.hsi[:, rows, cols], patch.hsi_valid[rows, cols]
    positions = None if patch.positions is None else patch.positions[:, rows, cols]
    psf = builder.build(part, seen, valid.cpu().numpy(), hsi, positions)
    place = builder, part, seen
    return Patch(hsi, patch.msi[:, *window.slices], valid, patch.msi_valid[window.slices], psf, place, positions=positions)


def patch_of(sample: Sample, builder: PsfBuilder, like: Tensor) -> Patch:
    """Make a patch of a sample."""
    return make_patch(sample.hsi, sample.msi, builder, sample.fine, sample.coarse, like, sample.gaps, sample.positions)


def make_patch(
    hsi: np.ndarray,
    msi: np.ndarray,
    builder: PsfBuilder,
    fine: Window,
    coarse: Window,
    like: Tensor,
    gaps: np.ndarray | None = None,
    positions: np.ndarray | None = None,
) -> Patch:
    """Make a patch of two NaN-masked arrays and a `PsfBuilder`."""
    hsi_valid, msi_valid = np.isfinite(hsi).all(0), np.isfinite(msi).all(0)
    psf = builder.build(fine, coarse, hsi_valid, like, positions)

    def tensor(image: np.ndarray, valid: np.ndarray) -> Tensor:
        return torch.as_tensor(np.where(valid, image, 0), dtype=like.dtype, device=like.device)

    def flags(valid: np.ndarray) -> Tensor:
        return torch.as_tensor(valid, device=like.device)

    place = builder, fine, coarse
    return Patch(tensor(hsi, hsi_valid), tensor(msi, msi_valid), flags(hsi_valid), flags(msi_valid), psf, place, gaps, positions)
