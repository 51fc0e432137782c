"""The point-spread function of one window as a linear operator on tensors, in the two forms that `geofuse.pair.psf.builder` describes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

STRIPE = 32  # fine rows: a stripe of 20 coefficients stays in a core's cache


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
        if coarse_rows.requires_grad:  # a network is trained through it: autograd knows no `out`
            out[:, stripe] = matrix @ coarse_rows[:, near]
        else:
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
        Makes the interpolation, from (c, h, w) to (c, H, W); called when it is first needed.
    stand_in : SeparablePsf
    energy : Tensor, shape (h, w), optional
        Diagonal of AAᵀ, of pixels with true centres: they lie too far from those of the stand-in for it to precondition.
    """

    def __init__(
        self,
        blur: SeparableBlur,
        pick: Tensor,
        lattice: tuple[int, int],
        make_up: Callable[[], Callable[[Tensor], Tensor]],
        stand_in: SeparablePsf,
        energy: Tensor | None = None,
    ) -> None:
        self._blur, self._pick, self._lattice = blur, pick, lattice
        self._make_up, self._stand_in, self._energy = make_up, stand_in, energy
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
    def _up(self) -> Callable[[Tensor], Tensor]:
        return self._make_up()

    @cached_property
    def _pick_t(self) -> Tensor:
        return self._pick.t().to_sparse_csr()

    def forward(self, fine: Tensor) -> Tensor:
        """Blur and sample."""
        return self._picked(self._blur.forward(fine))

    def adjoint(self, coarse: Tensor) -> Tensor:
        """Apply the transpose of `forward`."""
        return self._blur.adjoint(apply_sparse(self._pick_t, coarse * self.observed, self._lattice))

    def upsample(self, coarse: Tensor) -> Tensor:
        """Interpolate on the fine grid."""
        return self._up(coarse)

    def square(self, coarse: Tensor) -> Tensor:
        """A · Aᵀ coarse."""
        return self._picked(self._blur.square(apply_sparse(self._pick_t, coarse * self.observed, self._lattice)))

    def sandwich(self, coarse: Tensor, middle: Callable[[Tensor, slice], Tensor]) -> Tensor:
        """A · middle(Aᵀ coarse)."""
        return self._picked(self._blur.sandwich(apply_sparse(self._pick_t, coarse * self.observed, self._lattice), middle))

    def _picked(self, on_lattice: Tensor) -> Tensor:
        return apply_sparse(self._pick, on_lattice, self.observed.shape) * self.observed

    def inverse(self, coarse: Tensor, weight: Tensor) -> Tensor:
        """Apply (weight · A Aᵀ + 1)⁻¹ of the stand-in, or with the diagonal of A Aᵀ alone: a preconditioner, not an exact inverse."""
        if self._energy is None:
            return self._stand_in.inverse(coarse, weight)
        return coarse / (1 + weight[:, None, None] * self._energy)


def product_matrix(
    rows: tuple[np.ndarray, np.ndarray], cols: tuple[np.ndarray, np.ndarray], shape: tuple[int, int], like: Tensor
) -> Tensor:
    """Sparse matrix (n, pixels of ``shape``) whose n rows are products of taps along rows and along columns, each (index, weight) of (n, t)."""
    (ri, wr), (ci, wc) = rows, cols
    index, weight = ri[:, :, None] * shape[1] + ci[:, None, :], wr[:, :, None] * wc[:, None, :]
    return taps_matrix(index.reshape(len(ri), -1), weight.reshape(len(ri), -1), shape[0] * shape[1], like)


def taps_matrix(index: np.ndarray, weight: np.ndarray, size: int, like: Tensor) -> Tensor:
    """Sparse matrix (n, ``size``) of rows that are given by their taps, index and weight, both (n, t)."""
    start = torch.arange(0, index.size + 1, index.shape[1], device=like.device)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse", category=UserWarning)  # torch calls its sparse matrices a beta
        return torch.sparse_csr_tensor(
            start,
            torch.as_tensor(index.ravel(), device=like.device),
            _tensor(weight.ravel(), like),
            (len(index), size),
            check_invariants=False,
        )


def _tensor(array: np.ndarray, like: Tensor) -> Tensor:
    return torch.as_tensor(np.ascontiguousarray(array), dtype=like.dtype, device=like.device)


def apply_sparse(matrix: Tensor, image: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Apply a sparse matrix to the pixels of every channel; ``shape`` (rows, columns) is that of the result."""
    return (matrix @ image.flatten(1).T).T.reshape(len(image), *shape)


def _mean_energy(matrix: np.ndarray) -> float:
    """Mean squared norm of the rows that are not empty."""
    energy = (matrix**2).sum(1)
    return float(energy.sum() / max((energy > 0).sum(), 1))
