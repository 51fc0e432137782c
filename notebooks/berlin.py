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
# # Berlin: 177 bands at 3.6 m
#
# The embedded scene, end to end: a hyperspectral image with 30 m pixels and a multispectral image with 3.6 m pixels become one image with the bands of
# the first and the pixels of the second.
#
# Data: Okujeni, van der Linden and Hostert (2016), Berlin-Urban-Gradient dataset 2009, doi:10.5880/enmap.2016.002, CC BY-SA 4.0. The 30 m image was simulated by
# its authors from the airborne HyMap flight that the fine image comes from.

# %%
# %matplotlib inline
# %config InlineBackend.figure_formats = ["jpeg"]
from pathlib import Path
from tempfile import mkdtemp

import geofuse

data = geofuse.demo_data()
hsi = geofuse.open_hsi(data.hsi)
msi = geofuse.open_msi(data.msi)
hsi

# %% [markdown]
# Both cubes are lazy. Nothing is read yet, but what a fusion would do is already known:

# %%
print(hsi.mossfuse.plan(msi))

# %% [markdown]
# One line fits a model to the scene (geometry, effective response, noise, priors) and returns lazy tiles. `method="gem"` skips the comparison of methods that
# the default `"auto"` makes.

# %%
fused = hsi.mossfuse.fuse(msi, method="gem", progress=False)
fused

# %%
report = fused.mossfuse.report()
report

# %% [markdown]
# ## Write it, read it back, look at it

# %%
folder = Path(mkdtemp())
raster = fused.mossfuse.to_cog(folder / "berlin.tif", progress=False)
item = fused.mossfuse.to_stac(raster)
print(raster.name, f"{raster.stat().st_size / 1e6:.0f} MB,", len(item.assets["data"].to_dict()["bands"]), "bands in the STAC item")

# %%
from geofuse.viewing.quicklook import comparison

written = geofuse.open_hsi(raster)
picture = comparison(hsi, msi, written)
picture.set_dpi(48)
picture

# %% [markdown]
# Any band by its wavelength, any spectrum by its place:

# %%
import matplotlib.pyplot as plt

figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5), layout="constrained", dpi=50)
places = {"tiled roof": (384_480, 5_816_045), "lawn": (384_450, 5_815_980)}
near = written.sel(x=slice(384_300, 384_650), y=slice(5_816_200, 5_815_930))
near.hsi.sel_wavelength(2200).plot.imshow(ax=left, cmap="gray", vmin=0, vmax=0.4, add_colorbar=False)
left.set(title="2200 nm: no band of the fine image is anywhere near", aspect="equal", xlabel="", ylabel="")
left.ticklabel_format(style="plain", useOffset=False)
for colour, (x, y) in zip(("C0", "C1"), places.values()):
    left.plot(x, y, "o", ms=12, mfc="none", mec=colour, mew=2)
    written.hsi.plot_spectrum(x, y, ax=right)
right.set_title("two pixels of 3.6 m")
right.legend(list(places), frameon=False)
plt.show()
