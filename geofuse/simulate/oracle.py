"""The reference: the closed form to which everything is known that geofuse has to estimate."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import zoom

from geofuse.simulate.pairs import Simulation

RANK = 16
# Noise that the closed form assumes where there is none: what its own subspace leaves out acts as noise. Of 35, 45, 55, 65 and 80 dB this
# served it best, on average over all scenes, responses and ratios (MSI: 5 dB less noise, as everywhere).
CLEAN_HSI_DB, CLEAN_MSI_DB = 55.0, 60.0


def closed_form_oracle(case: Simulation) -> np.ndarray:
    """Closed form of Wei, Dobigeon and Tourneret in the noise-whitened subspace, given PSF, response and noise levels.

    Parameters
    ----------
    case : Simulation
        A pair with its operators.

    Returns
    -------
    ndarray, shape (B, H, W)
        Reflectance.

    References
    ----------
    Wei, Dobigeon and Tourneret 2015, "Fast fusion of multi-band images based on solving a Sylvester equation", doi:10.1109/TIP.2015.2458572.

    Examples
    --------
    >>> from pathlib import Path
    >>> from geofuse.simulate import simulate
    >>> pair = simulate("berlin", 4, "s2", Path())
    >>> bool(np.abs(closed_form_oracle(pair) - pair.truth).mean() < 0.02)
    True
    """
    height, width = case.msi.shape[1:]
    hsi_noise, msi_noise = _level(case.hsi, case.hsi_noise, CLEAN_HSI_DB), _level(case.msi, case.msi_noise, CLEAN_MSI_DB)
    whitened = case.hsi / hsi_noise[:, None, None]
    mean = whitened.mean((1, 2))
    basis = np.linalg.svd((whitened - mean[:, None, None]).reshape(len(mean), -1), full_matrices=False)[0][:, :RANK]
    y = np.tensordot(basis.T, whitened - mean[:, None, None], 1)
    response = case.srf * hsi_noise
    m = (case.msi - (response @ mean)[:, None, None]) / msi_noise[:, None, None]
    mixing = response @ basis / msi_noise[:, None]
    prior = _detail_precision(y)
    value, vector = np.linalg.eigh(prior + mixing.T @ mixing)
    (eh, vh), (ew, vw) = np.linalg.eigh(case.dh @ case.dh.T), np.linalg.eigh(case.dw @ case.dw.T)
    right = np.tensordot(vector.T, np.tensordot(prior, _enlarge(y, height, width), 1) + np.tensordot(mixing.T, m, 1), 1)
    right = (right + case.dh.T @ np.tensordot(vector.T, y, 1) @ case.dw) / value[:, None, None]
    coarse = vh.T @ (case.dh @ right @ case.dw.T) @ vw / (np.outer(eh, ew) + value[:, None, None])
    z = np.tensordot(vector, right - case.dh.T @ (vh @ coarse @ vw.T) @ case.dw, 1)
    fused: np.ndarray = (np.tensordot(basis, z, 1) + mean[:, None, None]) * hsi_noise[:, None, None]
    return fused


def _level(image: np.ndarray, noise: np.ndarray, clean_db: float) -> np.ndarray:
    """Standard deviations per band: the true ones, or the stand-in for none."""
    return noise if (noise > 0).all() else np.sqrt((image**2).mean((1, 2))) * 10 ** (-clean_db / 20)


def _detail_precision(y: np.ndarray) -> np.ndarray:
    """Inverse covariance of the detail that a step of two in resolution takes away, (K, K)."""
    rank, h, w = y.shape[0], y.shape[1] // 2 * 2, y.shape[2] // 2 * 2
    y = y[:, :h, :w]
    small = y.reshape(rank, h // 2, 2, w // 2, 2).mean((2, 4))
    detail = (y - _enlarge(small, h, w)).reshape(rank, -1)
    precision: np.ndarray = np.linalg.inv(detail @ detail.T / detail.shape[1] + 1e-3 * np.eye(rank))
    return precision


def _enlarge(image: np.ndarray, height: int, width: int) -> np.ndarray:
    factor = (height / image.shape[1], width / image.shape[2])
    return np.stack([zoom(band, factor, order=3, mode="nearest", grid_mode=True) for band in image])
