"""What the model of cost is asked, and what planning makes of it: tiles, halos, groups, blocks. No pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import dask
import dask.array as da
from affine import Affine

from geofuse.cube.schema import wrap
from geofuse.methods.registry import get_method
from geofuse.pair.scene import Scene
from geofuse.run.plan import COARSE_RIM, Plan, make_plan, touched
from geofuse.run.tiles import cuts, tile_windows

PLENTY = 10**13  # bytes of memory: the plan is then what is fastest


@dataclass(frozen=True)
class Run:
    """What is asked.

    Attributes
    ----------
    side, bands, ratio, msi_bands : int or float
        A square scene of ``side`` fine pixels.
    method : str
    workers, cores : int
        Tasks at once, one to a core; cores of the machine that finishes the file (0: as many).
    memory : int
        Bytes that the run may use.
    tile : int or "auto"
    block : int
        Pixels along the side of the blocks of both files, which are decoded whole.
    cluster : bool
        ``dask.distributed`` schedules.
    """

    side: int = 10_980
    bands: int = 224
    ratio: float = 6.0
    method: str = "gem"
    workers: int = 8
    msi_bands: int = 4
    memory: int = PLENTY
    tile: int | str = "auto"
    cores: int = 0
    block: int = 256
    cluster: bool = False


def empty_scene(side: int, bands: int, ratio: float, msi_bands: int, chunks: tuple[int, int] = (-1, -1), block: int = 1) -> Scene:
    """A lazy scene without content, of pixels of 10 m; ``chunks`` are the sides of those of the HSI and of the MSI, ``block`` that of both files."""
    coarse = -(-side // ratio)
    sizes = {"hsi": (bands, int(coarse), 10.0 * ratio, chunks[0]), "msi": (msi_bands, side, 10.0, chunks[1])}
    cubes = {
        name: wrap(
            da.zeros((count, size, size), chunks=(count, chunk, chunk), dtype="float32"),
            transform=Affine(pixel, 0, 4e5, 0, -pixel, 6e6),
            crs="EPSG:32633",
            names=[str(k) for k in range(count)],
            encoding={"preferred_chunks": {"y": block, "x": block}},
        )
        for name, (count, size, pixel, chunk) in sizes.items()
    }
    return Scene.of(cubes["hsi"], cubes["msi"])


def planned(run: Run) -> tuple[Plan, int]:
    """The plan of a run, and how many pixels its tiles see."""
    scene = empty_scene(run.side, run.bands, run.ratio, run.msi_bands, block=run.block)
    with dask.config.set(num_workers=run.workers):
        plan = make_plan(scene, get_method(run.method).cost(run.ratio), tile=run.tile, memory=run.memory)  # type: ignore[arg-type]
    pair, everything = scene.pair, scene.pair.fine_window.offset(-scene.pair.fine_window.top, -scene.pair.fine_window.left)
    seen = (window.grown(plan.halo, everything).shape for row in tile_windows(pair.output, plan.tile) for window in row)
    return plan, sum(height * width for height, width in seen)


def values_read(run: Run, plan: Plan, ratio: float) -> float:
    """Values that files hand out: whole blocks, for each group of tiles; of the MSI (``ratio`` 1) or the HSI."""
    length = -(-run.side // ratio)
    times = decoded(run.side, plan.tile * plan.group, plan.halo, run.block, ratio)
    return float(times * length**2 * (run.msi_bands if ratio == 1 else run.bands))


def decoded(length: int, side: int, halo: int, block: int, ratio: float = 1.0) -> float:
    """Pixels in the blocks that squares of ``side`` and their halos touch, over all pixels of a square image ``ratio`` times coarser.

    Examples
    --------
    >>> decoded(1024, 512, 0, 256), decoded(1024, 512, 61, 256)  # 61 pixels more touch one more row of blocks
    (1.0, 2.25)
    """
    size, rim = math.ceil(length / ratio), 0 if ratio == 1 else COARSE_RIM - 1
    spans = (((start - halo) / ratio - rim, (stop + halo) / ratio + rim) for start, stop in cuts(length, side))
    return (sum(touched(span, block, size) for span in spans) / size) ** 2
