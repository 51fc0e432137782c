# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Whole scenes: dask, and a GPU
#
# A Sentinel-2 tile has 120 million pixels; with 224 bands a fused image of it is 54 GB. No memory holds that, and none has to: images are fused tile by tile.

# %%
# %matplotlib inline
import logging
import time
from pathlib import Path
from tempfile import mkdtemp

import dask
import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
import torch
from affine import Affine
from dask.distributed import Client, LocalCluster

import geofuse
from geofuse.cube.schema import wrap

# %% [markdown]
# ## Plan first
#
# A plan needs metadata only. So here is one for a scene that does not exist: zeros that are never made, on the grids of a Sentinel-2 tile and of EMIT.


# %%
def empty(bands, side, pixel, nm):
    """A cube of which no pixel is ever made."""
    zeros = da.zeros((bands, side, side), dtype="float32", chunks=(1, 512, 512))
    names = [f"band {k + 1}" for k in range(bands)]
    return wrap(zeros, transform=Affine(pixel, 0, 300_000, 0, -pixel, 5_900_040), crs="EPSG:32633", names=names, wavelength=nm)


tile = empty(4, 10_980, 10, np.array([492.7, 559.8, 664.6, 832.8]))
swath = empty(224, 1_830, 60, np.linspace(400, 2450, 224))
for memory in (4e9, 16e9):
    print(geofuse.plan(swath, tile, method="gem", memory=int(memory)), "\n")

# %% [markdown]
# The memory decides the tiles: more of it means larger ones, which pay less for the halos that they read around themselves.
#
# ## Tiles equal the whole
#
# Everything that is learned is frozen before the first tile. So the size of the tiles, and who computes them, change nothing. A part of the embedded scene, whole and in
# tiles of 128 pixels:

# %%
data = geofuse.demo_data()
hsi, msi = geofuse.open_hsi(data.hsi)[::12, :40, :40], geofuse.open_msi(data.msi)[:, :330, :330]
model = hsi.mossfuse.fit(msi, method="sylvester", progress=False)

whole = hsi.mossfuse.fuse(msi, model=model, progress=False)
tiled = hsi.mossfuse.fuse(msi, model=model, tile=128, progress=False)
print("chunks along y and x:", tiled.chunks[1:])

start = time.perf_counter()
reference = whole.compute(scheduler="synchronous")
print(f"one tile, one thread: {time.perf_counter() - start:.1f} s")
difference = float(np.nanmax(np.abs(tiled.compute() - reference)))
print(f"largest difference of reflectance between whole and tiles: {difference:.1e}")

# %% [markdown]
# `fit` looked at a bounded sample; `fuse` returned at once, because the result is lazy: each tile is a task of a dask graph, and is computed when it is asked for.
# So ask for less than everything where less is enough. A mean over the scene never holds the image:

# %%
mean = tiled.mean(("y", "x")).compute()
print(dict(mean.sizes), f"{float(mean[0]):.4f} … {float(mean[-1]):.4f}")

# %% [markdown]
# ## A cluster
#
# The active dask client computes the tiles: a cluster of this machine here, one of many machines by its address (`Client("tcp://…")`). Each worker gets the frozen model
# once and reads its own windows of the files. Workers that die cost the time of their tiles.

# %%
with dask.config.set({"distributed.scheduler.allowed-failures": 3}), LocalCluster(
    n_workers=2, threads_per_worker=1, memory_limit="2GB", dashboard_address=None, silence_logs=logging.CRITICAL
) as cluster, Client(cluster) as client:
    start = time.perf_counter()
    raster = tiled.mossfuse.to_cog(Path(mkdtemp()) / "fused.tif", progress=False)
    print(f"{len(client.scheduler_info()['workers'])} workers wrote {raster.stat().st_size / 1e6:.1f} MB in {time.perf_counter() - start:.1f} s")

written = geofuse.open_hsi(raster)
rounding = float(np.nanmax(np.abs(written - reference)))
print(f"largest difference after writing: {rounding:.1e} (a step of the file is {written.encoding['scale_factor']:.0e})")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 4), layout="constrained", dpi=60)
written.hsi.rgb().plot.imshow(ax=left, rgb="rgb")
for edge in range(128, tiled.sizes["y"], 128):
    left.axhline(float(tiled.y[edge]), color="w", lw=0.6)
for edge in range(128, tiled.sizes["x"], 128):
    left.axvline(float(tiled.x[edge]), color="w", lw=0.6)
written.hsi.sel_wavelength(2200).plot.imshow(ax=right, cmap="gray", robust=True, add_colorbar=False)
for axis, title in ((left, "tiles"), (right, "2200 nm: no seam")):
    axis.set(title=title, aspect="equal", xticks=[], yticks=[], xlabel="", ylabel="")
plt.show()

# %% [markdown]
# ## A GPU
#
# The same code runs on CUDA, in float32: `device="cuda:0"`, or `"auto"`, which takes a GPU where torch finds one. Several GPUs, a process each:
# `geofuse fuse … --scheduler cuda`.

# %%
if torch.cuda.is_available():
    start = time.perf_counter()
    on_gpu = hsi.mossfuse.fuse(msi, model=model, device="cuda:0", progress=False).compute()
    print(f"{torch.cuda.get_device_name()}: {time.perf_counter() - start:.1f} s,", f"difference {float(np.nanmax(np.abs(on_gpu - reference))):.1e}")
else:
    print("skipped: torch", torch.__version__, "finds no CUDA device here")

# %% [markdown]
# ## Interrupted?
#
# Finished tiles are recorded with their checksums while a file is written. The same call again continues where it was interrupted, on any scheduler
# ([how](../docs/explanation/resume.md)). What a scene costs before it is run: [fuse whole scenes](../docs/how-to/whole-scenes.md).
