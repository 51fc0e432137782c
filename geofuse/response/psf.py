"""The point-spread function as a linear operator between the fine and the coarse grid.

``forward`` blurs and samples, ``adjoint`` is its exact transpose, ``upsample`` interpolates the coarse image on the fine
grid (cubic convolution, Keys 1981, doi:10.1109/TASSP.1981.1163711). All of them work at the true ratio and offset. The PSF is a
Gaussian of standard deviations ``sigma`` (rows, columns) in fine pixels, centred on the (shifted) centre of each coarse pixel and
cut at four standard deviations.

Two forms, one interface:

- `SeparablePsf`: both grids share their axes, so rows and columns separate into two small dense matrices.
- `WarpedPsf`: any other pair (another CRS, a rotated grid): a separable blur along the fine axes, interpolated at the pixel centres.

At the edge of the fine image the PSF is reflected (half-sample symmetric), as if the scene went on as its mirror image.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from geofuse.grid import Axis, GridPair, Window

REACH_SIGMAS = 4.0
# Samples of the blurred image to a standard deviation, and points of the polynomial between them: accurate to 1e-4 of white noise, and far better of a scene.
LATTICE, TAPS = 2, 8
STRIPE = 32  # fine rows: a stripe of 20 coefficients stays in a core's cache
CUBIC = -0.5  # Keys' third-order-accurate parameter


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


def psf_matrix(axis: Axis, sigma: float, shift: float = 0.0) -> np.ndarray:
    """One direction of the PSF.

    Parameters
    ----------
    axis : Axis
        Where the coarse pixels lie on the fine grid.
    sigma : float
        Standard deviation of the Gaussian, in fine pixels.
    shift : float
        Displacement of the coarse image against its georeference, in fine pixels.

    Returns
    -------
    ndarray, shape (coarse, fine)
        Rows sum to 1. A coarse pixel whose centre lies off the fine grid has a row all the same; callers mask it.

    Examples
    --------
    >>> psf_matrix(Axis(2.0, 0.5, 2, 4), sigma=0.5).round(3)
    array([[0.5  , 0.491, 0.009, 0.   ],
           [0.   , 0.009, 0.491, 0.5  ]])
    """
    return _banded(axis, sigma, shift, slice(0, axis.coarse), slice(0, axis.fine))


def cubic_matrix(axis: Axis, shift: float = 0.0) -> np.ndarray:
    """One direction of the cubic interpolation from coarse to fine pixels; shape (fine, coarse), rows sum to 1."""
    return _cubic_window(axis, shift, slice(0, axis.fine), slice(0, axis.coarse))


def cubic_taps(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Four neighbours and their weights of cubic convolution at ``position`` (any shape): two arrays (..., 4)."""
    base = np.floor(position)
    t = (position - base)[..., None]
    distance = np.abs(t - np.array([-1.0, 0.0, 1.0, 2.0]))
    near = (CUBIC + 2) * distance**3 - (CUBIC + 3) * distance**2 + 1
    far = CUBIC * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return base[..., None].astype(int) + np.arange(-1, 3), np.where(distance <= 1, near, far)


