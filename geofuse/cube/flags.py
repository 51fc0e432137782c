"""What the quality layer says of every pixel: one byte, 0 where there is no data, 1 where nothing is to be said, else the sum of flags.

A masked pixel bears its flag whether it holds data (with `Quality.ONE_IMAGE`) or not (alone).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntFlag
from typing import Any

import numpy as np
from numpy.typing import NDArray

NODATA = 0


class Quality(IntFlag):
    """Flags of a fused pixel.

    Examples
    --------
    >>> Quality.OUTSIDE_RANGE | Quality.FAR
    <Quality.OUTSIDE_RANGE|FAR: 24>
    """

    GOOD = 1
    ONE_IMAGE = 2
    MASKED = 4
    OUTSIDE_RANGE = 8
    FAR = 16


MEANINGS = {
    Quality.GOOD: "both images are used and agree with what the fit learned",
    Quality.ONE_IMAGE: "only one of the two images is used: the other shows a cloud, a shadow or a change",
    Quality.MASKED: "masked in at least one image, by the user or by the product; without 2 there is no data here",
    Quality.OUTSIDE_RANGE: "at least one band was outside the physical range before it was clipped",
    Quality.FAR: "the spectrum is far from what both images lead to expect here: it is extrapolated, its standard deviation is widened",
}


def plane_of(valid: NDArray[np.bool_], **flags: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The quality layer of flags by name (of `Quality`, lower case), each (rows, columns).

    Examples
    --------
    >>> plane_of(np.array([True, True, False]), far=np.array([True, False, True]))
    array([16,  1,  0], dtype=uint8)
    """
    out = np.zeros(valid.shape, np.uint8)
    for name, where in flags.items():
        out |= np.where(where, np.uint8(Quality[name.upper()]), np.uint8(0))
    missing = out & np.uint8(Quality.MASKED) | np.uint8(NODATA)
    return np.where(valid, np.where(out == 0, np.uint8(Quality.GOOD), out), missing)


def counted(plane: NDArray[Any]) -> dict[str, int]:
    """Pixels that bear each flag, by its name in lower case, and those with data or masked (``pixels``)."""
    numbers = np.bincount(np.asarray(plane, np.uint8).ravel(), minlength=256)
    values = np.arange(256)
    found = {flag.name.lower(): int(numbers[(values & flag) > 0].sum()) for flag in MEANINGS if flag.name}
    return found | {"pixels": int(numbers.sum() - numbers[NODATA])}


def shares(counts: Mapping[str, int]) -> dict[str, float]:
    """Share of the pixels with data, or masked, that bear each flag; counts as `counted` gives them."""
    pixels = max(counts["pixels"], 1)
    return {name: count / pixels for name, count in counts.items() if name != "pixels"}


def attributes() -> dict[str, Any]:
    """What CF asks of a variable of flags (section 3.5 of the conventions), in plain values."""
    return {
        "long_name": "quality of the fused pixels",
        "flag_masks": [int(flag) for flag in MEANINGS],
        "flag_meanings": " ".join(flag.name.lower() for flag in MEANINGS if flag.name),
    }


def description() -> str:
    """All values in one sentence, for people who open the file."""
    return f"{NODATA}: no data; " + "; ".join(f"{int(flag)}: {text}" for flag, text in MEANINGS.items())
