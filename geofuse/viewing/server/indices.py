"""Spectral indices (NDVI, NBR, …) of an image, from the catalogue Awesome Spectral Indices that spyndex brings with it.

Montero et al. (2023), "A standardized catalogue of spectral indices to advance the use of remote sensing in Earth system research", Scientific
Data 10, 197. Its bands are ranges of wavelengths; of an image the good band nearest to the middle of a range stands for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import spyndex
from numpy.typing import NDArray

from geofuse.cube.bands import BandTable

_WAVELENGTH_OF = "lambda"  # parameters such as lambdaN: the wavelength of the band N


@dataclass(frozen=True)
class Index:
    """An index: its short name, what it is, what it is for, and its parameters."""

    name: str
    title: str
    domain: str
    parameters: tuple[str, ...]

    def bands(self, table: BandTable) -> dict[str, int] | None:
        """Position of the band for each letter of the formula; None where the image lacks one.

        Examples
        --------
        >>> catalogue()["NDVI"].bands(BandTable.make(["red", "nir"], [665, 842]))
        {'N': 1, 'R': 0}
        """
        found = {letter: _position(letter, table) for letter in self.parameters if letter in spyndex.bands}
        return None if None in found.values() else {letter: at for letter, at in found.items() if at is not None}

    def compute(self, values: Mapping[str, NDArray[np.float32]], table: BandTable) -> NDArray[np.float32]:
        """The index of reflectance by letter, (rows, columns) each; NaN where it is not defined.

        Examples
        --------
        >>> table = BandTable.make(["red", "nir"], [665, 842])
        >>> catalogue()["NDVI"].compute({"N": np.array([[0.6]]), "R": np.array([[0.2]])}, table).round(3)
        array([[0.5]], dtype=float32)
        """
        given = {name: _constant(name, table) for name in self.parameters if name not in values}
        with np.errstate(all="ignore"):
            result = np.asarray(spyndex.computeIndex(self.name, {**values, **given}), np.float32)
        return np.where(np.isfinite(result), result, np.float32(np.nan))


@cache
def catalogue() -> dict[str, Index]:
    """All indices of reflectance whose parameters are known: bands, their wavelengths, and constants that have a usual value."""
    found = {name: Index(name, index.long_name, index.application_domain, tuple(index.bands)) for name, index in spyndex.indices.items()}
    return {name: index for name, index in found.items() if _usable(index)}


def _usable(index: Index) -> bool:
    letters = [name for name in index.parameters if name in spyndex.bands]
    rest = [name for name in index.parameters if name not in spyndex.bands]
    return bool(letters) and all(_names_wavelength(name) or _usual(name) is not None for name in rest)


def _names_wavelength(name: str) -> bool:
    return name.startswith(_WAVELENGTH_OF) and name.removeprefix(_WAVELENGTH_OF) in spyndex.bands


def _usual(name: str) -> float | None:
    value = spyndex.constants[name].default if name in spyndex.constants else None
    return float(value) if isinstance(value, int | float) else None


def _constant(name: str, table: BandTable) -> float:
    if _names_wavelength(name):
        position = _position(name.removeprefix(_WAVELENGTH_OF), table)
        return float("nan") if position is None else float(table.wavelength[position])
    value = _usual(name)
    return float("nan") if value is None else value


def _position(letter: str, table: BandTable) -> int | None:
    band = spyndex.bands[letter]
    low, high = float(band.min_wavelength), float(band.max_wavelength)
    with np.errstate(invalid="ignore"):
        inside = table.good & (table.wavelength >= low) & (table.wavelength <= high)
    if not inside.any():
        return None
    return int(np.argmin(np.where(inside, np.abs(table.wavelength - (low + high) / 2), np.inf)))
