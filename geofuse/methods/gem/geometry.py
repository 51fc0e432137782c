"""A geometry that the two images contradict, put right before anything rests on it.

The given PSF width and shift may be wrong: a sensor's nominal figures, another scene's, a PSF that no Gaussian fits. Every
stage would then explain blur and displacement by spectra. Seen through the right PSF the MSI is what the HSI shows in its bands, so

    χ²(σy, σx, dy, dx) = | L y - A m |²     in units of its own noise, gain and constant of every band left free

is made small by Gauss-Newton steps from the given geometry. The outcome replaces it only where it explains far more than chance would:
a geometry that was right is kept to the last digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from geofuse.methods.gem.coordinates import Coordinates
from geofuse.methods.gem.observation import Observation, encode
from geofuse.pair.images import as_like, mix
from geofuse.pair.patch import Patch
from geofuse.pair.registration import WIDEST_DETECTOR

STEPS = 4
MIN_PIXELS = 40  # coarse pixels that both images hold in full
PROBE = 0.02  # of a coarse pixel
FARTHEST, NARROWEST = 0.5, 0.2  # coarse pixels: what can be corrected, and the sharpest PSF
# What the four parameters must explain of χ²: this many times what they do by chance, and this share of it. Contradictions of other kinds (light,
# season, a PSF that is not Gaussian) reach a hundred and 4 %; of a PSF 15 % too wide, or 0.3 fine pixel of shift, thousands and 40 %.
SIGNIFICANT, WORTHWHILE = 30.0, 0.1


def correct_geometry(patches: Sequence[Patch], coordinates: Coordinates) -> np.ndarray | None:
    """Width and shift of the PSF that the images ask for; None where those of the patches are as good.

    Parameters
    ----------
    patches : sequence of Patch
    coordinates : Coordinates
        With calibrated noise levels.

    Returns
    -------
    ndarray, shape (4,), or None
        Standard deviations (rows, columns) and shift (rows, columns), fine pixels.
    """
    place = patches[0].place
    if place is None:
        return None
    seen = [encode(p, coordinates) for p in patches]
    builder = place[0]
    given, ratio = np.array([*builder.sigma, *builder.shift]), builder.pair.ratio
    used = [_always_complete(p, s, given, ratio) for p, s in zip(patches, seen, strict=True)]
    if sum(int(u.sum()) for u in used) < MIN_PIXELS:
        return None
    whiten = np.linalg.inv(np.linalg.cholesky(_expected(seen, coordinates.mixing)))

    def error(geometry: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _errors(patches, seen, used, coordinates.mixing, geometry)

    best, (left, shown) = given, error(given)
    first = best_value = _squares(left, shown, whiten)
    for _ in range(STEPS):
        slopes = [(error(best + d)[0] - left) / (PROBE * ratio) for d in PROBE * ratio * np.eye(4)]
        x = np.stack([(whiten @ _free(s, shown)).ravel() for s in slopes])
        step = -np.linalg.lstsq(x.T, (whiten @ _free(left, shown)).ravel(), rcond=None)[0]
        tried = np.clip(best + step, given - FARTHEST * ratio, given + FARTHEST * ratio)
        tried[:2] = np.clip(tried[:2], NARROWEST * ratio, WIDEST_DETECTOR * ratio if builder.cutoff else None)
        new, new_shown = error(tried)
        value = _squares(new, new_shown, whiten)
        if value >= best_value:
            break
        best, left, shown, best_value = tried, new, new_shown, value
    explained = first - best_value
    beyond_chance = explained / 4 > SIGNIFICANT * best_value / left.size
    return best if beyond_chance and explained > WORTHWHILE * first else None


def _always_complete(patch: Patch, seen: Observation, given: np.ndarray, ratio: float) -> np.ndarray:
    """Coarse pixels that any geometry in question sees whole."""
    far = FARTHEST * ratio
    corners = [given + np.array([far, far, sign * far, sign * far]) for sign in (-1, 0, 1)]
    return np.logical_and.reduce([(replace(seen, psf=patch.at(g).psf).complete > 0).cpu().numpy() for g in corners])


def _errors(
    patches: Sequence[Patch], seen: Sequence[Observation], used: Sequence[np.ndarray], mixing: np.ndarray, geometry: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """L y - A m, zero in bands that the HSI does not see, and A m at this geometry, shapes (M, N)."""
    left, shown = [], []
    for p, s, u in zip(patches, seen, used, strict=True):
        coarse = p.at(geometry).psf.forward(s.m)
        left.append((mix(as_like(mixing, s.y), s.y) - coarse)[:, u].double().cpu().numpy() * mixing.any(1, keepdims=True))
        shown.append(coarse[:, u].double().cpu().numpy())
    return np.concatenate(left, axis=1), np.concatenate(shown, axis=1)


def _free(error: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """The error less what a gain and a constant of each band explain."""
    error, shown = (a - a.mean(1, keepdims=True) for a in (error, shown))
    gain = (error * shown).sum(1) / np.maximum((shown**2).sum(1), 1e-20)
    return error - gain[:, None] * shown


def _squares(error: np.ndarray, shown: np.ndarray, whiten: np.ndarray) -> float:
    return float(((whiten @ _free(error, shown)) ** 2).sum())


def _expected(seen: Sequence[Observation], mixing: np.ndarray) -> np.ndarray:
    gain = np.mean([s.psf.gain for s in seen])
    return mixing @ mixing.T + gain * np.eye(len(mixing))
