"""Walk over a cube tile by tile, computing each dask chunk once and holding only a few at a time."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

# Decoded tiles held at a time, where one tile is not larger than this already.
_BATCH_BYTES = 256 * 2**20

Tile = tuple[int, int, NDArray[np.float32]]
"""First row, first column, and the values of all bands."""


def tiles(data: Any, side: int) -> tuple[int, Iterator[Tile]]:
    """Return the number of tiles, and all bands of each with its first row and column, row by row."""
    if not hasattr(data, "__dask_graph__"):
        _, rows, cols = data.shape
        corners = [(top, left) for top in range(0, rows, side) for left in range(0, cols, side)]
        return len(corners), ((top, left, data[:, top : top + side, left : left + side]) for top, left in corners)
    data = data.rechunk({0: -1})
    return data.numblocks[1] * data.numblocks[2], _computed(data)


def _computed(data: Any) -> Iterator[Tile]:
    """Compute dask blocks on the active scheduler, as many at a time as it has workers and memory allows."""
    import dask

    tops, lefts = (np.concatenate([[0], np.cumsum(sizes)[:-1]]).tolist() for sizes in data.chunks[1:])
    places = [(i, j) for i in range(len(tops)) for j in range(len(lefts))]
    largest = int(np.prod([max(sizes) for sizes in data.chunks])) * data.dtype.itemsize
    batch = max(1, min(_workers(), _BATCH_BYTES // largest))
    for start in range(0, len(places), batch):
        chosen = places[start : start + batch]
        computed = list(dask.compute(*[data.blocks[:, i, j] for i, j in chosen]))
        for i, j in chosen:
            yield tops[i], lefts[j], computed.pop(0)


def _workers() -> int:
    """Count the workers of the active dask scheduler."""
    import dask

    if "distributed" in sys.modules:
        try:
            return max(1, sum(sys.modules["distributed"].default_client().ncores().values()))
        except ValueError:
            pass  # no cluster
    return int(dask.config.get("num_workers", None) or os.cpu_count() or 1)


def cut(top: int, left: int, tile: NDArray[np.float32], side: int) -> Iterator[tuple[Window, NDArray[np.float32]]]:
    """Cut a tile along the blocks of the file, so that a window never spans two."""
    _, height, width = tile.shape
    rows = [top, *range((top // side + 1) * side, top + height, side), top + height]
    cols = [left, *range((left // side + 1) * side, left + width, side), left + width]
    for first, stop in pairwise(rows):
        for west, east in pairwise(cols):
            yield Window(west, first, east - west, stop - first), tile[:, first - top : stop - top, west - left : east - left]
