"""What the spectra of a scene have in common: few components, from which a band that is missing in a pixel is completed.

The components are found without what they are there to find. Gaps are completed and outliers left out anew in every round (EM for principal
components with missing data, Roweis 1997, "EM algorithms for PCA and SPCA"; Tipping and Bishop 1999, doi:10.1111/1467-9868.00196), and noise
levels are quantiles, which a few per cent of wild values do not move.

An outlier is a value that stands apart in the spectrum of its own pixel: far from what the other bands say of it, in units of the band's
noise, and so are its neighbours in wavelength not. A material that is rare in the scene, or unknown to the components, is far from them in
many neighbouring bands and is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy.ndimage import median_filter

RANKS, PIXELS = (5, 10, 20), 2048  # few components first: with many a wild value gets one of its own
START, NEAR = 6.0, 5  # in the first round: robust deviations of a band from the median of so many around
FAR, ISOLATED, AROUND = 12.0, 8.0, 8  # times the noise, and times the median deviation of so many bands on either side
LARGEST_SHARE = 0.2  # of a pixel's bands: more than that are no outliers but another spectrum
# Noise at least, of a band's brightness and in reflectance: what is nearer than a tenth of the brightness is no matter.
RELATIVE_FLOOR, FLOOR = 1e-2, 1e-6
FEWEST = 0.25  # of the bands: with fewer a pixel is not completed
CHUNK = 2048  # pixels


@dataclass(frozen=True)
class Spectra:
    """Frozen statistics of the spectra of a scene.

    Attributes
    ----------
    mean, sigma : ndarray, shape (B,)
        Mean spectrum and noise standard deviation, reflectance.
    basis : ndarray, shape (B, K)
        Orthonormal components, in units of ``sigma``.
    variance : ndarray, shape (K,)
        Of the scene along each of them, in units of the noise.
    """

    mean: np.ndarray
    sigma: np.ndarray
    basis: np.ndarray
    variance: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """All members by name, for storage."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def predicted(self, spectra: np.ndarray, known: np.ndarray) -> np.ndarray:
        """What the known bands of pixels say of all bands, by least squares with the scene as prior.

        Parameters
        ----------
        spectra : ndarray, shape (B, N)
            Reflectance, finite where ``known``.
        known : ndarray of bool, shape (B, N)

        Returns
        -------
        ndarray, shape (B, N)
        """
        return self.mean[:, None] + self.sigma[:, None] * (self.basis @ self.coefficients(spectra, known))

    def coefficients(self, spectra: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Those along the components that the known bands ask for, (K, N); arguments as for `predicted`."""
        rank = len(self.variance)
        out = np.empty((rank, spectra.shape[1]))
        products = (self.basis[:, :, None] * self.basis[:, None]).reshape(-1, rank * rank)
        for start in range(0, spectra.shape[1], CHUNK):
            part = slice(start, start + CHUNK)
            whitened = np.where(known[:, part], (spectra[:, part] - self.mean[:, None]) / self.sigma[:, None], 0)
            system = (known[:, part].T.astype(float) @ products).reshape(-1, rank, rank) + np.diag(1 / self.variance)
            out[:, part] = np.linalg.solve(system, (self.basis.T @ whitened).T[..., None])[..., 0].T
        return out

    def residual(self, spectra: np.ndarray) -> np.ndarray:
        """What the components leave of whole spectra (B, N), in units of the noise."""
        mean, sigma, basis = (a.astype(spectra.dtype) for a in (self.mean, self.sigma, self.basis))
        whitened = (spectra - mean[:, None]) / sigma[:, None]
        return np.asarray(whitened - basis @ (basis.T @ whitened))

    def outliers(self, spectra: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Values that stand apart in the spectrum of their pixel; bool (B, N), of arguments as for `predicted`."""
        found = np.zeros(known.shape, bool)
        pending = np.flatnonzero(self._suspicious(spectra, known) & (known.mean(0) >= FEWEST))
        for _ in range(max(1, int(LARGEST_SHARE * len(known)))):  # the farthest of each pixel first, then what it had hidden
            left = known[:, pending] & ~found[:, pending]
            deviation = self._deviation(spectra[:, pending], left)
            far = (deviation > FAR).any(0)
            pending, left, deviation = pending[far], left[:, far], deviation[:, far]
            apart = (deviation > FAR) & (deviation > ISOLATED * _around(deviation, left))
            band, hit = np.where(apart, deviation, 0).argmax(0), apart.any(0)
            pending = pending[hit]
            if not len(pending):
                return found
            found[band[hit], pending] = True
        found[:, pending] = False
        return found

    def _suspicious(self, spectra: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Pixels that may hold an outlier, (N,): quick, as hardly any does."""
        found = np.asarray(~known.all(0))
        for start in range(0, spectra.shape[1], CHUNK):
            part = slice(start, start + CHUNK)
            filled = np.where(known[:, part], spectra[:, part], self.mean[:, None].astype(spectra.dtype))
            found[part] |= np.abs(self.residual(filled)).max(0) > FAR / 2
        return found

    def _deviation(self, spectra: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Distance of known values from what all of them say, in units of what is expected of it; zero elsewhere."""
        left = np.abs(spectra - self.predicted(spectra, known)) / (self.sigma * self.freedom)[:, None]
        return np.where(known, left, 0)

    @property
    def freedom(self) -> np.ndarray:
        """Share of a band's noise that the components leave over, (B,)."""
        return np.sqrt(np.clip(1 - (self.basis**2).sum(1), 0.2, None))


def _around(deviation: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Median over the known bands on either side of each, (B, N)."""
    bands = len(deviation)
    padded = np.full((bands + 2 * AROUND, deviation.shape[1]), np.nan)
    padded[AROUND : AROUND + bands] = np.where(known, deviation, np.nan)
    out = np.empty(deviation.shape)
    for start in range(0, deviation.shape[1], 256):
        part = padded[:, start : start + 256]
        near = np.lib.stride_tricks.sliding_window_view(part, 2 * AROUND + 1, axis=0)
        ordered = np.sort(near, axis=2)  # NaN last
        count = np.isfinite(near).sum(2)
        middle = np.maximum((count - 1) // 2, 0)[..., None]
        out[:, start : start + 256] = np.nan_to_num(np.take_along_axis(ordered, middle, 2)[..., 0])
    return out


def fit_spectra(spectra: np.ndarray) -> Spectra:
    """Find the components of a scene.

    Parameters
    ----------
    spectra : ndarray, shape (B, N)
        Reflectance, NaN where there is no data; every band holds some.
    """
    spectra = spectra[:, _spread(np.isfinite(spectra).mean(0) >= FEWEST)].astype(float)
    known = np.isfinite(spectra)
    values = np.where(known, spectra, 0)
    filled, inliers = _start(spectra, known)
    sigma = np.maximum(filled.std(1), FLOOR)
    for most in RANKS:
        rank = max(1, min(most, len(spectra) // 2, spectra.shape[1] // 4))
        found = _components(filled, sigma, rank)
        sigma = _noise(found, found.residual(filled), inliers)
        found = _components(filled, sigma, rank)
        inliers = known & ~found.outliers(values, known)
        filled = _filled(values, inliers, found)
    return _components(filled, sigma, rank)


def _spread(usable: np.ndarray) -> np.ndarray:
    """At most `PIXELS` of the usable pixels, evenly spread."""
    index = np.flatnonzero(usable)
    return index[np.unique(np.linspace(0, len(index) - 1, min(len(index), PIXELS)).astype(int))] if len(index) else index


def _start(spectra: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spectra without gaps, and the values that are not apart from the bands around, all of them relative to what is usual in the band."""
    centre = _quantile(spectra, known, 0.5)[:, None]
    spread = np.maximum(1.4826 * _quantile(np.abs(spectra - centre), known, 0.5)[:, None], FLOOR)
    relative = _interpolated((spectra - centre) / spread, known)
    smooth = median_filter(relative, (NEAR, 1), mode="nearest")
    off = np.abs(relative - smooth)
    inliers = known & (off <= START * _spread_of(off, known)[:, None])
    return centre + spread * np.where(inliers, relative, smooth), inliers


def _interpolated(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Missing bands between the nearest known ones, (B, N)."""
    bands = np.arange(len(values))[:, None]
    before = np.maximum.accumulate(np.where(known, bands, -1), 0)
    after = np.minimum.accumulate(np.where(known, bands, len(values))[::-1], 0)[::-1]
    before, after = np.where(before < 0, after, before), np.where(after == len(values), before, after)
    low, high = (np.take_along_axis(values, index, 0) for index in (before, after))
    share = (bands - before) / np.maximum(after - before, 1)
    return low + np.clip(share, 0, 1) * (high - low)


def _filled(values: np.ndarray, known: np.ndarray, found: Spectra) -> np.ndarray:
    """Spectra without gaps: every band by its own regression on the components, where it is known, so that the start is soon forgotten."""
    lacking = np.flatnonzero(~known.all(1))
    if not len(lacking):
        return values
    filled, scores = values.copy(), found.coefficients(np.where(known, values, 0), known)
    scores = np.concatenate([scores, np.ones((1, scores.shape[1]))])
    for band in lacking:
        seen, unseen = scores[:, known[band]], ~known[band]
        gram = seen @ seen.T
        weight = np.linalg.solve(gram + 1e-6 * np.trace(gram) / len(gram) * np.eye(len(gram)), seen @ values[band, known[band]])
        filled[band, unseen] = weight @ scores[:, unseen]
    return filled


def _components(filled: np.ndarray, sigma: np.ndarray, rank: int) -> Spectra:
    mean = filled.mean(1)
    whitened = (filled - mean[:, None]) / sigma[:, None]
    value, vector = np.linalg.eigh(whitened @ whitened.T / whitened.shape[1])
    return Spectra(mean, sigma, vector[:, ::-1][:, :rank], np.maximum(value[::-1][:rank] - 1, 1e-3))


def _noise(found: Spectra, left: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Standard deviation of what the components leave, from the smaller nine tenths of it, and no less than any sensor's."""
    deviation = found.sigma * _spread_of(np.abs(left), known) / found.freedom
    return np.maximum(deviation, np.maximum(RELATIVE_FLOOR * np.abs(found.mean), FLOOR))


def _spread_of(distance: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Standard deviation of every band, (B,), from the smaller nine tenths of the distances."""
    return _quantile(distance, known, 0.9) / 1.6449


def _quantile(values: np.ndarray, known: np.ndarray, share: float) -> np.ndarray:
    """Quantile of every band over known pixels, (B,)."""
    return np.array([np.quantile(row[flags], share) if flags.any() else 0.0 for row, flags in zip(values, known, strict=True)])
