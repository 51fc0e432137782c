"""A smooth displacement of the coarse image against the fine one, from place to place: products of Legendre polynomials over the fine grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial.legendre import legval2d

MAX_DEGREE = 12  # of a field from a file
BEYOND = 1.1  # half widths of the grid from its middle: farther out the field goes on as it is there


@dataclass(frozen=True, eq=False)
class Field:
    """Displacement over the working fine grid, fine pixels; without the constant, which is the shift.

    Attributes
    ----------
    coefficients : ndarray, shape (2, D + 1, D + 1)
        Of Legendre polynomials along rows and columns, for the displacement (rows down, columns right).
    shape : tuple of int
        Rows and columns of the fine grid, over which they run from -1 to 1.
    """

    coefficients: np.ndarray
    shape: tuple[int, int]

    def at(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """Displacement at places in fine index coordinates; (2, …).

        Examples
        --------
        >>> stretched = Field(np.array([[[0.0, 0.0], [2.0, 0.0]], np.zeros((2, 2))]), (101, 51))
        >>> stretched.at(np.array([0.0, 50.0, 100.0]), np.zeros(3))
        array([[-2.,  0.,  2.],
               [ 0.,  0.,  0.]])
        """
        return np.stack([legval2d(*normalised(rows, cols, self.shape), c) for c in self.coefficients])


def normalised(rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Index coordinates as the polynomials take them: -1 at the first pixel of the grid, 1 at the last."""
    u, v = (np.clip(2 * place / max(size - 1, 1) - 1, -BEYOND, BEYOND) for place, size in zip((rows, cols), shape, strict=True))
    return u, v
