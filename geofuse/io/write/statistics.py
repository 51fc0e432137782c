"""Statistics of every band, gathered while tiles stream by and exact whatever the tiles are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class BandStatistics:
    """Count, minimum, maximum, mean and standard deviation of each band's stored numbers.

    Moments are merged as Chan, Golub and LeVeque (1979, "Updating formulae and a pairwise algorithm for computing sample
    variances") do, so that nothing cancels.

    Parameters
    ----------
    bands : int
        Number of bands.

    Examples
    --------
    >>> statistics = BandStatistics(1)
    >>> statistics.add(0, np.array([1, 2]), 3)
    >>> statistics.add(0, np.array([6]), 1)
    >>> statistics.tags(0)["STATISTICS_MEAN"], statistics.tags(0)["STATISTICS_VALID_PERCENT"]
    ('3.0', '75')
    """

    _columns = ("pixels", "count", "minimum", "maximum", "mean", "squares")

    def __init__(self, bands: int) -> None:
        self.pixels = np.zeros(bands, dtype=np.int64)
        self.count = np.zeros(bands, dtype=np.int64)
        self.minimum = np.full(bands, np.inf)
        self.maximum = np.full(bands, -np.inf)
        self.mean = np.zeros(bands)
        self.squares = np.zeros(bands)
        """Sum of squared deviations from the mean."""

    def add(self, band: int, values: NDArray[Any], pixels: int) -> None:
        """Take in the valid values of one window of one band, out of so many pixels."""
        self.pixels[band] += pixels
        if values.size == 0:
            return
        mean, squares = _moments(values)
        self._merge(band, values.size, mean, squares, float(values.min()), float(values.max()))

    def _merge(self, band: int, new: int, mean: float, squares: float, low: float, high: float) -> None:
        seen, shift = int(self.count[band]), mean - self.mean[band]
        self.squares[band] += squares + shift**2 * seen * new / (seen + new)
        self.mean[band] += shift * new / (seen + new)
        self.count[band] += new
        self.minimum[band] = min(self.minimum[band], low)
        self.maximum[band] = max(self.maximum[band], high)

    def to_lists(self) -> dict[str, list[float]]:
        """All that was gathered, as plain JSON values that `merge` takes."""
        return {name: getattr(self, name).tolist() for name in self._columns}

    def merge(self, lists: dict[str, list[float]]) -> None:
        """Take in what another one gathered; the result depends on the order by rounding only."""
        columns = [lists[name] for name in self._columns]
        for band, (pixels, count, low, high, mean, squares) in enumerate(zip(*columns, strict=True)):
            self.pixels[band] += int(pixels)
            if count:
                self._merge(band, int(count), mean, squares, low, high)

    @property
    def valid_percent(self) -> float:
        """Share of valid values over all bands, %."""
        return float(100.0 * self.count.sum() / max(1, self.pixels.sum()))

    def table(self) -> dict[str, NDArray[np.float64]]:
        """One number a band: minimum, maximum, mean, standard deviation (NaN for a band without data), and share of valid pixels in %."""
        known = self.count > 0
        numbers = {"minimum": self.minimum, "maximum": self.maximum, "mean": self.mean}
        numbers["stddev"] = np.sqrt(self.squares / np.maximum(1, self.count))
        columns = {name: np.where(known, column, np.nan) for name, column in numbers.items()}
        return columns | {"valid_percent": 100.0 * self.count / np.maximum(1, self.pixels)}

    def tags(self, band: int) -> dict[str, str]:
        """Return GDAL's ``STATISTICS_*`` tags of one band; of a band without data only the share of valid pixels."""
        row = {name: float(column[band]) for name, column in self.table().items()}
        share = row.pop("valid_percent")
        tags = {"STATISTICS_VALID_PERCENT": f"{share:.4g}" if 0.01 <= share <= 99.99 or share in (0, 100) else repr(share)}
        known = row if self.count[band] else {}
        return tags | {f"STATISTICS_{name.upper()}": repr(value) for name, value in known.items()}


def _moments(values: NDArray[Any]) -> tuple[float, float]:
    """Mean, and sum of squared deviations from it."""
    if values.dtype.kind == "f":
        return float(values.mean(dtype=np.float64)), float(values.var(dtype=np.float64)) * values.size
    # Integers of 16 bits: both sums are exact in float64, and one pass through a matrix product beats three through `var`.
    wide = values.ravel().astype(np.float64)
    total, squares = int(wide.sum()), int(wide @ wide)
    return total / values.size, (squares * values.size - total**2) / values.size
