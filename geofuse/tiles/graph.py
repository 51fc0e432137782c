"""The one file that builds dask graphs: one task per output tile, which reads its own halo and returns its core.

Reading the halo from the lazy source inside each task, and not through overlapping chunks, keeps memory bounded by the number of tasks
that run at once: nothing is held for a neighbour.
"""

from __future__ import annotations

from typing import Any, Literal

import dask
import dask.array as da
import numpy as np

from geofuse.grid import Window
from geofuse.model import Model
from geofuse.scene import Scene
from geofuse.tiles.plan import tile_windows
from geofuse.tiles.threads import torch_threads

Output = Literal["reflectance", "uncertainty"]


def fuse_tile(
    model: Model,
    hsi: np.ndarray,
    msi: np.ndarray,
    scene_pair: Any,
    core: Window,
    fine: Window,
    coarse: Window,
    device: str,
    output: Output = "reflectance",
) -> np.ndarray:
    """Fuse one tile: apply the model to the halo'd window and keep the core; (B, rows, cols) float32."""
    make = model.apply if output == "reflectance" else model.deviation
    with torch_threads(1):  # dask runs as many of these at once as there are cores
        made = make(np.asarray(hsi, np.float32), np.asarray(msi, np.float32), scene_pair, fine, coarse, device)
    rows, cols = core.offset(-fine.top, -fine.left).slices
    return np.ascontiguousarray(made[:, rows, cols])


def lazy_mosaic(scene: Scene, model: Model, tile: int, device: str = "cpu", output: Output = "reflectance") -> da.Array:
    """The fused image, or its standard deviation, as a lazy array, shape (B, H, W), chunked by tiles.

    Parameters
    ----------
    scene : Scene
    model : Model
        Frozen; travels in the graph once.
    tile : int
        Fine pixels along each side of a tile; methods that are not local get the whole scene as one tile.
    device : str
        Torch device.
    output : str
        ``reflectance`` or ``uncertainty``.
    """
    pair = scene.pair
    if not model.tiled:
        tile = max(pair.output.shape)
    everything = Window(0, pair.fine.shape[0], 0, pair.fine.shape[1])
    builder = model.builder(pair)
    shared = dask.delayed(model, pure=False, traverse=False)
    shared_pair = dask.delayed(pair, pure=False, traverse=False)
    run = dask.delayed(fuse_tile, pure=False)
    rows = []
    for band_of_tiles in tile_windows(pair.output, tile):
        row = []
        for core in band_of_tiles:
            fine = core.grown(model.halo, everything) if model.tiled else everything
            coarse = builder.coarse_window(fine)
            task = run(shared, scene.hsi_window(coarse), scene.msi_window(fine), shared_pair, core, fine, coarse, device, output)
            row.append(da.from_delayed(task, (len(scene.bands), *core.shape), dtype=np.float32, meta=np.empty((0, 0, 0), np.float32)))
        rows.append(row)
    return da.concatenate([da.concatenate(row, axis=2) for row in rows], axis=1)
