"""Disk space: what outputs take at most, and what of it an interrupted run has there already."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from geofuse.cube.values import StoredType
from geofuse.errors import InvalidOutput
from geofuse.io.write.workspace import final_of, folder_of, published_by_a_run, recorded

_OVERVIEWS_ADD = 4 / 3


def disk_space(shape: tuple[int, int, int], dtype: str = "int16") -> int:
    """Bytes that writing a cube of this shape takes at most: the staging raster and the output, as much each, both with overviews.

    Examples
    --------
    >>> disk_space((200, 2048, 2048)) / 1e9
    4.473924266
    """
    return int(2 * _OVERVIEWS_ADD * np.prod(shape, dtype=np.float64) * np.dtype(StoredType.named(dtype).dtype).itemsize)


def check_space(outputs: Sequence[Path], each: int, *, resume: bool = True) -> None:
    """Reject outputs that do not fit on the disk, before anything is computed.

    Parameters
    ----------
    outputs : sequence of pathlib.Path
        Absolute paths in one folder, in the order in which they are made: one staging raster at a time, which goes when its output is there.
    each : int
        Bytes of one output and its staging raster, from `disk_space`.
    resume : bool
        Work that an interrupted run left is resumed; False, where it is removed first.

    Raises
    ------
    InvalidOutput
        Says what is needed at the fullest moment beyond what is there already, and what is free.
    """
    held, needed = 0, 0
    for output in outputs:
        rest = _rest(output, each, resume)
        needed = max(needed, held + rest)
        held += max(0, rest - each // 2)
    folder = outputs[0].parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        names = " and ".join(output.name for output in outputs)
        raise InvalidOutput(
            f"writing {names} takes up to {needed / 1e9:.2f} GB in {folder}, {free / 1e9:.2f} GB are free; free some space", code="disk"
        )


def _rest(output: Path, each: int, resume: bool) -> int:
    """Bytes that are not on disk yet; none where the output only waits for what belongs with it."""
    if resume and recorded(output) and (final_of(output).exists() or published_by_a_run(output)):
        return 0
    return max(0, each - sum(file.stat().st_blocks * 512 for file in folder_of(output).rglob("*")))
