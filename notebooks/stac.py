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
# # From a STAC catalog to a data cube
#
# Find the pairs of a catalog, look at them on a map, fuse all of them, and open the result as one lazy cube with any library that reads STAC.
#
# The catalog of this notebook lies in a folder, so that it runs without a network: the embedded Berlin scene cut into four, with three dates of the multispectral
# image. A STAC API is searched by the same call: give its address instead of the path.

# %%
# %matplotlib inline
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import numpy as np
import pystac
import rasterio
import shapely
from rasterio.warp import transform_bounds
from shapely.geometry import mapping

import geofuse

folder = Path(mkdtemp())
data = geofuse.demo_data()
hsi, msi = geofuse.open_hsi(data.hsi), geofuse.open_msi(data.msi)


def publish(cube, name, collection, day, cloud=0.0):
    """Write a cube, and the STAC item of it."""
    raster = cube.mossfuse.to_cog(folder / f"{name}.tif", progress=False)
    with rasterio.open(raster) as file:
        box = transform_bounds(file.crs, "EPSG:4326", *file.bounds)
    taken = datetime(2009, 8, day, 10, 30, tzinfo=UTC)
    item = pystac.Item(name, mapping(shapely.box(*box)), box, taken, {"eo:cloud_cover": cloud}, collection=collection)
    item.set_self_href(str(folder / f"{name}.json"))
    item.add_asset("data", pystac.Asset(str(raster), media_type=pystac.MediaType.COG, roles=["data"]))
    return item


items = []
for k, (north, west) in enumerate(np.ndindex(2, 2)):
    rows, cols = slice(40 * north, 40 * north + 40), slice(30 * west, 30 * west + 30)
    items.append(publish(hsi[::6, rows, cols], f"coarse{k}", "enmap", 20))
for name, day, cloud in (("early", 11, 0.0), ("cloudy", 20, 70.0), ("near", 21, 5.0)):
    items.append(publish(msi, name, "aerial", day, cloud))
catalog = folder / "catalog.geojson"
pystac.ItemCollection(items).save_object(str(catalog))
print(len(items), "items")

# %% [markdown]
# ## Which items make pairs
#
# Footprints must overlap, the dates be near, the clouds few. Only metadata are read. To each hyperspectral item comes the multispectral one that suits it best:
# here `near`, because `early` is too far away in time and `cloudy` is what it says. What has no partner is listed with the reason.

# %%
pairs = geofuse.search_pairs(str(catalog), hsi="enmap", msi="aerial", max_gap="5d", max_cloud=20)
pairs[["id", "msi", "overlap", "gap_days", "cloud_percent", "reason"]]

# %%
figure, axis = plt.subplots(figsize=(5, 5), layout="constrained", dpi=70)
for k, (name, outline) in enumerate(zip(pairs.id, pairs.geometry)):
    axis.fill(*outline.exterior.xy, color=f"C{k}", alpha=0.35)
    axis.annotate(name, outline.centroid.coords[0], ha="center")
for item in items[4:]:
    axis.plot(*np.array(item.geometry["coordinates"][0]).T, "k", lw=1)
axis.set(title="four hyperspectral items; outline: the multispectral ones", xlabel="longitude", ylabel="latitude", aspect=1 / np.cos(np.radians(52.5)))
axis.ticklabel_format(useOffset=False)
plt.show()

# %% [markdown]
# `pairs` is a table like any other: choose from it, then run. One pair is left out here, because its overlap is the smallest.
#
# ## Run
#
# Every pair gets a folder of its own: image, quality layer, report, model, thumbnail, STAC item. The same call again makes only what is missing or has changed.

# %%
output = folder / "fused"
chosen = pairs.drop(index=pairs.overlap.idxmin())
table = geofuse.batch(chosen, output, method="sylvester", progress=False)
table[["id", "state", "seconds"]]

# %%
again = geofuse.batch(chosen, output, method="sylvester", progress=False)
print("made again:", int((again.seconds != table.seconds).sum()), "of", len(again))
print(*sorted(path.name for path in (output / chosen.id.iloc[0]).iterdir()), sep="\n")

# %% [markdown]
# ## Publish, and use
#
# The folder is a STAC collection: any static web server publishes it, and any STAC client reads it. The items say which items they were made of.

# %%
collection = pystac.Collection.from_file(str(output / "collection.json"))
made = list(collection.get_items(recursive=True))
for item in made:
    print(item.id, [Path(link.href).name for link in item.links if link.rel == "derived_from"])

# %% [markdown]
# odc-stac makes one lazy cube of them. Nothing is read before it is asked for:

# %%
import odc.stac

cube = odc.stac.load(made, chunks={"x": 256, "y": 256})
names = list(cube.data_vars)
print(dict(cube.sizes), len(names), "bands:", *names[:3], "…", f"{cube.nbytes / 1e6:.0f} MB when read")

# %%
first = cube[names[len(names) // 2]].isel(time=0)
figure, axis = plt.subplots(figsize=(4, 5), layout="constrained", dpi=55)
first.where(first != first.attrs.get("nodata", -32768)).plot.imshow(ax=axis, cmap="gray", robust=True, add_colorbar=False)
axis.set(title=f"{names[len(names) // 2]}: three of four quarters", aspect="equal", xticks=[], yticks=[], xlabel="", ylabel="")
plt.show()

# %% [markdown]
# In a shell the same is `geofuse batch pairs` and `geofuse batch run`: [fuse a catalog](../docs/how-to/batch.md).
