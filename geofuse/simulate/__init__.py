"""Pairs with a known truth: for tests, benchmarks, and trying a method where the answer is known.

A real, made-up or drawn hyperspectral cube is the truth; its two observations are simulated (`pairs`), with what real pairs suffer from where that is
asked for (`troubles`). `oracle` is the reference: the closed form with all operators known. Everything is numpy arrays; `cubes` makes them
the georeferenced images that `geofuse.fuse` takes.
"""

from geofuse.simulate.cubes import cubes
from geofuse.simulate.distortion import displacement_error, distorted, smooth_displacement
from geofuse.simulate.drawn import DRAWN, DrawnScene, composition, draw
from geofuse.simulate.oracle import closed_form_oracle
from geofuse.simulate.pairs import RESPONSES, Simulation, airy, box, gaussian, psf_matrix, simulate_pair, srf
from geofuse.simulate.scenes import SCENES, load, simulate
from geofuse.simulate.swath import Swath, gridded, observed_at, scan, swath_cube
from geofuse.simulate.troubles import TROUBLES, Trouble, cloud

__all__ = [
    "DRAWN",
    "RESPONSES",
    "SCENES",
    "TROUBLES",
    "DrawnScene",
    "Simulation",
    "Swath",
    "Trouble",
    "airy",
    "box",
    "closed_form_oracle",
    "cloud",
    "composition",
    "cubes",
    "displacement_error",
    "distorted",
    "draw",
    "gaussian",
    "gridded",
    "load",
    "observed_at",
    "psf_matrix",
    "scan",
    "simulate",
    "simulate_pair",
    "smooth_displacement",
    "srf",
    "swath_cube",
]
