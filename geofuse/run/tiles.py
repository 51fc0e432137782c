"""Where to cut: output tiles, their halos, and the windows that the fit samples. Integers only; no pixels, no dask."""

from __future__ import annotations

import numpy as np

from geofuse.pair.grid import GridPair, Window

# A sample block is this many coarse pixels wide: its rim, two of them, has no complete footprint.
BLOCK_COARSE = 28
MIN_BLOCK, MAX_BLOCK = 96, 400  # fine pixels
VALIDATION_COARSE, VALIDATION_SIDE = 96, 2000  # coarse and fine pixels along each side


def cuts(size: int, tile: int) -> list[tuple[int, int]]:
    """Cut ``size`` pixels into runs of ``tile``; the last one is what remains.

    Examples
    --------
    >>> cuts(10, 4)
    [(0, 4), (4, 8), (8, 10)]
    """
    return [(start, min(start + tile, size)) for start in range(0, size, tile)]


def tile_windows(output: Window, tile: int) -> list[list[Window]]:
    """Tiles of the output, row by row, as windows of the working fine grid."""
    height, width = output.shape
    return [[Window(t, b, left, right).offset(output.top, output.left) for left, right in cuts(width, tile)] for t, b in cuts(height, tile)]


def sample_windows(pair: GridPair, budget: int) -> list[Window]:
    """Windows of the working fine grid that the fit reads.

    The whole scene where it is small enough, else blocks spread evenly over it.

    Parameters
    ----------
    pair : GridPair
    budget : int
        Fine pixels to read, about.
    """
    height, width = pair.fine.shape
    if height * width <= budget:
        return [Window(0, height, 0, width)]
    block = int(np.clip(round(BLOCK_COARSE * pair.ratio), MIN_BLOCK, MAX_BLOCK))
    block_h, block_w = min(block, height), min(block, width)
    count = max(1, budget // (block_h * block_w))
    rows = max(1, round(np.sqrt(count * height / width)))
    rows = min(rows, count, max(1, height // block_h))
    cols = min(max(1, count // rows), max(1, width // block_w))
    return [
        Window(top, top + block_h, left, left + block_w) for top in _spread(height, block_h, rows) for left in _spread(width, block_w, cols)
    ]


def validation_window(pair: GridPair) -> Window:
    """The middle of the scene, as large as validation at reduced scale needs and memory allows; a window of the working fine grid."""
    height, width = pair.fine.shape
    side = int(min(VALIDATION_COARSE * pair.ratio, VALIDATION_SIDE))
    rows, cols = min(side, height), min(side, width)
    top, left = (height - rows) // 2, (width - cols) // 2
    return Window(top, top + rows, left, left + cols)


def _spread(size: int, block: int, count: int) -> list[int]:
    """Start ``count`` blocks evenly over ``size`` pixels, each in the middle of its share."""
    share = size / count
    return [int(min(max((k + 0.5) * share - block / 2, 0), size - block)) for k in range(count)]
