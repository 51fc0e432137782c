"""Plain JSON values from what numerical code produces."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from pathlib import PurePath
from typing import Any

import numpy as np


def to_plain(value: Any) -> Any:
    """Turn a value into strict JSON: dict, list, str, int, float, bool or None.

    Numbers that are not finite become None, since JSON has neither NaN nor infinities; arrays become lists, paths and dates
    become text, and keys become text.

    Parameters
    ----------
    value : any
        Nested mappings, sequences, arrays and scalars.

    Returns
    -------
    any
        A deep copy made of plain values only.

    Raises
    ------
    TypeError
        For a value that has no plain form, such as a function.

    Examples
    --------
    >>> import numpy as np
    >>> to_plain({"shift_px": np.array([0.5, np.nan]), "classes": (np.int64(12),)})
    {'shift_px': [0.5, None], 'classes': [12]}
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return to_plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [to_plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, PurePath):
        return value.as_posix()
    raise TypeError(f"{type(value).__name__} has no plain JSON form: {value!r}")
