"""Write a ready-made dask array as a COG, which is what writing alone costs: ``python -m benchmarks.ready SIDE BANDS OUT.tif``.

It loads nothing that writing does not need, so that its memory and its start are those of writing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr
from affine import Affine
from scipy.ndimage import zoom

import geofuse
from geofuse.cube.schema import wrap
from geofuse.io.write.cog import write_cog

HSI = Path(geofuse.__file__).parent / "demo" / "data" / "berlin_enmap_30m.tif"


def ready_made(side: int, bands: int) -> xr.DataArray:
    """A lazy cube whose tiles are at hand: the embedded HSI, enlarged, the same in each tile."""
    hsi = geofuse.open_hsi(HSI, chunks=None)
    chosen = np.linspace(0, len(hsi) - 1, bands).round().astype(int)
    texture = np.random.default_rng(0).normal(0, 0.003, (512, 512))
    tile = np.stack([zoom(plane[:60, :60], 512 / 60, order=1) + texture for plane in np.nan_to_num(hsi.values[chosen])]).astype("float32")
    empty = da.empty((bands, side, side), chunks=(bands, 512, 512), dtype="float32")
    data = empty.map_blocks(lambda block: tile[:, : block.shape[1], : block.shape[2]], dtype="float32")
    return wrap(data, transform=Affine(3.6, 0, 4e5, 0, -3.6, 5.8e6), crs=32633, names=[f"band {k + 1}" for k in range(bands)])


if __name__ == "__main__":
    write_cog(ready_made(int(sys.argv[1]), int(sys.argv[2])), Path(sys.argv[3]), progress=False, overwrite=True)
