"""A smooth displacement from place to place, from the pair itself: what orthorectification with another terrain model or attitude leaves.

Seen through the right PSF at the right places the MSI is a linear function of the HSI (`geofuse.pair.registration`). Blocks of coarse pixels are
first moved about, each to where it correlates best with what that function predicts, so that displacements of up to `SEARCHED` coarse pixels are
caught; polynomials through these are then refined by Gauss-Newton steps on all pixels at once. Both are robust: correlation does not know gain
and offset, and pixels far from the rest (clouds, change) count for little. The degree is the one that predicts held-out blocks best, and none is
used that does not predict them clearly better than the shift alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.polynomial.legendre import legvander
from scipy.sparse import csr_matrix, vstack

from geofuse.errors import InputWarning, InvalidPair
from geofuse.pair.grid import GridPair
from geofuse.pair.psf.builder import PsfBuilder
from geofuse.pair.psf.field import Field, normalised
from geofuse.pair.registration import LocalField, Misfit, Registration, register, reject_unlike
from geofuse.pair.scene import Sample

SEARCHED, LARGEST = 2.5, 3.0  # coarse pixels from the shift: what is searched along each axis, and what a pair may have
STEP = 0.5  # of the search, coarse pixels
BLOCK = 8  # coarse pixels along each side; blocks overlap by half
SEARCHES = ((3, SEARCHED), (5, 1.0))  # degree of the polynomials through the blocks, and how far each is moved from those before
DEGREES = (1, 2, 3, 4, 5, 6)
ROUNDS = 4  # Gauss-Newton steps for each degree
MIN_BLOCKS = 12
MIN_GAIN = 0.05  # what a field must take off the misfit of held-out blocks
TRIMMED = 0.8  # share of the pixels, those that fit best, that the misfit is taken over
RIDGE = 1e-5
PROBE = 0.1  # coarse pixels


def register_locally(pair: GridPair, samples: Sequence[Sample]) -> Registration:
    """Shift, PSF and, where held-out blocks confirm it, a displacement field.

    Parameters
    ----------
    pair : GridPair
    samples : sequence of Sample
        Windows of the scene.

    Raises
    ------
    InvalidPair
        The two images have too little in common even so, or are displaced by more than `LARGEST` coarse pixels.
    """
    start = register(pair, samples, reject=False)
    if np.isnan(start.unexplained):
        return start
    views = _Views(pair, samples)
    # A PSF of the usual width: the one that was found is blurred by what is displaced.
    plain = PsfBuilder(pair, (pair.ratio / 2,) * 2, start.shift)
    if views.blocks.shape[0] < MIN_BLOCKS or (searched := views.searched(plain)) is None:
        reject_unlike(start.unexplained)
        height, width = pair.coarse.shape
        text = f"no local displacement is estimated: fewer than {MIN_BLOCKS} blocks of {BLOCK} coarse pixels a side tell where they lie (the images share"
        warnings.warn(
            InputWarning(f"{text} {height} x {width} coarse pixels; expected 20 x 20 or more); one shift is used", "no-local-field"),
            stacklevel=2,
        )
        return start
    tried = [views.refined(_truncated(searched, degree), degree, views.fitted) for degree in DEGREES]
    scores, before = [views.held_out(builder) for builder in tried], views.held_out(plain)
    best = int(np.argmin(scores))
    if scores[best] > (1 - MIN_GAIN) * before:
        reject_unlike(start.unexplained)
        return start
    explained = 1 - scores[best] / before
    builder = views.refined(tried[best], DEGREES[best], views.everywhere)
    geometry = register(pair, samples, local=_checked(views, builder, explained))
    builder = views.refined(geometry.builder(pair), DEGREES[best], views.everywhere)
    return replace(geometry, shift=builder.shift, local=_checked(views, builder, explained))


class _Views:
    """Both images of all windows at the places of the coarse pixels, one after the other, and the blocks that these form.

    Attributes
    ----------
    hsi : ndarray, shape (C + 1, N)
        Components of the HSI, and a constant; zero where there is no data.
    rows, cols : ndarray, shape (N,)
        Fine index coordinates by the georeference.
    blocks : sparse matrix, shape (blocks, N)
        1 where a pixel belongs to a block.
    fitted, everywhere : ndarray of bool, shape (N,)
        Pixels of every other block, and all.
    """

    def __init__(self, pair: GridPair, samples: Sequence[Sample]) -> None:
        self._misfit, self._pair = Misfit(pair, samples), pair
        self._shape = pair.fine.shape[0], pair.fine.shape[1]
        self.hsi = np.concatenate([np.nan_to_num(c).reshape(len(c), -1) for c in self._misfit.components], axis=1)
        self.hsi = np.concatenate([self.hsi, np.ones_like(self.hsi[:1])])
        grid = [np.mgrid[s.coarse.slices].astype(float) for s in samples]
        places = [np.stack(pair.to_fine(*g)) if s.positions is None else s.positions for s, g in zip(samples, grid, strict=True)]
        self.rows, self.cols = np.nan_to_num(np.concatenate([p.reshape(2, -1) for p in places], axis=1))
        number = np.concatenate([g.reshape(2, -1).astype(int) for g in grid], axis=1)
        window = np.repeat(np.arange(len(samples)), [g[0].size for g in grid])
        half = BLOCK // 2
        self.blocks = vstack([_membership(window, (number + np.array([[i], [j]])) // BLOCK) for i in (0, half) for j in (0, half)])
        self.everywhere, self.fitted = np.ones(window.size, bool), (number // BLOCK).sum(0) % 2 == 0

    def seen(self, builder: PsfBuilder) -> tuple[np.ndarray, np.ndarray]:
        """The MSI at all places, (M, N), and where it can be compared, (N,)."""
        views = self._misfit.seen(builder)
        return np.concatenate([v.reshape(len(v), -1) for v, _ in views], axis=1), np.concatenate([u.ravel() for _, u in views])

    def searched(self, builder: PsfBuilder) -> PsfBuilder | None:
        """The geometry with polynomials through where the blocks correlate best; None where too few of them do anywhere."""
        for degree, reach in SEARCHES:
            predicted = self._predicted(*self.seen(builder))
            steps = np.arange(-reach, reach + STEP / 2, STEP) * self._pair.ratio
            cost = np.stack([[self._uncorrelated(predicted, _moved(builder, dy, dx)) for dx in steps] for dy in steps])
            step, weight = _minima(cost, STEP * self._pair.ratio)
            if (weight > 0).sum() < MIN_BLOCKS:
                return None
            size = np.asarray(self.blocks.sum(1)).ravel()
            rows, cols = (self.blocks @ places / size for places in (self.rows, self.cols))
            wanted = step + np.array(builder.shift)[:, None] + (0 if builder.field is None else builder.field.at(rows, cols))
            builder = self._through(builder, degree, rows, cols, wanted, weight)
        return builder

    def refined(self, builder: PsfBuilder, degree: int, chosen: np.ndarray) -> PsfBuilder:
        """The geometry after Gauss-Newton steps on the chosen pixels, all coefficients up to a degree at once."""
        ratio, basis, powers = self._pair.ratio, *_basis(self.rows, self.cols, self._shape, degree)
        now = _coefficients(builder, powers)
        for _ in range(ROUNDS):
            msi, used = self.seen(builder)
            slopes = [self._slope(builder, *axis) for axis in np.eye(2)]
            left = msi - self._predicted(msi, used & chosen)
            scale, weight = _robust(left, used & chosen)
            gram, right = np.zeros((2, len(powers), 2, len(powers))), np.zeros((2, len(powers)))
            for band, deviation in enumerate(scale):
                jacobian = np.stack([basis * slope[band] / deviation for slope in slopes])
                weighted = jacobian * weight
                gram += np.einsum("akn,bln->akbl", weighted, jacobian, optimize=True)
                right -= weighted @ (left[band] / deviation)
            system = gram.reshape(right.size, -1)
            system += RIDGE * np.trace(system) / len(system) * np.diag(np.tile(_roughness(powers), 2))
            step = np.linalg.solve(system, right.ravel()).reshape(right.shape)
            far = float(np.abs(step @ basis[:, used]).max(initial=0))
            now = now + step * min(1.0, SEARCHED * ratio / 5 / max(far, 1e-9))
            builder = _with(builder, now, powers, self._shape)
        return builder

    def held_out(self, builder: PsfBuilder) -> float:
        """Misfit of the pixels that were not fitted, those that fit best, relative to the variance of the bands."""
        msi, used = self.seen(builder)
        left = (msi - self._predicted(msi, used & self.fitted))[:, used & ~self.fitted]
        squares = np.sort((left**2 / msi[:, used].var(1, keepdims=True)).mean(0))
        return float(squares[: max(1, int(TRIMMED * squares.size))].mean())

    def _predicted(self, msi: np.ndarray, used: np.ndarray) -> np.ndarray:
        """What a linear function of the HSI makes of the MSI, (M, N), fitted where it is ``used``, three times: pixels that are far count for less."""
        weight = used.astype(float)
        for _ in range(2):
            _, weight = _robust(msi - self._linear(msi, weight), used)
        return self._linear(msi, weight)

    def _linear(self, msi: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """The linear function of the HSI that is nearest to the MSI, (M, N), with weights of the pixels (N,)."""
        used = weight > 0
        root = np.sqrt(weight[used])
        matrix = np.linalg.lstsq((self.hsi[:, used] * root).T, (msi[:, used] * root).T, rcond=None)[0].T
        return np.asarray(matrix @ self.hsi)

    def _slope(self, builder: PsfBuilder, down: float, right: float) -> np.ndarray:
        """By how much the MSI that is seen changes with the shift, (M, N), per fine pixel."""
        step = PROBE * self._pair.ratio
        one, other = (self.seen(_moved(builder, sign * step * down, sign * step * right))[0] for sign in (1, -1))
        return np.asarray((one - other) / (2 * step))

    def _uncorrelated(self, predicted: np.ndarray, builder: PsfBuilder) -> np.ndarray:
        """Share of the MSI's variance in each block that the prediction does not explain, whatever gain and offset; mean of the bands."""
        msi, used = self.seen(builder)
        count = self.blocks @ used.astype(float)
        x, y = predicted * used, msi * used
        sums = [(self.blocks @ a.T) / np.maximum(count, 1)[:, None] for a in (x, y, x * x, y * y, x * y)]
        xx, yy, xy = sums[2] - sums[0] ** 2, sums[3] - sums[1] ** 2, sums[4] - sums[0] * sums[1]
        share = 1 - np.clip(xy, 0, None) ** 2 / np.maximum(xx * yy, 1e-12)
        return np.where(count > BLOCK**2 / 2, share.mean(1), np.nan)

    def _through(
        self, builder: PsfBuilder, degree: int, rows: np.ndarray, cols: np.ndarray, wanted: np.ndarray, weight: np.ndarray
    ) -> PsfBuilder:
        """Polynomials through displacements of blocks (2, blocks), of which some may be wrong."""
        basis, powers = _basis(rows, cols, self._shape, degree)
        far = np.zeros(len(rows))
        for _ in range(10):
            weighted = basis * (weight / (1 + far))
            system = weighted @ basis.T
            system += RIDGE * np.trace(system) / len(system) * np.diag(_roughness(powers))
            found = np.linalg.solve(system, weighted @ wanted.T).T
            far = ((wanted - found @ basis) ** 2).sum(0) / (STEP * self._pair.ratio / 2) ** 2
        return _with(builder, found, powers, self._shape)


