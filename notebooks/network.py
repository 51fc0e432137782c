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
# # What the network learned
#
# `method="mossfuse"` puts the network of Du et al. ([arXiv:2412.04802](https://arxiv.org/abs/2412.04802)) behind the estimator `gem`. Its idea: split each of the two
# images into a part that both *share* and a part that only one of them has (*complementary*), decouple the parts by a loss, put them together again. It is
# trained on the scene itself, on the coarse pixels alone, and it is kept only where coarse pixels that it has never seen confirm it.
#
# **On none of the benchmark scenes is it confirmed** ([measured](../docs/research/network.md)): `gem` leaves nothing there that it could learn from one scene. So this
# notebook makes a scene that does ask for it, to show what is learned there and how that is judged.
#
# ## A scene with something to learn
#
# A drawn forest. In the short-wave infrared, which the fine image does not see, detail is displaced: to one side on bright ground, to the other on dark, as
# crowns and their shadows are when two detectors look from different sides. No filter can say that, because its weights are the same everywhere.

# %%
# %matplotlib inline
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from geofuse.simulate import DRAWN, cubes, draw, simulate_pair

truth, nm = draw(replace(DRAWN["forest"], rows=96, cols=96, largest=30, smallest=2, texture=0.15))
truth, nm = truth[::6], nm[::6]
infrared = truth[np.abs(nm - 800).argmin()]
side = np.tanh(4 * (infrared - np.median(infrared)) / infrared.std())
unseen = nm > 1000
truth[unseen] = np.clip(truth[unseen] + side * np.gradient(infrared, axis=1), 0.001, 1)

