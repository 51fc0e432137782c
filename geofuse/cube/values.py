"""Stored numbers and reflectance: the one place that turns integers on disk into reflectance and back.

A raster stores ``DN = (reflectance - offset) / scale``, and one DN that stands for "no data". In memory geofuse keeps
float32 reflectance (1.0 = 100 %) and NaN.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geofuse.errors import InputWarning, InvalidCube, InvalidInput

# Reflectance of one DN in nearly every integer reflectance product (Sentinel-2, Landsat-like, EnMAP, ENVI exports).
REFLECTANCE_SCALE = 1e-4

# Half the pixels of a scene are never twice as bright as a white sheet.
NOT_REFLECTANCE = 2.0

# No reflectance is this large: a float nodata value written as text (-3.40282e+38) does not compare equal to the pixels.
_ABSURD = 1e30

# Ways in which files say, in words, that their integers are reflectance times a number.
_DECLARATIONS = (
    re.compile(r"scaled\s+between\s+0\s+and\s+([\d.eE+]+)", re.IGNORECASE),
    re.compile(r"reflectance\s*(?:[\[(]\s*)?[*x×]\s*([\d.eE+]+)", re.IGNORECASE),
)
SCALE_KEYS = ("reflectance_scale", "reflectance_scale_factor", "reflectance scale factor")


def decode(raw: NDArray[Any], scale: ArrayLike, offset: ArrayLike, nodata: ArrayLike) -> NDArray[np.float32]:
    """Reflectance of stored numbers.

    Parameters
    ----------
    raw : numpy.ndarray
        Stored numbers, shape ``(band, y, x)``.
    scale, offset, nodata : array_like
        One value, or one a band in any shape; NaN in ``nodata`` where a band has no such value.

    Returns
    -------
    numpy.ndarray
        float32 reflectance ``raw * scale + offset``, the float32 nearest to it; NaN where there is no data.

    Examples
    --------
    >>> decode(np.array([[[7500, -99]]], dtype="int16"), 1e-4, 0.0, -99)
    array([[[0.75,  nan]]], dtype=float32)
    """
    columns = [np.broadcast_to(np.ravel(np.asarray(column, dtype=np.float64)), (len(raw),)) for column in (scale, offset, nodata)]
    out = np.empty(raw.shape, dtype=np.float32)
    # Band by band, so that the float64 that makes the rounding exact is never as large as the cube.
    for plane, stored, factor, shift, missing in zip(out, raw, *columns, strict=True):
        plane[...] = stored * np.float64(factor) + np.float64(shift)
        if not np.isnan(missing):
            plane[stored == _as_stored(missing, stored.dtype)] = np.nan
        if stored.dtype.kind == "f":
            plane[~(np.abs(stored) < _ABSURD)] = np.nan
    return out


def _as_stored(nodata: float, dtype: np.dtype[Any]) -> Any:
    """Return the nodata value as the file's own type holds it: -3.4e38 read as float64 is not the float32 in the pixels."""
    return dtype.type(nodata) if dtype.kind == "f" else nodata


def declared_scale(metadata: Mapping[str, Any]) -> float | None:
    """Reflectance of one DN as the metadata of a raster declares it in words, or None.

    Understood are a ``reflectance_scale`` tag and ENVI's ``reflectance scale factor``, a description "scaled between 0 and
    10000", and an axis title "reflectance [* 10000]".

    Raises
    ------
    InvalidCube
        A declared scale is not a positive number.

    Examples
    --------
    >>> declared_scale({"reflectance_scale": "10000"})
    0.0001
    """
    declared = [(key, value) for key, value in metadata.items() if key.lower() in SCALE_KEYS]
    words = [(key, match[1]) for key, value in metadata.items() for p in _DECLARATIONS if (match := p.search(str(value)))]
    for key, number in declared + words:
        try:
            dn_of_one = float(number)
        except (TypeError, ValueError):
            dn_of_one = np.nan
        if not 0 < dn_of_one < np.inf:
            raise InvalidCube(f"{key} = {number!r} does not give a positive number for 100 % reflectance; correct the metadata")
        return 1.0 / dn_of_one
    return None


def integer_scale(metadata: Mapping[str, Any], name: str) -> float:
    """Scale of integers whose file declares no scale: by the words in its metadata, else 1e-4 with a warning."""
    scale = declared_scale(metadata)
    if scale is not None:
        return scale
    message = (
        f"{name} holds integers and declares no scale: they are read as reflectance x 10000 (scale 0.0001). If that is wrong, "
        "set the scale in the file, or open it yourself and pass a DataArray of floating-point reflectance"
    )
    warnings.warn(InputWarning(message, "scale-undeclared"), stacklevel=4)
    return REFLECTANCE_SCALE


@dataclass(frozen=True)
class StoredType:
    """How reflectance is stored: the type on disk, its scale, and the number that stands for no data."""

    dtype: str
    scale: float
    nodata: float

    @classmethod
    def named(cls, dtype: str) -> StoredType:
        """Return the stored type of a name, ``"int16"`` (scale 1e-4, nodata -32768) or ``"float32"`` (nodata NaN).

        ``"flags"`` is that of the quality layer: bytes as they are, nodata 0.

        Raises
        ------
        InvalidInput
            Any other name.
        """
        if dtype == "int16":
            return cls("int16", REFLECTANCE_SCALE, -32768.0)
        if dtype == "float32":
            return cls("float32", 1.0, float("nan"))
        if dtype == "flags":
            return cls("uint8", 1.0, 0.0)
        raise InvalidInput(f"An image cannot be stored as {dtype!r}; expected 'int16' or 'float32'.")

    @property
    def flags(self) -> bool:
        """Whether the numbers are sums of flags, of which no mean can be taken."""
        return self.dtype == "uint8"

    @property
    def limit(self) -> float:
        """The largest reflectance that can be stored."""
        return math.inf if self.dtype == "float32" else float(np.iinfo(self.dtype).max * self.scale)

    def encode(self, plane: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[np.bool_], int]:
        """Return the stored numbers of one band, where they are valid, and how many were clipped to the representable range.

        Examples
        --------
        >>> stored, valid, clipped = StoredType.named("int16").encode(np.array([[0.75, np.nan, 4.0]], dtype="float32"))
        >>> stored, clipped
        (array([[  7500, -32768,  32767]], dtype=int16), 1)
        """
        valid = np.isfinite(plane)
        if self.dtype == "float32":
            return np.where(valid, plane, np.float32(np.nan)), valid, int(np.count_nonzero(np.isinf(plane)))
        if self.flags:
            return np.where(valid, plane, np.float32(self.nodata)).astype(self.dtype), valid, 0
        limit = np.iinfo(self.dtype).max
        # float64: in float32 the quotient of a large reflectance can fall on the wrong side of a half
        numbers = np.rint(plane / np.float64(self.scale))
        clipped = int(np.count_nonzero(np.abs(numbers) > limit))  # infinite values too
        np.clip(numbers, -limit, limit, out=numbers)
        numbers[~valid] = self.nodata
        return numbers.astype(self.dtype), valid, clipped
