"""Wald's protocol on benchmark scenes: a real cube is the truth, or one that is drawn.

Of a real cube the truth is the first pixels without the bands that are empty there, divided by their 99.9th percentile and clipped to 0 … 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio

from geofuse.simulate.drawn import DRAWN, draw
from geofuse.simulate.pairs import PointSpread, Simulation, simulate_pair

PACKAGED = Path(__file__).resolve().parent.parent / "demo" / "data"


@dataclass(frozen=True)
class BenchmarkScene:
    """A real cube: its name, its file, and how many of its first rows and columns are the truth; ``key`` is its name in an ``.npz`` file."""

    title: str
    file: str
    rows: int
    cols: int
    key: str = "cube"

    def path(self, folder: Path) -> Path:
        """Where it is: in a folder of benchmark scenes, or in the package."""
        return (folder if self.file.endswith(".npz") else PACKAGED) / self.file


SCENES = {
    "jasper": BenchmarkScene("Jasper Ridge", "jasper_ridge.npz", 96, 96),
    "la": BenchmarkScene("LA airport", "la_airport_aviris.npz", 96, 176),
    "ip": BenchmarkScene("Indian Pines", "indian_pines.npz", 144, 144),
    "sb": BenchmarkScene("Santa Barbara", "santa_barbara_aviris.npz", 88, 88),
    "paris": BenchmarkScene("Paris", "paris_hyperion_ali.npz", 72, 72, key="hsi"),
    "berlin": BenchmarkScene("Berlin", "berlin_enmap_30m.tif", 80, 56),
}


def load(name: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the truth of a scene.

    Parameters
    ----------
    name : str
        Of `SCENES`, or of `DRAWN`.
    folder : pathlib.Path
        Where the ``.npz`` files are.

    Returns
    -------
    truth : ndarray, shape (B, H, W)
        In 0 … 1.
    wavelength : ndarray, shape (B,)
        In nm; those of LA airport, which are not known, are taken as even over 400 … 2480.

    Raises
    ------
    FileNotFoundError
        The scene is not in the folder.

    Examples
    --------
    >>> truth, wavelength = load("berlin", Path("not needed for this one"))
    >>> truth.shape, truth.min() >= 0, truth.max()
    ((177, 80, 56), np.True_, np.float64(1.0))
    """
    if name in DRAWN:
        return draw(DRAWN[name])
    scene = SCENES[name]
    cube, wavelength = (_read_npz if scene.file.endswith(".npz") else _read_raster)(scene.path(folder), scene.key)
    cube = np.clip(cube[:, : scene.rows, : scene.cols], 0, None)
    filled = cube.any((1, 2))
    cube = cube[filled]
    return np.clip(cube / np.percentile(cube, 99.9), 0, 1), wavelength[filled]


def _read_npz(path: Path, key: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path) as archive:
        cube = archive[key].astype(float)
        wavelength = archive["wavelength_nm"].astype(float) if "wavelength_nm" in archive else np.linspace(400, 2480, len(cube))
    return cube, wavelength


def _read_raster(path: Path, _: str) -> tuple[np.ndarray, np.ndarray]:
    with rasterio.open(path) as file:
        return file.read().astype(float), np.array([float(file.tags(band)["wavelength"]) for band in file.indexes])


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
    """Simulate the pair of one scene; see `load` for ``name`` and ``folder``, and `simulate_pair` for the rest.

    Drawn scenes have noise and a PSF of their own.

    Examples
    --------
    >>> pair = simulate("berlin", 4, "qb4", Path())
    >>> pair.hsi.shape, pair.msi.shape
    ((177, 20, 14), (4, 80, 56))
    """
    truth, wavelength = load(name, folder)
    if name not in DRAWN:
        return simulate_pair(truth, wavelength, ratio, kind, noise=noise, shift=shift, seed=seed, spread=spread)
    snr, width = (DRAWN[name].hsi_snr, DRAWN[name].msi_snr), DRAWN[name].width
    return simulate_pair(truth, wavelength, ratio, kind, noise=noise, shift=shift, seed=seed, spread=spread, snr=snr, width=width)
