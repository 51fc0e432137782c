"""A scene with something to learn, and the estimator that was fitted to it: what the tests of the network share."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import torch

from geofuse.methods.gem.estimator import Gem, fit_gem
from geofuse.methods.mossfuse.network import MossFuse
from tests.pairs import Pair, bell_responses, made_up_scene, simulated

BANDS, SIDE = 40, 18


@cache
def scene(slope: float = 1.0, ratio: float = 4.0, side: int = SIDE) -> Pair:
    """The second half of the bands, which the MSI does not see, holds ``slope`` times the gradient to the right of one that it does see."""
    size = round(side * ratio)
    truth = made_up_scene(BANDS, size, size, grain=1.0)
    truth[20:] += slope * np.gradient(truth[5], axis=1)
    srf = np.concatenate([bell_responses(20, 4), np.zeros((4, 20))], axis=1)
    return simulated(truth, srf, (side, side), ratio)


@cache
@torch.no_grad()
def estimator(slope: float = 1.0, ratio: float = 4.0, side: int = SIDE) -> Gem:
    """With the displacement of bands left out, which would explain some of it."""
    pair = scene(slope, ratio, side)
    return replace(fit_gem([pair.patch()], pair.srf, np.zeros(4), ratio), shifts=None)


def with_gaps(pair: Pair) -> Pair:
    """The pair, without a block of the MSI and some pixels of the HSI."""
    msi, hsi = pair.msi.copy(), pair.hsi.copy()
    msi[:, 20:28, 30:44] = np.nan
    hsi[:, 12, 4:6] = np.nan
    return replace(pair, msi=msi, hsi=hsi)


def shaken(network: MossFuse, seed: int = 0) -> MossFuse:
    """Every parameter and running mean random, so that nothing is hidden behind an initial zero."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean += 0.1 * torch.randn(part.num_features, generator=generator)
    return network
