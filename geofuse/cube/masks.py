"""What products say of their pixels: layers of classes beside the bands, and their translation into flags of one vocabulary.

A cube carries the flags as the coordinate ``mask`` (y, x), uint8, described by CF's ``flag_masks`` and ``flag_meanings``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from enum import IntFlag
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Mask(IntFlag):
    """What a product says of a pixel; flags add up."""

    CLOUD = 1
    CIRRUS = 2
    SHADOW = 4
    SNOW = 8
    SATURATED = 16
    DEFECT = 32
    WATER = 64
    HAZE = 128


MASK = "mask"
"""Name of the coordinate of a cube that holds the flags."""
UNUSABLE = Mask.CLOUD | Mask.CIRRUS | Mask.SHADOW | Mask.SATURATED | Mask.DEFECT
"""Flags of pixels that take no part in a fusion: what they show is not the ground, or no measurement."""

# Classes of the scene classification: Sentinel-2 Products Specification Document (S2-PDGS-TAS-DI-PSD).
_SCL = {
    0: Mask.DEFECT,  # no data
    1: Mask.SATURATED | Mask.DEFECT,
    3: Mask.SHADOW,
    6: Mask.WATER,
    8: Mask.CLOUD,
    9: Mask.CLOUD,
    10: Mask.CIRRUS,
    11: Mask.SNOW,
}
# Bits of QA_PIXEL and QA_RADSAT: Landsat 8-9 Collection 2 Level 2 Science Product Guide (LSDS-1619), version 5.
_QA_PIXEL = {
    0: Mask.DEFECT,  # fill
    1: Mask.CLOUD,  # dilated
    2: Mask.CIRRUS,
    3: Mask.CLOUD,
    4: Mask.SHADOW,
    5: Mask.SNOW,
    7: Mask.WATER,
}
_QA_RADSAT = {**dict.fromkeys(range(7), Mask.SATURATED), 11: Mask.DEFECT}  # bands 1 to 7; terrain that hides the ground
# Bands of the usable data mask: Planet, UDM 2.1. The last holds bits: blackfill, and data that are missing or suspect, by band.
_UDM2 = {1: Mask.SNOW, 2: Mask.SHADOW, 3: Mask.HAZE, 4: Mask.HAZE, 5: Mask.CLOUD}
_UDM2_UNUSABLE, _UDM2_DEFECT = 7, 0b11111101

# Bands of the usable data mask after the first, which is the clear ones: Wyvern Data Product Guide 2.0-beta. 255 is nodata.
_WYVERN = {1: Mask.CLOUD, 2: Mask.HAZE, 3: Mask.SHADOW}

Layers = NDArray[Any]
"""The bands of a layer of classes as they are stored, (layers, rows, columns)."""


def _of_classes(layers: Layers) -> NDArray[np.uint8]:
    table = np.zeros(256, np.uint8)
    for value, flags in _SCL.items():
        table[value] = flags
    return table[np.clip(layers[0], 0, 255).astype(np.uint8)]


def _of_bits(meaning: Mapping[int, Mask]) -> Callable[[Layers], NDArray[np.uint8]]:
    def flags(layers: Layers) -> NDArray[np.uint8]:
        bits, out = layers[0].astype(np.int64), np.zeros(layers.shape[1:], np.uint8)
        for bit, flag in meaning.items():
            out |= np.where(bits & (1 << bit), np.uint8(flag), np.uint8(0))
        return out

    return flags


def _of_udm2(layers: Layers) -> NDArray[np.uint8]:
    out = np.zeros(layers.shape[1:], np.uint8)
    for band, flag in _UDM2.items():
        if band < len(layers):
            out |= np.where(layers[band] > 0, np.uint8(flag), np.uint8(0))
    if len(layers) > _UDM2_UNUSABLE:
        out |= np.where(layers[_UDM2_UNUSABLE].astype(np.int64) & _UDM2_DEFECT, np.uint8(Mask.DEFECT), np.uint8(0))
    return out


def _of_wyvern(layers: Layers) -> NDArray[np.uint8]:
    out = np.zeros(layers.shape[1:], np.uint8)
    for band, flag in _WYVERN.items():
        if band < len(layers):  # before version 2.0 there are two
            out |= np.where(layers[band] == 1, np.uint8(flag), np.uint8(0))
    return out


_UNDERSTOOD: dict[str, Callable[[Layers], NDArray[np.uint8]]] = {
    "scl": _of_classes,
    "qa_pixel": _of_bits(_QA_PIXEL),
    "qa_radsat": _of_bits(_QA_RADSAT),
    "udm2": _of_udm2,
    "wyvern data mask": _of_wyvern,
}
_NAMES = re.compile(
    r"(scl|(pixel_)?qa(_\w+)?|qa\d+|bqa|\w+_qa|fmask|s2cloudless|(\w+_)?(cloud|shadow|snow|water|valid|data|nodata|quality)?_?masks?"
    r"|clouds?(_prob(ability)?)?|cld|snw|cloud_cover|quality(_\w+)?|classification)",
    re.IGNORECASE,
)


def is_mask(name: str, dtype: np.dtype[Any] | None = None, attrs: Mapping[str, Any] | None = None) -> bool:
    """Whether a band or variable is a layer of classes, by its name, its type or its CF flags.

    Examples
    --------
    >>> [is_mask(name) for name in ("SCL", "QA_PIXEL", "cloud_mask", "blue", "B02")]
    [True, True, True, False, False]
    """
    name = re.sub(r"[-\s.]+", "_", name.strip())
    flagged = {"flag_values", "flag_masks", "flag_meanings"} & set(attrs or {})
    return bool(_NAMES.fullmatch(name) or flagged or (dtype is not None and dtype.kind == "b"))


def is_understood(name: str) -> bool:
    """Whether it is known what its classes mean: ``SCL`` of Sentinel-2, ``QA_PIXEL`` and ``QA_RADSAT`` of Landsat, ``udm2`` of Planet."""
    return name.strip().lower() in _UNDERSTOOD


def flags_of(name: str, layers: Layers) -> NDArray[np.uint8]:
    """Flags (`Mask`) of an understood layer.

    Parameters
    ----------
    name : str
        As `is_understood` knows it.
    layers : ndarray, shape (layers, rows, columns)
        Stored numbers; NaN counts as 0.

    Returns
    -------
    ndarray of uint8, shape (rows, columns)

    Examples
    --------
    >>> flags_of("SCL", np.array([[[3, 4, 9]]])), flags_of("QA_PIXEL", np.array([[[21824, 22280]]]))
    (array([[4, 0, 1]], dtype=uint8), array([[0, 1]], dtype=uint8))
    """
    layers = np.nan_to_num(layers) if layers.dtype.kind == "f" else layers
    return _UNDERSTOOD[name.strip().lower()](layers)


def names_of(flags: Collection[int]) -> list[str]:
    """Names of some of the flags, in the order of `Mask`.

    Examples
    --------
    >>> names_of({64, 1})
    ['cloud', 'water']
    """
    return [str(flag.name).lower() for flag in Mask if flag in flags]


def attributes() -> dict[str, Any]:
    """What CF asks of a variable of flags (section 3.5 of the conventions), in plain values."""
    return {
        "long_name": "what the product says of the pixels",
        "flag_masks": [int(flag) for flag in Mask],
        "flag_meanings": " ".join(names_of(set(Mask))),
    }


def is_flags(dtype: np.dtype[Any], attrs: Mapping[str, Any]) -> bool:
    """Whether a variable holds flags of `Mask`, by what it says of itself."""
    return dtype == np.uint8 and attrs.get("flag_meanings") == attributes()["flag_meanings"]
