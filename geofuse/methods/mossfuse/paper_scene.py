"""The published network on a scene of the library: where it applies, and back on the scene's grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geofuse.errors import RefusedInput
from geofuse.methods.mossfuse.paper import PaperFit, train_paper
from geofuse.pair.gaps import fill_gaps
from geofuse.pair.grid import GridPair, Window
from geofuse.pair.patch import Patch


@dataclass(frozen=True)
class PaperScene:
    """A trained published network, and the part of the scene where whole coarse pixels cover whole fine ones."""

    fit: PaperFit
    fine: Window
    coarse: Window

    def apply(self, patch: Patch) -> Tensor:
        """Fuse the whole scene; reflectance (B, H, W), NaN where no complete coarse pixel lies."""
        hsi, msi = _cropped(patch, self.fine, self.coarse)
        out = torch.full((len(patch.hsi), *patch.msi.shape[1:]), float("nan"), dtype=patch.hsi.dtype, device=patch.hsi.device)
        out[(slice(None), *self.fine.slices)] = self.fit.apply(hsi, msi)
        return out


def fit_paper(patch: Patch, pair: GridPair, *, seconds: float, seed: int, device: str, progress: bool) -> PaperScene:
    """Train the published network on the whole scene.

    Raises
    ------
    RefusedInput
        The grids do not nest: the ratio is not a whole number, or coarse pixels do not begin where fine pixels do.
    """
    fine, coarse = _nested(pair)
    hsi, msi = _cropped(patch, fine, coarse)
    return PaperScene(train_paper(hsi, msi, pair.ratio, seconds=seconds, seed=seed, device=device, progress=progress), fine, coarse)


def _nested(pair: GridPair) -> tuple[Window, Window]:
    ratio = round(pair.ratio)
    axes = pair.axes
    starts = [axis.first - (ratio - 1) / 2 for axis in axes]
    if not pair.aligned or any(abs(axis.ratio - ratio) > 1e-3 for axis in axes) or any(abs(s - round(s)) > 0.05 for s in starts):
        raise RefusedInput(
            f"Method 'mossfuse-paper' needs coarse pixels made of whole fine pixels; found a ratio of {pair.ratio:.4g} and offsets of "
            f"{starts[0]:.3g} and {starts[1]:.3g} fine pixels. Use 'mossfuse' or 'gem', which work at any ratio and offset."
        )
    spans = []
    for axis, start in zip(axes, starts, strict=True):
        begin = int(np.ceil(max(0, -round(start)) / ratio))
        end = min(axis.coarse, (axis.fine - round(start)) // ratio)
        spans.append((begin, end, round(start) + begin * ratio, round(start) + end * ratio))
    (top, bottom, ftop, fbottom), (left, right, fleft, fright) = spans
    return Window(ftop, fbottom, fleft, fright), Window(top, bottom, left, right)


def _cropped(patch: Patch, fine: Window, coarse: Window) -> tuple[Tensor, Tensor]:
    return (
        fill_gaps(patch.hsi, patch.hsi_valid)[(slice(None), *coarse.slices)],
        fill_gaps(patch.msi, patch.msi_valid)[(slice(None), *fine.slices)],
    )
