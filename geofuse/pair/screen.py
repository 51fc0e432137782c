"""What must not enter any statistic: values that no surface reflects, wild values, bands without data. Found first, left out as gaps.

- Values beyond physical limits are undeclared fill values or saturation, and so is a pixel that is exactly zero in all bands.
- Outliers stand apart in the spectrum of their pixel (HSI, `geofuse.pair.completion`) or from their neighbours (MSI, `geofuse.pair.spikes`).
- A gap in a band of the HSI is completed from the other bands of the pixel, so that it costs that band there and nothing else; where a pixel has too
  few bands it is missing altogether. A pixel of the MSI needs all its bands.
- A band without data takes no part.

Everything is frozen after the fit, and every decision rests on a pixel's spectrum or on its nearest neighbours: tiles decide as the whole scene does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from geofuse.cube.values import NOT_REFLECTANCE
from geofuse.errors import InvalidCube
from geofuse.pair.completion import FEWEST, Spectra, fit_spectra
from geofuse.pair.scene import Sample
from geofuse.pair.spikes import Spikes, fit_spikes

# Reflectance that no surface has: noise over water and in absorption bands does not go below, and only mirrors go above.
LOWEST, HIGHEST = -0.5, 3.0
PLAIN = 5.0  # counts are taken to be this many times their median for a reflectance of 1
IMPOSSIBLE, OUTLIER = 1, 2  # what is wrong with a value
MIN_PIXELS = 4  # with fewer a band holds nothing that could be learned
LOOKED_AT = 1_000_000  # values


@dataclass(frozen=True)
class Screen:
    """Frozen limits and statistics by which samples and tiles are cleared.

    Attributes
    ----------
    hsi_bands, msi_bands : ndarray of bool, shapes (B,) and (M,)
        Bands that hold data; the others take no part.
    limits : ndarray, shape (2, 2)
        Lowest and highest possible value of the HSI, and of the MSI.
    spectra : Spectra
    spikes : Spikes
    """

    hsi_bands: np.ndarray
    msi_bands: np.ndarray
    limits: np.ndarray
    spectra: Spectra
    spikes: Spikes

    def clear(self, sample: Sample) -> Sample:
        """The bands in use, without what is wrong: a pixel of the HSI is whole or missing, one of the MSI too; `Sample.gaps` says what was completed."""
        hsi, msi = _taken(sample.hsi, self.hsi_bands), _taken(sample.msi, self.msi_bands)
        wrong = self._impossible(hsi, msi)
        hsi, msi = _without(hsi, wrong[0]), _without(msi, wrong[1])
        msi = _without(msi, self.spikes.find(msi))
        msi = _without(msi, np.isnan(msi).any(0) & ~np.isnan(msi).all(0))
        known = np.isfinite(hsi)
        flat, flags = hsi.reshape(len(hsi), -1), known.reshape(len(hsi), -1)
        usable = flags & ~self.spectra.outliers(flat, flags)
        part = np.flatnonzero(~usable.all(0))
        if not len(part):
            return replace(sample, hsi=hsi, msi=msi, gaps=None)
        completed = flat.copy()
        enough = usable[:, part].mean(0) >= FEWEST
        rest, some = part[~enough], part[enough]
        values = np.where(usable[:, some], flat[:, some], 0).astype(float)
        completed[:, some] = np.where(usable[:, some], values, self.spectra.predicted(values, usable[:, some]))
        completed[:, rest] = np.nan
        return replace(sample, hsi=completed.reshape(hsi.shape), msi=msi, gaps=~usable.reshape(hsi.shape))

    def wrong(self, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        """Values that hold data and are not usable, of the shapes of both images: `IMPOSSIBLE` or `OUTLIER`, 0 where nothing is wrong."""
        images = _taken(sample.hsi, self.hsi_bands), _taken(sample.msi, self.msi_bands)
        out = []
        for image, far in zip(images, self._impossible(*images), strict=True):
            kind = far.astype(np.uint8)
            left = _without(image, far)
            if image is images[0]:
                flags = np.isfinite(left).reshape(len(left), -1)
                kind[self.spectra.outliers(left.reshape(len(left), -1), flags).reshape(left.shape)] = OUTLIER
            else:
                kind[self.spikes.find(left)] = OUTLIER
            out.append(kind)
        return _put_back(out[0], self.hsi_bands), _put_back(out[1], self.msi_bands)

    def _impossible(self, hsi: np.ndarray, msi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        (low, high), (msi_low, msi_high) = self.limits
        return _impossible(hsi, low, high), _impossible(msi, msi_low, msi_high)

    def arrays(self) -> dict[str, np.ndarray]:
        """All members by dotted names, for storage."""
        parts = {f"spectra.{k}": v for k, v in self.spectra.arrays().items()} | {f"spikes.{k}": v for k, v in self.spikes.arrays().items()}
        return {"hsi_bands": self.hsi_bands, "msi_bands": self.msi_bands, "limits": self.limits} | parts

    @staticmethod
    def from_arrays(arrays: dict[str, np.ndarray]) -> Screen:
        """Undo `arrays`."""

        def part(prefix: str) -> dict[str, np.ndarray]:
            return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}

        hsi, msi = (arrays[name].astype(bool) for name in ("hsi_bands", "msi_bands"))
        return Screen(hsi, msi, arrays["limits"], Spectra(**part("spectra.")), Spikes(**part("spikes.")))


def fit_screen(samples: Sequence[Sample]) -> Screen:
    """Learn from windows of the raw pair what is possible, what is usual, and which bands hold data.

    Raises
    ------
    InvalidCube
        One of the images holds no data at all.
    """
    limits, bands, cleared = [], [], []
    for role in ("hsi", "msi"):
        images = [getattr(s, role) for s in samples]
        low, high = possible(images)
        images = [_without(i, _impossible(i, low, high)) for i in images]
        used = np.sum([np.isfinite(i).sum((1, 2)) for i in images], axis=0) >= MIN_PIXELS
        if not used.any():
            raise InvalidCube(
                f"The {role.upper()} holds no data where the two images overlap: every pixel is nodata or no reflectance. Check its nodata value "
                "and its scale."
            )
        limits.append((low, high))
        bands.append(used)
        cleared.append([_taken(i, used) for i in images])
    spectra = np.concatenate([i.reshape(len(i), -1) for i in cleared[0]], axis=1)
    return Screen(bands[0], bands[1], np.array(limits), fit_spectra(spectra), fit_spikes(cleared[1]))


def possible(images: Sequence[np.ndarray]) -> tuple[float, float]:
    """Lowest and highest value that an image may hold.

    Examples
    --------
    >>> possible([np.array([[[0.1, 0.3, -9999.0]]])])
    (-0.5, 3.0)
    >>> possible([np.array([[[1000.0, 3000.0, 65535.0]]])])
    (-7500.0, 45000.0)
    """
    values = np.concatenate([i.ravel()[:: max(1, sum(j.size for j in images) // LOOKED_AT)] for i in images])
    values = values[np.isfinite(values)]
    unit = 1.0
    if values.size and float(np.median(values)) > NOT_REFLECTANCE:  # counts, which are warned of
        unit = PLAIN * float(np.median(values))
    return LOWEST * unit, HIGHEST * unit


def _impossible(image: np.ndarray, low: float, high: float) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        found = (image < low) | (image > high)
    blank = (image == 0).all(0) if len(image) > 1 else np.zeros(image.shape[1:], bool)
    return np.asarray(found | blank)


def _without(image: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    return np.where(wrong, np.float32(np.nan), image) if wrong.any() else image


def _taken(image: np.ndarray, bands: np.ndarray) -> np.ndarray:
    return image if bands.all() else image[bands]


def _put_back(image: np.ndarray, bands: np.ndarray) -> np.ndarray:
    if bands.all():
        return image
    out = np.zeros((len(bands), *image.shape[1:]), image.dtype)
    out[bands] = image
    return out
