"""Wald's protocol on the benchmark scenes: a real cube is the truth, its two observations are simulated.

The truth is the scene's first pixels, divided by its 99.9th percentile and clipped to 0 … 1. The coarse HSI is the truth seen
through a Gaussian PSF (standard deviation r/2 fine pixels, ±4 of them, half-sample symmetric edges) centred on (r - 1)/2 plus
a shift, and sampled by r. The MSI is the truth seen through Gaussian responses. White noise: 35 dB (HSI) and 40 dB (MSI) of each
band's own root mean square.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import j1

SCENES = {"jasper": ("jasper_ridge", 96, 96), "la": ("la_airport_aviris", 96, 176), "ip": ("indian_pines", 144, 144)}
RESPONSES = {  # centre and FWHM, nm
    "qb4": [(485, 70), (560, 80), (660, 60), (800, 120)],
    "s2": [(490, 65), (560, 35), (665, 30), (705, 15), (740, 15), (783, 20), (842, 115), (865, 20), (1610, 90), (2190, 180)],
}
HSI_SNR_DB, MSI_SNR_DB = 35.0, 40.0
FWHM = 2.3548  # standard deviations of a Gaussian
# Weight of the ground at a distance (rows, columns), in units of the nominal standard deviation of r/2 fine pixels.
PointSpread = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Simulation:
    """One simulated pair, its truth, and the operators that made it (all float64 ndarrays)."""

    truth: np.ndarray  # (B, H, W)
    hsi: np.ndarray  # (B, h, w)
    msi: np.ndarray  # (b, H, W)
    wavelength: np.ndarray  # (B,), nm
    srf: np.ndarray  # (b, B), rows sum to 1
    dh: np.ndarray  # (h, H) PSF and sampling along rows
    dw: np.ndarray  # (w, W) and along columns
    hsi_noise: np.ndarray  # (B,) standard deviations
    msi_noise: np.ndarray  # (b,)
    ratio: int
    shift: tuple[float, float]


def load(name: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the truth (B, H, W) in 0 … 1 and the wavelengths (B,) in nm (LA airport's are taken as even over 400 … 2480)."""
    file, rows, cols = SCENES[name]
    with np.load(folder / f"{file}.npz") as archive:
        cube = archive["cube"][:, :rows, :cols].astype(float)
        wavelength = archive["wavelength_nm"].astype(float) if "wavelength_nm" in archive else np.linspace(400, 2480, len(cube))
    cube = np.clip(cube, 0, None)
    return np.clip(cube / np.percentile(cube, 99.9), 0, 1), wavelength


def srf(wavelength: np.ndarray, kind: str) -> np.ndarray:
    """Gaussian responses (b, B) with rows summing to 1; Sentinel-2-like bands outside the wavelengths are left out."""
    centre, fwhm = np.array(RESPONSES[kind], float).T
    if kind == "s2":
        seen = (centre > wavelength.min() - 20) & (centre < wavelength.max() + 20)
        centre, fwhm = centre[seen], fwhm[seen]
    response = np.exp(-0.5 * ((wavelength - centre[:, None]) / (fwhm[:, None] / 2.3548)) ** 2)
    return response / response.sum(1, keepdims=True)


