"""Two observations of a known truth, after Wald's protocol.

The coarse HSI is the truth seen through a Gaussian PSF (standard deviation r/2 fine pixels, ±4 of them, half-sample symmetric edges) centred
on (r - 1)/2 plus a shift, and sampled by r. The MSI is the truth seen through Gaussian responses. White noise: 35 dB (HSI) and 40 dB (MSI) of
each band's own root mean square.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import j1

from geofuse.errors import InvalidInput

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
    """One simulated pair, its truth, and the operators that made it (all float64).

    Attributes
    ----------
    truth, hsi, msi : ndarray, shapes (B, H, W), (B, h, w), (M, H, W)
        Reflectance.
    wavelength : ndarray, shape (B,)
        In nm.
    srf : ndarray, shape (M, B)
        Spectral responses; rows sum to 1.
    dh, dw : ndarray, shapes (h, H), (w, W)
        PSF and sampling along rows, and along columns.
    hsi_noise, msi_noise : ndarray, shapes (B,), (M,)
        Standard deviations of the noise, reflectance.
    ratio : int
        Coarse over fine pixel size.
    shift : tuple of float
        Displacement (dy, dx) of the centre of the PSF, in fine pixels.
    width : tuple of float
        Standard deviations of the PSF (rows, columns), in units of the nominal one.
    """

    truth: np.ndarray
    hsi: np.ndarray
    msi: np.ndarray
    wavelength: np.ndarray
    srf: np.ndarray
    dh: np.ndarray
    dw: np.ndarray
    hsi_noise: np.ndarray
    msi_noise: np.ndarray
    ratio: int
    shift: tuple[float, float]
    width: tuple[float, float] = (1.0, 1.0)

    @property
    def sigma(self) -> tuple[float, float]:
        """Standard deviations of the PSF (rows, columns), in fine pixels."""
        return self.width[0] * self.ratio / 2, self.width[1] * self.ratio / 2


def srf(wavelength: np.ndarray, kind: str) -> np.ndarray:
    """Gaussian responses of a sensor.

    Parameters
    ----------
    wavelength : ndarray, shape (B,)
        In nm.
    kind : str
        Of `RESPONSES`: ``qb4`` (four broad bands) or ``s2`` (ten like Sentinel-2's, less those outside the wavelengths).

    Returns
    -------
    ndarray, shape (M, B)
        Rows sum to 1.

    Examples
    --------
    >>> srf(np.arange(400.0, 1000.0, 10.0), "qb4").argmax(1) * 10 + 400
    array([480, 560, 660, 800])
    """
    centre, fwhm = np.array(RESPONSES[kind], float).T
    if kind == "s2":
        seen = (centre > wavelength.min() - 20) & (centre < wavelength.max() + 20)
        centre, fwhm = centre[seen], fwhm[seen]
    response = np.exp(-0.5 * ((wavelength - centre[:, None]) / (fwhm[:, None] / FWHM)) ** 2)
    return response / response.sum(1, keepdims=True)


def psf_matrix(size: int, ratio: int, shift: float = 0.0, width: float = 1.0) -> np.ndarray:
    """Blur and sample along one axis.

    Parameters
    ----------
    size : int
        Fine pixels.
    ratio : int
        Coarse over fine pixel size.
    shift : float
        Displacement of the centre, in fine pixels.
    width : float
        Standard deviation, in units of the nominal one.

    Returns
    -------
    ndarray, shape (size // ratio, size)
        Rows sum to 1.

    Examples
    --------
    >>> psf_matrix(8, 2).round(2)[1]
    array([0.02, 0.13, 0.35, 0.35, 0.13, 0.02, 0.  , 0.  ])
    """
    sigma = width * ratio / 2
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
    """A Gaussian of these standard deviations, in units of the nominal one.

    Examples
    --------
    >>> gaussian(height=2.0)(np.array([2.0]), np.array([0.0])).round(3)
    array([0.607])
    """
    return lambda y, x: np.exp(-0.5 * ((y / height) ** 2 + (x / width) ** 2))


def airy(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Diffraction by a round aperture, as wide at half its height as the nominal Gaussian.

    Examples
    --------
    >>> airy(np.array([0.0, FWHM / 2]), np.array([0.0, 0.0])).round(3)
    array([1. , 0.5])
    """
    radius = np.maximum(np.hypot(y, x) * 2 * 1.61634 / FWHM, 1e-9)
    return (2 * j1(radius) / radius) ** 2


def box(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The mean over a square as wide as the nominal Gaussian at half its height, its edge a tenth of that soft.

    Examples
    --------
    >>> box(np.array([0.0, FWHM / 2, 2.0]), np.zeros(3)).round(3)
    array([1. , 0.5, 0. ])
    """
    along = [1 / (1 + np.exp((np.abs(v) - FWHM / 2) / (FWHM / 40))) for v in (y, x)]
    return along[0] * along[1]


REACH = 8.0


def blurred(image: np.ndarray, ratio: int, spread: PointSpread, shift: tuple[float, float]) -> np.ndarray:
    """Any PSF, cut at `REACH` nominal standard deviations, and sampling: (B, H, W) to (B, H / ratio, W / ratio)."""
    sigma = ratio / 2
    radius = int(np.ceil(REACH * sigma))
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


def simulate_pair(
    truth: np.ndarray,
    wavelength: np.ndarray,
    ratio: int,
    kind: str = "s2",
    *,
    noise: bool = True,
    shift: tuple[float, float] = (0.0, 0.0),
    seed: int = 0,
    spread: PointSpread | None = None,
    snr: tuple[float, float] = (HSI_SNR_DB, MSI_SNR_DB),
    width: tuple[float, float] = (1.0, 1.0),
) -> Simulation:
    """Simulate the two images of a truth.

    Parameters
    ----------
    truth : ndarray, shape (B, H, W)
        Reflectance; height and width are multiples of the ratio.
    wavelength : ndarray, shape (B,)
        In nm.
    ratio : int
        Coarse over fine pixel size.
    kind : str
        Responses of the MSI, see `srf`.
    noise : bool
        White noise.
    shift : tuple of float
        Displacement (dy, dx) of the centre of the PSF, in fine pixels.
    seed : int
        Of the noise.
    spread : callable, optional
        Another PSF than the Gaussian (`gaussian`, `airy`, `box`); ``dh`` and ``dw`` are still those of the Gaussian.
    snr : tuple of float
        Of HSI and MSI, dB of each band's own root mean square.
    width : tuple of float
        Standard deviations of the Gaussian (rows, columns), in units of the nominal one.

    Returns
    -------
    Simulation

    Raises
    ------
    InvalidInput
        Height or width is no multiple of the ratio.

    References
    ----------
    Wald, Ranchin and Mangolini 1997, "Fusion of satellite images of different spatial resolutions: assessing the quality of resulting images".

    Examples
    --------
    >>> truth = np.random.default_rng(0).random((60, 32, 24))
    >>> pair = simulate_pair(truth, np.linspace(400, 1000, 60), ratio=4, kind="qb4")
    >>> pair.hsi.shape, pair.msi.shape
    ((60, 8, 6), (4, 32, 24))
    """
    if truth.shape[1] % ratio or truth.shape[2] % ratio:
        raise InvalidInput(f"The truth has {truth.shape[1]} x {truth.shape[2]} pixels; expected multiples of the ratio {ratio}: crop it.")
    response = srf(wavelength, kind)
    dh, dw = (psf_matrix(size, ratio, *way) for size, *way in zip(truth.shape[1:], shift, width, strict=True))
    hsi = dh @ truth @ dw.T if spread is None else blurred(truth, ratio, spread, shift)
    msi = np.tensordot(response, truth, 1)
    hsi_noise, msi_noise = _noise(hsi, snr[0]) * noise, _noise(msi, snr[1]) * noise
    rng = np.random.default_rng(seed)
    if noise:
        hsi = hsi + rng.normal(size=hsi.shape) * hsi_noise[:, None, None]
        msi = msi + rng.normal(size=msi.shape) * msi_noise[:, None, None]
    return Simulation(truth, hsi, msi, wavelength, response, dh, dw, hsi_noise, msi_noise, ratio, shift, width)


def _noise(image: np.ndarray, snr_db: float) -> np.ndarray:
    return np.sqrt((image**2).mean((1, 2))) * 10 ** (-snr_db / 20)
