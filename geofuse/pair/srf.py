"""Spectral response functions from tables: known sensors, CSV files, or a matrix of the user's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geofuse.cube.bands import BandTable, to_nm
from geofuse.errors import InvalidInput
from geofuse.pair.scene import Scene
from geofuse.pair.selection import guides, kept_rows

CUT = 12.0  # standard deviations beyond which a Gaussian is zero: before its height is too small for a number
# What a product that is read names as its sensor, and the table that is its prior. Platforms of a series are alike to a few nm.
_TABLE_OF = {"Sentinel-2": "sentinel-2a", "Landsat 8": "landsat-8"}
_BEYOND = 100.0  # nm, more than a band of an HSI reaches beyond its centre
_SEEN = 1e-3  # of the largest weight: what a band must have in all for the HSI to see it
FWHM_TO_SIGMA = 1 / (2 * np.sqrt(2 * np.log(2)))


def response_table(srf: Any, scene: Scene) -> tuple[np.ndarray | None, str]:
    """The response matrix (M, B) that ``srf`` names, and its name; None where it is to be estimated.

    Parameters
    ----------
    srf : str, path or ndarray
        ``auto``; a sensor of the pyrsr package such as ``Sentinel-2A`` or ``Landsat-8``; a CSV file whose first column is the wavelength
        (nm or µm) and which has one column for each MSI band, in their order; or a matrix (M, B).
    scene : Scene

    Raises
    ------
    InvalidInput
        Unknown name, unreadable file, or a table that does not match the bands.
    """
    if isinstance(srf, str) and srf == "auto":
        return None, "estimated"
    bands, msi, unseen = scene.bands, BandTable.from_cube(scene.msi), guides(scene)
    if not isinstance(srf, str | os.PathLike):
        return _checked(_matrix(srf, (len(msi), len(bands)), scene), "the given matrix", unseen), "given matrix"
    if not bands.has_wavelength:
        raise InvalidInput(
            "A response table needs the wavelengths of the HSI, and it has none. Use srf='auto', or give the HSI its wavelengths."
        )
    if str(srf).lower().endswith(".csv"):
        return _checked(_onto_bands(*_from_csv(Path(srf), len(msi), scene), bands), str(srf), unseen), Path(srf).name
    return _checked(_onto_bands(*_from_sensor(str(srf), msi), bands), str(srf), unseen), str(srf)


def nominal_response(scene: Scene) -> tuple[np.ndarray | None, str]:
    """What the files say of the response, the prior of one that is estimated: (M, B) with rows of zeros where nothing is known, and its name.

    That is the sensor's table where the reader of the MSI named a sensor that has one, else Gaussians of the centre and FWHM of each band;
    None, and an empty name, where no band of the MSI has both, or the HSI has no wavelengths.
    """
    bands, msi = scene.bands, BandTable.from_cube(scene.msi)
    if not bands.has_wavelength or not (centred := np.isfinite(msi.wavelength)).any():
        return None, ""
    sensor = str(scene.msi.encoding.get("sensor", ""))
    name = next((table for start, table in _TABLE_OF.items() if sensor.startswith(start)), "")
    if name and centred.all():
        weight = _onto_bands(*_from_sensor(name, msi), bands)
    else:
        name, known = "centre and FWHM", centred & (np.nan_to_num(msi.fwhm) > 0)
        wavelength = np.arange(np.nanmin(bands.wavelength) - _BEYOND, np.nanmax(bands.wavelength) + _BEYOND)
        width = np.where(known, msi.fwhm, 1.0) * FWHM_TO_SIGMA
        curves = _gaussian((wavelength - np.where(known, msi.wavelength, 0.0)[:, None]) / width[:, None])
        weight = _onto_bands(wavelength, curves * known[:, None], bands)
    total = weight.sum(1, keepdims=True)
    weight = np.where(total > _SEEN * weight.max(initial=0.0), weight / np.maximum(total, 1e-30), 0.0)
    return (weight, name) if weight.any() else (None, "")


def _matrix(srf: Any, expected: tuple[int, int], scene: Scene) -> np.ndarray:
    try:
        matrix = kept_rows(np.asarray(srf, float), scene.msi)
    except (TypeError, ValueError):
        matrix = np.empty(())
    if matrix.shape != expected:
        found = f"matrix has shape {matrix.shape}" if matrix.ndim else f"is a {type(srf).__name__}"
        raise InvalidInput(
            f"The response {found}; expected {expected}, one row for each MSI band, or a sensor's name, a CSV file or 'auto'."
        )
    return matrix


def _gaussian(distance: np.ndarray) -> np.ndarray:
    near = np.minimum(np.abs(distance), CUT)
    return np.where(near < CUT, np.exp(-0.5 * near**2), 0.0)


def _onto_bands(wavelength: np.ndarray, response: np.ndarray, bands: BandTable) -> np.ndarray:
    """Weight of each HSI band in each MSI band: the MSI response seen through the HSI band's own Gaussian, (M, B)."""
    spacing = _spacing(bands.wavelength)
    width = np.where(np.isfinite(bands.fwhm), bands.fwhm, np.median(spacing)) * FWHM_TO_SIGMA
    kernel = _gaussian((wavelength[None] - bands.wavelength[:, None]) / width[:, None])
    kernel /= np.maximum(kernel.sum(1, keepdims=True), 1e-30)
    weight: np.ndarray = response @ kernel.T * spacing
    return weight


