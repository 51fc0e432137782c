"""MossFuse's learned step: filters for what only the hyperspectral image sees.

The paper's idea (Du et al., arXiv:2412.04802) on K subspace coefficients: features that both images share, here the spatial detail of the
MSI; complementary features of the HSI, here the detail of the estimate itself; decoupled, here exactly, because what is learned may only
move the estimate where the MSI says nothing; aggregated by learned weights into a change of the estimate, which is added to the prior mean
of the last stage. Without them the result is GEM's, to the bit.

What can be learned from one scene without truth is what its coarse pixels can tell. They see through a symmetric PSF: of symmetric filters
(blur, sharpening) they show next to nothing that is not confused with the detail itself, of antisymmetric ones (one direction against
the other) they show the phase. So the filters are antisymmetric, at two scales, and their weights maximise the posterior given the
innovation of the coarse pixels (`geofuse.methods.gem.evidence`); a fifth of the coarse pixels, held out, decides whether anything was
learned at all. See docs/research/learned-filters.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geofuse.methods.gem.estimator import Gem
from geofuse.methods.gem.evidence import Regression, in_squares, most_probable, unseen_components
from geofuse.methods.gem.observation import Observation
from geofuse.pair.images import as_like, blur, gradients, mix_gradients
from geofuse.pair.patch import Patch

BROAD, BROAD_REACH = 1.2, 4  # fine pixels: standard deviation and reach of the broad filters' blur
# Variance of a weight, in units of the innovation's, that the evidence may ask for at most; features have variance 1.
LARGEST = 1e-3
REACH = BROAD_REACH + 1  # fine pixels that the filters reach
HELD_OUT, SQUARE = 0.2, 4  # share of the coarse pixels, in squares of so many


@dataclass(frozen=True)
class ComplementaryFilters:
    """Frozen filters.

    Attributes
    ----------
    weight : ndarray, shape (K, F)
        From features to the change of the coefficients.
    scale : ndarray, shape (M,)
        Standard deviation of the MSI bands over the scene, in noise units.
    """

    weight: np.ndarray
    scale: np.ndarray

    def change(self, z: Tensor, m: Tensor) -> Tensor:
        """What the filters add to an estimate (K, H, W), beside the whitened MSI (M, H, W)."""
        images = _scales(z, m / as_like(self.scale, m)[:, None, None])
        parts = torch.split(as_like(self.weight, z), [2 * len(image) for image in images], dim=1)
        change = torch.zeros_like(z)
        for part, image in zip(parts, images, strict=True):
            change += mix_gradients(part.contiguous(), image)
        return change

    def arrays(self) -> dict[str, np.ndarray]:
        """All members, for storage."""
        return {"weight": self.weight, "scale": self.scale}


@dataclass(frozen=True)
class Learned:
    """Outcome of a fit.

    Attributes
    ----------
    filters : ComplementaryFilters or None
        None where the held-out coarse pixels gain nothing: the result is GEM's.
    held_out : float
        Share of the held-out innovation that filters learned on the others explain; most of the innovation is noise.
    coarse_pixels : int
        How many there were to learn from.
    """

    filters: ComplementaryFilters | None
    held_out: float
    coarse_pixels: int


def features(z: Tensor, m: Tensor) -> Tensor:
    """Gradients of estimate (K, H, W) and MSI (M, H, W) at two scales, down and right; shape (4 K + 4 M, H, W)."""
    return torch.cat([g for image in _scales(z, m) for g in gradients(image)])


def _scales(z: Tensor, m: Tensor) -> list[Tensor]:
    """Estimate and MSI, each as it is and blurred."""
    offsets = torch.arange(-BROAD_REACH, BROAD_REACH + 1, dtype=z.dtype, device=z.device)
    kernel = torch.exp(-0.5 * (offsets / BROAD) ** 2)
    kernel = kernel / kernel.sum()
    return [scale for image in (z, m) for scale in (image, blur(image, kernel, mode="replicate"))]


def fit_filters(gem: Gem, patches: Sequence[Patch], seed: int = 0, *, mask: np.ndarray | None = None, judged: bool = True) -> Learned:
    """Learn the filters on a sample of the scene, in closed form: seconds, and the same for the same seed.

    Parameters
    ----------
    gem : Gem
        Fitted.
    patches : sequence of Patch
    seed : int
        For the coarse pixels that are held out.
    mask : ndarray of bool, shape (4 K + 4 M,), optional
        Features that take part; see `features` for their order.
    judged : bool
        Whether the held-out pixels decide; False keeps what was learned.
    """
    observed = [gem.observe(p) for p in patches]
    scale, weights = gem.guide.scale, [gem.weights(s) for s in observed]
    drafts = [gem.draft("upsample", s, gem.run(s)) for s in observed]
    seen = [d.seen for d in drafts]
    images = [features(d.z, d.seen.m / as_like(scale, d.seen.m)[:, None, None]) for d in drafts]
    spread = _spread(images, seen)
    if mask is not None:
        spread = np.where(mask, spread, np.inf)
    images = [image / as_like(spread, image)[:, None, None] for image in images]
    first, mixing = gem.stages[1], gem.coordinates.mixing
    components = unseen_components(first.prior, mixing)
    bands, coefficients = len(scale), gem.coordinates.rank
    groups = np.concatenate([np.repeat(np.arange(4), coefficients), 4 + np.repeat(np.arange(4), bands)])

    regression = Regression(seen, images, weights, first.prior, mixing, components)

    def learn(used: Sequence[Tensor] | None = None) -> np.ndarray:
        found = regression.equations(used)
        return most_probable(found.gram, found.right, components.value, groups, LARGEST)

    held = _held_out(seen, seed)
    check = regression.equations(held)
    gain = check.gain(learn([1 - h for h in held])) / max(float(check.power.sum()), 1e-12)
    filters = ComplementaryFilters(components.axes @ learn() / spread, scale) if gain > 0 or not judged else None
    return Learned(filters, gain, int(sum(float(s.complete.sum()) for s in seen)))


def _spread(images: Sequence[Tensor], seen: Sequence[Observation]) -> np.ndarray:
    total = sum(s.masked(i).square().sum((1, 2)).double().cpu().numpy() for i, s in zip(images, seen, strict=True))
    return np.sqrt(np.maximum(total / max(sum(s.known_pixels for s in seen), 1), 1e-12))


def _held_out(seen: Sequence[Observation], seed: int) -> list[Tensor]:
    """1 where a coarse pixel is held out, shape (h, w)."""
    rng = np.random.default_rng(seed)
    out = []
    for s in seen:
        squares = in_squares(lambda shape: rng.random(shape) < HELD_OUT, SQUARE, (s.y.shape[1], s.y.shape[2]))
        squares[:SQUARE, :SQUARE] = True
        out.append(as_like(squares, s.y))
    return out
