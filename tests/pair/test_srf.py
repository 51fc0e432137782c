"""Response tables; Gaussians have a closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from geofuse.cube.schema import wrap
from geofuse.errors import InvalidInput
from geofuse.pair.scene import Scene
from geofuse.pair.srf import response_table

WAVELENGTH = np.arange(420.0, 1000.0, 10.0)
FWHM = 12.0
CENTRES, WIDTHS = np.array([490.0, 560.0, 665.0, 842.0]), np.array([66.0, 36.0, 31.0, 106.0])  # Sentinel-2A bands 2, 3, 4, 8
TO_SIGMA = 1 / 2.3548200450309493


def scene_of(
    hsi_wavelength: np.ndarray | None = WAVELENGTH, msi_wavelength: np.ndarray | None = CENTRES, fwhm: float | None = FWHM
) -> Scene:
    bands = len(WAVELENGTH)
    width = None if fwhm is None else np.full(bands, fwhm)
    transform = Affine(30, 0, 4e5, 0, -30, 5.8e6)
    hsi = wrap(np.ones((bands, 4, 4)), transform=transform, crs=32633, names=[""] * bands, wavelength=hsi_wavelength, fwhm=width)
    msi = wrap(np.ones((4, 12, 12)), transform=Affine(10, 0, 4e5, 0, -10, 5.8e6), crs=32633, names=list("bgrn"), wavelength=msi_wavelength)
    return Scene.of(hsi, msi)


def gaussians(hsi_fwhm: float) -> np.ndarray:
    """A Gaussian response seen through Gaussian bands is a Gaussian of the summed variances."""
    variance = (WIDTHS[:, None] * TO_SIGMA) ** 2 + (hsi_fwhm * TO_SIGMA) ** 2
    weight = np.exp(-0.5 * (WAVELENGTH - CENTRES[:, None]) ** 2 / variance)
    return weight / weight.sum(1, keepdims=True)


def write_csv(path: Path, unit: float = 1.0, columns: int = 4) -> Path:
    nm = np.arange(380.0, 1100.0, 1.0)
    curves = np.exp(-0.5 * ((nm - CENTRES[:columns, None]) / (WIDTHS[:columns, None] * TO_SIGMA)) ** 2)
    header = ",".join(["wavelength", *"bgrn"[:columns]])
    np.savetxt(path, np.column_stack([nm / unit, curves.T]), delimiter=",", header=header, comments="")
    return path


@pytest.mark.parametrize("unit", [1.0, 1000.0])
def test_gaussian_csv(tmp_path: Path, unit: float) -> None:
    path = write_csv(tmp_path / "gauss.csv", unit)
    for given in (path, str(path)):
        matrix, name = response_table(given, scene_of())
        assert matrix is not None
        assert name == "gauss.csv"
        np.testing.assert_allclose(matrix, gaussians(FWHM), atol=2e-4)
        np.testing.assert_allclose(matrix.sum(1), 1)


def test_overlapping_detectors_share_the_spectrum(tmp_path: Path) -> None:
    """A second detector from 700 nm on, whose bands lie between those of the first and stand behind them: neither counts twice."""
    first, second = WAVELENGTH[:36], WAVELENGTH[28:] + 5  # 420 to 770 nm, 705 to 995 nm
    wavelength = np.concatenate([first, second])
    transform = Affine(30, 0, 4e5, 0, -30, 5.8e6)
    names, width = [""] * len(wavelength), np.full(len(wavelength), FWHM)
    hsi = wrap(np.ones((len(wavelength), 4, 4)), transform=transform, crs=32633, names=names, wavelength=wavelength, fwhm=width)
    matrix, _ = response_table(write_csv(tmp_path / "gauss.csv"), Scene.of(hsi, scene_of().msi))
    assert matrix is not None
    # the mean wavelength of a symmetric response is its centre (the blue one is cut off at 420 nm)
    np.testing.assert_allclose((matrix @ wavelength)[1:], CENTRES[1:], atol=0.1)


def test_bands_without_width_are_as_wide_as_they_are_apart(tmp_path: Path) -> None:
    matrix, _ = response_table(write_csv(tmp_path / "gauss.csv"), scene_of(fwhm=None))
    assert matrix is not None
    np.testing.assert_allclose(matrix, gaussians(10.0), atol=2e-4)


def test_auto_and_a_matrix() -> None:
    assert response_table("auto", scene_of()) == (None, "estimated")
    given = np.random.default_rng(0).random((4, len(WAVELENGTH)))
    matrix, name = response_table(given, scene_of())
    assert name == "given matrix"
    np.testing.assert_allclose(matrix, given / given.sum(1, keepdims=True))


@pytest.mark.parametrize("sensor", ["Sentinel-2A", "sentinel-2b", "Landsat-8"])
def test_a_known_sensor(sensor: str) -> None:
    """The centre of each band as its agency states it to 3 nm."""
    matrix, name = response_table(sensor, scene_of())
    assert matrix is not None
    assert name == sensor
    stated = {"Landsat-8": [482, 561, 655, 865]}.get(sensor, [492, 559, 665, 833])
    np.testing.assert_allclose(matrix @ WAVELENGTH, stated, atol=3)
    np.testing.assert_allclose(matrix.sum(1), 1)
    assert (matrix >= 0).all()


@pytest.mark.parametrize("bad", ["columns", "missing", "text", "hole", "outside"])
def test_refused_tables(tmp_path: Path, bad: str) -> None:
    path = write_csv(tmp_path / "t.csv", columns=3 if bad == "columns" else 4)
    if bad == "missing":
        path = tmp_path / "nowhere.csv"
    elif bad == "text":
        path.write_text("wavelength,b,g,r,n\n400,high,low,low,low\n")
    elif bad == "hole":
        path.write_text("wavelength,b,g,r,n\n400,1,1,1,1\n500,1,,1,1\n")
    elif bad == "outside":
        path.write_text("wavelength,b,g,r,n\n" + "".join(f"{w},1,1,1,1\n" for w in range(3000, 3100)))
    message = {"columns": "has 3 band columns; expected 4", "hole": "empty cells", "outside": "does not cover"}.get(bad, "cannot be read")
    with pytest.raises(InvalidInput, match=message):
        response_table(path, scene_of())


@pytest.mark.parametrize(
    ("srf", "scene", "message"),
    [
        ("Sentinel-9", scene_of(), "no response table for 'Sentinel-9'; expected one of landsat-7.*sentinel-2b"),
        ("Sentinel-2A", scene_of(msi_wavelength=None), "MSI has no wavelengths"),
        ("Sentinel-2A", scene_of(hsi_wavelength=None), "needs the wavelengths of the HSI"),
        (np.ones((4, 3)), scene_of(), r"shape \(4, 3\); expected \(4, 58\)"),
        (-np.ones((4, 58)), scene_of(), "negative, undefined or empty"),
        (np.full((4, 58), np.nan), scene_of(), "negative, undefined or empty"),
        (np.zeros((4, 58)), scene_of(), "negative, undefined or empty"),
    ],
)
def test_rejected(srf: object, scene: Scene, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        response_table(srf, scene)
