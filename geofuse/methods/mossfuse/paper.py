"""MossFuse as published: no prior, no subspace, only the network and its losses, trained on patches of the one scene.

It is here to reproduce the method (Du et al., arXiv:2412.04802). The published schedule is of the order of 10⁵ steps; in CPU minutes it
gets nowhere near the closed-form solution, and `PaperFit.converged` says so.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geofuse.errors import RefusedInput, RunFailed
from geofuse.methods.mossfuse.degradation import Degradation
from geofuse.methods.mossfuse.losses import DECOUPLING_WEIGHT, consistency, decoupling, reconstruction
from geofuse.methods.mossfuse.network import MossFuse
from geofuse.methods.mossfuse.statistics import freeze, recording
from geofuse.pair.grid import Window
from geofuse.progress import bar

RATE = 1e-3
BATCH = 2
ESTIMATOR_STEPS = 1000
ESTIMATOR_PIXELS = 256  # fine pixels along each side that the degradation estimator sees
MIN_STEPS = 20_000  # a fifth of the published schedule: below it no plateau is called convergence
PLATEAU = 5e-3
CALIBRATION_TILES = 16


@dataclass
class PaperFit:
    """The trained and frozen network of one scene.

    Attributes
    ----------
    network : MossFuse
        In evaluation mode, statistics frozen.
    degradation : Degradation
        The estimated response and PSF.
    ratio : int
        Fine pixels per coarse pixel.
    scale : float
        Reflectance that the network sees as 1.
    losses : ndarray, shape (steps,)
        Fusion loss of every step.
    estimator_losses : ndarray
        Loss of the degradation estimator.
    seconds : float
        Time taken.
    interrupted : bool
        Stopped by hand before its budget was spent.
    """

    network: MossFuse
    degradation: Degradation
    ratio: int
    scale: float
    losses: np.ndarray
    estimator_losses: np.ndarray
    seconds: float
    interrupted: bool

    @property
    def converged(self) -> bool:
        """Whether the schedule was long enough, and the loss of its last tenth no lower than that of the tenth before."""
        tenth = len(self.losses) // 10
        if self.interrupted or len(self.losses) < MIN_STEPS:
            return False
        last, before = self.losses[-tenth:].mean(), self.losses[-2 * tenth : -tenth].mean()
        return bool(before - last < PLATEAU * before)

    @property
    def reach(self) -> int:
        """Fine pixels of halo that a window needs, interpolation included."""
        return self.network.reach + self.ratio

    def apply(self, hsi: Tensor, msi: Tensor, tile: int = 256) -> Tensor:
        """Fuse the scene, or any window of it that begins and ends on coarse pixels.

        Parameters
        ----------
        hsi : Tensor, shape (B, h, w)
            Reflectance without gaps.
        msi : Tensor, shape (b, r·h, r·w)
            Reflectance without gaps.
        tile : int
            Fine pixels along each side that pass through the network at once; the result does not depend on it.

        Returns
        -------
        Tensor, shape (B, r·h, r·w)
            Reflectance.
        """
        r, halo = self.ratio, -(-self.network.reach // self.ratio)
        whole = Window(0, hsi.shape[1], 0, hsi.shape[2])
        fused = torch.empty(len(hsi), *msi.shape[1:], dtype=hsi.dtype, device=hsi.device)
        with torch.no_grad():
            for core in _windows(whole, max(tile // r, 1)):
                seen = core.grown(halo, whole)
                result = self.network(*_inputs(hsi, msi, [seen], r, self.scale, _device(self.network))[:2])[0]
                fine = _fine(core, r).offset(-seen.top * r, -seen.left * r)
                fused[:, *_fine(core, r).slices] = (result[:, *fine.slices] * self.scale).to(fused)
        return fused

    def calibrate(self, hsi: Tensor, msi: Tensor, tile: int = 256) -> None:
        """Record the network's whole-image statistics on tiles spread over the scene, and freeze them."""
        whole = Window(0, hsi.shape[1], 0, hsi.shape[2])
        windows = list(_windows(whole, max(tile // self.ratio, 1)))
        chosen = np.unique(np.linspace(0, len(windows) - 1, CALIBRATION_TILES).round().astype(int))
        with recording(self.network):
            for index in chosen:
                self.network(*_inputs(hsi, msi, [windows[index]], self.ratio, self.scale, _device(self.network))[:2])
        freeze(self.network)


def train_paper(
    hsi: Tensor,
    msi: Tensor,
    ratio: float,
    *,
    steps: int | None = None,
    seconds: float | None = 60.0,
    patch: int = 32,
    width: int = 48,
    blocks: int = 1,
    heads: int = 8,
    degradation: Degradation | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: bool = True,
) -> PaperFit:
    """Train the published network on one scene; Ctrl-C stops early and keeps the best so far.

    Parameters
    ----------
    hsi : Tensor, shape (B, h, w)
        Reflectance without gaps.
    msi : Tensor, shape (b, r·h, r·w)
        Reflectance without gaps, on a grid that divides every coarse pixel into r × r.
    ratio : float
        r; must be a whole number.
    steps, seconds : int, float, optional
        Budget, whichever is spent first; None means no limit of that kind. The step size falls to zero over it.
    patch : int
        Fine pixels along each side of a training patch.
    width, blocks, heads : int
        Of the network.
    degradation : Degradation, optional
        Already fitted; without it S and P are estimated from the pair first.
    seed : int
        For the initial weights and the choice of patches.
    device : str or torch.device
    progress : bool
        Show a progress bar.

    Returns
    -------
    PaperFit

    Raises
    ------
    RefusedInput
        The ratio is not a whole number, the shapes do not agree with it, there are gaps, or there is no budget.
    """
    r = _checked(hsi, msi, ratio, steps, seconds)
    start = time.monotonic()
    scale = max(float(np.quantile(hsi.cpu().numpy(), 0.999)), 1e-6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = MossFuse(len(hsi), len(msi), width, blocks, heads).to(device)
    estimator_losses: list[float] = []
    if degradation is None:
        degradation = Degradation(len(hsi), len(msi), r).to(device)
        estimator_losses = degradation.fit(*_sample(hsi, msi, r, scale, torch.device(device)), steps=ESTIMATOR_STEPS)
    loop = _Loop(network, degradation, hsi, msi, scale, patch, np.random.default_rng(seed))
    interrupted = loop.run(steps, seconds, start, progress)
    fit = PaperFit(network, degradation, r, scale, np.array(loop.losses), np.array(estimator_losses), time.monotonic() - start, interrupted)
    fit.calibrate(hsi, msi)
    return fit


class _Loop:
    """Adam on random patches, the step size on a cosine over the budget, the best weights kept."""

    SMOOTHING, CHECK = 0.95, 10

    def __init__(
        self, network: MossFuse, degradation: Degradation, hsi: Tensor, msi: Tensor, scale: float, patch: int, rng: np.random.Generator
    ) -> None:
        self.network, self.degradation, self.hsi, self.msi, self.scale, self.rng = network, degradation, hsi, msi, scale, rng
        # Three coarse pixels at least, so that one of them does not see the patch's edge.
        self.size = tuple(min(max(patch // degradation.ratio, 3), n) for n in hsi.shape[1:])
        self.losses: list[float] = []
        self._smoothed, self._best, self._weights = 0.0, math.inf, self._snapshot()

    def run(self, steps: int | None, seconds: float | None, start: float, progress: bool) -> bool:
        """Train until the budget is spent; returns whether it was interrupted."""
        optimizer = torch.optim.Adam(self.network.parameters(), RATE)
        self.network.train()
        interrupted = False
        with bar(steps, desc="training mossfuse-paper", unit="step", enabled=progress) as shown:
            try:
                while (spent := self._spent(steps, seconds, start)) < 1:
                    for group in optimizer.param_groups:
                        group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * spent))
                    self._step(optimizer)
                    shown.set_postfix(loss=f"{self.losses[-1]:.4f}", refresh=False)
                    shown.update()
            except KeyboardInterrupt:
                interrupted = True
        if self._smoothed > self._best:
            self.network.load_state_dict(self._weights)
        return interrupted

    def _spent(self, steps: int | None, seconds: float | None, start: float) -> float:
        by_steps = len(self.losses) / steps if steps else 0.0
        by_time = (time.monotonic() - start) / seconds if seconds and self.losses else 0.0
        return max(by_steps, by_time)

    def _step(self, optimizer: torch.optim.Optimizer) -> None:
        loss = self._loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        value = loss.item()
        if not math.isfinite(value):
            raise RunFailed(f"the training loss became {value} at step {len(self.losses)}; try another seed or method='mossfuse'")
        self.losses.append(value)
        self._smoothed = value if len(self.losses) == 1 else self.SMOOTHING * self._smoothed + (1 - self.SMOOTHING) * value
        if len(self.losses) % self.CHECK == 0 and self._smoothed < self._best:
            self._best, self._weights = self._smoothed, self._snapshot()

    def _loss(self) -> Tensor:
        r = self.degradation.ratio
        windows = [self._window() for _ in range(BATCH)]
        up, msi, hsi = _inputs(self.hsi, self.msi, windows, r, self.scale, _device(self.network))
        with torch.no_grad():
            srf, coarse_msi = self.degradation.srf, F.interpolate(self.degradation.psf(msi), scale_factor=r, mode="bilinear")
        features = self.network.encode(up, msi)
        # The PSF reaches one coarse pixel over the patch's edge: the outermost ones have no full view.
        inner = [slice(1, -1) if n > 2 else slice(None) for n in hsi.shape[-2:]]

        def psf(fine: Tensor) -> Tensor:
            return self.degradation.psf(fine)[..., inner[0], inner[1]]

        return (
            consistency(self.network.fuse(features), hsi[..., inner[0], inner[1]], msi, psf, srf)
            + DECOUPLING_WEIGHT * decoupling(features)
            + reconstruction(self.network.reconstruct(features), up, msi, coarse_msi)
        )

    def _window(self) -> Window:
        top, left = (int(self.rng.integers(n - s + 1)) for n, s in zip(self.hsi.shape[1:], self.size, strict=True))
        return Window(top, top + self.size[0], left, left + self.size[1])

    def _snapshot(self) -> dict[str, Any]:
        return {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}


def _checked(hsi: Tensor, msi: Tensor, ratio: float, steps: int | None, seconds: float | None) -> int:
    r = round(ratio)
    if r < 2 or abs(ratio - r) > 1e-6:
        raise RefusedInput(
            f"the ratio of the pixel sizes is {ratio:g}; mossfuse-paper, the network exactly as published, needs a whole number of "
            "2 or more: use method='mossfuse', which works at any ratio, or resample one image"
        )
    if tuple(msi.shape[1:]) != (r * hsi.shape[1], r * hsi.shape[2]):
        raise RefusedInput(
            f"the MSI has {tuple(msi.shape[1:])} pixels and the HSI {tuple(hsi.shape[1:])}; at ratio {r} mossfuse-paper expects "
            f"{(r * hsi.shape[1], r * hsi.shape[2])} MSI pixels: crop both to whole coarse pixels"
        )
    if not (torch.isfinite(hsi).all() and torch.isfinite(msi).all()):
        raise RefusedInput("the images have gaps (NaN or infinite values); mossfuse-paper needs them filled before")
    if not steps and not seconds:
        raise RefusedInput("no budget was given; set steps, seconds or both")
    return r


def _sample(hsi: Tensor, msi: Tensor, r: int, scale: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """A bounded middle part of the scene for the degradation estimator, each of shape (1, channels, rows, columns)."""
    h, w = (min(n, max(ESTIMATOR_PIXELS // r, 3)) for n in hsi.shape[1:])
    top, left = (hsi.shape[1] - h) // 2, (hsi.shape[2] - w) // 2
    window = Window(top, top + h, left, left + w)
    _, fine, coarse = _inputs(hsi, msi, [window], r, scale, device)
    return coarse, fine


def _inputs(hsi: Tensor, msi: Tensor, windows: list[Window], r: int, scale: float, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Upsampled HSI, MSI and HSI of some windows of coarse pixels, stacked and divided by ``scale``."""
    up = torch.stack([_upsampled(hsi, window, r) for window in windows])
    fine = torch.stack([msi[:, *_fine(window, r).slices] for window in windows])
    coarse = torch.stack([hsi[:, *window.slices] for window in windows])
    upsampled, fine, coarse = (t.to(device, torch.float32) / scale for t in (up, fine, coarse))
    return upsampled, fine, coarse


def _upsampled(hsi: Tensor, window: Window, r: int) -> Tensor:
    """Bilinear interpolation of one window, by the coarse pixels around it too, so that windows agree where they meet."""
    seen = window.grown(1, Window(0, hsi.shape[1], 0, hsi.shape[2]))
    fine = F.interpolate(hsi[None, :, *seen.slices], scale_factor=r, mode="bilinear")[0]
    return fine[:, *_fine(window.offset(-seen.top, -seen.left), r).slices]


def _fine(window: Window, r: int) -> Window:
    return Window(window.top * r, window.bottom * r, window.left * r, window.right * r)


def _windows(whole: Window, size: int) -> Iterator[Window]:
    for top in range(whole.top, whole.bottom, size):
        for left in range(whole.left, whole.right, size):
            yield Window(top, min(top + size, whole.bottom), left, min(left + size, whole.right))


def _device(network: MossFuse) -> torch.device:
    return next(network.parameters()).device
