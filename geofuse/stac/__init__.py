"""STAC items: the record that travels beside a fused raster."""

from geofuse.stac.item import Processing, Source, make_item, write_item

__all__ = ["Processing", "Source", "make_item", "write_item"]
