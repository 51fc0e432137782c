"""Reader of STAC items and assets: the JSON of an item, by path or address, or an object of pystac. It names files, and opens none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geofuse.io.read.access import accessing, current_access
from geofuse.io.read.assets import masks_of, parts_of, sensor_of
from geofuse.io.read.base import Parts, Request
from geofuse.io.read.items import about_item, is_item, read_item

if TYPE_CHECKING:
    from pystac import Asset, Item


class STACReader:
    """Items and assets. JSON counts as an item by its name alone: under the name of a raster it is not what was meant, and is rejected."""

    name = "STAC"

    def recognises(self, source: str | Item | Asset) -> bool:
        """Whether it is an item, or the path or address of one."""
        try:
            return is_item(source) if isinstance(source, str) else hasattr(source, "assets") or hasattr(source, "href")
        except ValueError:  # of what is no address either
            return False

    def describe(self, source: str | Item | Asset, request: Request) -> Parts:
        """Name the files that hold the bands that are asked for."""
        item = read_item(source) if isinstance(source, str) else source
        parts, names = parts_of(item, request.bands, all_bands=request.resolution is not None)
        return Parts(tuple(parts), tuple(names), about_item(item), sensor_of(item), masks_of(item))

    def files(self, source: str | Item, request: Request) -> list[str]:
        """The item where it is a file, and the files of the bands that are asked for and of its masks, as the item names them."""
        with accessing(current_access(), patched=False):
            found = self.describe(source, request)
        named = [*(part.href for part in found.parts), *(layer.href for layer in found.masks)]
        return [source, *named] if isinstance(source, str) else named


STAC = STACReader()
