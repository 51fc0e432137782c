"""How well a change of the prior mean explains the coarse pixels: what a network for one scene is trained on and judged by.

The innovation is what the HSI says beyond its own upsampling, the MSI and the learned filters. Under the estimator's model it is Gaussian
with a known covariance, and a change of the prior mean is worth what it takes away from its square in that metric
(`geofuse.methods.gem.evidence`). Squares of coarse pixels are dealt out to three uses that share none: training, tuning of the
amplitude, and the judgement. The filters were learned on all of them: what they explain a network cannot claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geofuse.methods.gem.estimator import Filters, Gem
from geofuse.methods.gem.evidence import Components, beyond_upsampling, in_squares, innovation_of, plausible, unseen_components
from geofuse.methods.gem.observation import Observation
from geofuse.pair.grid import Window
from geofuse.pair.images import as_like, mix
from geofuse.pair.patch import Patch, part_of, placed
from geofuse.pair.psf.builder import Psf

SQUARE = 2  # coarse pixels along the sides of what is dealt out together
TRAINING, TUNING, JUDGEMENT = range(3)
SHARES = (0.6, 0.2, 0.2)
MARGIN = 2.0  # standard errors by which the gain must exceed zero


@dataclass(frozen=True)
class Example:
    """A patch as the network sees it, and what its coarse pixels ask for.

    Attributes
    ----------
    z : Tensor, shape (K, H, W)
        Estimate, its bands on each other.
    seen : Observation
        The whitened observations, displaced bands taken apart, gaps of the MSI filled.
    innovation : Tensor, shape (U, h, w)
        In the components that the MSI does not see; 0 where ``use`` is -1.
    use : Tensor of int, shape (h, w)
        What a coarse pixel is for; -1: nothing, because one of the images is incomplete there.
    """

    z: Tensor
    seen: Observation
    innovation: Tensor
    use: Tensor

    def squares(self, use: int) -> int:
        """Squares that hold coarse pixels of one use."""
        return int((_by_square((self.use == use).float()) > 0).sum())


@dataclass(frozen=True)
class Criterion:
    """The metric of the innovation.

    Attributes
    ----------
    components : Components
    weight : ndarray, shape (U,)
        Of every component; see `geofuse.methods.gem.evidence.plausible`.
    """

    components: Components
    weight: np.ndarray

    def shown(self, psf: Psf, change: Tensor) -> Tensor:
        """What a change of the prior mean (K, H, W) takes from the innovation, (U, h, w)."""
        return beyond_upsampling(psf, mix(as_like(self.components.axes.T, change), change))

    def product(self, psf: Psf, one: Tensor, other: Tensor) -> Tensor:
        """Inner product of two innovations (U, h, w) in the metric, pixel by pixel, (h, w)."""
        value, weight = as_like(self.components.value, other), as_like(self.weight, other)
        return (one * weight[:, None, None] * psf.inverse(other, value)).sum(0)

    def judged(self, example: Example, change: Tensor, use: int) -> Judged:
        """What a change is worth on the coarse pixels of one use."""
        mask = (example.use == use).to(change.dtype)
        psf, asked = example.seen.psf, example.innovation * mask
        shown = self.shown(psf, change) * mask
        maps = (self.product(psf, asked, shown), self.product(psf, shown, shown), self.product(psf, asked, asked))
        products = np.stack([_by_square(m) for m in maps], axis=-1)
        return Judged(products[_by_square(mask) > 0])


@dataclass(frozen=True)
class Judged:
    """Products of innovation with change, change with change, and innovation with itself; per square of coarse pixels, (n, 3)."""

    products: np.ndarray

    def __add__(self, other: Judged) -> Judged:
        return Judged(np.concatenate([self.products, other.products]))

    @property
    def amplitude(self) -> float:
        """Factor between 0 and 1 with which the change explains most."""
        cross, square, _ = self.products.sum(0)
        return float(np.clip(cross / max(square, 1e-12), 0, 1))

    def gains(self, amplitude: float) -> np.ndarray:
        """By how much the change, times an amplitude, brings down the innovation's square in every square, (n,)."""
        cross, square, _ = self.products.T
        gains: np.ndarray = 2 * amplitude * cross - amplitude**2 * square
        return gains

    @staticmethod
    def crossed(one: Judged, other: Judged) -> tuple[float, float]:
        """Share of the innovation's square that the change explains in each part with the amplitude of the other, and its standard error."""
        each = np.concatenate([one.gains(other.amplitude), other.gains(one.amplitude)])
        power = max(float((one + other).products[:, 2].sum()), 1e-12)
        return float(each.sum()) / power, float(np.sqrt(len(each)) * each.std(ddof=1)) / power


