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
# # Your own EnMAP or EMIT image with Sentinel-2
#
# Products are opened as they are delivered: a folder, an archive's content, a NetCDF file. This notebook has none of yours, so it makes small ones, true to the
# published specifications, of a scene that is known at every place and wavelength. With your own, skip the next cell and put your paths below.

# %%
# %matplotlib inline
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import numpy as np

import geofuse
from geofuse.simulate.products import emit, enmap, sentinel2, truth

folder = Path(mkdtemp())
enmap_folder = enmap.write(folder)
emit_file = emit.write(folder)
safe_folder = sentinel2.write(folder)
print(*sorted(path.name for path in folder.iterdir()), sep="\n")

# %% [markdown]
# ## Look before you fuse
#
# The sensor is recognised by what the files hold, not by their names. `resolution=10` is the grid: Sentinel-2's bands of 20 m are repeated on it, and count for what
# they know ([own data](../docs/how-to/own-data.md)).

# %%
hsi = geofuse.open_hsi(enmap_folder)
msi = geofuse.open_msi(safe_folder, resolution=10)
for cube in (hsi, msi):
    nm = cube.wavelength.values
    print(f"{cube.encoding['sensor']}: {dict(cube.sizes)}, {nm.min():.0f} to {nm.max():.0f} nm, {int((~cube.good).sum())} bad bands")

# %% [markdown]
# Nothing but metadata has been read so far. What would a fusion do, and is anything in its way?

# %%
print(hsi.mossfuse.plan(msi, method="gem"))

# %% [markdown]
# Products say which of their pixels are no measurement of the ground. geofuse takes their masks along, as a coordinate: here the cloud and its shadow that
# Sentinel-2's scene classification marks. They are left out of every statistic, and the result has no data there.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", dpi=70)
hsi.hsi.rgb().plot.imshow(ax=left, rgb="rgb")
msi.hsi.rgb().plot.imshow(ax=right, rgb="rgb")
masked = msi.mask.where(msi.mask > 0)
masked.plot.imshow(ax=right, add_colorbar=False, cmap="autumn", alpha=0.5)
for axis, title in ((left, "EnMAP, 30 m"), (right, "Sentinel-2, 10 m; masked pixels in red")):
    axis.set(title=title, aspect="equal", xticks=[], yticks=[], xlabel="", ylabel="")
plt.show()

# %% [markdown]
# ## Fuse

# %%
fused = hsi.mossfuse.fuse(msi, method="gem", progress=False).compute()
fused

# %% [markdown]
# Read the warnings before anything else: each has a code, and [a page that says what to do](../docs/reference/warnings.md).

# %%
report = fused.mossfuse.report().to_dict()
for warning in report["warnings"]:
    print(f"{warning['code']}: {warning['message']}\n")
for image in ("hsi", "msi"):
    print(f"explains the {image.upper()} to {100 * report['residuals'][f'{image}_rel_rmse']:.1f} %")

# %% [markdown]
# The figure of the MSI is large for a simple reason: six of its ten bands have pixels of 20 m, and the result has detail of 10 m in them.
#
# ## Is it right?
#
# On your own scene you cannot know; here the scene is known. A spectrum, and a band in the short-wave infrared that no 10 m band of Sentinel-2 is near:

# %%
band = fused.hsi.sel_wavelength(1650)
nm = float(band.wavelength)
known = truth.footprint(*np.meshgrid(fused.x, fused.y), [nm], 10)[0]
coarse = hsi.hsi.sel_wavelength(nm)

figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained", dpi=70)
limits = {"vmin": np.nanpercentile(known, 2), "vmax": np.nanpercentile(known, 98), "cmap": "gray", "add_colorbar": False}
for axis, image, title in zip(
    axes, (coarse, band, band.copy(data=known)), (f"EnMAP, {nm:.0f} nm", "fused", "truth"), strict=True
):
    image.plot.imshow(ax=axis, **limits)
    axis.set(title=title, aspect="equal", xticks=[], yticks=[], xlabel="", ylabel="", xlim=(fused.x[0], fused.x[-1]), ylim=(fused.y[-1], fused.y[0]))
plt.show()
print(f"error of the band: {float(np.sqrt(np.nanmean((band - known) ** 2))):.4f} of reflectance")

# %%
row, column = 75, 60
x, y = float(fused.x[column]), float(fused.y[row])
figure, axis = plt.subplots(figsize=(9, 3.6), layout="constrained", dpi=70)
whole = truth.footprint(x, y, hsi.wavelength.values, 10)
order = np.argsort(hsi.wavelength.values)
axis.plot(hsi.wavelength[order], whole[order], color="0.7", lw=4, label="truth")
axis.plot(fused.wavelength[order], fused[order, row, column], "C1", label="fused, 10 m")
axis.plot(hsi.wavelength[order], hsi.sel(x=x, y=y, method="nearest")[order], "C0", lw=1, label="EnMAP, 30 m")
axis.plot(msi.wavelength, msi.sel(x=x, y=y), "kD", label="Sentinel-2")
axis.set(xlabel="wavelength, nm", ylabel="reflectance")
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# ## EMIT
#
# An EMIT granule is a swath: its pixels lie along the flight, not along a map grid. geofuse puts them on a grid with the granule's own lookup table and keeps
# where each pixel truly lies (`centre_y`, `centre_x`), so that none is resampled ([why](../docs/explanation/grids.md#true-footprints)). The grid is one of degrees:
# at this latitude its pixels are 60 m high and 37 m wide.

# %%
hsi = geofuse.open_hsi(emit_file)
print(hsi.encoding["sensor"], dict(hsi.sizes), f"ratio {hsi.mossfuse.plan(msi).ratio:.2f}", "true centres:", "centre_y" in hsi.coords)

# %% [markdown]
# ## Write it
#
# A Cloud-Optimized GeoTIFF with a name and a wavelength for each band, and a STAC item beside it. The dates are those of the products.

# %%
raster = fused.mossfuse.to_cog(folder / "enmap_s2.tif", progress=False)
item = fused.mossfuse.to_stac(raster)
print(raster.name, item.properties["start_datetime"], "to", item.properties["end_datetime"])

# %% [markdown]
# In a shell all of this is one command:
#
# ```sh
# geofuse fuse ENMAP01-____L2A-….ZIP_FOLDER S2A_MSIL2A_….SAFE --msi-resolution 10 -o enmap_s2.tif --report report.html
# ```
#
# Which products are known, and what is read from each: [sensors](../docs/reference/sensors.md).
