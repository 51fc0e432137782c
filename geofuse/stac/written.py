"""What a written raster says of itself, whatever its format: grid, bands, stored numbers, statistics."""

from __future__ import annotations

from pathlib import Path

from geofuse.io.write.base import Written
from geofuse.io.write.formats import format_of


def read_written(raster: Path) -> Written:
    """Read what a raster says of itself; no pixel is read.

    Raises
    ------
    InvalidCube
        It cannot be read, has no CRS, or wavelengths that cannot be read.
    """
    return format_of(raster).describe(raster)
