"""A PRISMA L2D file of the known scene: names, types, order and scales of the PRISMA Products Specification Document, issue 2.3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geofuse.simulate.products import truth
from geofuse.simulate.products.netcdf import h5py

GSD = 30.0
NAME = "PRS_L2D_STD_20220715101537_20220715101541_0001.he5"
# Falling, as in the file; the last three of the VNIR and the first four of the SWIR were not acquired.
VNIR = np.concatenate([np.linspace(972.5, 406.99, 63), np.zeros(3)]).astype(np.float32)
SWIR = np.concatenate([np.zeros(4), np.linspace(2497.1, 943.36, 169)]).astype(np.float32)
FWHM = {"Vnir": np.where(VNIR > 0, 11.2, 0).astype(np.float32), "Swir": np.where(SWIR > 0, 10.4, 0).astype(np.float32)}
LIMITS = {"Vnir": (0.0, 0.95), "Swir": (0.0, 0.82)}
FIELDS = "HDFEOS/SWATHS/PRS_{}_HCO/Data Fields"


def places(rows: int, cols: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """X and y of the pixel centres."""
    y, x = np.mgrid[:rows, :cols].astype(float)
    return truth.CENTRE[0] + (x - cols // 2) * GSD, truth.CENTRE[1] - (y - rows // 2) * GSD


def seen(rows: int, cols: int) -> NDArray[np.bool_]:
    """The footprint, which is turned against the grid: its corners are 0."""
    y, x = np.mgrid[:rows, :cols].astype(float)
    return np.asarray(np.abs((x - (cols - 1) / 2) + 0.2 * (y - (rows - 1) / 2)) < 0.45 * cols)


def errors(rows: int, cols: int) -> dict[str, NDArray[np.uint8]]:
    """Error matrices: one invalid value, a pixel that is invalid everywhere, negative values, a saturated one."""
    made = {"Vnir": np.zeros((rows, VNIR.size, cols), np.uint8), "Swir": np.zeros((rows, SWIR.size, cols), np.uint8)}
    made["Vnir"][10, 20, 12] = 1
    made["Vnir"][11, :, 13] = made["Swir"][11, :, 13] = 1
    made["Swir"][12, 30:60, 14] = 2
    made["Swir"][13, 100, 15] = 3
    return made


def write(folder: Path, *, rows: int = 36, cols: int = 32, level: str = "L2D", matrices: bool = True, **changes: Any) -> Path:
    """Write a file and return its path; ``changes`` are attributes of its root to replace."""
    path = folder / NAME
    x, y = places(rows, cols)
    with h5py.File(path, "w") as file:
        fields = file.create_group(FIELDS.format(level))
        for name, nm in (("Vnir", VNIR), ("Swir", SWIR)):
            low, high = LIMITS[name]
            values = truth.footprint(x, y, np.where(nm > 0, nm, 500), GSD)
            numbers = np.clip(np.round((values - low) / (high - low) * 65535), 1, 65535)
            numbers = np.where(seen(rows, cols) & (nm > 0)[:, None, None], numbers, 0).astype(np.uint16)
            fields[f"{name.upper()}_Cube"] = np.moveaxis(numbers, 0, 1)
            if matrices:
                fields[f"{name.upper()}_PIXEL_L2_ERR_MATRIX"] = errors(rows, cols)[name]
        geolocation = file.create_group(FIELDS.format(level).replace("Data", "Geolocation"))
        geolocation["Latitude"] = geolocation["Longitude"] = np.zeros((rows, cols), np.float32)
        attrs: dict[str, Any] = {
            "Product_ID": np.bytes_(f"PRS_{level}_STD"),
            "Processing_Level": np.bytes_(level[1:]),
            "Product_StartTime": np.bytes_("2022-07-15T10:15:37.456"),
            "Product_StopTime": np.bytes_("2022-07-15T10:15:41.758"),
            "Epsg_Code": np.uint32(32633),
            "Projection_Name": np.bytes_("UTM"),
            "List_Cw_Vnir": VNIR,
            "List_Cw_Swir": SWIR,
            "List_Fwhm_Vnir": FWHM["Vnir"],
            "List_Fwhm_Swir": FWHM["Swir"],
            "List_Cw_Vnir_Flags": (VNIR > 0).astype(np.uint8),
            "List_Cw_Swir_Flags": (SWIR > 0).astype(np.uint8),
        }
        for name, (low, high) in LIMITS.items():
            attrs |= {f"L2Scale{name}Min": np.float32(low), f"L2Scale{name}Max": np.float32(high)}
        for corner, row, col in (("UL", 0, 0), ("UR", 0, -1), ("LL", -1, 0), ("LR", -1, -1)):
            attrs |= {f"Product_{corner}corner_easting": x[row, col], f"Product_{corner}corner_northing": y[row, col]}
        for key, value in (attrs | changes).items():
            file.attrs[key] = value
    return path
