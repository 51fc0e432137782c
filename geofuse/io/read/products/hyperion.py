"""Hyperion L1R, L1Gst and L1T, the only products of the USGS archive: recognised, and rejected, because they hold radiance.

*Earth Observing-1 (EO-1) User Guide*, version 2.3: numbers are radiance (W m-2 sr-1 um-1) times 40 in the VNIR (bands 1 to 70) and 80 in the SWIR;
a GeoTIFF a band, with metadata in ``*_MTL_L1T.TXT`` (L1R: HDF4). Surface reflectance, which users make of them, is opened as ENVI or GeoTIFF.
"""

from __future__ import annotations

import re
from pathlib import Path

from geofuse.errors import InvalidCube
from geofuse.io.read.base import Description, Request
from geofuse.io.read.products.folder import leads_to

_MARK = re.compile(rb'SENSOR_ID\s*=\s*"?HYPERION')
_NAMED = re.compile(r"(?P<scene>.+?)_MTL(_(?P<level>\w+))?\.txt", re.IGNORECASE)
_HEAD, _MOST_FILES = 2**16, 64  # bytes of metadata that are looked at, and files


class HyperionReader:
    """A delivered folder, its metadata, or any band in it."""

    name = "Hyperion L1"

    def recognises(self, source: str) -> bool:
        """Whether it is such a folder, or a file of one."""
        return leads_to(source, _levels)

    def describe(self, source: str, request: Request) -> Description:
        """Reject it.

        Raises
        ------
        InvalidCube
        """
        level = next(iter(_levels(Path(source))))
        raise InvalidCube(
            f"Hyperion {level}: radiance at the sensor; expected surface reflectance. Correct it for the atmosphere first, and pass the result "
            "as ENVI or GeoTIFF with the wavelength of each band"
        )


HYPERION = HyperionReader()


def _levels(path: Path) -> list[str]:
    """Levels of the Hyperion scenes that a folder holds, or of that which a file belongs to."""
    folder = path if path.is_dir() else path.absolute().parent
    matches = [(file, _NAMED.fullmatch(file.name)) for file in sorted(folder.glob("*_[Mm][Tt][Ll]*.[Tt][Xx][Tt]"))[:_MOST_FILES]]
    return [
        match["level"] or "L1"
        for file, match in matches
        if match and (path.is_dir() or path.name.startswith(match["scene"])) and _is_hyperion(file)
    ]


def _is_hyperion(metadata: Path) -> bool:
    with metadata.open("rb") as file:
        return _MARK.search(file.read(_HEAD)) is not None
