"""MossFuse as published: no prior, no subspace, only the network and its losses, trained on windows of the one scene.

It is here to reproduce the method (Du et al., arXiv:2412.04802). The published schedule is of the order of 10⁵ steps; in CPU minutes it
gets nowhere near the closed-form solution, and `Training.converged` says so. What is ours: the degradation is that of the prepared pair (any
ratio, any offset, gaps), and the whole-image statistics are frozen after training, so that tiles equal the whole.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geofuse.errors import InvalidInput, RunError
from geofuse.methods.mossfuse.losses import DECOUPLING_WEIGHT, apply_response, decoupling, reconstruction
from geofuse.methods.mossfuse.network import MossFuse
from geofuse.methods.mossfuse.statistics import freeze, recording
from geofuse.pair.gaps import fill_gaps
from geofuse.pair.grid import Window
from geofuse.pair.patch import Patch, part_of, placed
from geofuse.progress import bar

RATE = 1e-3
BATCH = 2
WIDTH, BLOCKS, HEADS = 48, 1, 8
MIN_STEPS = 20_000  # a fifth of the published schedule: below it no plateau is called convergence
PLATEAU = 5e-3
SIDE = 32  # fine pixels along each side of a training window, or more where the PSF is wide
WINDOWS = 64  # of them, drawn at random and kept
CALIBRATION_SIDE, CALIBRATION_TILES = 256, 16


@dataclass(frozen=True)
class Training:
    """How the training went.

    Attributes
    ----------
    losses : ndarray, shape (steps,)
        Fusion loss of every step.
    seconds : float
    interrupted : bool
        Stopped by hand before its budget was spent.
    """

    losses: np.ndarray
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


def train(
    patches: Sequence[Patch],
    srf: np.ndarray,
    *,
    scale: float,
    steps: int | None = None,
    seconds: float | None = 60.0,
    seed: int = 0,
    device: str = "cpu",
    width: int = WIDTH,
    progress: bool = True,
) -> tuple[MossFuse, Training]:
    """Train the published network on a sample of the scene and freeze it; Ctrl-C stops early and keeps the best so far.

    Parameters
    ----------
    patches : sequence of Patch
    srf : ndarray, shape (M, B)
        Effective response.
    scale : float
        Reflectance that the network sees as 1.
    steps, seconds : int, float, optional
        Budget, whichever is spent first; None means no limit of that kind. The step size falls to zero over it.
    seed : int
        For the initial weights and the choice of windows.
    device : str
    width : int
        Feature channels.
    progress : bool
        Show a progress bar.

    Raises
    ------
    InvalidInput
        There is no budget, or no window in which a coarse pixel is seen completely.
    """
    if not steps and not seconds:
        raise InvalidInput("No budget was given for training; set steps, seconds or both.")
    start = time.monotonic()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = MossFuse(patches[0].hsi.shape[0], patches[0].msi.shape[0], width, BLOCKS, HEADS).to(device)
    rng = np.random.default_rng(seed)
    loop = _Loop(network, _training_windows(patches, rng), torch.as_tensor(srf, dtype=torch.float32, device=device), scale, rng)
    with torch.enable_grad():
        interrupted = loop.run(steps, seconds, start, progress)
    calibrate(network, patches, scale)
    return network, Training(np.array(loop.losses), time.monotonic() - start, interrupted)


def inputs(patch: Patch, scale: float) -> tuple[Tensor, Tensor]:
    """What the network sees of a patch: upsampled HSI (B, H, W) and MSI (M, H, W), gaps filled, divided by ``scale``."""
    return patch.psf.upsample(fill_gaps(patch.hsi, patch.hsi_valid)) / scale, fill_gaps(patch.msi, patch.msi_valid) / scale


def calibrate(network: MossFuse, patches: Sequence[Patch], scale: float) -> None:
    """Record the network's whole-image statistics on tiles spread over the sample, and freeze them."""
    tiles = [part_of(p, w) for p in patches for w in _tiles(p, CALIBRATION_SIDE)]
    chosen = np.unique(np.linspace(0, len(tiles) - 1, CALIBRATION_TILES).round().astype(int))
    with recording(network):
        for index in chosen:
            hsi, msi = inputs(tiles[index], scale)
            network(hsi[None], msi[None])
    freeze(network)


