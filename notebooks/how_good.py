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
# # How good is it?
#
# A fused image always looks sharp. Whether it is right is another question, and there are three ways to ask it: with a truth, without one, and pixel by pixel.
#
# The scene of this notebook is drawn, so that its truth is known: a town, of which the coarse image has 57 bands from 380 to 2490 nm and the fine one four, up to
# the near infrared.

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
import numpy as np

import geofuse
from geofuse.simulate import DRAWN, cubes, draw, simulate_pair

truth, wavelength = draw(DRAWN["town"])
pair = simulate_pair(truth[::5], wavelength[::5], ratio=4, kind="qb4", shift=(0.4, -0.3))
hsi, msi = cubes(pair)
print(dict(hsi.sizes), dict(msi.sizes))

# %% [markdown]
# ## Which method, on this scene?
#
# Wald's protocol needs no truth: both images are degraded one step further, fused, and compared with the coarse image itself. Look at the distance between the
# estimators and the simple baselines. Where it is small, fusing is not worth it.

# %%
table = hsi.mossfuse.evaluate(msi, methods=("bicubic", "regression", "gsa", "sylvester", "gem"), progress=False)
table[["method", "psnr_db", "sam_deg", "ergas", "ssim", "seconds"]].round(3)

# %% [markdown]
# Here the true image is known, so the protocol can be checked itself. The figures differ, because the reduced scene has fewer pixels and other detail. The order
# is what carries over:

# %%
images = {method: hsi.mossfuse.fuse(msi, method=method, progress=False).compute() for method in ("bicubic", "regression", "gsa", "sylvester")}
both = hsi.mossfuse.fuse(msi, method="gem", uncertainty=True, quality=True, progress=False).compute()
images["gem"] = both["reflectance"]
known = images["gem"].copy(data=pair.truth.astype("float32"))
true_psnr = {method: geofuse.compare(image, known, ratio=4)["psnr_db"] for method, image in images.items()}

figure, axis = plt.subplots(figsize=(5, 4), layout="constrained", dpi=70)
for method, psnr in true_psnr.items():
    axis.plot(float(table.set_index("method").psnr_db[method]), psnr, "o", label=method)
axis.legend(frameon=False)
axis.set(xlabel="PSNR by Wald's protocol, dB", ylabel="PSNR against the truth, dB")
plt.show()

# %% [markdown]
# ## Where is it wrong?
#
# `uncertainty=True` gives a standard deviation per pixel and band, calibrated on the scene. Two questions to it. Is it as large as the errors are? Nine tenths of
# the pixels and bands should lie within 1.64 standard deviations:

# %%
error = np.abs(both["reflectance"] - known)
within = float((error < 1.645 * both["uncertainty"]).mean())
print(f"within the nominal 90 % interval: {100 * within:.0f} %")

# %% [markdown]
# And is it larger where the error is? Over the bands it is: both rise beyond 900 nm, where no band of the fine image is near. Over the pixels it says little in this
# scene. The deviation of a pixel is that of its class, and the classes of a small town are alike:

# %%
figure, axes = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained", dpi=60)
by_pixel = np.sqrt((error**2).mean("band")), both["uncertainty"].mean("band")
for axis, image, title in zip(axes, by_pixel, ("error", "claimed standard deviation"), strict=False):
    picture = axis.imshow(image, vmin=0, vmax=float(by_pixel[0].quantile(0.98)), cmap="magma")
    axis.set(title=title, xticks=[], yticks=[])
figure.colorbar(picture, ax=axes[1], label="reflectance")
axes[2].plot(error.wavelength, np.sqrt((error**2).mean(("y", "x"))), label="error")
axes[2].plot(error.wavelength, both["uncertainty"].mean(("y", "x")), label="claimed")
axes[2].set(xlabel="wavelength, nm", ylabel="reflectance")
axes[2].legend(frameon=False)
plt.show()

# %% [markdown]
# ## What fusing is worth to a classification
#
# Scores are not what an image is made for. Here a classifier learns the materials of the scene from the left half of an image and is asked for those
# of the right half; once on the coarse image, once on the fine, once on the fused.

# %%
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from geofuse.simulate import composition

materials = composition(DRAWN["town"])[0].argmax(0)
left = np.arange(128) < 64
shared = np.isin(materials, np.intersect1d(materials[:, left], materials[:, ~left])) & ~left


def classified(image):
    """Material of every pixel, learned from up to 40 pixels of each in the left half."""
    spectra, rng = np.asarray(image).reshape(len(image), -1).T, np.random.default_rng(0)
    usable = np.broadcast_to(left, materials.shape).ravel()
    taught = np.concatenate([rng.permutation(np.flatnonzero(usable & (materials.ravel() == m)))[:40] for m in np.unique(materials[:, left])])
    machines = [LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"), SVC(C=10)]  # the better one, by cross-validation
    search = GridSearchCV(Pipeline([("scale", StandardScaler()), ("machine", machines[0])]), {"machine": machines}, cv=3)
    return search.fit(spectra[taught], materials.ravel()[taught]).predict(spectra).reshape(materials.shape)


maps = {"coarse": images["bicubic"], "fine": msi, "fused": images["gem"], "true image": pair.truth}
maps = {name: classified(image) for name, image in maps.items()}
certain = both["uncertainty"].mean("band").values
certain = shared & (certain <= np.quantile(certain[shared], 0.8))

figure, axes = plt.subplots(1, 5, figsize=(14, 3.4), layout="constrained", dpi=60)
for axis, (name, image) in zip(axes, ({"truth": materials} | maps).items(), strict=True):
    axis.imshow(image, cmap="nipy_spectral", interpolation="nearest", vmin=0, vmax=materials.max())
    axis.axvline(63.5, color="w")
    score = "" if name == "truth" else f": {100 * (image == materials)[shared].mean():.0f} %"
    axis.set(title=name + score, xticks=[], yticks=[])
plt.show()
print(f"fused, without the least certain fifth: {100 * (maps['fused'] == materials)[certain].mean():.0f} %")

# %% [markdown]
# More scenes, an absorption map, and where fusing is worth nothing: [downstream](../docs/explanation/downstream.md). How to judge your own:
# [judge the quality](../docs/how-to/judge-quality.md).