def _membership(window: np.ndarray, number: np.ndarray) -> csr_matrix:
    """1 where a pixel belongs to a block, (blocks, N), from the window (N,) and the numbers of its block along rows and columns (2, N)."""
    index = np.unique(np.stack([window, *number]), axis=1, return_inverse=True)[1].ravel()
    return csr_matrix((np.ones(index.size), (index, np.arange(index.size))))


def _moved(builder: PsfBuilder, dy: float, dx: float) -> PsfBuilder:
    return replace(builder, shift=(builder.shift[0] + dy, builder.shift[1] + dx))


def _minima(cost: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Where the costs (S, S, blocks) of displacements are least, (2, blocks), between the steps by parabolas; and how plainly, (blocks,)."""
    side, blocks = cost.shape[0], cost.shape[2]
    flat = np.where(np.isfinite(cost).all((0, 1)), cost, 1.0).reshape(-1, blocks)
    at, least = np.unravel_index(flat.argmin(0), (side, side)), flat.min(0)
    weight = np.clip((np.median(flat, axis=0) - least) / (least + 0.05), 0, 5)
    inside = np.logical_and.reduce([(a > 0) & (a < side - 1) for a in at])
    found = np.zeros((2, blocks))
    for axis in range(2):
        near = []
        for move in (-1, 0, 1):
            place = [np.clip(a + move * (k == axis), 0, side - 1) for k, a in enumerate(at)]
            near.append(flat.reshape(side, side, blocks)[place[0], place[1], np.arange(blocks)])
        bend = near[0] - 2 * near[1] + near[2]
        found[axis] = (at[axis] - side // 2 + np.where(bend > 1e-9, (near[0] - near[2]) / np.maximum(2 * bend, 1e-9), 0)) * step
    return found, weight * inside


def _robust(left: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Robust deviation of residuals (M, N) by band, and weights of the pixels (N,): Cauchy's, at two deviations a half."""
    scale = np.maximum(1.4826 * np.median(np.abs(left[:, used]), axis=1), 1e-9) if used.any() else np.ones(len(left))
    return scale, used / (1 + ((left / scale[:, None]) ** 2).mean(0) / 4)


def _basis(rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int], degree: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Products of Legendre polynomials at places, (K, n), the constant first, and the degrees of each along rows and columns."""
    u, v = normalised(rows, cols, shape)
    along = [legvander(w, degree) for w in (u, v)]
    powers = _powers(degree)
    return np.stack([along[0][:, i] * along[1][:, j] for i, j in powers]), powers


def _powers(degree: int) -> list[tuple[int, int]]:
    """Degrees along rows and columns of all products up to a degree, the constant first."""
    return sorted(((i, j) for i in range(degree + 1) for j in range(degree + 1 - i)), key=sum)


def _roughness(powers: list[tuple[int, int]]) -> np.ndarray:
    return np.array([float(i**2 + j**2) for i, j in powers]) ** 2


def _coefficients(builder: PsfBuilder, powers: list[tuple[int, int]]) -> np.ndarray:
    """Shift and field of a geometry as coefficients (2, K)."""
    side = max(map(sum, powers)) + 1
    known = np.zeros((2, side, side))
    if builder.field is not None:
        size = min(known.shape[1], builder.field.coefficients.shape[1])
        known[:, :size, :size] = builder.field.coefficients[:, :size, :size]
    known[:, 0, 0] = builder.shift
    return np.stack([known[:, i, j] for i, j in powers], axis=1)


def _with(builder: PsfBuilder, found: np.ndarray, powers: list[tuple[int, int]], shape: tuple[int, int]) -> PsfBuilder:
    """The geometry with coefficients (2, K), the first of which are the shift."""
    degree = max(map(sum, powers))
    coefficients = np.zeros((2, degree + 1, degree + 1))
    for (i, j), values in zip(powers, found.T, strict=True):
        coefficients[:, i, j] = values
    shift = float(coefficients[0, 0, 0]), float(coefficients[1, 0, 0])
    coefficients[:, 0, 0] = 0
    return replace(builder, shift=shift, field=Field(coefficients, shape))


def _truncated(builder: PsfBuilder, degree: int) -> PsfBuilder:
    assert builder.field is not None
    powers = _powers(degree)
    return _with(builder, _coefficients(builder, powers), powers, builder.field.shape)


def _checked(views: _Views, builder: PsfBuilder, explained: float) -> LocalField:
    """The field with its figures, once it is sure that it is none that no orthorectified pair has."""
    assert builder.field is not None
    _, used = views.seen(builder)
    length = np.hypot(*builder.field.at(views.rows[used], views.cols[used]))
    limit = LARGEST * builder.pair.ratio
    if length.max() > limit:
        raise InvalidPair(
            f"The two images are distorted against each other by up to {length.max():.1f} fine pixels beyond their common shift; expected at most "
            f"{limit:.1f}, which are {LARGEST:g} coarse pixels. Orthorectify one of them anew, with ground control points."
        )
    return LocalField(builder.field, float(length.max()), float(np.sqrt((length**2).mean())), float(explained))
