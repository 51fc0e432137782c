"""A scene whose reflectance is known at every place and wavelength: three materials, mixed by smooth patterns of many scales.

Places are metres of UTM zone 33 north around `CENTRE`. The finest pattern has a period of 45 m, so that half a coarse pixel of error shows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

CRS = "EPSG:32633"
CENTRE = (390_000.0, 5_820_000.0)  # x, y
# Periods in metres and headings in degrees of the waves that the patterns are sums of; incommensurate, so that nothing repeats.
_WAVES = (
    ((2310.0, 12.0), (870.0, 101.0), (331.0, 47.0), (140.0, 160.0), (61.0, 73.0)),
    ((1730.0, 80.0), (640.0, 150.0), (270.0, 5.0), (113.0, 59.0), (45.0, 127.0)),
    ((2790.0, 133.0), (990.0, 28.0), (410.0, 95.0), (170.0, 10.0), (77.0, 141.0)),
)


def reflectance(x: ArrayLike, y: ArrayLike, nm: ArrayLike) -> NDArray[np.float64]:
    """Reflectance at places and wavelengths.

    Parameters
    ----------
    x, y : array_like
        Metres, any one shape S.
    nm : array_like, shape (B,)

    Returns
    -------
    ndarray, shape (B, *S)
        Between 0.01 and 0.65.
    """
    return np.tensordot(_spectra(np.asarray(nm, float)).T, _shares(np.asarray(x, float), np.asarray(y, float)), 1)


def footprint(x: ArrayLike, y: ArrayLike, nm: ArrayLike, size: float, samples: int = 5) -> NDArray[np.float64]:
    """Reflectance averaged over square pixels of ``size`` metres around the places; shape (B, *S)."""
    steps = (np.arange(samples) + 0.5) / samples * size - size / 2
    x, y = np.asarray(x, float), np.asarray(y, float)
    shares = np.mean([_shares(x + dx, y + dy) for dx in steps for dy in steps], axis=0)
    return np.tensordot(_spectra(np.asarray(nm, float)).T, shares, 1)


def _shares(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of each material, (3, *S); they sum to 1."""
    x, y = x - CENTRE[0], y - CENTRE[1]
    heights = []
    for k, waves in enumerate(_WAVES):
        angles = [(period, np.radians(heading)) for period, heading in waves]
        heights.append(sum(np.sin(2 * np.pi * (x * np.cos(a) + y * np.sin(a)) / p + k) for p, a in angles))
    weight = np.exp(np.stack(heights))
    return np.asarray(weight / weight.sum(0))


def _spectra(nm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spectra like those of vegetation, soil and water, (3, B)."""

    def bump(centre: float, width: float) -> NDArray[np.float64]:
        return np.asarray(np.exp(-0.5 * ((nm - centre) / width) ** 2))

    edge = 1 / (1 + np.exp(-(nm - 715) / 15))
    vegetation = (
        0.03
        + 0.05 * bump(550, 30)
        + 0.42 * edge * np.exp(-np.maximum(nm - 1100, 0) / 900) * (1 - 0.6 * bump(1450, 60) - 0.7 * bump(1940, 80))
    )
    soil = 0.06 + 0.38 * (1 - np.exp(-(np.maximum(nm, 350) - 350) / 600)) - 0.08 * bump(2205, 25) - 0.05 * bump(900, 60)
    water = 0.012 + 0.07 * bump(500, 90)
    return np.stack([vegetation, soil, water])