def psf_matrix(size: int, ratio: int, shift: float = 0.0) -> np.ndarray:
    """Blur and sample along one axis: (size / ratio, size), rows sum to 1."""
    sigma = ratio / 2
    radius = int(np.ceil(4 * sigma))
    offset = np.arange(-radius, radius + ratio)
    weight = np.exp(-0.5 * ((offset - (ratio - 1) / 2 - shift) / sigma) ** 2)
    weight /= weight.sum()
    row = np.arange(size // ratio)[:, None]
    column = (ratio * row + offset) % (2 * size)
    column = np.where(column < size, column, 2 * size - 1 - column)
    matrix = np.zeros((size // ratio, size))
    np.add.at(matrix, (np.broadcast_to(row, column.shape), column), np.broadcast_to(weight, column.shape))
    return matrix


def gaussian(height: float = 1.0, width: float = 1.0) -> PointSpread:
    """A Gaussian of these standard deviations, in units of the nominal one."""
    return lambda y, x: np.exp(-0.5 * ((y / height) ** 2 + (x / width) ** 2))


def airy(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Diffraction by a round aperture, as wide at half its height as the nominal Gaussian."""
    radius = np.maximum(np.hypot(y, x) * 2 * 1.61634 / FWHM, 1e-9)
    return (2 * j1(radius) / radius) ** 2


def box(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The mean over a square as wide as the nominal Gaussian at half its height, its edge a tenth of that soft."""
    along = [1 / (1 + np.exp((np.abs(v) - FWHM / 2) / (FWHM / 40))) for v in (y, x)]
    return along[0] * along[1]


def blurred(image: np.ndarray, ratio: int, spread: PointSpread, shift: tuple[float, float], reach: float = 8.0) -> np.ndarray:
    """Any PSF, cut at ``reach`` nominal standard deviations, and sampling: (B, H, W) to (B, H / ratio, W / ratio)."""
    sigma = ratio / 2
    radius = int(np.ceil(reach * sigma))
    offset = np.arange(-radius, radius + ratio)
    y, x = ((offset - (ratio - 1) / 2 - s) / sigma for s in shift)
    weight = spread(y[:, None], x[None])
    rows, cols = weight.sum(1) / weight.sum(), weight.sum(0) / weight.sum()
    padded = np.pad(image, ((0, 0), (radius, radius + ratio), (radius, radius + ratio)), mode="symmetric")
    h, w = image.shape[1] // ratio, image.shape[2] // ratio
    if np.allclose(weight, weight.sum() * rows[:, None] * cols, atol=1e-9 * weight.max()):
        narrow = sum(v * padded[:, k : k + h * ratio : ratio] for k, v in enumerate(rows) if v > 1e-12)
        return np.asarray(sum(v * narrow[:, :, k : k + w * ratio : ratio] for k, v in enumerate(cols) if v > 1e-12))
    out = np.zeros((len(image), h, w))
    for (i, j), v in np.ndenumerate(weight / weight.sum()):
        out += v * padded[:, i : i + h * ratio : ratio, j : j + w * ratio : ratio]
    return out


def simulate(
    name: str,
    ratio: int,
    kind: str,
    folder: Path,
    noise: bool = True,
    shift: tuple[float, float] = (0.0, 0.0),
    seed: int = 0,
    spread: PointSpread | None = None,
) -> Simulation:
    """Simulate the pair of one scene; ``shift`` (dy, dx) moves the centre of the PSF, in fine pixels.

    With another PSF than the Gaussian of the protocol (``spread``), ``dh`` and ``dw`` are still those of the Gaussian.
    """
    return simulate_cube(*load(name, folder), ratio, kind, noise, shift, seed, spread)


def simulate_cube(
    truth: np.ndarray,
    wavelength: np.ndarray,
    ratio: int,
    kind: str,
    noise: bool = True,
    shift: tuple[float, float] = (0.0, 0.0),
    seed: int = 0,
    spread: PointSpread | None = None,
) -> Simulation:
    """Simulate the pair of any truth (B, H, W), whose sides the ratio divides; see `simulate`."""
    response = srf(wavelength, kind)
    dh, dw = psf_matrix(truth.shape[1], ratio, shift[0]), psf_matrix(truth.shape[2], ratio, shift[1])
    hsi = dh @ truth @ dw.T if spread is None else blurred(truth, ratio, spread, shift)
    msi = np.tensordot(response, truth, 1)
    hsi_noise, msi_noise = _noise(hsi, HSI_SNR_DB) * noise, _noise(msi, MSI_SNR_DB) * noise
    rng = np.random.default_rng(seed)
    if noise:
        hsi = hsi + rng.normal(size=hsi.shape) * hsi_noise[:, None, None]
        msi = msi + rng.normal(size=msi.shape) * msi_noise[:, None, None]
    return Simulation(truth, hsi, msi, wavelength, response, dh, dw, hsi_noise, msi_noise, ratio, shift)


def _noise(image: np.ndarray, snr_db: float) -> np.ndarray:
    return np.sqrt((image**2).mean((1, 2))) * 10 ** (-snr_db / 20)
