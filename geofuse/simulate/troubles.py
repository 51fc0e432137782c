"""What real pairs do to simulated ones, one trouble at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from geofuse.simulate.pairs import PointSpread, Simulation, airy, box, gaussian
from geofuse.simulate.scenes import simulate

Change = Callable[[Simulation], Simulation]
STRIPES = 0.02  # standard deviation of a column's offset, relative to the band's root mean square
VAPOUR = ((1340, 1460), (1790, 1970))  # nm
CLOUD_SHARE, CLOUD_REFLECTANCE = 0.04, 0.8


@dataclass(frozen=True)
class Trouble:
    """A shift (fine pixels) and PSF of the HSI, and what else is changed once both images are made.

    Examples
    --------
    >>> striped, calm = (TROUBLES[name].pair("berlin", 4, "qb4", Path()) for name in ("stripes", "none"))
    >>> np.ptp(striped.hsi - calm.hsi, axis=1).max() < 1e-12  # all rows alike
    np.True_
    """

    shift: tuple[float, float] = (0.0, 0.0)
    spread: PointSpread | None = None
    change: Change = lambda pair: pair

    def pair(self, scene: str, ratio: int, response: str, folder: Path, seed: int = 0) -> Simulation:
        """The pair with this trouble; parameters as for `geofuse.simulate.simulate`."""
        return self.change(simulate(scene, ratio, response, folder, shift=self.shift, seed=seed, spread=self.spread))


def other_gain(pair: Simulation) -> Simulation:
    """Another calibration of the MSI: gains 0.9 to 1.1 and an offset of 0.02."""
    gain = np.random.default_rng(3).permutation(np.linspace(0.9, 1.1, len(pair.msi)))
    return replace(pair, msi=pair.msi * gain[:, None, None] + 0.02)


def striped(pair: Simulation) -> Simulation:
    """Every detector of a pushbroom instrument has an offset of its own: columns of the HSI, independent from band to band."""
    bands, _, cols = pair.hsi.shape
    level = np.sqrt((pair.hsi**2).mean((1, 2), keepdims=True))
    return replace(pair, hsi=pair.hsi + STRIPES * level * np.random.default_rng(4).normal(size=(bands, 1, cols)))


def vapour_bands(pair: Simulation) -> np.ndarray:
    """Bands where the atmosphere lets little through, (B,)."""
    return np.logical_or.reduce([(low < pair.wavelength) & (pair.wavelength < high) for low, high in VAPOUR])


def noisy_vapour(pair: Simulation) -> Simulation:
    """Ten times the noise in the water-vapour bands."""
    rough = np.where(vapour_bands(pair), np.sqrt(10**2 - 1), 0)[:, None, None] * pair.hsi_noise[:, None, None]
    return replace(pair, hsi=pair.hsi + rough * np.random.default_rng(5).normal(size=pair.hsi.shape))


def cloud(pair: Simulation) -> np.ndarray:
    """How much of every fine pixel a round cloud covers, (H, W): opaque within, half a coarse pixel of fringe."""
    height, width = pair.msi.shape[1:]
    radius = np.sqrt(CLOUD_SHARE * height * width / np.pi)
    row, col = np.mgrid[:height, :width]
    distance = np.hypot(row - 0.4 * height, col - 0.6 * width)
    return np.asarray(np.clip((radius - distance) / (pair.ratio / 2) + 0.5, 0, 1))


def clouded_msi(pair: Simulation) -> Simulation:
    """A cloud that only the MSI shows."""
    cover = cloud(pair)
    return replace(pair, msi=(1 - cover) * pair.msi + cover * CLOUD_REFLECTANCE)


def clouded_hsi(pair: Simulation) -> Simulation:
    """A cloud that only the HSI shows."""
    cover = pair.dh @ cloud(pair) @ pair.dw.T
    return replace(pair, hsi=(1 - cover) * pair.hsi + cover * CLOUD_REFLECTANCE)


TROUBLES = {
    "none": Trouble(),
    "shift (2, -1.5)": Trouble(shift=(2.0, -1.5)),
    "PSF 1.3 times longer": Trouble(spread=gaussian(1.3**0.5, 1.3**-0.5)),
    "PSF Airy": Trouble(spread=airy),
    "PSF box": Trouble(spread=box),
    "gain and offset": Trouble(change=other_gain),
    "stripes": Trouble(change=striped),
    "noisy vapour bands": Trouble(change=noisy_vapour),
    "cloud in the MSI": Trouble(change=clouded_msi),
    "cloud in the HSI": Trouble(change=clouded_hsi),
}
