"""A Tanager orthorectified surface reflectance file of the known scene: the names of Planet's ``ortho_sr_hdf5``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geofuse.simulate.products import truth
from geofuse.simulate.products.netcdf import h5py

GSD, FILL = 30.0, -9999.0
NAME = "20250123_185518_92_4001_ortho_sr_hdf5.h5"
WAVELENGTHS = np.linspace(376.4, 2499.1, 80)
GOOD = (WAVELENGTHS > 400) & ~((WAVELENGTHS > 1340) & (WAVELENGTHS < 1460)) & ~((WAVELENGTHS > 1790) & (WAVELENGTHS < 1970))


def empty(rows: int, cols: int) -> NDArray[np.uint8]:
    """nodata_pixels: what the turned strip does not cover."""
    return (np.add.outer(np.arange(rows), np.arange(cols)) < 14).astype(np.uint8)


def write(folder: Path, *, rows: int = 34, cols: int = 30, structure: str | None = None, **changes: Any) -> Path:
    """Write a file and return its path; ``changes`` are attributes of the cube to replace."""
    path = folder / NAME
    left, top = truth.CENTRE[0] - cols // 2 * GSD, truth.CENTRE[1] + rows // 2 * GSD
    x, y = np.meshgrid(left + (np.arange(cols) + 0.5) * GSD, top - (np.arange(rows) + 0.5) * GSD)
    values = truth.footprint(x, y, WAVELENGTHS, GSD).astype(np.float32)
    values[:, empty(rows, cols) == 1] = FILL
    text = (
        f'GROUP=GridStructure\n\tGROUP=GRID_1\n\t\tGridName="HYP"\n\t\tXDim={cols}\n\t\tYDim={rows}\n'
        f"\t\tUpperLeftPointMtrs=({left:.6f},{top:.6f})\n\t\tLowerRightMtrs=({left + cols * GSD:.6f},{top - rows * GSD:.6f})\n"
        "\t\tProjection=HE5_GCTP_UTM\n\t\tZoneCode=33\n\tEND_GROUP=GRID_1\nEND_GROUP=GridStructure\nEND\n"
    )
    with h5py.File(path, "w") as file:
        file["HDFEOS INFORMATION/StructMetadata.0"] = np.bytes_(text if structure is None else structure)
        grid = file.create_group("HDFEOS/GRIDS/HYP")
        grid.attrs["epsg_code"] = 32633
        fields = grid.create_group("Data Fields")
        pixels = fields.create_dataset("surface_reflectance", data=values, chunks=(80, 16, 16), compression="gzip")
        attrs = {
            "wavelengths": WAVELENGTHS,
            "fwhm": np.full(80, 5.5),
            "good_wavelengths": GOOD.astype(np.uint8),
            "_FillValue": np.float32(FILL),
        }
        pixels.attrs.update(attrs | changes)
        for name, place in (("beta_cloud_mask", np.s_[15:20, 10:20]), ("beta_cirrus_mask", np.s_[18:24, 15:25])):
            layer = np.zeros((rows, cols), np.uint8)
            layer[place] = 1
            layer[empty(rows, cols) == 1] = 255
            fields[name] = layer
        fields["nodata_pixels"] = empty(rows, cols)
    return path
