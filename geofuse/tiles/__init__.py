"""Tiles: where to cut, what to read around each cut, and the lazy mosaic."""
