"""The dry run: what a fusion would read, write and hold, from metadata alone."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any, Literal

import dask
import numpy as np

from geofuse.errors import RefusedInput
from geofuse.scene import Scene
from geofuse.tiles.plan import cuts

DEFAULT_MEMORY = 8 * 10**9
TILES = (512, 384, 256, 128)  # larger ones leave the processor's caches, smaller ones spend their time on halos
RANK, IMAGES = 20, 14  # coefficients, and images of them that a task holds at its peak
BASE_MEMORY = 900 * 10**6  # interpreter, libraries, graph


@dataclass(frozen=True)
class Plan:
    """What would run.

    Attributes
    ----------
    shape : tuple of int
        Bands, rows and columns of the fused image.
    crs : str
    pixel : float
        Fine pixel size, units of the CRS.
    ratio : float
        Coarse over fine pixel size.
    tile, tiles : int
        Fine pixels along each side of a tile; how many tiles.
    halo : int
        Fine pixels that each tile reads around itself.
    bytes_read, bytes_written : int
        Uncompressed float32 pixels read, halos included; int16 pixels written.
    memory_per_task, memory : int
        Bytes, at the peak; ``memory`` with ``workers`` tasks at once.
    workers : int
    device : str
    """

    shape: tuple[int, int, int]
    crs: str
    pixel: float
    ratio: float
    tile: int
    tiles: int
    halo: int
    bytes_read: int
    bytes_written: int
    memory_per_task: int
    memory: int
    workers: int
    device: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def __str__(self) -> str:
        """Return a page for people."""
        bands, height, width = self.shape
        return "\n".join(
            (
                f"output   {bands} bands, {height} x {width} pixels of {self.pixel:g}, {self.crs}",
                f"ratio    {self.ratio:.4g} (coarse over fine pixel size)",
                f"tiles    {self.tiles} of {self.tile} x {self.tile}, halo {self.halo} pixels",
                f"reads    {_size(self.bytes_read)} of pixels, halos included",
                f"writes   {_size(self.bytes_written)} of pixels before compression",
                f"memory   {_size(self.memory)} ({self.workers} tasks of {_size(self.memory_per_task)})",
                f"device   {self.device}",
            )
        )


def make_plan(
    scene: Scene, *, tile: int | Literal["auto"] = "auto", device: str = "cpu", memory: int = DEFAULT_MEMORY, whole: bool = False
) -> Plan:
    """Plan the fusion of a scene.

    Parameters
    ----------
    scene : Scene
    tile : int or "auto"
        Fine pixels along each side of a tile.
    device : str
    memory : int
        Bytes that the run may use.
    whole : bool
        The method is not local: one tile, whatever was asked for.

    Raises
    ------
    RefusedInput
        A tile size that is not positive, or a scene that cannot be fused within ``memory``.
    """
    if tile != "auto" and tile < 16:
        raise RefusedInput(f"The tile size is {tile}; expected 16 pixels or more, or 'auto'.")
    pair = scene.pair
    height, width = pair.output.shape
    bands, msi_bands = scene.hsi.sizes["band"], scene.msi.sizes["band"]
    halo = int(np.ceil(max(9 * pair.ratio, 56))) + 12  # as `Model.halo`, with a network
    workers = 1 if whole else _workers()

    def per_task(size: int) -> int:
        rows, cols = min(size, height), min(size, width)
        seen = min(rows + 2 * halo, pair.fine.shape[0]) * min(cols + 2 * halo, pair.fine.shape[1])
        return 4 * (seen * (bands + 2 * msi_bands + IMAGES * min(RANK, bands)) + 2 * bands * rows * cols)

    def fits(size: int) -> bool:
        return BASE_MEMORY + workers * per_task(size) <= memory

    candidates = (max(height, width),) if whole else TILES if tile == "auto" else (tile,)
    chosen = next((t for t in candidates if fits(t)), None)
    if chosen is None and workers > 1:
        workers = 1
        chosen = next((t for t in candidates if fits(t)), None)
    if chosen is None:
        raise RefusedInput(
            f"Fusing needs {_size(BASE_MEMORY + per_task(candidates[-1]))} with tiles of {candidates[-1]} pixels, and {_size(memory)} are allowed. "
            "Allow more memory or choose smaller tiles (methods that are not local take the whole scene as one)."
        )
    rows, cols = (
        [min(stop + first + halo, size) - max(start + first - halo, 0) for start, stop in cuts(length, chosen)]
        for length, first, size in zip((height, width), (pair.output.top, pair.output.left), pair.fine.shape, strict=True)
    )
    seen = sum(rows) * sum(cols)
    box = pair.output_geobox
    return Plan(
        shape=(bands, height, width),
        crs=_crs_name(box.crs),
        pixel=float(abs(box.affine.a)),
        ratio=pair.ratio,
        tile=chosen,
        tiles=len(rows) * len(cols),
        halo=halo,
        bytes_read=int(4 * seen * (msi_bands + bands / pair.ratio**2)),
        bytes_written=2 * bands * height * width,
        memory_per_task=per_task(chosen),
        memory=BASE_MEMORY + workers * per_task(chosen),
        workers=workers,
        device=device,
    )


def _crs_name(crs: Any) -> str:
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else crs.to_wkt(pretty=False)


def _workers() -> int:
    """Tasks at once: what the user set for dask, else the cores that this process may use."""
    asked = dask.config.get("num_workers", None)
    if asked is not None:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
