"""What the NetCDF library does and h5netcdf does not: texts of plain ASCII are attributes of fixed length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np


def fix_texts(path: Path) -> None:
    """Store the attributes of a file as the NetCDF library would."""

    def fix(holder: Any) -> None:
        for name, value in list(holder.attrs.items()):
            if isinstance(value, str):
                holder.attrs[name] = np.bytes_(value)

    with h5py.File(path, "r+") as file:
        fix(file)
        file.visititems(lambda _, found: fix(found))
