"""Fitting the learned guided step on the scene itself, without truth.

Blind-spot training: some pixels of the current estimate are hidden (replaced by an average of their neighbours) and the network has to
predict them from what is around them and from what the MSI shows there. A held-out part of the scene decides when to stop; the prior
covariance of the last stage is then estimated anew around what the network draws.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geofuse.network.guide import GuideNetwork
from geofuse.network.losses import decoupling
from geofuse.network.statistics import freeze, recording, thaw
from geofuse.solve.gem import Gem, refit_last_stage
from geofuse.solve.guided import bilateral
from geofuse.solve.patch import Patch

CROP, BATCH = 48, 4
HIDDEN_SHARE = 0.15
DECOUPLING = 0.1
RATE = 3e-3
CHECK_EVERY = 20


@dataclass
class Scenery:
    """What the network sees of a patch: prior mean and estimate of the stage before (K, H, W), MSI features (C, H, W), blinded estimate."""

    base: Tensor
    estimate: Tensor
    guide: Tensor
    blind: Tensor


@dataclass(frozen=True)
class GuideFit:
    """Outcome of a fit.

    Attributes
    ----------
    network : GuideNetwork
        Frozen.
    gem : Gem
        The estimator with its last prior estimated anew.
    start, best : float
        Held-out blind-spot error relative to GEM's prior mean: 1.0 at the start by construction of ``start``.
    steps : int
    curve : list of tuple
        (step, held-out error).
    """

    network: GuideNetwork
    gem: Gem
    start: float
    best: float
    steps: int
    curve: list[tuple[int, float]]


def fit_guide(
    gem: Gem,
    patches: Sequence[Patch],
    *,
    seconds: float = 40.0,
    steps: int = 600,
    width: int = 16,
    weight: float = DECOUPLING,
    seed: int = 0,
    tick: Callable[[int, float], None] = lambda step, score: None,
) -> GuideFit:
    """Fit the network around a fitted `Gem`.

    Parameters
    ----------
    gem : Gem
    patches : sequence of Patch
        Sample of the scene.
    seconds, steps : float, int
        Budget; whichever ends first. Ctrl-C ends it too and keeps the best so far.
    width : int
        Feature width.
    weight : float
        Weight of the decoupling loss.
    seed : int
    tick : callable
        Told the step and the held-out error.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    scenery = [_scenery(gem, p) for p in patches]
    first = scenery[0]
    network = GuideNetwork(len(first.base), len(first.guide), width).to(first.base)
    network.scale.copy_(_spread([s.estimate for s in scenery]))
    network.guide_scale.copy_(_spread([s.guide for s in scenery]))
    unit = torch.stack([(s.estimate - s.base).square().mean() for s in scenery]).mean()
    held = [_holdout(s, generator) for s in scenery]
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    start = best = _validate(network, scenery, held)
    best_state, curve, begin, step = _copy(network), [(0, 1.0)], time.monotonic(), 0
    try:
        for step in range(1, steps + 1):
            loss = _loss(network, scenery, held, unit, weight, generator)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            out_of_time = time.monotonic() - begin > seconds
            if step % CHECK_EVERY == 0 or out_of_time:
                score = _validate(network, scenery, held)
                curve.append((step, score / start))
                tick(step, score / start)
                if score < best:
                    best, best_state = score, _copy(network)
            if out_of_time:
                break
    except KeyboardInterrupt:
        pass
    network.load_state_dict(best_state)
    _freeze(network, scenery)
    if best < start:  # an untrained network must leave GEM as it is, to the bit
        gem = refit_last_stage(gem, patches, network)
    return GuideFit(network, gem, start, best / start, step, curve)


def _scenery(gem: Gem, patch: Patch) -> Scenery:
    seen = gem.observe(patch)
    draft = gem.draft(gem.stages[-1].kind, seen, gem.run(seen, gem.stages[:-1]))
    guide = gem.features(draft.seen)
    return Scenery(draft.base, draft.z, guide, bilateral(draft.z, guide))


def _spread(images: list[Tensor]) -> Tensor:
    return torch.cat([i.flatten(1) for i in images], 1).std(1).clamp(min=1e-6)


def _holdout(scenery: Scenery, generator: torch.Generator) -> Tensor:
    """Pixels that training never sees as targets: a fifth of the patch, in squares of 16 pixels."""
    height, width = scenery.base.shape[1:]
    coarse = torch.rand((height + 15) // 16, (width + 15) // 16, generator=generator) < 0.2
    coarse[0, 0] = True
    return coarse.repeat_interleave(16, 0).repeat_interleave(16, 1)[:height, :width].to(scenery.base.device)


def _hidden(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    return (torch.rand(shape, generator=generator) < HIDDEN_SHARE).to(device)


def _loss(
    network: GuideNetwork, scenery: list[Scenery], held: list[Tensor], unit: Tensor, weight: float, generator: torch.Generator
) -> Tensor:
    network.train()
    crops = []
    for _ in range(BATCH):
        k = int(torch.randint(len(scenery), (1,), generator=generator))
        height, width = scenery[k].base.shape[1:]
        size = min(CROP, height, width)
        top, left = (int(torch.randint(n - size + 1, (1,), generator=generator)) for n in (height, width))
        window = (slice(None), slice(top, top + size), slice(left, left + size))
        s = scenery[k]
        stacked = torch.cat([s.base[window], s.estimate[window], s.blind[window], s.guide[window], held[k][None][window].to(s.base.dtype)])
        turns, flip = int(torch.randint(4, (1,), generator=generator)), bool(torch.randint(2, (1,), generator=generator))
        stacked = torch.rot90(stacked, turns, (1, 2))
        crops.append(stacked.flip(1) if flip else stacked)
    smallest = min(c.shape[-1] for c in crops)
    batch = torch.stack([c[:, :smallest, :smallest] for c in crops])
    channels = scenery[0].base.shape[0]
    base, estimate, blind, rest = batch.split([channels, channels, channels, batch.shape[1] - 3 * channels], 1)
    guide, out = rest[:, :-1], rest[:, -1:]
    hidden = _hidden(out.shape, generator, out.device)
    features = network.encode(torch.where(hidden, blind, estimate), guide)
    drawn = network.redraw(base, torch.where(hidden, blind, estimate), features)
    target = hidden & (out == 0)
    error = ((drawn - estimate).square().sum(1, keepdim=True) * target).sum() / (target.sum().clamp(min=1) * channels * unit)
    return error + weight * decoupling(features)


@torch.no_grad()
def _validate(network: GuideNetwork, scenery: list[Scenery], held: list[Tensor]) -> float:
    network.eval()
    generator = torch.Generator().manual_seed(1)
    total, count = 0.0, 0
    for s, out in zip(scenery, held, strict=True):
        hidden = _hidden(tuple(out.shape), generator, out.device)
        drawn = network(s.base, torch.where(hidden, s.blind, s.estimate), s.guide)
        target = hidden & out
        total += float(((drawn - s.estimate).square().sum(0) * target).sum())
        count += int(target.sum())
    return total / max(count, 1)


def _freeze(network: GuideNetwork, scenery: list[Scenery]) -> None:
    thaw(network)
    with recording(network):
        for s in scenery:
            network(s.base, s.estimate, s.guide)
    freeze(network)
    network.requires_grad_(False)


def _copy(network: GuideNetwork) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in network.state_dict().items()}
