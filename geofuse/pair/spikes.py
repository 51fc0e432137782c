"""Single values of the MSI that stand out as nothing in a scene does: hot pixels, dropped values.

Whatever lies on the ground changes several bands at once, and its neighbours a little: the optics spread it. A value is wild where its difference
from the four neighbours is far from what the differences in the other bands say of it and far larger than they are, and where it stands above
the variation around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

# Robust standard deviations of the difference, and times the largest deviation among the 24 pixels around. On five airborne scenes and the embedded
# one, the farthest of all values that stand 2.5 times above their surroundings (cars, single roofs) is at 26.
FAR, ABOVE = 30.0, 2.5
ALONE = 3.0  # times the largest difference of another band: a glint is white, a roof is seen in several bands
RELATIVE_FLOOR, FLOOR = 1e-2, 1e-6  # of a band's median brightness, and reflectance
MANY = 8.0  # deviations: differences beyond are left out of the fit
RIDGE = 1e-3
REACH, MIN_AROUND = 2, 8  # pixels
PIXELS = 200_000  # that are learned from


@dataclass(frozen=True)
class Spikes:
    """Frozen knowledge of how bands differ from pixel to pixel.

    Attributes
    ----------
    weight : ndarray, shape (M, M)
        From the differences in all bands to what each says of itself and the others of it: a unit diagonal less the regression on the others.
    sigma : ndarray, shape (M,)
        Robust standard deviation of that, reflectance.
    """

    weight: np.ndarray
    sigma: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """All members by name, for storage."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def find(self, image: np.ndarray) -> np.ndarray:
        """Wild values of an image (M, H, W), NaN for no data; bool of the same shape."""
        found = np.zeros(image.shape, bool)
        if len(image) == 1:  # no other band to ask
            return found
        whitened = (self.weight / self.sigma[:, None]).astype(image.dtype)
        difference = _difference(image)
        far = np.tensordot(whitened, difference, 1)
        for band, row, col in np.argwhere(np.abs(far) > FAR):
            others = np.delete(difference[:, row, col], band)
            alone = abs(difference[band, row, col]) > ALONE * np.abs(others).max()
            found[band, row, col] = alone and _stands_out(image[band], row, col)
        return found


def fit_spikes(images: Sequence[np.ndarray]) -> Spikes:
    """Learn how the bands of a scene differ from pixel to pixel, from images (M, H, W) with NaN for no data."""
    step = max(1, sum(i[0].size for i in images) // PIXELS)
    valid = [np.isfinite(i).all(0) for i in images]
    difference, values = (
        np.concatenate([made(i)[:, v][:, ::step] for i, v in zip(images, valid, strict=True)], axis=1).astype(float)
        for made in (_difference, np.abs)
    )
    bright = np.median(values, axis=1) if values.size else np.zeros(len(values))
    lowest = np.maximum(RELATIVE_FLOOR * bright, FLOOR)
    usual = (np.abs(difference) < MANY * np.maximum(_spread(difference), lowest)[:, None]).all(0)
    gram = difference[:, usual] @ difference[:, usual].T
    weight = np.eye(len(gram))
    for band in range(len(gram)):
        others = np.arange(len(gram)) != band
        inner = gram[np.ix_(others, others)]
        ridge = RIDGE * np.trace(inner) / max(len(inner), 1) + 1e-30
        weight[band, others] = -np.linalg.solve(inner + ridge * np.eye(len(inner)), gram[others, band])
    return Spikes(weight, np.maximum(_spread(weight @ difference), lowest))


def _spread(values: np.ndarray) -> np.ndarray:
    """Standard deviation of every row, from the smaller nine tenths of it."""
    if values.shape[1] == 0:
        return np.zeros(len(values))
    return np.asarray(np.quantile(np.abs(values), 0.9, axis=1) / 1.6449)


def _difference(image: np.ndarray) -> np.ndarray:
    """Every value less the mean of its four neighbours, as far as they hold data; zero where it holds none itself."""
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)), constant_values=np.nan)
    total, count = np.zeros_like(image), np.zeros_like(image)
    for near in (padded[:, 2:, 1:-1], padded[:, :-2, 1:-1], padded[:, 1:-1, 2:], padded[:, 1:-1, :-2]):
        there = np.isfinite(near)
        total += np.where(there, near, 0)
        count += there
    return np.where((count > 0) & np.isfinite(image), image - total / np.maximum(count, 1), 0)


def _stands_out(band: np.ndarray, row: int, col: int) -> bool:
    top, left = max(row - REACH, 0), max(col - REACH, 0)
    around = band[top : row + REACH + 1, left : col + REACH + 1].astype(float)
    around[row - top, col - left] = np.nan
    near = around[np.isfinite(around)]
    if near.size < MIN_AROUND:
        return False
    middle = np.median(near)
    return bool(abs(band[row, col] - middle) > ABOVE * np.abs(near - middle).max())
