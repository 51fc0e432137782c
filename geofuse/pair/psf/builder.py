"""The point-spread function as a linear operator between the fine and the coarse grid.

``forward`` blurs and samples, ``adjoint`` is its exact transpose, ``upsample`` interpolates the coarse image on the fine
grid (cubic convolution, Keys 1981, doi:10.1109/TASSP.1981.1163711). All of them work at the true ratio and offset. The PSF is a
Gaussian, or a relative of it with lighter or heavier tails, of standard deviations ``sigma`` (rows, columns) in fine pixels, centred
on the (shifted) centre of each coarse pixel and cut at four standard deviations.

Two forms, one interface:

- `SeparablePsf`: both grids share their axes, so rows and columns separate into two small dense matrices.
- `WarpedPsf`: any other pair (another CRS, pixels that bring their true centres): a separable blur along the fine axes, interpolated at the
  pixel centres. Pixels with true centres are brought to the centres of their grid before they are upsampled (`geofuse.pair.psf.scattered`).

At the edge of the fine image the PSF is reflected (half-sample symmetric), as if the scene continued as its mirror image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from geofuse.pair.grid import FARTHEST, Axis, GridPair, Window
from geofuse.pair.psf.field import Field
from geofuse.pair.psf.operators import SeparableBlur, SeparablePsf, WarpedPsf, apply_sparse, product_matrix, taps_matrix
from geofuse.pair.psf.scattered import NEAR, scattered_taps
from geofuse.pair.psf.weights import GAUSSIAN, TAPS, banded_cubic, banded_psf, cubic_taps, lagrange_taps, psf_energy, reach_of

# Samples of the blurred image to a standard deviation; with the polynomial between them accurate to 1e-4 of white noise, far better of a scene.
LATTICE = 2
INVERSIONS = 6  # steps of a fixed point; each takes off all but the slope of the field, which is a tenth or less


class Psf(Protocol):
    """A PSF operator for one window of a grid pair; images are tensors of shape (channels, rows, columns)."""

    observed: Tensor
    shape: tuple[int, int]

    @property
    def spectrum(self) -> Tensor:
        """Eigenvalues of AAᵀ, shape (h, w)."""

    @property
    def gain(self) -> float:
        """Mean square sum of a coarse pixel's weights."""

    def forward(self, fine: Tensor) -> Tensor:
        """Blur and sample: (c, H, W) to (c, h, w); zero where a coarse pixel is not ``observed``."""

    def adjoint(self, coarse: Tensor) -> Tensor:
        """Apply the transpose of `forward`: (c, h, w) to (c, H, W)."""

    def upsample(self, coarse: Tensor) -> Tensor:
        """Cubic interpolation: (c, h, w) to (c, H, W)."""

    def inverse(self, coarse: Tensor, weight: Tensor) -> Tensor:
        """Apply (weight · A Aᵀ + 1)⁻¹ per channel; ``weight`` has shape (c,). Exact where every pixel is observed."""

    def square(self, coarse: Tensor) -> Tensor:
        """A · Aᵀ coarse."""

    def sandwich(self, coarse: Tensor, middle: Callable[[Tensor, slice], Tensor]) -> Tensor:
        """A · middle(Aᵀ coarse): ``middle`` maps fine rows (c, rows, W), given with their slice, to as many."""


