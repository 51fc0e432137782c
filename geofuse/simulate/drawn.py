"""Scenes that are drawn and not measured: other sensors, textures and sizes than those of the benchmark's real scenes.

A scene is a dead-leaves image: discs and rectangles whose size follows a power law cover each other, which gives edges, occlusion and the
scale invariance of natural images (Lee, Mumford and Huang 2001, doi:10.1023/A:1011109015675). Every leaf is of a material with a spectrum
drawn at random from a family (vegetation, soil, roofs, asphalt, water); light and a second material vary within it as 1/f noise. It is
drawn at twice the resolution and averaged, so that pixels at edges are mixed. No constant of an estimator was chosen on these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FINER = 2  # samples to a pixel, along each direction


@dataclass(frozen=True)
class DrawnScene:
    """A recipe of a scene.

    Attributes
    ----------
    title : str
    bands : tuple of (float, float, int)
        Ranges of evenly spaced band centres, nm: first, last, count.
    rows, cols : int
        Fine pixels.
    smallest, largest : float
        Radius of the leaves, fine pixels.
    families : tuple of str
        Of `FAMILIES`; those that come more often are named more often.
    materials : int
        Spectra that are drawn.
    texture : float
        Standard deviation of light within a leaf, relative; the share of the second material varies by three times as much.
    hsi_snr, msi_snr : float
        Noise, dB.
    width : tuple of float
        Standard deviations of the PSF (rows, columns) over the nominal one of ratio / 2.
    seed : int
    """

    title: str
    bands: tuple[tuple[float, float, int], ...]
    rows: int
    cols: int
    smallest: float
    largest: float
    families: tuple[str, ...]
    materials: int
    texture: float
    hsi_snr: float = 35.0
    msi_snr: float = 40.0
    width: tuple[float, float] = (1.0, 1.0)
    seed: int = 0

    @property
    def wavelength(self) -> np.ndarray:
        """Band centres, nm."""
        return np.concatenate([np.linspace(*part) for part in self.bands])


DRAWN = {
    "town": DrawnScene(
        "Town", ((381.0, 2493.0, 285),), 128, 128, 1.5, 30, ("roof", "asphalt", "vegetation", "soil", "roof"), 24, 0.06, seed=1
    ),
    "fields": DrawnScene(
        "Fields", ((402.0, 972.0, 66), (943.0, 2497.0, 171)), 192, 192, 8, 60, ("vegetation", "soil"), 12, 0.05, 32.0, 38.0, (1.15, 0.9), 2
    ),
    "forest": DrawnScene(
        "Forest", ((418.0, 993.0, 91), (902.0, 2445.0, 133)), 144, 144, 1, 6, ("vegetation",) * 5 + ("soil",), 10, 0.12, 38.0, 42.0, seed=3
    ),
    "coast": DrawnScene(
        "Coast", ((401.0, 999.0, 235),), 160, 160, 2, 80, ("water", "water", "soil", "vegetation", "roof"), 16, 0.04, 34.0, 44.0, seed=4
    ),
    "plain": DrawnScene(
        "Plain", ((381.0, 2493.0, 285),), 512, 512, 3, 120, ("vegetation", "soil", "soil", "roof"), 30, 0.05, 36.0, 40.0, seed=5
    ),
}


def draw(scene: DrawnScene) -> tuple[np.ndarray, np.ndarray]:
    """The truth of a drawn scene.

    Returns
    -------
    truth : ndarray, shape (B, H, W)
        Reflectance in 0 … 1.
    wavelength : ndarray, shape (B,)
        In nm.

    Examples
    --------
    >>> truth, wavelength = draw(DRAWN["coast"])
    >>> truth.shape, 0 < truth.min() < truth.max() < 1
    ((235, 160, 160), np.True_)
    """
    shares, spectra = composition(scene)
    return np.clip(np.tensordot(spectra.T, shares, 1), 0, 1), scene.wavelength


def composition(scene: DrawnScene) -> tuple[np.ndarray, np.ndarray]:
    """What a drawn scene is made of; material ``k`` is of the family ``scene.families[k % len(scene.families)]``.

    Returns
    -------
    shares : ndarray, shape (materials, H, W)
        Of every material in a pixel, times the light that falls on it.
    spectra : ndarray, shape (materials, B)
        Reflectance in full light.

    Examples
    --------
    >>> shares, spectra = composition(DRAWN["coast"])
    >>> shares.shape, spectra.shape
    ((16, 160, 160), (16, 235))
    """
    rng = np.random.default_rng(scene.seed)
    shape = scene.rows * FINER, scene.cols * FINER
    kinds = [scene.families[k % len(scene.families)] for k in range(scene.materials)]
    spectra = np.stack([FAMILIES[kind](scene.wavelength, rng) for kind in kinds])
    leaf = _leaves(shape, scene.smallest * FINER, scene.largest * FINER, rng)
    shown, leaf = np.unique(leaf, return_inverse=True)
    leaf, count = leaf.reshape(shape), len(shown)
    first, second = rng.integers(scene.materials, size=(2, count))
    light = np.exp(0.1 * rng.normal(size=count))[leaf] * np.exp(scene.texture * _fractal(shape, rng))
    mixed = np.clip(rng.uniform(0, 0.3, count)[leaf] + 3 * scene.texture * _fractal(shape, rng), 0, 1)
    shares = np.zeros((scene.materials, scene.rows, scene.cols))
    for material in range(scene.materials):
        own = light * ((1 - mixed) * (first[leaf] == material) + mixed * (second[leaf] == material))
        shares[material] = own.reshape(scene.rows, FINER, scene.cols, FINER).mean((1, 3))
    return shares, spectra


def _leaves(shape: tuple[int, int], smallest: float, largest: float, rng: np.random.Generator) -> np.ndarray:
    """Number of the leaf that each sample shows; leaves are laid under those that are there, until no gap is left."""
    leaf = np.full(shape, -1)
    # Every sample is the centre of a leaf once, if it is still open then: the end comes, and no leaf is laid in vain for long.
    for number, at in enumerate(np.column_stack(np.unravel_index(rng.permutation(leaf.size), shape))):
        if leaf[tuple(at)] >= 0:
            continue
        radius = (smallest**-2 - rng.random() * (smallest**-2 - largest**-2)) ** -0.5  # of density r⁻³: alike at all scales
        reach = int(1.5 * radius) + 1
        top, left = (max(int(a) - reach, 0) for a in at)
        part = leaf[top : at[0] + reach + 1, left : at[1] + reach + 1]
        y, x = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
        part[_covered(y - at[0], x - at[1], radius, rng) & (part < 0)] = number
    return leaf


def _covered(y: np.ndarray, x: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    """A disc, or a rectangle of any heading and of sides up to 2 : 1."""
    if rng.random() < 0.3:
        return np.asarray(y**2 + x**2 <= radius**2)
    angle, side = rng.uniform(0, np.pi), rng.uniform(0.5, 1)
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    return np.asarray((np.abs(along) <= radius) & (np.abs(across) <= radius * side))


def _fractal(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """1/f noise of mean 0 and variance 1."""
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None])
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(np.fft.rfft2(rng.normal(size=shape)) / frequency, shape)
    return np.asarray((noise - noise.mean()) / noise.std())


def _bump(nm: np.ndarray, centre: float, width: float) -> np.ndarray:
    return np.asarray(np.exp(-0.5 * ((nm - centre) / width) ** 2))


def _vegetation(nm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    green, plateau, water = rng.uniform(0.02, 0.1), rng.uniform(0.25, 0.5), rng.uniform(0.3, 0.9)
    edge = 1 / (1 + np.exp(-(nm - rng.uniform(705, 730)) / rng.uniform(10, 20)))
    wet = 1 - water * (_bump(nm, 1450, 70) + 1.1 * _bump(nm, 1940, 90) + 0.15 * _bump(nm, 975, 30) + 0.2 * _bump(nm, 1190, 40))
    fall = np.exp(-np.maximum(nm - 1250, 0) / rng.uniform(800, 1600))
    return np.asarray(0.02 + green * _bump(nm, 550, 35) + 0.4 * green * _bump(nm, 640, 50) + plateau * edge * np.maximum(wet, 0.03) * fall)


def _soil(nm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    rise = 1 - np.exp(-(np.maximum(nm, 360) - 350) / rng.uniform(350, 900))
    iron, clay, wet = rng.uniform(0, 0.25), rng.uniform(0, 0.3), rng.uniform(0, 0.4)
    bands = iron * _bump(nm, 870, 80) + clay * _bump(nm, 2207, 25) + wet * (_bump(nm, 1430, 50) + 1.3 * _bump(nm, 1930, 70))
    return np.asarray((0.04 + rng.uniform(0.2, 0.5) * rise) * (1 - bands))


def _roof(nm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Tiles, metal, plastics: a level, a colour, and two absorptions anywhere."""
    colour = rng.uniform(-0.1, 0.3) / (1 + np.exp(-(nm - rng.uniform(450, 650)) / rng.uniform(15, 50)))
    bands = sum(rng.uniform(0, 0.35) * _bump(nm, rng.uniform(800, 2350), rng.uniform(20, 80)) for _ in range(2))
    return np.asarray(np.clip((rng.uniform(0.15, 0.6) + colour) * (1 - bands), 0.02, 0.9))


def _asphalt(nm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(rng.uniform(0.05, 0.15) + rng.uniform(0.01, 0.08) * (nm - 400) / 2000 - 0.01 * _bump(nm, 2310, 40))


def _water(nm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(0.008 + rng.uniform(0.01, 0.06) * _bump(nm, rng.uniform(440, 580), rng.uniform(50, 90)))


FAMILIES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "vegetation": _vegetation,
    "soil": _soil,
    "roof": _roof,
    "asphalt": _asphalt,
    "water": _water,
}
