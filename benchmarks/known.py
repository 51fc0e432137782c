"""A simulated pair for a method, with the operators that made it."""

from __future__ import annotations

import numpy as np
import torch

from geofuse import api
from geofuse.pair.grid import GridPair
from geofuse.pair.patch import Patch, make_patch
from geofuse.pair.prepare import PreparedPair
from geofuse.pair.registration import Registration
from geofuse.pair.response import EffectiveResponse
from geofuse.pair.scene import Sample
from geofuse.simulate import Simulation, cubes


def known_pair(case: Simulation, device: str = "cpu") -> PreparedPair:
    """The whole of a pair, prepared with its true PSF, shift and response: nothing is estimated."""
    grids = api.pair(*cubes(case)).pair
    geometry = Registration(case.sigma, case.shift, 0.0)
    nothing = np.zeros(len(case.srf))
    sample = Sample(case.hsi, case.msi, grids.fine_window, grids.coarse_window)
    pair = PreparedPair(grids, [sample], [], geometry, EffectiveResponse(case.srf, nothing, nothing, "known"), 0.0, [])
    like = torch.zeros(1, device=device)
    pair.patches.append(make_patch(case.hsi, case.msi, pair.builder, sample.fine, sample.coarse, like))
    return pair


def known_patch(case: Simulation) -> tuple[GridPair, Patch]:
    """The grids of a pair, and the whole of it with its true PSF."""
    pair = known_pair(case)
    return pair.pair, pair.patches[0]
