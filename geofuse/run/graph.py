"""The one file that builds dask graphs: a task for every output tile, and one that reads for a group of neighbouring tiles.

A tile needs a halo as wide as a fifth of itself, so tiles that read for themselves would read the scene nearly twice. Instead a group of
tiles shares one read, whose halo weighs less the larger the group is; what was read is let go when the last of its tiles is done. Nothing is
held for a neighbouring group: memory stays bounded by the tasks that run at once and the groups that they belong to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from multiprocessing import parent_process
from typing import TYPE_CHECKING, Any, Literal

import dask
import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from geofuse.pair.grid import GridPair, Window
from geofuse.pair.scene import Scene, pixels
from geofuse.run.allocator import keep_freed_memory
from geofuse.run.scheduling import engine
from geofuse.run.split import make_on
from geofuse.run.threads import torch_threads
from geofuse.run.tiles import tile_windows

if TYPE_CHECKING:
    from geofuse.model import Model

Output = Literal["reflectance", "flagged", "uncertainty"]
"""What a mosaic holds: reflectance; the same and the quality layer (`geofuse.cube.flags`) as one plane more; standard deviations."""


def fuse_tile(
    model: Model,
    hsi: np.ndarray | _Apart,
    msi: np.ndarray | _Apart,
    scene_pair: GridPair,
    core: Window,
    group: tuple[Window, Window],
    device: str,
    output: Output = "reflectance",
    centres: tuple[Any, Any] | None = None,
) -> np.ndarray:
    """Fuse one tile.

    Parameters
    ----------
    model : Model
    hsi, msi : ndarray, or what reads one
        The part of each image that the tile's group needs.
    scene_pair : GridPair
    core : Window
        The tile, on the working fine grid.
    group : tuple of Window
        What was read, on the fine and on the coarse working grid.
    device : str
    output : str
        One of `Output`.
    centres : two ndarrays, or what reads them, optional
        True centres, y and x, of the HSI's pixels that were read.

    Returns
    -------
    ndarray, shape (B, rows, cols), float32; (B + 1, rows, cols) where it is flagged
    """
    _ready()
    make: Callable[..., np.ndarray] = model.deviation if output == "uncertainty" else model.apply
    if output == "flagged":
        make = partial(model.apply, quality=True)

    def part(core: Window) -> np.ndarray:
        fine, coarse = windows_of(model, scene_pair, core)
        images = (pixels(_cut(image, window, read)) for image, window, read in ((hsi, coarse, group[1]), (msi, fine, group[0])))
        known = {} if centres is None else {"centres": np.stack([_cut(each, coarse, group[1]) for each in centres])}
        return make(*images, scene_pair, fine, coarse, device, core, **known)

    with torch_threads(1):  # dask runs as many of these at once as there are cores
        return make_on(device, part, core, model.tiled)


@cache
def _ready() -> None:
    """Where this is a worker process, let it keep the memory that tiles free."""
    if parent_process() is not None:
        keep_freed_memory()


def _cut(image: np.ndarray | _Apart, window: Window, read: Window) -> np.ndarray:
    """A window of what was read."""
    return np.asarray(image[(..., *window.offset(-read.top, -read.left).slices)])


def lazy_mosaic(scene: Scene, model: Model, tile: int, device: str = "cpu", group: int = 1, output: Output = "reflectance") -> da.Array:
    """The fused image, or its standard deviation, as a lazy array, shape (B, H, W) or (B + 1, H, W), chunked by tiles.

    Its name says what it is computed from: the same model on the same scene gives the same name, in another process too.

    Parameters
    ----------
    scene : Scene
    model : Model
        Frozen; travels in the graph once.
    tile : int
        Fine pixels along each side of a tile; methods that are not local get the whole scene as one tile.
    device : str
        Torch device.
    group : int
        Tiles along each side of a group, which are read together.
    output : str
        One of `Output`.
    """
    pair = scene.pair
    if not model.tiled:
        tile = max(pair.output.shape)
    tiles = tile_windows(pair.output, tile)
    name = f"fuse_tile-{tokenize(model, scene.hsi.data, scene.msi.data, scene.masks, scene.centres, pair, tile, device, output)}"
    packs = engine().packs
    shared = dask.delayed(model, pure=False, traverse=False)
    shared_pair = dask.delayed(pair, pure=False, traverse=False)
    tasks: dict[Any, Any] = {}
    dependencies = [shared, shared_pair]
    for members in _groups(len(tiles), len(tiles[0]), group):
        seen = [windows_of(model, pair, tiles[i][j]) for i, j in members]
        read = _union([fine for fine, _ in seen]), _union([coarse for _, coarse in seen])
        images = scene.hsi_window(read[1]), scene.msi_window(read[0]), *scene.centres_window(read[1])
        if packs:  # processes that are handed everything: rather than pixels, the way to read them
            hsi, msi, *centres = (_Apart(image) for image in dask.optimize(*images))
        else:
            reads = [dask.delayed(image, pure=False) for image in images]
            dependencies += reads
            hsi, msi, *centres = (each.key for each in reads)
        for i, j in members:
            tasks[name, 0, i, j] = (
                fuse_tile, shared.key, hsi, msi, shared_pair.key, tiles[i][j], read, device, output, centres or None,
            )  # fmt: skip
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=dependencies)
    planes = len(scene.bands) + (output == "flagged")
    chunks = ((planes,), tuple(row[0].shape[0] for row in tiles), tuple(window.shape[1] for window in tiles[0]))
    return da.Array(graph, name, chunks, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32))


class _Apart:
    """An image, perhaps a lazy one, that a task reads for itself."""

    def __init__(self, image: Any) -> None:
        self._image = image

    def __getitem__(self, key: Any) -> np.ndarray:
        chosen = self._image[key]
        return np.asarray(chosen.compute(scheduler="synchronous") if isinstance(chosen, da.Array) else chosen)


def windows_of(model: Model, pair: GridPair, core: Window) -> tuple[Window, Window]:
    """What a tile needs of both images: windows of the fine and of the coarse working grid."""
    height, width = pair.fine.shape
    everything = Window(0, height, 0, width)
    fine = core.grown(model.halo, everything) if model.tiled else everything
    return fine, model.builder(pair).coarse_window(fine)


def _groups(rows: int, cols: int, size: int) -> Iterator[list[tuple[int, int]]]:
    """Places of tiles, group by group."""
    for top in range(0, rows, size):
        for left in range(0, cols, size):
            yield [(i, j) for i in range(top, min(top + size, rows)) for j in range(left, min(left + size, cols))]


def _union(windows: list[Window]) -> Window:
    return Window(min(w.top for w in windows), max(w.bottom for w in windows), min(w.left for w in windows), max(w.right for w in windows))