def make_examples(gem: Gem, filters: Filters | None, patches: Sequence[Patch], seed: int) -> tuple[list[Example], Criterion]:
    """Innovation and uses of the coarse pixels of a sample of the scene.

    Parameters
    ----------
    gem : Gem
        Fitted.
    filters : Filters or None
        What it learned in closed form; the network learns what these leave.
    patches : sequence of Patch
    seed : int
        For the uses.
    """
    prior, mixing = gem.stages[1].prior, gem.coordinates.mixing
    components = unseen_components(prior, mixing)
    criterion, rng = Criterion(components, np.ones(len(components.value))), np.random.default_rng(seed)
    examples = []
    for patch in patches:
        observed = gem.observe(patch)
        draft = gem.draft("upsample", observed, gem.run(observed))
        seen = draft.seen
        complete = _surrounded(seen.complete)
        innovation = innovation_of(seen, gem.weights(observed), prior, mixing, components)
        if filters is not None:
            innovation = innovation - criterion.shown(seen.psf, filters.change(draft.z, seen.m))
        dealt = in_squares(lambda shape: rng.choice(len(SHARES), size=shape, p=SHARES), SQUARE, (complete.shape[0], complete.shape[1]))
        use = torch.where(complete > 0, torch.as_tensor(dealt, device=complete.device), -1)
        examples.append(Example(draft.z, seen, innovation * complete, use))
    return examples, replace(criterion, weight=_weight(examples, criterion))


def _weight(examples: Sequence[Example], criterion: Criterion) -> np.ndarray:
    power, count = np.zeros(len(criterion.weight)), 0.0
    for e in examples:
        value = as_like(criterion.components.value, e.innovation)
        power += (e.innovation * e.seen.psf.inverse(e.innovation, value)).sum((1, 2)).double().cpu().numpy()
        count += float((e.use >= 0).sum())
    return plausible(power, count)


def _surrounded(complete: Tensor) -> Tensor:
    """Coarse pixels whose neighbours are complete, too: what a change shows there is interpolated between them."""
    return -F.max_pool2d(-complete[None, None], 3, 1, 1)[0, 0]


def _by_square(image: Tensor) -> np.ndarray:
    """Sums over the squares of a coarse image (h, w)."""
    array = image.double().cpu().numpy()
    return np.add.reduceat(np.add.reduceat(array, np.arange(0, array.shape[0], SQUARE), 0), np.arange(0, array.shape[1], SQUARE), 1).ravel()


def window_of(example: Example, patch: Patch, window: Window) -> Example:
    """A part of an example; ``patch`` is what it was made of, in the estimator's geometry, and ``window`` in its own fine pixels."""
    _, _, coarse = placed(patch)
    part = part_of(patch, window)
    _, _, seen = placed(part)
    inside = (slice(None), *seen.offset(-coarse.top, -coarse.left).slices)
    fine = (slice(None), *window.slices)
    valid, known = (None if flags is None else flags[fine[1:]] for flags in (example.seen.valid, example.seen.known))
    observation = Observation(example.seen.y[inside], example.seen.m[fine], part.psf, valid, known)
    use = torch.where(_surrounded(part.psf.observed) > 0, example.use[inside[1:]], -1)
    return Example(example.z[fine], observation, example.innovation[inside] * (use >= 0), use)
