"""Pairs that the tests of the baselines share: simulated scenes, and small random ones at a ratio that is no integer."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from geofuse.pair.grid import Axis
from geofuse.pair.psf.operators import SeparablePsf
from geofuse.pair.psf.weights import cubic_matrix
from geofuse.simulate import Simulation, simulate


@cache
def case(name: str, kind: str, folder: Path, ratio: int = 4) -> tuple[Simulation, Tensor, Tensor, SeparablePsf]:
    """A simulated scene, its two images in single precision and the operator that made them."""
    scene = simulate(name, ratio, kind, folder)
    hsi, msi = (torch.as_tensor(a, dtype=torch.float32) for a in (scene.hsi, scene.msi))
    cubic = [cubic_matrix(Axis(float(ratio), (ratio - 1) / 2, *d.shape)) for d in (scene.dh, scene.dw)]
    return scene, hsi, msi, SeparablePsf(scene.dh, scene.dw, lambda: (cubic[0], cubic[1]), np.ones(hsi.shape[1:], bool), hsi)


def random_operator(fine: tuple[int, int], ratio: float, first: float, observed: np.ndarray | None = None) -> SeparablePsf:
    """A Gaussian PSF in double precision; as many coarse pixels as have their centre on the fine grid."""
    axes = [Axis(ratio, first, int((size - 0.5 - first) // ratio) + 1, size) for size in fine]
    blurs = []
    for axis in axes:
        blur = np.exp(-0.5 * ((np.arange(axis.fine) - axis.centres()[:, None]) / 1.2) ** 2)
        blurs.append(blur / blur.sum(1, keepdims=True))
    if observed is None:
        observed = np.ones((axes[0].coarse, axes[1].coarse), bool)
    like = torch.zeros((), dtype=torch.float64)
    return SeparablePsf(blurs[0], blurs[1], lambda: (cubic_matrix(axes[0]), cubic_matrix(axes[1])), observed, like)


def random_pair(seed: int = 0, observed: np.ndarray | None = None) -> tuple[Tensor, Tensor, SeparablePsf, Tensor]:
    """Five bands on 20 × 20 pixels: coarse image, MSI of three overlapping bands, operator (ratio 2.5), response."""
    rng = np.random.default_rng(seed)
    fine = torch.as_tensor(np.abs(rng.normal(size=(5, 20, 20)).cumsum(1).cumsum(2)) / 20)
    operator = random_operator((20, 20), 2.5, 0.75, observed)
    response = torch.as_tensor(0.5 * (np.eye(3, 5) + np.eye(3, 5, k=1)))
    return operator.forward(fine), torch.tensordot(response, fine, 1), operator, response
