"""What the screen left out of a pair, counted and placed, so that it can be named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geofuse.pair.grid import GridPair, Window
from geofuse.pair.scene import Sample
from geofuse.pair.screen import IMPOSSIBLE, OUTLIER, Screen


@dataclass(frozen=True)
class Fault:
    """What one image holds that was left out.

    Attributes
    ----------
    image : str
        ``HSI`` or ``MSI``.
    kind : str
        ``impossible``, ``outlier``, ``empty`` (bands without data) or ``gaps`` (of some bands only).
    count : int
        Values; for ``empty`` bands.
    share : float
        Of the band's pixels, where it is largest.
    bands : tuple of int
        Positions of the bands that are touched.
    place : tuple of int
        Row and column of the first one in the image that was given.
    value : float
        Of the first one.
    """

    image: str
    kind: str
    count: int
    share: float
    bands: tuple[int, ...]
    place: tuple[int, int] = (0, 0)
    value: float = float("nan")


def faults(screen: Screen, samples: Sequence[Sample], pair: GridPair) -> tuple[Fault, ...]:
    """What the screen finds in windows of the raw pair."""
    found = []
    wrong = [screen.wrong(s) for s in samples]
    for index, (name, used) in enumerate((("HSI", screen.hsi_bands), ("MSI", screen.msi_bands))):
        images = [(s.hsi, s.msi)[index] for s in samples]
        working = (pair.coarse_window, pair.fine_window)[index]
        windows = [(s.coarse, s.fine)[index].offset(working.top, working.left) for s in samples]
        pixels = sum(i[0].size for i in images)
        if not used.all():
            found.append(Fault(name, "empty", int((~used).sum()), 1.0, tuple(np.flatnonzero(~used).tolist())))
        for kind, code in (("impossible", IMPOSSIBLE), ("outlier", OUTLIER)):
            flags = [w[index] == code for w in wrong]
            count = np.sum([f.sum((1, 2)) for f in flags], axis=0)
            if count.any():
                found.append(_fault(name, kind, count, pixels, images, flags, windows))
        if name == "HSI":
            missing = [~np.isfinite(i) & np.isfinite(i[used]).any(0) & used[:, None, None] for i in images]
            count = np.sum([m.sum((1, 2)) for m in missing], axis=0)
            if count.any():
                found.append(_fault(name, "gaps", count, pixels, images, missing, windows))
    return tuple(found)


def _fault(
    name: str,
    kind: str,
    count: np.ndarray,
    pixels: int,
    images: Sequence[np.ndarray],
    flags: Sequence[np.ndarray],
    windows: Sequence[Window],
) -> Fault:
    image, flag, window = next(parts for parts in zip(images, flags, windows, strict=True) if parts[1].any())
    band, row, col = (int(v) for v in np.argwhere(flag)[0])
    place = (row + window.top, col + window.left)
    bands = tuple(np.flatnonzero(count).tolist())
    return Fault(name, kind, int(count.sum()), float(count.max() / pixels), bands, place, float(image[band, row, col]))
