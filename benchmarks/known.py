"""A simulated pair for the solver, with the operators that made it."""

from __future__ import annotations

import torch

from geofuse import api
from geofuse.pair.grid import GridPair
from geofuse.pair.patch import Patch, make_patch
from geofuse.pair.psf.builder import PsfBuilder
from geofuse.simulate import Simulation, cubes


def known_patch(case: Simulation) -> tuple[GridPair, Patch]:
    """The grids of a pair, and the whole of it with its true PSF."""
    scene = api.pair(*cubes(case))
    builder = PsfBuilder(scene.pair, (case.ratio / 2,) * 2, case.shift)
    return scene.pair, make_patch(case.hsi, case.msi, builder, scene.pair.fine_window, scene.pair.coarse_window, torch.zeros(1))
