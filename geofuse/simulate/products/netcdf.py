"""The libraries that write HDF5 and NetCDF-4, and what the NetCDF library does and h5netcdf does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

try:
    import h5netcdf
    import h5py
except ImportError as error:
    raise ImportError("files in HDF5 and NetCDF-4 are written with h5py and h5netcdf: pip install 'geofuse[sensors]'") from error

__all__ = ["fix_texts", "h5netcdf", "h5py"]


def fix_texts(path: Path) -> None:
    """Store texts of plain ASCII among the attributes of a file with fixed length, as the NetCDF library does."""

    def fix(holder: Any) -> None:
        for name, value in list(holder.attrs.items()):
            if isinstance(value, str):
                holder.attrs[name] = np.bytes_(value)

    with h5py.File(path, "r+") as file:
        fix(file)
        file.visititems(lambda _, found: fix(found))
