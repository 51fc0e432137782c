"""Layers of classes that products put beside their bands: what is a mask and not a band, and which of its pixels are unusable."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
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


# Sentinel-2 scene classification: no data, saturated or defective, cloud shadow, cloud of medium and high probability, cirrus.
_SCL_UNUSABLE = (0, 1, 3, 8, 9, 10)
# Landsat Collection 2 pixel quality, bits 0 to 4: fill, dilated cloud, cirrus, cloud, cloud shadow.
_QA_PIXEL_UNUSABLE = 0b11111

_UNDERSTOOD: dict[str, Callable[[NDArray[Any]], NDArray[np.bool_]]] = {
    "scl": lambda classes: np.isin(classes, _SCL_UNUSABLE),
    "qa_pixel": lambda bits: (np.where(np.isfinite(bits), bits, 0).astype(np.int64) & _QA_PIXEL_UNUSABLE) != 0,
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
    """Whether it is known which of its classes are unusable: Sentinel-2 ``SCL`` and Landsat ``QA_PIXEL``."""
    return name.strip().lower() in _UNDERSTOOD


def unusable(name: str, classes: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels of an understood layer that show no ground: no data, clouds and their shadows, defects; of the same shape.

    Examples
    --------
    >>> unusable("SCL", np.array([0, 4, 9])), unusable("QA_PIXEL", np.array([21824, 22280]))
    (array([ True, False,  True]), array([False,  True]))
    """
    return _UNDERSTOOD[name.strip().lower()](classes)
