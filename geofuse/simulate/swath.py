"""A scene observed by a scanner whose lines are turned and bent against the map, and put on a map grid by a geometry lookup table (GLT).

A swath product holds what the scanner saw, each pixel with its own place on the ground, and a table that says for every pixel of a map grid
which of them to show: the nearest. Nothing is interpolated, so that what the grid shows lies up to half a pixel or more off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from affine import Affine
from scipy.spatial import cKDTree

from geofuse.cube.schema import wrap
from geofuse.simulate.pairs import HSI_SNR_DB, Simulation

FARTHEST = 0.75  # coarse pixels from the centre of a grid pixel to what it shows


@dataclass(frozen=True)
class Swath:
    """What a scanner saw: spectra (B, N) of pixels, and their true centres in fine index coordinates, ``rows`` and ``cols`` (N,)."""

    spectra: np.ndarray
    rows: np.ndarray
    cols: np.ndarray


def scan(truth: np.ndarray, ratio: int, degrees: float = 12.0, bend: float = 0.7, *, noise: bool = True, seed: int = 0) -> Swath:
    """Observe a truth along turned and bent lines.

    Parameters
    ----------
    truth : ndarray, shape (B, H, W)
        Reflectance on the fine grid.
    ratio : int
        Pixel spacing of the scanner, in fine pixels; its PSF is a Gaussian of standard deviation ``ratio`` / 2.
    degrees : float
        By which the scanner's lines are turned against the grid's.
    bend : float
        Amplitude of a smooth distortion, in coarse pixels.
    noise : bool
        White noise, 35 dB of each band's own root mean square.
    seed : int
        Of the noise.

    Returns
    -------
    Swath
        Of the pixels whose centre lies on the truth.
    """
    _, height, width = truth.shape
    half = int(np.hypot(height, width) / ratio / 2) + 3
    line, sample = np.mgrid[-half : half + 1, -half : half + 1].astype(float) + 0.37  # no pixel coincides with one of the grid
    across, along = line + bend * np.sin(sample / 5 + 0.4), sample + bend * np.sin(line / 7 + 1.1)
    angle = np.radians(degrees)
    rows = (height - 1) / 2 + ratio * (np.cos(angle) * across - np.sin(angle) * along)
    cols = (width - 1) / 2 + ratio * (np.sin(angle) * across + np.cos(angle) * along)
    inside = (rows > -0.5) & (rows < height - 0.5) & (cols > -0.5) & (cols < width - 0.5)
    rows, cols = rows[inside], cols[inside]
    spectra = observed_at(truth, rows, cols, ratio / 2)
    if noise:
        level = np.sqrt((spectra**2).mean(1)) * 10 ** (-HSI_SNR_DB / 20)
        spectra = spectra + np.random.default_rng(seed).normal(size=spectra.shape) * level[:, None]
    return Swath(spectra, rows, cols)


def observed_at(truth: np.ndarray, rows: np.ndarray, cols: np.ndarray, sigma: float) -> np.ndarray:
    """A truth (B, H, W) seen through a Gaussian PSF, cut at four standard deviations, at places in fine index coordinates (N,): (B, N).

    The scene continues beyond its edges as its mirror image.
    """
    radius = int(np.ceil(4 * sigma)) + 1
    padded = np.pad(truth, ((0, 0), (radius, radius), (radius, radius)), mode="symmetric")
    out = np.empty((len(truth), len(rows)))
    steps = np.arange(-radius, radius + 1)
    for k, (row, col) in enumerate(zip(rows, cols, strict=True)):
        i, j = int(np.rint(row)), int(np.rint(col))
        down, right = (np.exp(-0.5 * ((steps + near - place) / sigma) ** 2) for near, place in ((i, row), (j, col)))
        out[:, k] = padded[:, i : i + 2 * radius + 1, j : j + 2 * radius + 1] @ (right / right.sum()) @ (down / down.sum())
    return out


def gridded(swath: Swath, shape: tuple[int, int], ratio: int) -> tuple[np.ndarray, np.ndarray]:
    """The swath on a map grid by its nearest pixels, and where these truly lie.

    Parameters
    ----------
    swath : Swath
    shape : tuple of int
        Rows and columns of the map grid, whose first pixel has the corner of the first fine pixel.
    ratio : int
        Coarse over fine pixel size.

    Returns
    -------
    image : ndarray, shape (B, h, w)
        NaN where no pixel is near.
    centres : ndarray, shape (2, h, w)
        Rows and columns in fine index coordinates; NaN where there is no pixel, or where it is shown by a nearer one of the grid too.
    """
    row, col = np.mgrid[: shape[0], : shape[1]] * float(ratio) + (ratio - 1) / 2
    places = np.stack([row.ravel(), col.ravel()], 1)
    distance, nearest = (np.asarray(a) for a in cKDTree(np.stack([swath.rows, swath.cols], 1)).query(places))
    shown = distance <= FARTHEST * ratio
    image = np.where(shown, swath.spectra[:, nearest], np.nan)
    order = np.lexsort((distance, nearest))  # of the grid pixels that show one pixel the nearest comes first
    first = np.zeros(len(nearest), bool)
    first[order[np.r_[True, np.diff(nearest[order]) > 0]]] = True
    centres = np.where(shown & first, np.stack([swath.rows[nearest], swath.cols[nearest]]), np.nan)
    return image.reshape(len(image), *shape), centres.reshape(2, *shape)


def swath_cube(pair: Simulation, swath: Swath, *, true_centres: bool = True) -> xr.DataArray:
    """The HSI of a pair as a swath on the same map grid, georeferenced as `geofuse.simulate.cubes` does it.

    Parameters
    ----------
    pair : Simulation
    swath : Swath
        Of the same truth.
    true_centres : bool
        Whether the cube says where its pixels truly lie.
    """
    image, (rows, cols) = gridded(swath, (pair.hsi.shape[1], pair.hsi.shape[2]), pair.ratio)
    fine = Affine(4, 0, 500_000, 0, -4, 6_000_000)
    known = {"centre_y": fine.f + fine.e * (rows + 0.5), "centre_x": fine.c + fine.a * (cols + 0.5)} if true_centres else {}
    return wrap(
        image,
        transform=fine * Affine.scale(pair.ratio),
        crs="EPSG:32633",
        names=[f"band {i + 1}" for i in range(len(image))],
        wavelength=pair.wavelength,
        good=np.ones(len(image), bool),
        **known,
    )
