"""Grid pairs, a naive PSF and made-up scenes, from plain numbers: what the tests of the numeric core compare with.

No image here is made with the operators of geofuse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy.ndimage import gaussian_filter

from geofuse.pair.grid import GridPair, Window
from geofuse.pair.patch import Patch, make_patch
from geofuse.pair.psf.builder import PsfBuilder
from geofuse.pair.scene import Sample
from geofuse.simulate import Simulation

CRS = "EPSG:32633"
WEST, NORTH = 383_469.97, 5_818_303.55  # of the fine image, whose pixels are 1 m wide


def boxes(coarse: tuple[int, int], fine: tuple[int, int], ratio: float, first: tuple[float, float] | None = None) -> tuple[GeoBox, GeoBox]:
    """Coarse and fine grid; the centre of the first coarse pixel lies on the fine pixel ``first`` (row, column)."""
    row, col = first or ((ratio - 1) / 2,) * 2
    west, north = WEST + col + 0.5 - ratio / 2, NORTH - (row + 0.5 - ratio / 2)
    return GeoBox(coarse, Affine(ratio, 0, west, 0, -ratio, north), CRS), GeoBox(fine, Affine(1, 0, WEST, 0, -1, NORTH), CRS)


def uncropped(
    coarse: tuple[int, int], fine: tuple[int, int] | None = None, ratio: float = 4.0, first: tuple[float, float] | None = None
) -> GridPair:
    """Pair of grids as they are, however small; by default the fine one ends where the coarse one does."""
    rows, cols = fine or (round(coarse[0] * ratio), round(coarse[1] * ratio))
    low, high = boxes(coarse, (rows, cols), ratio, first)
    return GridPair(high, low, whole((rows, cols)), whole(coarse), whole((rows, cols)))


def whole(shape: tuple[int, int]) -> Window:
    """Everything."""
    return Window(0, shape[0], 0, shape[1])


def naive_psf(ratio: float, first: float, coarse: int, fine: int, sigma: float, shift: float = 0.0) -> np.ndarray:
    """One direction of the PSF, (coarse, fine), one weight after the other."""
    matrix = np.zeros((coarse, fine))
    for i in range(coarse):
        centre = first + shift + ratio * i
        for j in range(math.floor(centre - 5 * sigma) - 2, math.ceil(centre + 5 * sigma) + 3):
            if abs(j - centre) / sigma <= 4:
                k = j
                while not 0 <= k < fine:  # the scene continues as its mirror image
                    k = -1 - k if k < 0 else 2 * fine - 1 - k
                matrix[i, k] += math.exp(-((j - centre) ** 2) / (2 * sigma**2))
        matrix[i] /= matrix[i].sum()
    return matrix


def naive_operator(pair: GridPair, sigma: tuple[float, float], shift: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """The PSF of an aligned pair made by `uncropped`, as one matrix (coarse pixels, fine pixels)."""
    (h, w), (height, width) = pair.coarse.shape, pair.fine.shape
    ratio = pair.coarse.affine.a
    row = (NORTH - pair.coarse.affine.f) + ratio / 2 - 0.5
    col = (pair.coarse.affine.c - WEST) + ratio / 2 - 0.5
    return np.kron(naive_psf(ratio, row, h, height, sigma[0], shift[0]), naive_psf(ratio, col, w, width, sigma[1], shift[1]))


def made_up_scene(bands: int, height: int, width: int, rank: int = 5, seed: int = 0, grain: float = 1.5) -> np.ndarray:
    """Reflectance (bands, height, width) of ``rank`` materials with smooth spectra, in patches with detail down to ``grain`` pixels.

    Light differs from place to place: with shares that sum to 1 everywhere an offset would be one more mixture.
    """
    rng = np.random.default_rng(seed)
    scales = (grain, 4 * grain)
    maps = np.stack(
        [np.sum([gaussian_filter(rng.normal(size=(height, width)), s, mode="reflect") * s for s in scales], 0) for _ in range(rank)]
    )
    share = np.exp(3 * maps / maps.std())
    share /= share.sum(0)
    spectra = gaussian_filter(rng.normal(size=(rank, 3 * bands)), (0, bands / 8), mode="wrap")[:, bands : 2 * bands]
    spectra = 0.05 + 0.5 * (spectra - spectra.min()) / np.ptp(spectra)
    light = gaussian_filter(rng.normal(size=(height, width)), 2 * grain, mode="reflect")
    return np.tensordot(spectra.T, share, 1) * (1 + 0.5 * np.tanh(light / light.std()))


def bell_responses(bands: int, count: int) -> np.ndarray:
    """Overlapping Gaussian responses (count, bands), rows summing to 1."""
    centre = (np.arange(count) + 0.5) * bands / count
    response = np.exp(-0.5 * ((np.arange(bands) - centre[:, None]) / (0.5 * bands / count)) ** 2)
    return response / response.sum(1, keepdims=True)


def tensor(array: np.ndarray) -> torch.Tensor:
    """The array in double precision."""
    return torch.as_tensor(np.ascontiguousarray(array), dtype=torch.float64)


@dataclass(frozen=True)
class Pair:
    """A simulated pair on its grids: truth (B, H, W), HSI (B, h, w), MSI (M, H, W), response, and the PSF that made the HSI."""

    truth: np.ndarray
    hsi: np.ndarray
    msi: np.ndarray
    srf: np.ndarray
    grids: GridPair
    sigma: tuple[float, float]
    shift: tuple[float, float]
    hsi_noise: np.ndarray
    msi_noise: np.ndarray

    @property
    def windows(self) -> tuple[Window, Window]:
        """All of the fine and all of the coarse grid."""
        return whole((self.msi.shape[1], self.msi.shape[2])), whole((self.hsi.shape[1], self.hsi.shape[2]))

    @property
    def sample(self) -> Sample:
        """The whole scene as one sample."""
        return Sample(self.hsi.astype(np.float32), self.msi.astype(np.float32), *self.windows)

    def patch(
        self, sigma: tuple[float, float] | None = None, shift: tuple[float, float] | None = None, dtype: torch.dtype = torch.float32
    ) -> Patch:
        """The whole scene for the solver; given the true PSF unless another is given."""
        builder = PsfBuilder(self.grids, sigma or self.sigma, shift or self.shift)
        return make_patch(self.hsi, self.msi, builder, *self.windows, torch.zeros(1, dtype=dtype))


def simulated(
    truth: np.ndarray,
    srf: np.ndarray,
    coarse: tuple[int, int],
    ratio: float,
    *,
    first: tuple[float, float] | None = None,
    sigma: tuple[float, float] | None = None,
    shift: tuple[float, float] = (0.0, 0.0),
    snr_db: tuple[float, float] = (35.0, 40.0),
    seed: int = 0,
) -> Pair:
    """A pair made of a truth by the naive PSF, with white noise scaled to each band's root mean square."""
    sigma, first = sigma or (ratio / 2, ratio / 2), first or ((ratio - 1) / 2,) * 2
    rows = naive_psf(ratio, first[0], coarse[0], truth.shape[1], sigma[0], shift[0])
    cols = naive_psf(ratio, first[1], coarse[1], truth.shape[2], sigma[1], shift[1])
    images, levels, rng = [], [], np.random.default_rng(seed)
    for image, snr in zip((rows @ truth @ cols.T, np.tensordot(srf, truth, 1)), snr_db, strict=True):
        levels.append(np.sqrt((image**2).mean((1, 2))) * 10 ** (-snr / 20))
        images.append(image + levels[-1][:, None, None] * rng.normal(size=image.shape))
    grids = uncropped(coarse, truth.shape[1:], ratio, first)
    return Pair(truth, images[0], images[1], srf, grids, sigma, shift, levels[0], levels[1])


def on_grids(scene: Simulation) -> Pair:
    """A benchmark scene on its grids."""
    sigma = (scene.ratio / 2,) * 2
    grids = uncropped(scene.hsi.shape[1:], scene.truth.shape[1:], scene.ratio)
    return Pair(scene.truth, scene.hsi, scene.msi, scene.srf, grids, sigma, scene.shift, scene.hsi_noise, scene.msi_noise)


def psnr(truth: np.ndarray, image: np.ndarray) -> float:
    """Mean over bands, dB, peak 1."""
    error = ((truth - np.clip(image, 0, 1)) ** 2).mean((1, 2))
    return float(np.mean(-10 * np.log10(error)))