PART = (slice(24, 72), slice(24, 72))  # what the pictures show
pair = simulate_pair(truth, nm, ratio=4, kind="qb4")
hsi, msi = cubes(pair)
figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained", dpi=70)
band = int(np.abs(nm - 1650).argmin())
for axis, image, title in zip(axes, (np.kron(hsi[band], np.ones((4, 4))), truth[band], side), ("coarse, 1650 nm", "truth, 1650 nm", "to which side"), strict=True):
    axis.imshow(image[PART], cmap="coolwarm" if title.startswith("to") else "gray")
    axis.set(title=title, xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## Fit the estimator, then train the network
#
# `hsi.mossfuse.fit(msi, method="mossfuse")` does all of the next cell. Here its steps are walked one by one, to look inside: the pair is prepared (shift, PSF, response),
# `gem` is fitted, and the network is trained on what `gem` leaves unexplained in the coarse pixels.

# %%
from geofuse.methods.gem.method import GEM
from geofuse.methods.mossfuse.criterion import make_examples
from geofuse.methods.mossfuse.losses import decoupling
from geofuse.methods.mossfuse.method import Together
from geofuse.methods.mossfuse.scene_network import make_network
from geofuse.methods.mossfuse.train import fit_network
from geofuse.pipeline.fit import guarded, prepare, settings_of
from geofuse.pipeline.pair import pair as pair_of

silent = lambda step: None  # noqa: E731
with guarded():
    scene = pair_of(hsi, msi)
    prepared, settings = prepare(scene, settings_of(scene, method="mossfuse", progress=False), silent)
    plain = GEM.fit(prepared, settings, silent)
    outcome = fit_network(plain.gem, plain.filters, prepared.patches, steps=12)

print(f"{sum(p.numel() for p in outcome.network.network.parameters()):,} weights, {len(outcome.losses)} steps")
print(f"coarse pixels held out: {outcome.pixels}. Of what the HSI says there beyond the estimate, the network explains {100 * outcome.gain:.1f} ± {100 * outcome.error:.1f} %")
print("confirmed" if outcome.confirmed else "not confirmed: the result is that of gem")

# %% [markdown]
# "Beyond the estimate" is mostly noise, so a few percent are much. More than two standard errors are asked for; where the gain is smaller the network is dropped, and
# `mossfuse` is `gem` to the bit.
#
# ## Four features
#
# What each encoder makes of the pair, eight channels each, shown by their three leading components as red, green and blue. Then the same for a network that was never
# trained.

# %%
with guarded():
    (example,), _ = make_examples(plain.gem, plain.filters, prepared.patches, 0)
    images, guides = outcome.network.scaling.inputs(example.z, example.seen.m)
    trained = outcome.network.network.encode(images[:1], guides[:1])
    torch.manual_seed(0)
    untrained = make_network(plain.gem.coordinates.rank, len(guides[0])).eval().encode(images[:1], guides[:1])

TITLES = {"shared_msi": "shared, of the MSI", "shared_hsi": "shared, of the HSI", "spatial": "complementary, of the MSI", "spectral": "complementary, of the HSI"}


def colours(feature):
    """Three leading components of a feature (1, C, H, W), each between its 2nd and 98th percentile."""
    pixels = feature[0].flatten(1).numpy()
    components = np.linalg.svd(pixels - pixels.mean(1, keepdims=True), full_matrices=False)[2][:3]
    low, high = np.percentile(components, [2, 98], axis=1, keepdims=True)
    return np.clip((components - low) / (high - low), 0, 1).T.reshape(*feature.shape[2:], 3)


figure, axes = plt.subplots(2, 4, figsize=(12, 6.2), layout="constrained", dpi=70)
for row, features, state in zip(axes, (trained, untrained), ("trained", "untrained"), strict=True):
    for axis, (name, title) in zip(row, TITLES.items(), strict=True):
        axis.imshow(colours(getattr(features, name))[PART])
        axis.set(title=f"{title}\n{state}", xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## Decoupled?
#
# The loss pulls the two shared features together and pushes the complementary ones away from them and from each other. Its measure is the cosine between
# features: 1 where two are the same, 0 where they have nothing in common.


# %%
def cosines(features):
    """Cosine of each feature with each."""
    flat = torch.nn.functional.normalize(torch.stack([getattr(features, name).flatten() for name in TITLES]), dim=1)
    return (flat @ flat.T).numpy()


figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained", dpi=70)
labels = [title.replace(", of the ", "\n") for title in TITLES.values()]
for axis, features, state in zip(axes, (untrained, trained), ("untrained", "trained"), strict=False):
    values = cosines(features)
    picture = axis.imshow(values, cmap="coolwarm", vmin=-1, vmax=1)
    for (i, j), value in np.ndenumerate(values):
        axis.text(j, i, f"{value:.2f}", ha="center", va="center", color="w" if abs(value) > 0.6 else "k")
    axis.set(title=f"{state}: decoupling loss {float(decoupling(features)):.2f}", xticks=range(4), yticks=range(4))
    axis.set_xticklabels(labels, fontsize=7, rotation=45)
    axis.set_yticklabels(labels, fontsize=7)
axes[2].plot(outcome.losses, "o-")
axes[2].set(title="loss", xlabel="step")
plt.show()

# %% [markdown]
# Partly. The shared features, which had nothing in common, have come together: that is where the loss went down. The complementary feature of the HSI has moved away
# from what is shared; that of the MSI hardly has. Twelve steps, with a tenth of the weight on this loss, do not take the images apart as the words promise, and
# [switching the loss off](../docs/research/network.md#parts-switched-off) costs nothing.
#
# ## What it changes
#
# The network moves the prior mean of the last stage, in directions in which the MSI says nothing; the same solve follows as for `gem`, so the result explains
# both observations whatever the network says. Does it help, and where?

# %%
with guarded():
    patch = prepared.patches[0]
    learned = Together(tuple(part for part in (plain.filters, outcome.network) if part is not None))
    without, with_it = (plain.gem.coordinates.decode(plain.gem.apply(patch, part)).numpy() for part in (plain.filters, learned))


def psnr(image, bands):
    """Mean over bands, dB, peak 1."""
    return np.mean(-10 * np.log10(((truth[bands] - np.clip(image[bands], 0, 1)) ** 2).mean((1, 2))))


scores = pd.DataFrame(
    {name: [psnr(image, unseen), psnr(image, ~unseen)] for name, image in (("gem", without), ("gem and network", with_it))},
    index=["bands beyond the MSI", "bands that it sees"],
)
scores.round(2)

# %%
figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained", dpi=70)
missing, change = truth[band] - without[band], with_it[band] - without[band]
limit = np.quantile(np.abs(missing), 0.98)
for axis, image, title in zip(axes, (missing, change, side), ("what gem misses", "what the network adds", "to which side"), strict=True):
    axis.imshow(image[PART], cmap="coolwarm", vmin=-limit if axis is not axes[2] else -1, vmax=limit if axis is not axes[2] else 1)
    axis.set(title=title, xticks=[], yticks=[])
plt.show()
print(f"correlation of what it adds with what was missing: {np.corrcoef(missing.ravel(), change.ravel())[0, 1]:.2f}")

# %% [markdown]
# It finds part of what is missing, from coarse pixels alone, and leaves the rest: one scene of 576 coarse pixels teaches little.
#
# ## And on a real scene?
#
# On the embedded Berlin pair the held-out pixels do not confirm it, and `geofuse fuse … --method mossfuse` says so with the warning `network-not-confirmed`. Each part
# switched off, the margin, and why a network without its antisymmetry is confirmed and wrong: [network](../docs/research/network.md).
