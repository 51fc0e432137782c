"""Wyvern (Dragonette) L2A surface reflectance: a GeoTIFF of 23 or 31 bands, its usable data mask, and a STAC item, which says what they mean.

*Wyvern Data Product Guide*, version 2.0-beta, and the *Image Data* and *Usable Data Mask* of it. Scale and wavelengths are those of the item: the
image itself has no scale. L1B is radiance, and is rejected. Items are also opened by their address, as those of any catalog (`geofuse.io.read.stac`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from geofuse.errors import InvalidCube
from geofuse.io.read.base import Parts, Request
from geofuse.io.read.products.folder import leads_to
from geofuse.io.read.stac import STAC

_LARGEST, _MOST_FILES = 2**22, 64  # bytes of an item, and files of a folder that are looked at
_PLATFORM = "dragonette"
_IMAGES = (".tif", ".tiff")


class WyvernReader:
    """A delivery by its folder, its item, or any raster in it."""

    name = "Wyvern L2A"

    def recognises(self, source: str) -> bool:
        """Whether it is an item of Wyvern, or leads to one."""
        return leads_to(source, _items)

    def describe(self, source: str, request: Request) -> Parts:
        """Name the files of the item."""
        return STAC.describe(self._item(source), request)

    def files(self, source: str, request: Request) -> list[str]:
        """The item and its files."""
        return STAC.files(self._item(source), request)

    def _item(self, source: str) -> str:
        found = _items(Path(source))
        if len(found) != 1:
            raise InvalidCube(f"{len(found)} scenes in one folder: {', '.join(path.stem for path in found[:3])}, …; pass a file of one")
        level = str(_properties(found[0]).get("processing:level") or "of unknown level")
        if level != "L2A":
            raise InvalidCube(
                f"Wyvern {level[:20]}: radiance at the top of the atmosphere; expected L2A, surface reflectance. Fetch that product, or correct this "
                "one for the atmosphere and pass the result as GeoTIFF"
            )
        return str(found[0])


WYVERN = WyvernReader()


def _items(path: Path) -> list[Path]:
    """Items of Wyvern that a folder holds, also one level below, or that of a raster; an item itself."""
    files: Iterator[Path]
    if path.is_dir():
        files = islice((file for pattern in ("*.json", "*/*.json") for file in sorted(path.glob(pattern))), _MOST_FILES)
    elif path.suffix.lower() in _IMAGES:
        beside = islice(path.absolute().parent.glob("*.json"), _MOST_FILES)
        files = iter([file for file in sorted(beside) if f"{path.stem}_".startswith(f"{file.stem}_")])
    else:
        files = iter([path] if path.suffix.lower() == ".json" else [])
    return [file for file in files if str(_properties(file).get("platform", "")).lower().startswith(_PLATFORM)]


def _properties(path: Path) -> dict[str, Any]:
    """Properties of an item; none of what is no item."""
    try:
        found = json.loads(path.read_bytes()) if path.is_file() and path.stat().st_size < _LARGEST else None
    except (ValueError, RecursionError):
        return {}
    properties = found.get("properties") if isinstance(found, dict) and found.get("type") == "Feature" else None
    return properties if isinstance(properties, dict) else {}