def lagrange_taps(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours and weights of polynomial interpolation through `TAPS` lattice points at ``position`` (n,): two arrays (n, TAPS)."""
    base = np.floor(position)
    nodes = np.arange(TAPS) - (TAPS // 2 - 1)
    distance = (position - base)[:, None] - nodes
    weight = np.ones((len(position), TAPS))
    for k, node in enumerate(nodes):
        for j, other in enumerate(nodes):
            if j != k:
                weight[:, k] *= distance[:, j] / (node - other)
    return base[:, None].astype(int) + nodes, weight


def _reflect(index: np.ndarray, n: int) -> np.ndarray:
    """Half-sample symmetric reflection of indices into 0 … n-1."""
    folded = np.mod(index, 2 * n)
    return np.where(folded < n, folded, 2 * n - 1 - folded)


class SeparableBlur:
    """Two small banded matrices, one for rows and one for columns: fine (c, H, W) to (c, n, m) and back.

    Fine rows are visited stripe by stripe, with the part of the matrix that is not zero there.
    """

    def __init__(self, rows: np.ndarray, cols: np.ndarray, like: Tensor) -> None:
        self.rows, self.cols = _tensor(rows, like), _tensor(cols, like)
        self._stripes = list(_striped(rows.T, like))

    @cached_property
    def _squares(self) -> tuple[Tensor, Tensor]:
        return self.rows @ self.rows.T, self.cols @ self.cols.T

    def forward(self, fine: Tensor) -> Tensor:
        """Blur and sample."""
        total = fine.new_zeros(len(fine), len(self.rows), fine.shape[2])
        for stripe, near, matrix in self._stripes:
            total[:, near] += matrix.T @ fine[:, stripe]
        return total @ self.cols.T

    def adjoint(self, sampled: Tensor) -> Tensor:
        """Apply the transpose of `forward`."""
        return _expanded(sampled @ self.cols, self.rows.shape[1], self._stripes)

    def square(self, sampled: Tensor) -> Tensor:
        """Forward of adjoint, of which no fine image is made."""
        of_rows, of_cols = self._squares
        return of_rows @ sampled @ of_cols

    def sandwich(self, sampled: Tensor, middle: Callable[[Tensor, slice], Tensor]) -> Tensor:
        """Forward of ``middle`` of adjoint, one stripe of fine rows after the other, so that no fine image is ever held."""
        spread = sampled @ self.cols
        total = torch.zeros_like(spread)
        for stripe, near, matrix in self._stripes:
            total[:, near] += matrix.T @ middle(matrix @ spread[:, near], stripe)
        return total @ self.cols.T


def _striped(matrix: np.ndarray, like: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Stripes of the rows of a banded matrix, the columns that they touch, and that part of the matrix."""
    for start in range(0, len(matrix), STRIPE):
        rows = slice(start, min(start + STRIPE, len(matrix)))
        touched = np.flatnonzero(matrix[rows].any(0))
        if touched.size:
            cols = slice(int(touched[0]), int(touched[-1]) + 1)
            yield rows, cols, _tensor(matrix[rows, cols], like)


def _expanded(coarse_rows: Tensor, height: int, stripes: list[tuple[slice, slice, Tensor]]) -> Tensor:
    """Apply a striped matrix along the rows: (c, n, W) to (c, H, W)."""
    out = coarse_rows.new_zeros(len(coarse_rows), height, coarse_rows.shape[2])
    for stripe, near, matrix in stripes:
        torch.matmul(matrix, coarse_rows[:, near], out=out[:, stripe])
    return out


class SeparablePsf:
    """PSF of a pair whose axes are parallel: A = Dh ⊗ Dw, with AAᵀ diagonalised once per window.

    Only what `forward` needs is made at once: an estimate of the geometry builds thousands of these and asks for nothing else.
    """

    def __init__(
        self, rows: np.ndarray, cols: np.ndarray, make_up: Callable[[], tuple[np.ndarray, np.ndarray]], observed: np.ndarray, like: Tensor
    ) -> None:
        self._matrices, self._make_up = (rows, cols), make_up
        self._blur = SeparableBlur(rows, cols, like)
        self.observed = _tensor(observed, like)
        self.shape = (rows.shape[1], cols.shape[1])

    @cached_property
    def _eigen(self) -> tuple[Tensor, Tensor, Tensor]:
        """Eigenvectors of AAᵀ along rows and columns, and its eigenvalues."""
        (eh, vh), (ew, vw) = (np.linalg.eigh(matrix @ matrix.T) for matrix in self._matrices)
        spectrum = np.maximum(eh, 0)[:, None] * np.maximum(ew, 0)[None]
        return _tensor(vh, self.observed), _tensor(vw, self.observed), _tensor(spectrum, self.observed)

    @cached_property
    def _up(self) -> tuple[list[tuple[slice, slice, Tensor]], Tensor]:
        rows, cols = self._make_up()
        return list(_striped(rows, self.observed)), _tensor(cols, self.observed)

    @property
    def spectrum(self) -> Tensor:
        """Eigenvalues of AAᵀ, shape (h, w)."""
        return self._eigen[2]

    @cached_property
    def gain(self) -> float:
        """Mean square sum of a coarse pixel's weights."""
        rows, cols = (_mean_energy(matrix) for matrix in self._matrices)
        return float(rows * cols)

    def forward(self, fine: Tensor) -> Tensor:
        """Blur and sample."""
        return self._blur.forward(fine) * self.observed

    def adjoint(self, coarse: Tensor) -> Tensor:
        """Apply the transpose of `forward`."""
        return self._blur.adjoint(coarse * self.observed)

    def upsample(self, coarse: Tensor) -> Tensor:
        """Interpolate on the fine grid."""
        stripes, cols = self._up
        return _expanded(coarse @ cols.T, self.shape[0], stripes)

    def square(self, coarse: Tensor) -> Tensor:
        """A · Aᵀ coarse."""
        return self._blur.square(coarse * self.observed) * self.observed

    def sandwich(self, coarse: Tensor, middle: Callable[[Tensor, slice], Tensor]) -> Tensor:
        """A · middle(Aᵀ coarse)."""
        return self._blur.sandwich(coarse * self.observed, middle) * self.observed

    def inverse(self, coarse: Tensor, weight: Tensor) -> Tensor:
        """Apply (weight · A Aᵀ + 1)⁻¹ per channel."""
        vh, vw, spectrum = self._eigen
        return vh @ ((vh.T @ coarse @ vw) / (1 + weight[:, None, None] * spectrum)) @ vw.T


class WarpedPsf:
    """PSF of a pair with different axes.

    A Gaussian PSF is smooth, so the blurred fine image is computed on a separable lattice along the fine axes, two samples to a standard
    deviation, and interpolated at the centres of the coarse pixels. The aligned stand-in serves where only the spectrum of AAᵀ matters.

    Parameters
    ----------
    blur : SeparableBlur
        From fine pixels to the lattice.
    pick : Tensor, sparse, shape (h · w, lattice points)
        From the lattice to the coarse pixels.
    lattice : tuple of int
        Shape of the lattice.
    make_up : callable
        Makes the sparse matrix of the interpolation, shape (H · W, h · w); called when it is first needed.
    stand_in : SeparablePsf
    """

    def __init__(
        self, blur: SeparableBlur, pick: Tensor, lattice: tuple[int, int], make_up: Callable[[], Tensor], stand_in: SeparablePsf
    ) -> None:
        self._blur, self._pick, self._pick_t, self._lattice = blur, pick, pick.t().to_sparse_csr(), lattice
        self._make_up, self._stand_in = make_up, stand_in
        self.observed, self.shape = stand_in.observed, stand_in.shape

    @property
    def spectrum(self) -> Tensor:
        """That of the stand-in."""
        return self._stand_in.spectrum

    @property
    def gain(self) -> float:
        """That of the stand-in."""
        return self._stand_in.gain

    @cached_property
    def _up(self) -> Tensor:
        return self._make_up()

    def forward(self, fine: Tensor) -> Tensor:
        """Blur and sample."""
        return self._picked(self._blur.forward(fine))

    def adjoint(self, coarse: Tensor) -> Tensor:
        """Apply the transpose of `forward`."""
        return self._blur.adjoint(_apply(self._pick_t, coarse * self.observed, self._lattice))

    def upsample(self, coarse: Tensor) -> Tensor:
        """Interpolate on the fine grid."""
        return _apply(self._up, coarse, self.shape)

    def square(self, coarse: Tensor) -> Tensor:
        """A · Aᵀ coarse."""
        return self._picked(self._blur.square(_apply(self._pick_t, coarse * self.observed, self._lattice)))

    def sandwich(self, coarse: Tensor, middle: Callable[[Tensor, slice], Tensor]) -> Tensor:
        """A · middle(Aᵀ coarse)."""
        return self._picked(self._blur.sandwich(_apply(self._pick_t, coarse * self.observed, self._lattice), middle))

    def _picked(self, on_lattice: Tensor) -> Tensor:
        return _apply(self._pick, on_lattice, self.observed.shape) * self.observed

    def inverse(self, coarse: Tensor, weight: Tensor) -> Tensor:
        """Apply the stand-in's (weight · A Aᵀ + 1)⁻¹: a preconditioner, not an exact inverse."""
        return self._stand_in.inverse(coarse, weight)


def _tensor(array: np.ndarray, like: Tensor) -> Tensor:
    return torch.as_tensor(np.ascontiguousarray(array), dtype=like.dtype, device=like.device)


def _apply(matrix: Tensor, image: Tensor, shape: tuple[int, ...]) -> Tensor:
    return (matrix @ image.flatten(1).T).T.reshape(len(image), *shape)


@dataclass(frozen=True)
class PsfBuilder:
    """Builds the PSF of any window of a grid pair from the scene's width and shift.

    Attributes
    ----------
    pair : GridPair
        The grids of the whole scene; its edges are the scene's edges, whatever window is asked for.
    sigma : tuple of float
        Standard deviations (rows, columns) of the Gaussian PSF, in fine pixels.
    shift : tuple of float
        Displacement (dy, dx) of the coarse image against its georeference, in fine pixels.
    """

    pair: GridPair
    sigma: tuple[float, float]
    shift: tuple[float, float] = (0.0, 0.0)

    @property
    def reach(self) -> int:
        """Fine pixels that the PSF reaches from the centre of a coarse pixel."""
        return int(np.ceil(REACH_SIGMAS * max(self.sigma))) + 1

    def coarse_window(self, fine: Window) -> Window:
        """Coarse pixels that touch a window of the fine working grid."""
        rows, cols = self._coarse_positions(*_outline(fine))
        h, w = self.pair.coarse.shape
        pad = 1  # one more on each side: cubic interpolation asks for two neighbours
        top, bottom = int(np.floor(rows.min())) - pad, int(np.ceil(rows.max())) + pad + 1
        left, right = int(np.floor(cols.min())) - pad, int(np.ceil(cols.max())) + pad + 1
        return Window(max(top, 0), min(bottom, h), max(left, 0), min(right, w))

    def build(self, fine: Window, coarse: Window, valid: np.ndarray, like: Tensor) -> Psf:
        """Make the operator for one window.

        Parameters
        ----------
        fine, coarse : Window
            Windows of the working grids; ``coarse`` as `coarse_window` gives it.
        valid : ndarray of bool, shape of ``coarse``
            Coarse pixels that hold data.
        like : Tensor
            Gives dtype and device.
        """
        observed = valid & self._inside(fine, coarse)
        stand_in = self._separable(fine, coarse, observed, like)
        if self.pair.aligned:
            return stand_in
        return self._warped(fine, coarse, stand_in, like)

    def _separable(self, fine: Window, coarse: Window, observed: np.ndarray, like: Tensor) -> SeparablePsf:
        row_axis, col_axis = self.pair.axes
        if not self.pair.aligned:  # the stand-in is centred on the window, where a rotation moves it least
            row_axis, col_axis = self._window_axes(fine, coarse)
            local = Window(0, fine.shape[0], 0, fine.shape[1]), Window(0, coarse.shape[0], 0, coarse.shape[1])
        else:
            local = fine, coarse
        (fr, fc), (cr, cc) = local[0].slices, local[1].slices
        dy, dx = self.shift
        rows, cols = _banded(row_axis, self.sigma[0], dy, cr, fr), _banded(col_axis, self.sigma[1], dx, cc, fc)
        # Rows and columns that are not observed at all leave the operator, so that AAᵀ is diagonalised exactly for a window without gaps.
        rows[~observed.any(1)] = 0
        cols[~observed.any(0)] = 0

        def up() -> tuple[np.ndarray, np.ndarray]:
            return _cubic_window(row_axis, dy, fr, cr), _cubic_window(col_axis, dx, fc, cc)

        return SeparablePsf(rows, cols, up, observed, like)

    def _window_axes(self, fine: Window, coarse: Window) -> tuple[Axis, Axis]:
        ratio = self.pair.ratio
        middle = np.array([(coarse.top + coarse.bottom - 1) / 2]), np.array([(coarse.left + coarse.right - 1) / 2])
        row, col = (float(v[0]) for v in self.pair.to_fine(*middle))
        first_row = row - fine.top - ratio * (coarse.shape[0] - 1) / 2
        first_col = col - fine.left - ratio * (coarse.shape[1] - 1) / 2
        return Axis(ratio, first_row, coarse.shape[0], fine.shape[0]), Axis(ratio, first_col, coarse.shape[1], fine.shape[1])

    def _positions(self, coarse: Window) -> tuple[np.ndarray, np.ndarray]:
        """Centres of the coarse pixels on the fine working grid; two arrays of the window's shape."""
        rows, cols = np.mgrid[coarse.slices]
        row, col = self.pair.to_fine(rows.astype(float), cols.astype(float))
        return row + self.shift[0], col + self.shift[1]

    def _coarse_positions(self, rows: np.ndarray, cols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.pair.to_coarse(rows - self.shift[0], cols - self.shift[1])

    def _inside(self, fine: Window, coarse: Window) -> np.ndarray:
        """Coarse pixels that this window can model: centred on the scene, and reaching over no edge but the scene's."""
        row, col = self._positions(coarse)
        height, width = self.pair.fine.shape
        inside = (row >= -0.5) & (row <= height - 0.5) & (col >= -0.5) & (col <= width - 0.5)
        inside &= (row - self.reach >= fine.top) | (fine.top == 0)
        inside &= (row + self.reach <= fine.bottom - 1) | (fine.bottom == height)
        inside &= (col - self.reach >= fine.left) | (fine.left == 0)
        inside &= (col + self.reach <= fine.right - 1) | (fine.right == width)
        return inside

    def _warped(self, fine: Window, coarse: Window, stand_in: SeparablePsf, like: Tensor) -> WarpedPsf:
        step = min(self.sigma) / LATTICE
        centres = self._positions(coarse)
        axes, taps = [], []
        for position, size in zip(centres, self.pair.fine.shape, strict=True):
            first = step * (np.floor(position.min() / step) - TAPS)  # the same lattice for every window of the scene
            axes.append(Axis(step, first, int(np.ceil((position.max() - first) / step)) + TAPS, size))
            taps.append(lagrange_taps((position.ravel() - first) / step))
        rows, cols = (
            _banded(axis, sigma, 0.0, slice(0, axis.coarse), window)
            for axis, sigma, window in zip(axes, self.sigma, fine.slices, strict=True)
        )
        lattice = (axes[0].coarse, axes[1].coarse)
        pick = _product_matrix(taps[0], taps[1], lattice, like)
        return WarpedPsf(SeparableBlur(rows, cols, like), pick, lattice, lambda: self._sparse_cubic(fine, coarse, like), stand_in)

    def _sparse_cubic(self, fine: Window, coarse: Window, like: Tensor) -> Tensor:
        rows, cols = np.mgrid[fine.slices]
        row, col = self._coarse_positions(rows.ravel().astype(float), cols.ravel().astype(float))
        (ri, wr), (ci, wc) = cubic_taps(row), cubic_taps(col)
        h, w = self.pair.coarse.shape
        ri = np.clip(np.clip(ri, 0, h - 1) - coarse.top, 0, coarse.shape[0] - 1)
        ci = np.clip(np.clip(ci, 0, w - 1) - coarse.left, 0, coarse.shape[1] - 1)
        return _product_matrix((ri, wr), (ci, wc), coarse.shape, like)


def _outline(window: Window) -> tuple[np.ndarray, np.ndarray]:
    r, c = np.linspace(window.top, window.bottom - 1, 17), np.linspace(window.left, window.right - 1, 17)
    grid = np.meshgrid(r, c, indexing="ij")
    return grid[0].ravel(), grid[1].ravel()


def _mean_energy(matrix: np.ndarray) -> float:
    """Mean squared norm of the rows that are not empty."""
    energy = (matrix**2).sum(1)
    return float(energy.sum() / max((energy > 0).sum(), 1))


def _gaussian(distance: np.ndarray) -> np.ndarray:
    weight = np.where(np.abs(distance) <= REACH_SIGMAS, np.exp(-0.5 * distance**2), 0.0)
    return weight / weight.sum(-1, keepdims=True)


def _banded(axis: Axis, sigma: float, shift: float, coarse: slice, fine: slice) -> np.ndarray:
    """Rows ``coarse`` and columns ``fine`` of `psf_matrix` without making the rest of it."""
    reach = int(np.ceil(REACH_SIGMAS * sigma)) + 1
    centre = axis.centres(shift)[coarse]
    index = np.round(centre).astype(int)[:, None] + np.arange(-reach, reach + 1)[None]
    weight = _gaussian((index - centre[:, None]) / sigma)
    column = _reflect(index, axis.fine) - fine.start
    matrix = np.zeros((len(centre), fine.stop - fine.start))
    keep = (column >= 0) & (column < matrix.shape[1])
    row = np.broadcast_to(np.arange(len(centre))[:, None], column.shape)
    np.add.at(matrix, (row[keep], column[keep]), weight[keep])
    return matrix


def _cubic_window(axis: Axis, shift: float, fine: slice, coarse: slice) -> np.ndarray:
    position = (np.arange(fine.start, fine.stop) - axis.first - shift) / axis.ratio
    index, weight = cubic_taps(position)
    # Clamp at the scene's edge first; inside the scene the window already holds every neighbour that its core needs.
    column = np.clip(np.clip(index, 0, axis.coarse - 1) - coarse.start, 0, coarse.stop - coarse.start - 1)
    matrix = np.zeros((len(position), coarse.stop - coarse.start))
    np.add.at(matrix, (np.arange(len(position))[:, None], column), weight)
    return matrix


def _product_matrix(
    rows: tuple[np.ndarray, np.ndarray], cols: tuple[np.ndarray, np.ndarray], shape: tuple[int, int], like: Tensor
) -> Tensor:
    """Sparse matrix (n, pixels of ``shape``) whose n rows are products of taps along rows and along columns, each (index, weight) of (n, t)."""
    (ri, wr), (ci, wc) = rows, cols
    count = ri.shape[1] * ci.shape[1]
    index = (ri[:, :, None] * shape[1] + ci[:, None, :]).reshape(-1)
    weight = (wr[:, :, None] * wc[:, None, :]).reshape(-1)
    start = torch.arange(0, len(index) + 1, count, device=like.device)
    size = (len(ri), shape[0] * shape[1])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse", category=UserWarning)  # torch calls its sparse matrices a beta
        return torch.sparse_csr_tensor(
            start, torch.as_tensor(index, device=like.device), _tensor(weight, like), size, check_invariants=False
        )