class _Loop:
    """Adam on random windows, the step size on a cosine over the budget, the best weights kept."""

    SMOOTHING, CHECK = 0.95, 10

    def __init__(self, network: MossFuse, windows: list[Patch], srf: Tensor, scale: float, rng: np.random.Generator) -> None:
        self.network, self.windows, self.srf, self.scale, self.rng = network, windows, srf, scale, rng
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
            raise RunError(f"the training loss became {value} at step {len(self.losses)}; try another seed or method='gem'")
        self.losses.append(value)
        self._smoothed = value if len(self.losses) == 1 else self.SMOOTHING * self._smoothed + (1 - self.SMOOTHING) * value
        if len(self.losses) % self.CHECK == 0 and self._smoothed < self._best:
            self._best, self._weights = self._smoothed, self._snapshot()

    def _loss(self) -> Tensor:
        chosen = [self.windows[k] for k in self.rng.integers(len(self.windows), size=BATCH)]
        seen = [inputs(p, self.scale) for p in chosen]
        up, msi = torch.stack([hsi for hsi, _ in seen]), torch.stack([fine for _, fine in seen])
        valid = torch.stack([p.msi_valid for p in chosen])[:, None].to(msi.dtype)
        with torch.no_grad():
            coarse_msi = torch.stack([p.psf.upsample(p.psf.forward(m)) for p, m in zip(chosen, msi, strict=True)])
        features = self.network.encode(up, msi)
        fused = self.network.fuse(features)
        return (
            sum((self._hsi_misfit(p, z) for p, z in zip(chosen, fused, strict=True)), torch.zeros((), device=msi.device)) / BATCH
            + ((apply_response(self.srf, fused) - msi).abs() * valid).sum() / (valid.sum() * msi.shape[1]).clamp(min=1)
            + DECOUPLING_WEIGHT * decoupling(features)
            + reconstruction(self.network.reconstruct(features), up, msi, coarse_msi)
        )

    def _hsi_misfit(self, patch: Patch, fused: Tensor) -> Tensor:
        """Mean |P(Z) - X| over the coarse pixels that the window sees completely."""
        used = patch.psf.observed > 0
        return (patch.psf.forward(fused)[:, used] - patch.hsi[:, used] / self.scale).abs().mean()

    def _snapshot(self) -> dict[str, Any]:
        return {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}


def _training_windows(patches: Sequence[Patch], rng: np.random.Generator) -> list[Patch]:
    """Windows of equal size, drawn at random, in each of which some coarse pixel is seen completely."""
    builder = placed(patches[0])[0]
    least = 2 * builder.reach + int(np.ceil(2 * builder.pair.ratio))
    side = tuple(min(max(SIDE, least), *(p.msi.shape[axis] for p in patches)) for axis in (1, 2))
    found: list[Patch] = []
    for _ in range(4 * WINDOWS):
        patch = patches[int(rng.integers(len(patches)))]
        top, left = (int(rng.integers(n - s + 1)) for n, s in zip(patch.msi.shape[1:], side, strict=True))
        window = part_of(patch, Window(top, top + side[0], left, left + side[1]))
        if bool((window.psf.observed > 0).any()) and bool(window.msi_valid.any()):
            found.append(window)
        if len(found) == WINDOWS:
            break
    if not found:
        raise InvalidInput("No coarse pixel is seen completely in any part of the sample: the scene is too small to train a network on.")
    return found


def _tiles(patch: Patch, side: int) -> list[Window]:
    height, width = patch.msi.shape[1:]
    return [
        Window(top, min(top + side, height), left, min(left + side, width))
        for top in range(0, height, side)
        for left in range(0, width, side)
    ]
