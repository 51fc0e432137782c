"""Fit the network to one scene: a bounded, repeatable training, and a judgement by coarse pixels that it has not seen.

The number of steps is planned from the seconds that are allowed and from a stated speed, so that the same seed gives the same bits on
machines that keep up with it; the clock ends a training only where a machine does not, and then it is said.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from geofuse.methods.gem.estimator import Filters, Gem
from geofuse.methods.mossfuse.criterion import JUDGEMENT, MARGIN, TRAINING, TUNING, Criterion, Example, Judged, make_examples, window_of
from geofuse.methods.mossfuse.losses import DECOUPLING_WEIGHT, decoupling
from geofuse.methods.mossfuse.network import MossFuse, Reconstructions
from geofuse.methods.mossfuse.scene_network import Scaling, SceneNetwork, both_ways, known_features, make_network
from geofuse.methods.mossfuse.statistics import counting, freeze, recording
from geofuse.pair.grid import Window
from geofuse.pair.images import as_like
from geofuse.pair.patch import Patch, placed
from geofuse.progress import bar

SECONDS = {"cpu": 60.0, "cuda": 20.0}  # by default
# Pixels that a second of training gets through, both ways round: what a slow core manages, so that the clock need not end it.
SPEED = {"cpu": 15_000.0, "cuda": 500_000.0}
MOST_STEPS = 100
RESERVED = 0.15  # share of the seconds for what comes before and after
RATE, RECONSTRUCTION_WEIGHT = 1e-2, 0.1
SIDE, WINDOWS = 96, 16  # fine pixels along each side of a training window (more where the PSF is wide), and how many are drawn
LITTLE = 1.5  # windows' worth of pixels up to which a sample is one window
MIN_SQUARES = 6  # held-out squares of coarse pixels below which nothing is judged, and so nothing is learned


@dataclass(frozen=True)
class Design:
    """What can be switched off, to see what it is worth."""

    make: Callable[[int, int], MossFuse] = make_network
    scaling: type[Scaling] = Scaling
    decoupling: float = DECOUPLING_WEIGHT
    judged: bool = True


@dataclass(frozen=True)
class Outcome:
    """How a fit went.

    Attributes
    ----------
    network : SceneNetwork or None
        None where the held-out coarse pixels do not confirm it: the result is the estimator's.
    losses : ndarray, shape (steps,)
    planned : int
        Steps; fewer were made where the clock, or a loss that is no number, ended the training.
    seconds : float
    gain, error : float
        Share of the held-out innovation that the network explains, and its standard error; most of the innovation is noise.
    amplitude : float
        Factor of the network's output.
    pixels : int
        Coarse pixels held out.
    """

    network: SceneNetwork | None
    losses: np.ndarray = field(default_factory=lambda: np.empty(0))
    planned: int = 0
    seconds: float = 0.0
    gain: float = 0.0
    error: float = 0.0
    amplitude: float = 0.0
    pixels: int = 0

    @property
    def confirmed(self) -> bool:
        """Whether the held-out pixels gain by more than chance gives them."""
        return self.amplitude > 0 and self.gain > MARGIN * self.error

    @property
    def cut_short(self) -> bool:
        """Whether fewer steps were made than planned, so that another run may learn something else."""
        return len(self.losses) < self.planned


def fit_network(
    gem: Gem,
    filters: Filters | None,
    patches: Sequence[Patch],
    *,
    seconds: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    progress: bool = False,
    design: Design | None = None,
) -> Outcome:
    """Train, freeze and judge a network on a sample of the scene.

    Parameters
    ----------
    gem : Gem
        Fitted.
    filters : Filters or None
        What it learned in closed form, which stays; the network learns what they leave.
    patches : sequence of Patch
        Their device is that of the training.
    seconds : float, optional
        Bound of the whole fit; by default 60 on a CPU and 20 on a GPU.
    steps : int, optional
        To make whatever time they take; by default as many as the seconds are meant for.
    seed : int
        For the use of the coarse pixels, the initial weights and the order of the windows.
    progress : bool
        Show the loss on a progress bar.
    design : Design, optional
    """
    start, design = time.monotonic(), design or Design()
    kind = patches[0].msi.device.type
    seconds = SECONDS.get(kind, SECONDS["cpu"]) if seconds is None else seconds
    patches = patches if gem.geometry is None else [p.at(gem.geometry) for p in patches]
    with torch.no_grad():
        examples, criterion = make_examples(gem, filters, patches, seed)
        windows = _windows(examples, patches, np.random.default_rng(seed))
    held_out = sum(int((e.use == use).sum()) for e in examples for use in (TUNING, JUDGEMENT))
    if not windows or not _judgeable(examples):
        return Outcome(None, pixels=held_out)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = design.make(gem.coordinates.rank, len(gem.guide.scale)).to(patches[0].msi.device)
    scaling = _scaling(examples, criterion, design.scaling)
    loop = _Loop(network, windows, scaling, criterion, design, np.random.default_rng(seed))
    planned = _steps(seconds, kind, max(w.seen.pixels for w in windows)) if steps is None else steps
    with torch.enable_grad():
        loop.run(planned, math.inf if steps is not None else start + (1 - RESERVED) * seconds, progress)
    outcome = Outcome(None, np.array(loop.losses), planned, pixels=held_out)
    if np.isfinite(loop.losses).all():
        with torch.no_grad():
            freeze_on(network, windows, scaling)
            outcome = _judge(SceneNetwork(network, scaling), examples, criterion, outcome, design.judged)
    return replace(outcome, seconds=time.monotonic() - start)


def _steps(seconds: float, kind: str, pixels: int) -> int:
    planned = (1 - RESERVED) * seconds * SPEED.get(kind, SPEED["cpu"]) / (2 * pixels)
    return int(min(max(planned, 1), MOST_STEPS))


def _judge(trained: SceneNetwork, examples: Sequence[Example], criterion: Criterion, outcome: Outcome, judged: bool) -> Outcome:
    """Find the amplitude on one part of the held-out pixels and judge it on the other, and the other way round."""
    changes = [trained.change(e.z, e.seen.m) for e in examples]
    tuning, judgement = (
        _sum([criterion.judged(e, change, use) for e, change in zip(examples, changes, strict=True)]) for use in (TUNING, JUDGEMENT)
    )
    gain, error = Judged.crossed(tuning, judgement)
    amplitude = (tuning + judgement).amplitude
    outcome = replace(outcome, gain=gain, error=error, amplitude=amplitude)
    if judged and not outcome.confirmed:
        return outcome
    return replace(outcome, network=replace(trained, scaling=replace(trained.scaling, change=amplitude * trained.scaling.change)))


def _sum(parts: Sequence[Judged]) -> Judged:
    return sum(parts[1:], parts[0])


def _judgeable(examples: Sequence[Example]) -> bool:
    return all(sum(e.squares(use) for e in examples) >= MIN_SQUARES for use in (TUNING, JUDGEMENT))


def freeze_on(network: MossFuse, windows: Sequence[Example], scaling: Scaling) -> None:
    """Record the whole-image statistics over windows of the scene, known pixels only, and freeze them."""
    with recording(network):
        for window in windows:
            with counting(network, _known(window)):
                network(*scaling.inputs(window.z, window.seen.m))
    freeze(network)


def _known(window: Example) -> Tensor | None:
    """Pixels where both images hold data, both ways round, (2, 1, H, W); None: all of them."""
    return None if window.seen.known is None else both_ways(window.seen.known[None].float())


def _scaling(examples: Sequence[Example], criterion: Criterion, make: type[Scaling]) -> Scaling:
    pixels = max(sum(e.seen.known_pixels for e in examples), 1)

    def spread(images: Sequence[Tensor]) -> np.ndarray:
        def total(power: int) -> np.ndarray:
            parts = (e.seen.masked(i**power).sum((1, 2)).double().cpu().numpy() for e, i in zip(examples, images, strict=True))
            return np.sum(list(parts), axis=0) / pixels

        return np.sqrt(np.maximum(total(2) - total(1) ** 2, 1e-6))

    axes, value = criterion.components.axes, criterion.components.value
    return make(spread([e.z for e in examples]), spread([e.seen.m for e in examples]), (axes * np.sqrt(value)) @ axes.T)


def _windows(examples: Sequence[Example], patches: Sequence[Patch], rng: np.random.Generator) -> list[Example]:
    """Windows of the sample in which some coarse pixel is for training; a patch that is hardly larger than one is taken as it is."""
    builder = placed(patches[0])[0]
    side = max(SIDE, 2 * builder.reach + math.ceil(6 * builder.pair.ratio))
    if len(examples) == 1 and examples[0].seen.pixels <= LITTLE * side**2:
        found = list(examples)
    else:
        found = []
        for _ in range(WINDOWS):
            chosen = int(rng.integers(len(examples)))
            height, width = examples[chosen].z.shape[1:]
            rows, cols = min(side, height), min(side, width)
            top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - cols + 1))
            found.append(window_of(examples[chosen], patches[chosen], Window(top, top + rows, left, left + cols)))
    return [w for w in found if bool((w.use == TRAINING).any())]


class _Loop:
    """Adam on one window after the other, the step size on a cosine over the planned steps."""

    def __init__(
        self, network: MossFuse, windows: list[Example], scaling: Scaling, criterion: Criterion, design: Design, rng: np.random.Generator
    ) -> None:
        self.network, self.windows, self.scaling, self.criterion, self.design, self.rng = network, windows, scaling, criterion, design, rng
        self.losses: list[float] = []

    def run(self, planned: int, until: float, progress: bool) -> None:
        """Make the planned steps, or as many as fit before ``until`` (monotonic seconds)."""
        optimizer = torch.optim.Adam(self.network.parameters(), RATE)
        self.network.train()
        with bar(planned, desc="training mossfuse", unit="step", enabled=progress) as shown:
            for step in range(planned):
                for group in optimizer.param_groups:
                    group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / planned))
                loss = self._loss(self.windows[int(self.rng.integers(len(self.windows)))])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                self.losses.append(loss.item())
                shown.set_postfix(loss=f"{self.losses[-1]:.4f}", refresh=False)
                shown.update()
                if time.monotonic() > until or not math.isfinite(self.losses[-1]):
                    return

    def _loss(self, window: Example) -> Tensor:
        """Consistency, decoupling and reconstruction, each of order one and none of them counting what is not known."""
        known = _known(window)
        z, m = self.scaling.inputs(window.z, window.seen.m)
        with counting(self.network, known):
            features = self.network.encode(z, m)
            fused = self.network.fuse(features)
            rebuilt = self.network.reconstruct(features)
        loss = self._consistency(window, self.scaling.outputs(fused, window.z))
        loss = loss + RECONSTRUCTION_WEIGHT * self._reconstruction(window, rebuilt, m[0])
        if self.design.decoupling:
            loss = loss + self.design.decoupling * decoupling(features if known is None else known_features(features, known))
        return loss

    def _consistency(self, window: Example, change: Tensor) -> Tensor:
        """Share of the innovation's square that the change leaves, over the coarse pixels for training."""
        mask, psf = (window.use == TRAINING).to(change.dtype), window.seen.psf
        asked = window.innovation * mask
        left = asked - self.criterion.shown(psf, change) * mask
        return self.criterion.product(psf, left, left).sum() / self.criterion.product(psf, asked, asked).sum().clamp(min=1e-6)

    def _reconstruction(self, window: Example, rebuilt: Reconstructions, m: Tensor) -> Tensor:
        """How far the training-only decoders are from the MSI, the HSI, and the MSI seen through the PSF."""
        seen, psf = window.seen, window.seen.psf
        fine = torch.ones_like(m[0]) if seen.valid is None else seen.valid.to(m.dtype)
        coarse, scale = seen.complete.to(m.dtype), as_like(self.scaling.z, m)[:, None, None]
        return (
            _mean_difference(rebuilt.msi[0], m, fine)
            + _mean_difference(psf.forward(rebuilt.hsi[0].to(seen.y.dtype)), seen.y / scale, coarse)
            + _mean_difference(psf.forward(rebuilt.coarse_msi[0].to(seen.y.dtype)), psf.forward(m.to(seen.y.dtype)), coarse)
        )


def _mean_difference(one: Tensor, other: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference of two images (c, H, W) where the mask (H, W) is 1."""
    return ((one - other).abs() * mask).sum() / (mask.sum() * len(one)).clamp(min=1)