def _spacing(wavelength: np.ndarray) -> np.ndarray:
    """Part of the spectrum (nm) that each band stands for, (B,): half of it where two detectors overlap, in whatever order the bands are."""
    order = np.argsort(wavelength, kind="stable")
    spacing = np.full(len(wavelength), 10.0)
    if len(wavelength) > 1:
        spacing[order] = np.gradient(wavelength[order])
    return spacing


def _from_csv(path: Path, count: int, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    try:
        table = pd.read_csv(path, comment="#").to_numpy(float)
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"The response table {path} cannot be read: {error}. Expected CSV: wavelength, then one column for each MSI band."
        ) from error
    table = np.column_stack([table[:, :1], kept_rows(table[:, 1:].T, scene.msi).T])
    if table.shape[1] != count + 1:
        raise InvalidInput(f"The response table {path} has {table.shape[1] - 1} band columns; expected {count}, one for each MSI band.")
    if not np.isfinite(table).all() or not len(table):
        raise InvalidInput(f"The response table {path} has empty cells or no rows; expected a number in each, 0 where a band sees nothing.")
    return to_nm(table[:, 0]), table[:, 1:].T


def _from_sensor(name: str, msi: BandTable) -> tuple[np.ndarray, np.ndarray]:
    from pyrsr import RSR

    try:
        satellite, sensor = _SENSORS[name.lower()]
    except KeyError:
        raise InvalidInput(
            f"There is no response table for {name!r}; expected one of {', '.join(sorted(_SENSORS))}, a CSV file, or 'auto'."
        ) from None
    table = RSR(satellite=satellite, sensor=sensor, no_thermal=True)
    if not msi.has_wavelength:
        raise InvalidInput(
            f"The MSI has no wavelengths, so its bands cannot be matched to those of {name}. Use srf='auto', or give a CSV file."
        )
    wavelength = np.asarray(table.rsrs_wvl, float)
    # Measured curves dip a hair below zero where a band ends.
    curves = np.clip([np.asarray(table[band], float) for band in table.bands], 0, None)
    centres = (curves * wavelength).sum(1) / curves.sum(1)
    return wavelength, curves[[int(np.abs(centres - w).argmin()) for w in msi.wavelength]]


_SENSORS = {
    "sentinel-2a": ("Sentinel-2A", "MSI"),
    "sentinel-2b": ("Sentinel-2B", "MSI"),
    "landsat-7": ("Landsat-7", "ETM+"),
    "landsat-8": ("Landsat-8", "OLI_TIRS"),
    "landsat-9": ("Landsat-9", "OLI_TIRS"),
}


def _checked(matrix: np.ndarray, name: str, unseen: np.ndarray) -> np.ndarray:
    """Rows that sum to 1; zeros for the bands that the HSI does not see."""
    matrix = np.where(unseen[:, None], 0.0, matrix)
    total = matrix.sum(1, keepdims=True)
    if not np.isfinite(matrix).all() or (matrix < 0).any() or (total[~unseen] <= 0).any():
        raise InvalidInput(f"{name} does not cover the HSI's bands: a row of the response is negative, undefined or empty.")
    return matrix / np.where(unseen[:, None], 1.0, total)
