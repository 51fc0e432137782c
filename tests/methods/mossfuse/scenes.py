"""A scene with something to learn, and the estimator that was fitted to it: what the tests of the network share."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import torch

from geofuse.methods.gem.estimator import Gem, fit_gem
from geofuse.methods.mossfuse.network import MossFuse
from tests.pairs import Pair, bell_responses, made_up_scene, simulated

BANDS, SIDE = 40, 24


@cache
def scene() -> Pair:
    """The second half of the bands, which the MSI does not see, is displaced against the first: to one side on bright ground, to the other on dark.

    As roofs and streets are seen from the side. No filter can say that: its weights are the same everywhere.
    """
    truth = made_up_scene(BANDS, 4 * SIDE, 4 * SIDE, grain=1.0)
    bright = np.tanh(4 * (truth[12] - np.median(truth[12])) / truth[12].std())
    truth[20:] += bright * np.gradient(truth[5], axis=1)
    srf = np.concatenate([bell_responses(20, 4), np.zeros((4, 20))], axis=1)
    return simulated(truth, srf, (SIDE, SIDE), 4.0)


@cache
@torch.no_grad()
def estimator() -> Gem:
    """The estimator of the scene, without filters."""
    return fit_gem([scene().patch()], scene().srf, np.zeros(4), 4.0)


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
