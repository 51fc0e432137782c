"""What a fusion can be judged by without its pixels: pictures, maps and spectra of one part of the scene, small and as plain values.

All of it is made when a model is fitted, from pixels that are in memory then. So a report shows it wherever it goes, without reading a pixel, and
grows by some hundred kilobytes however large the scene is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geofuse.cube.bands import BandTable
from geofuse.cube.georef import crs_name
from geofuse.cube.schema import wrap
from geofuse.methods.base import KnowsErrors
from geofuse.model import Model
from geofuse.pair.patch import Patch
from geofuse.pair.prepare import PreparedPair
from geofuse.pair.scene import Scene
from geofuse.reporting.pictures import SIDE, encoded_map, excerpt, metres_of
from geofuse.viewing.quicklook import interesting_places

DIGITS = 5  # of reflectance in a spectrum
RIM = 2  # coarse pixels at the edge of the part, where no place is looked for


class Misfit(NamedTuple):
    """A fused patch held against both observations."""

    fused: Tensor
    """Reflectance, (B, H, W)."""
    hsi: Tensor
    """Fused, seen through the PSF, minus the HSI, (B, h, w); NaN where that cannot be said."""
    msi: Tensor
    """Fused, seen through the effective response, minus the MSI, (M, H, W); NaN without data, and in bands that say nothing of spectra."""


def misfit_of(prepared: PreparedPair, model: Model, patch: Patch) -> Misfit:
    """Fuse a patch, and hold the result against both observations."""
    fused = model.fuse_patch(patch)
    observed, valid = patch.psf.observed > 0, patch.msi_valid & torch.isfinite(fused).all(0)
    compared = torch.as_tensor(prepared.response.matrix.any(1), device=fused.device)[:, None, None]
    seen = patch.psf.forward(torch.nan_to_num(fused))
    matrix, offset = (
        torch.as_tensor(a, dtype=fused.dtype, device=fused.device) for a in (prepared.response.matrix, prepared.response.offset)
    )
    msi = torch.einsum("mb,bhw->mhw", matrix, fused) + offset[:, None, None]
    return Misfit(
        fused,
        torch.where(observed, seen - patch.hsi, torch.nan),
        torch.where(valid & compared, msi - patch.msi, torch.nan),
    )


def residuals_of(prepared: PreparedPair, model: Model) -> tuple[dict[str, float], Misfit]:
    """How well the fused sample explains both observations: relative root-mean-square errors over observed pixels; and the misfit of its first window."""
    totals = np.zeros((2, 2))
    for patch in reversed(prepared.patches[:2]):  # two windows show it as well as twenty; the first comes last, because it is kept
        misfit = misfit_of(prepared, model, patch)
        for total, error, image in zip(totals, (misfit.hsi, misfit.msi), (patch.hsi, patch.msi), strict=True):
            known = torch.isfinite(error)
            total += [float(error[known].square().sum()), float(image[known].square().sum())]
    hsi, msi = np.sqrt(totals[:, 0] / np.maximum(totals[:, 1], 1e-20))
    return {"hsi_rel_rmse": float(hsi), "msi_rel_rmse": float(msi)}, misfit


def evidence(scene: Scene, prepared: PreparedPair, model: Model, misfit: Misfit) -> dict[str, Any]:
    """``pictures`` of the middle of the first window of the sample, with maps of residuals of both images, and ``spectra`` of a few of its places.

    Parameters
    ----------
    scene : Scene
    prepared : PreparedPair
    model : Model
        Fitted to it.
    misfit : Misfit
        Of the first patch.
    """
    part = _Part(scene, prepared, model, misfit)
    return {"pictures": part.pictures(), "spectra": part.spectra()}


@dataclass(frozen=True)
class _Part:
    """The middle of the first window of the sample: fine pixels, and the coarse ones that are shown at each of them."""

    scene: Scene
    prepared: PreparedPair
    model: Model
    misfit: Misfit

    @cached_property
    def inner(self) -> tuple[slice, slice]:
        """Rows and columns within the window."""
        rows, cols = (slice(max(0, (n - SIDE) // 2), max(0, (n - SIDE) // 2) + min(n, SIDE)) for n in self.prepared.samples[0].fine.shape)
        return rows, cols

    @cached_property
    def nearest(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Row and column, within the sample, of the coarse pixel that each fine pixel of the part lies in."""
        sample, pair = self.prepared.samples[0], self.prepared.pair
        fine = (np.arange(s.start, s.stop) + first for s, first in zip(self.inner, (sample.fine.top, sample.fine.left), strict=True))
        at = pair.to_coarse(*np.meshgrid(*(a.astype(float) for a in fine), indexing="ij"))
        rows, cols = (
            np.clip(np.rint(a).astype(int) - first, 0, n - 1)
            for a, first, n in zip(at, (sample.coarse.top, sample.coarse.left), sample.coarse.shape, strict=True)
        )
        return rows, cols

    @cached_property
    def box(self) -> Any:
        """The grid of the part."""
        sample = self.prepared.samples[0]
        rows, cols = self.inner
        return self.prepared.pair.fine[
            sample.fine.top + rows.start : sample.fine.top + rows.stop, sample.fine.left + cols.start : sample.fine.left + cols.stop
        ]

    @cached_property
    def tables(self) -> tuple[BandTable, BandTable]:
        """Bands in use of the HSI, and of the MSI."""
        hsi, msi = self.scene.bands, BandTable.from_cube(self.scene.msi)
        screen = self.prepared.screen
        return (hsi, msi) if screen is None else (hsi.take(np.flatnonzero(screen.hsi_bands)), msi.take(np.flatnonzero(screen.msi_bands)))

    @cached_property
    def hsi(self) -> NDArray[Any]:
        """The HSI at every fine pixel, (B, rows, columns)."""
        return self.prepared.samples[0].hsi[:, *self.nearest]

    @cached_property
    def msi(self) -> NDArray[Any]:
        """The MSI, (M, rows, columns)."""
        return self.prepared.samples[0].msi[:, *self.inner]

    @cached_property
    def fused(self) -> NDArray[Any]:
        """The fused image, (B, rows, columns), NaN where the MSI has no data."""
        fused = self.misfit.fused[:, *self.inner].cpu().numpy()
        return np.where(np.isfinite(self.msi).all(0), fused, np.nan)

    @cached_property
    def deviation(self) -> NDArray[Any] | None:
        """Standard deviation of the fused image, (B, rows, columns); None where the model knows none."""
        fitted = self.model.fitted
        if not (isinstance(fitted, KnowsErrors) and fitted.knows_errors):
            return None
        found = fitted.deviation(self.prepared.patches[0], self.inner).cpu().numpy()
        return np.where(np.isfinite(self.msi).all(0), found, np.nan)

    @cached_property
    def residuals(self) -> dict[str, NDArray[Any]]:
        """Root mean square over the bands of the residual of either image, reflectance, at every fine pixel."""
        hsi, msi = (torch.sqrt(torch.nanmean(error.square(), 0)).cpu().numpy() for error in (self.misfit.hsi, self.misfit.msi))
        return {"hsi": hsi[self.nearest], "msi": msi[self.inner]}

    def pictures(self) -> dict[str, Any]:
        """Coarse, fine and fused, and the maps."""
        red_green_blue, own = (list(table.rgb()) for table in self.tables)
        west, south, east, north = self.box.boundingbox
        crs = self.box.crs.proj
        shown = excerpt(self.hsi[red_green_blue], self.msi[own], self.fused[red_green_blue], (west, east, south, north), crs_name(crs))
        maps = {f"{key}_residual": encoded_map(values) for key, values in self.residuals.items()}
        if self.deviation is not None:
            maps["uncertainty"] = encoded_map(self.deviation.mean(0))
        return shown | maps | {"metres": metres_of(crs)}

    def spectra(self) -> list[dict[str, Any]]:
        """Spectra of both images and of the fused one, at places that differ most and at those with the largest residuals; gaps are None."""
        filled, used = self.model.filled, np.ones(len(self.tables[1]), bool)
        if self.prepared.screen is not None:
            used = self.prepared.screen.msi_bands
        return [
            {
                "why": why,
                **dict(zip(("x", "y"), self.box.affine * (col + 0.5, row + 0.5), strict=True)),
                "hsi": _listed(self.hsi[:, row, col], filled),
                "msi": _listed(self.msi[:, row, col], used),
                "fused": _listed(self.fused[:, row, col], filled),
                "sigma": None if self.deviation is None else _listed(self.deviation[:, row, col], filled),
            }
            for why, row, col in self._places()
        ]

    def _places(self) -> Iterator[tuple[str, int, int]]:
        """Why, row and column."""
        rim = int(np.ceil(RIM * self.prepared.pair.ratio))
        rim = rim if min(self.fused.shape[1:]) > 4 * rim else 0
        inner = slice(rim, self.fused.shape[1] - rim), slice(rim, self.fused.shape[2] - rim)
        table, box = self.tables[0], self.box[inner]
        cube = wrap(
            self.fused[:, *inner].astype(np.float32),
            transform=box.affine,
            crs=box.crs,
            names=table.names,
            wavelength=table.wavelength,
            good=table.good,
        )
        for x, y in interesting_places(cube):
            col, row = ~self.box.affine * (x, y)
            yield "unlike the other places", int(row), int(col)
        worst = {"largest residual of the HSI": self.residuals["hsi"], "largest residual of the MSI": self.residuals["msi"]}
        if self.deviation is not None:
            worst["largest standard deviation"] = self.deviation.mean(0)
        for why, values in worst.items():
            known = np.where(np.isfinite(self.fused).all(0) & np.isfinite(self.hsi).all(0), values, np.nan)
            if np.isfinite(known[inner]).any():
                row, col = np.unravel_index(int(np.nanargmax(known[inner])), known[inner].shape)
                yield why, int(row) + rim, int(col) + rim


def _listed(values: NDArray[Any], used: NDArray[np.bool_]) -> list[float | None]:
    """Values of the bands in use at their places among all bands, rounded; None where there is nothing."""
    out = np.full(len(used), np.nan)
    out[used] = values
    return [round(float(v), DIGITS) if np.isfinite(v) else None for v in out]