@dataclass(frozen=True)
class PsfBuilder:
    """Builds the PSF of any window of a grid pair from the scene's width, shape and shift.

    Attributes
    ----------
    pair : GridPair
        The grids of the whole scene; its edges are the scene's edges, whatever window is asked for.
    sigma : tuple of float
        Standard deviations (rows, columns) of the PSF, in fine pixels.
    shift : tuple of float
        Displacement (dy, dx) of the coarse image against its georeference, in fine pixels.
    field : Field, optional
        What is added to the shift from place to place.
    exponent : float
        Shape of the PSF: 2 for a Gaussian, less for heavier tails, more for what comes nearer to a box (`geofuse.pair.psf.weights`).
    cutoff : float
        Of a detector behind optics, cycles to the detector, whose standard deviations ``sigma`` then are; 0: none, and the exponent says the shape.
    """

    pair: GridPair
    sigma: tuple[float, float]
    shift: tuple[float, float] = (0.0, 0.0)
    field: Field | None = None
    exponent: float = GAUSSIAN
    cutoff: float = 0.0

    @property
    def reach(self) -> int:
        """Fine pixels that the PSF reaches from the centre of a coarse pixel."""
        return reach_of(max(self.sigma), self.cutoff)

    def coarse_window(self, fine: Window) -> Window:
        """Coarse pixels that touch a window of the fine working grid."""
        rows, cols = self._coarse_positions(*_outline(fine))
        if self.field is not None:  # nodata stay where the georeference has them
            rows, cols = (np.concatenate(both) for both in zip((rows, cols), self.pair.to_coarse(*_outline(fine)), strict=True))
        h, w = self.pair.coarse.shape
        pad = 1  # one more on each side: cubic interpolation asks for two neighbours
        if self.pair.displaced:
            pad += max(int(np.ceil(FARTHEST)), NEAR)
        top, bottom = int(np.floor(rows.min())) - pad, int(np.ceil(rows.max())) + pad + 1
        left, right = int(np.floor(cols.min())) - pad, int(np.ceil(cols.max())) + pad + 1
        return Window(max(top, 0), min(bottom, h), max(left, 0), min(right, w))

    def build(self, fine: Window, coarse: Window, valid: np.ndarray, like: Tensor, positions: np.ndarray | None = None) -> Psf:
        """Make the operator for one window.

        Parameters
        ----------
        fine, coarse : Window
            Windows of the working grids; ``coarse`` as `coarse_window` gives it.
        valid : ndarray of bool, shape of ``coarse``
            Coarse pixels that hold data.
        like : Tensor
            Gives dtype and device.
        positions : ndarray, shape (2, h, w), optional
            True centres of the coarse pixels (`GridPair.true_positions`); those without one are not observed.
        """
        centres = self._positions(coarse, positions)
        observed = valid & self._inside(fine, centres)
        stand_in = self._separable(fine, coarse, observed, like)
        if self._on_grid and positions is None:
            return stand_in

        def up() -> Callable[[Tensor], Tensor]:
            return self._upsampler(fine, coarse, valid, positions, stand_in)

        return self._warped(fine, coarse, centres, up, stand_in, like, scattered=positions is not None)

    @property
    def _on_grid(self) -> bool:
        """Whether rows and columns separate."""
        return self.pair.aligned and self.field is None

    def _separable(self, fine: Window, coarse: Window, observed: np.ndarray, like: Tensor) -> SeparablePsf:
        row_axis, col_axis = self.pair.axes
        dy, dx = self.shift
        if not self._on_grid:  # the stand-in is centred on the window, where a rotation moves it least
            row_axis, col_axis = self._window_axes(fine, coarse)
            local = Window(0, fine.shape[0], 0, fine.shape[1]), Window(0, coarse.shape[0], 0, coarse.shape[1])
        else:
            local = fine, coarse
        (fr, fc), (cr, cc) = local[0].slices, local[1].slices
        rows = banded_psf(row_axis, self.sigma[0], dy, cr, fr, self.exponent, self.cutoff)
        cols = banded_psf(col_axis, self.sigma[1], dx, cc, fc, self.exponent, self.cutoff)
        # Rows and columns that are not observed at all leave the operator, so that AAᵀ is diagonalised exactly for a window without gaps.
        rows[~observed.any(1)] = 0
        cols[~observed.any(0)] = 0

        def up() -> tuple[np.ndarray, np.ndarray]:
            return banded_cubic(row_axis, dy, fr, cr), banded_cubic(col_axis, dx, fc, cc)

        return SeparablePsf(rows, cols, up, observed, like)

    def _window_axes(self, fine: Window, coarse: Window) -> tuple[Axis, Axis]:
        ratio = self.pair.ratio
        middle = np.array([(coarse.top + coarse.bottom - 1) / 2]), np.array([(coarse.left + coarse.right - 1) / 2])
        row, col = (float(v[0]) for v in self._displaced(*self.pair.to_fine(*middle)))
        row, col = row - self.shift[0], col - self.shift[1]
        first_row = row - fine.top - ratio * (coarse.shape[0] - 1) / 2
        first_col = col - fine.left - ratio * (coarse.shape[1] - 1) / 2
        return Axis(ratio, first_row, coarse.shape[0], fine.shape[0]), Axis(ratio, first_col, coarse.shape[1], fine.shape[1])

    def _positions(self, coarse: Window, true: np.ndarray | None) -> np.ndarray:
        """Centres of the coarse pixels on the fine working grid, (2, h, w); NaN where a pixel has none."""
        if true is None:
            true = np.stack(self.pair.to_fine(*np.mgrid[coarse.slices].astype(float)))
        return self._displaced(true[0], true[1])

    def _displaced(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """Fine index coordinates by the georeference to where these places really lie, (2, …)."""
        moved = np.stack([rows + self.shift[0], cols + self.shift[1]])
        return moved if self.field is None else moved + self.field.at(rows, cols)

    def _coarse_positions(self, rows: np.ndarray, cols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        by_shift = rows - self.shift[0], cols - self.shift[1]
        places = by_shift
        for _ in range(0 if self.field is None else INVERSIONS):
            down, right = self.field.at(*places)  # type: ignore[union-attr]
            places = by_shift[0] - down, by_shift[1] - right
        return self.pair.to_coarse(*places)

    def _inside(self, fine: Window, centres: np.ndarray) -> np.ndarray:
        """Coarse pixels that this window can model: centred on the scene, and reaching over no edge but the scene's."""
        row, col = np.nan_to_num(centres, nan=-np.inf)
        height, width = self.pair.fine.shape
        inside = (row >= -0.5) & (row <= height - 0.5) & (col >= -0.5) & (col <= width - 0.5)
        inside &= (row - self.reach >= fine.top) | (fine.top == 0)
        inside &= (row + self.reach <= fine.bottom - 1) | (fine.bottom == height)
        inside &= (col - self.reach >= fine.left) | (fine.left == 0)
        inside &= (col + self.reach <= fine.right - 1) | (fine.right == width)
        return inside

    def _warped(
        self,
        fine: Window,
        coarse: Window,
        centres: np.ndarray,
        up: Callable[[], Callable[[Tensor], Tensor]],
        stand_in: SeparablePsf,
        like: Tensor,
        scattered: bool,
    ) -> WarpedPsf:
        step = min(self.sigma) / LATTICE / max(self.exponent / GAUSSIAN, self.cutoff, 1)  # steeper edges need more samples
        centres = np.where(np.isfinite(centres), centres, self._positions(coarse, None))  # of pixels that are not observed: anywhere near
        axes, taps = [], []
        for position, size in zip(centres, self.pair.fine.shape, strict=True):
            first = step * (np.floor(position.min() / step) - TAPS)  # the same lattice for every window of the scene
            axes.append(Axis(step, first, int(np.ceil((position.max() - first) / step)) + TAPS, size))
            taps.append(lagrange_taps((position.ravel() - first) / step))
        rows, cols = (
            banded_psf(axis, sigma, 0.0, slice(0, axis.coarse), window, self.exponent, self.cutoff)
            for axis, sigma, window in zip(axes, self.sigma, fine.slices, strict=True)
        )
        lattice = (axes[0].coarse, axes[1].coarse)
        pick = product_matrix(taps[0], taps[1], lattice, like)
        energy = None
        if scattered:
            of_rows, of_cols = (
                psf_energy(position, sigma, self.exponent, self.cutoff) for position, sigma in zip(centres, self.sigma, strict=True)
            )
            energy = torch.as_tensor(of_rows * of_cols, dtype=like.dtype, device=like.device)
        return WarpedPsf(SeparableBlur(rows, cols, like), pick, lattice, up, stand_in, energy)

    def _upsampler(
        self, fine: Window, coarse: Window, valid: np.ndarray, positions: np.ndarray | None, stand_in: SeparablePsf
    ) -> Callable[[Tensor], Tensor]:
        """Cubic interpolation on the fine grid, of pixels that were brought to the centres of their grid where they lie elsewhere."""
        like, cubic = stand_in.observed, stand_in.upsample
        if not self._on_grid:
            matrix = self._sparse_cubic(fine, coarse, like)
            cubic = partial(apply_sparse, matrix, shape=fine.shape)
        if positions is None:
            return cubic
        centred = self.centred(coarse, valid, positions, like)
        return lambda image: cubic(centred(image))

    def centred(self, coarse: Window, valid: np.ndarray, positions: np.ndarray, like: Tensor) -> Callable[[Tensor], Tensor]:
        """Interpolation of a coarse image (c, h, w) at the centres of its grid; arguments as for `build`."""
        offsets = np.stack(self.pair.to_coarse(*positions)) - np.mgrid[coarse.slices]
        offsets[:, ~valid] = 0  # gaps are filled, on the grid
        matrix = taps_matrix(*scattered_taps(offsets), offsets[0].size, like)
        return partial(apply_sparse, matrix, shape=coarse.shape)

    def _sparse_cubic(self, fine: Window, coarse: Window, like: Tensor) -> Tensor:
        rows, cols = np.mgrid[fine.slices]
        row, col = self._coarse_positions(rows.ravel().astype(float), cols.ravel().astype(float))
        (ri, wr), (ci, wc) = cubic_taps(row), cubic_taps(col)
        h, w = self.pair.coarse.shape
        ri = np.clip(np.clip(ri, 0, h - 1) - coarse.top, 0, coarse.shape[0] - 1)
        ci = np.clip(np.clip(ci, 0, w - 1) - coarse.left, 0, coarse.shape[1] - 1)
        return product_matrix((ri, wr), (ci, wc), coarse.shape, like)


def _outline(window: Window) -> tuple[np.ndarray, np.ndarray]:
    r, c = np.linspace(window.top, window.bottom - 1, 17), np.linspace(window.left, window.right - 1, 17)
    grid = np.meshgrid(r, c, indexing="ij")
    return grid[0].ravel(), grid[1].ravel()
