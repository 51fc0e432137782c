"""A tile that the device's memory does not hold is made in halves, which are the same numbers: tiles of any size are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from geofuse.errors import RunInterrupted
from geofuse.pair.grid import Window
from geofuse.run.device import out_of_memory, release, turn

SMALLEST = 64
"""Fine pixels along the longer side of a tile below which halving saves little: the rest is halo."""


def make_on(device: str, make: Callable[[Window], np.ndarray], core: Window, divisible: bool = True) -> np.ndarray:
    """Make a tile on a device, alone there; in halves where its memory does not suffice.

    Parameters
    ----------
    device : str
        Torch device.
    make : callable
        ``make(core)``, shape (B, rows, cols), reads what a part of the tile needs by itself.
    core : Window
        The tile.
    divisible : bool
        False where the numbers depend on the whole tile.

    Raises
    ------
    RunInterrupted
        A tile that is as small as sensible does not fit.
    """
    made = _attempt(device, make, core)
    if not isinstance(made, str):
        return made
    release(device)
    rows, cols = core.shape
    if not divisible or max(rows, cols) < 2 * SMALLEST:
        raise RunInterrupted(
            f"The memory of {device} does not hold a tile of {rows} x {cols} pixels with its halo ({made}). End what else runs there, or "
            "start afresh with --device cpu"
        )
    return np.concatenate([make_on(device, make, half) for half in halves(core)], axis=1 if rows >= cols else 2)


def _attempt(device: str, make: Callable[[Window], np.ndarray], core: Window) -> np.ndarray | str:
    """The tile, or what the device said; in a function of its own, because a traceback that is at hand holds all tensors of the attempt."""
    with turn(device):
        try:
            return make(core)
        except Exception as error:
            if not out_of_memory(error):
                raise
            return str(error).splitlines()[0]


def halves(core: Window) -> tuple[Window, Window]:
    """Cut a window across its longer side.

    Examples
    --------
    >>> halves(Window(0, 101, 20, 120))
    (Window(top=0, bottom=50, left=20, right=120), Window(top=50, bottom=101, left=20, right=120))
    """
    rows, cols = core.shape
    if rows >= cols:
        middle = core.top + rows // 2
        return Window(core.top, middle, core.left, core.right), Window(middle, core.bottom, core.left, core.right)
    middle = core.left + cols // 2
    return Window(core.top, core.bottom, core.left, middle), Window(core.top, core.bottom, middle, core.right)
