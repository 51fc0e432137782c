"""Interpolation: what any fusion has to beat."""

from __future__ import annotations

from torch import Tensor

from geofuse.pair.psf.builder import Psf


def bicubic(hsi: Tensor, msi: Tensor, operator: Psf) -> Tensor:
    """Interpolate the coarse image on the fine grid; the MSI is not used.

    Parameters
    ----------
    hsi : Tensor, shape (B, h, w)
        Reflectance.
    msi : Tensor, shape (b, H, W)
        Reflectance; ignored.
    operator : Psf
        Knows the ratio and the offset of the grids.

    Returns
    -------
    Tensor, shape (B, H, W)
    """
    return operator.upsample(hsi)
