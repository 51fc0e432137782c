"""A displacement that differs from place to place: what was put in has to come out, and nothing where nothing was."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from geofuse.errors import InvalidPair
from geofuse.pair.grid import Window
from geofuse.pair.local import register_locally
from geofuse.pair.psf.builder import PsfBuilder
from geofuse.pair.registration import Registration, register
from geofuse.pair.scene import Sample
from geofuse.simulate import Simulation, displacement_error, distorted, simulate_pair, smooth_displacement
from geofuse.simulate.troubles import clouded_msi
from tests.pairs import made_up_scene, on_grids

RATIO, SIDE = 4, 112


@cache
def plain() -> Simulation:
    return simulate_pair(made_up_scene(12, SIDE, SIDE, grain=1.5), np.linspace(400, 1000, 12), RATIO, "qb4")


@cache
def moved(largest: float) -> Simulation:
    return distorted(plain(), smooth_displacement((SIDE, SIDE), largest * RATIO))


def found_in(case: Simulation) -> Registration:
    pair = on_grids(case)
    return register_locally(pair.grids, [pair.sample])


def error(found: Registration, case: Simulation, largest: float) -> float:
    assert found.local is not None
    return displacement_error(case, smooth_displacement((SIDE, SIDE), largest * RATIO), found.displacement)


@pytest.mark.parametrize("largest", [0.5, 2.0])
def test_a_smooth_distortion(largest: float) -> None:
    case = moved(largest)
    found = found_in(case)
    assert error(found, case, largest) < 0.05
    assert found.sigma == pytest.approx((2.0, 2.0), abs=0.1)
    assert found.local is not None
    assert found.local.largest == pytest.approx(largest * RATIO, rel=0.15)
    assert found.local.explained > 0.5


def test_no_distortion() -> None:
    """The shift alone, to the last digit."""
    pair = on_grids(plain())
    found = register_locally(pair.grids, [pair.sample])
    assert found.local is None
    assert found == register(pair.grids, [pair.sample])


@pytest.mark.slow
def test_clouds_and_another_calibration() -> None:
    case = clouded_msi(moved(1.0))
    gain = np.array([0.8, 1.2, 0.9, 1.1])[:, None, None]
    case = replace(case, msi=case.msi * gain + 0.03)
    assert error(found_in(case), case, 1.0) < 0.15


def test_a_distortion_beyond_the_limit_is_rejected() -> None:
    """Waves of more than 3 coarse pixels, which are found and refused."""
    with pytest.raises(InvalidPair, match=r"distorted against each other by up to .* fine pixels .* at most 12\.0"):
        found_in(moved(3.6))


def test_a_scene_with_few_blocks_has_one_shift_and_is_told_so() -> None:
    small = simulate_pair(made_up_scene(12, 40, 40, grain=1.5), np.linspace(400, 1000, 12), RATIO, "qb4")
    pair = on_grids(small)
    with pytest.warns(UserWarning, match=r"10 x 10 coarse pixels; expected 20 x 20 or more\); one shift"):
        assert register_locally(pair.grids, [pair.sample]).local is None


@pytest.mark.slow
def test_windows_of_a_larger_scene() -> None:
    """The field is one of the whole scene, whatever windows it is found in."""
    case = moved(1.0)
    pair = on_grids(case)
    nominal, samples = PsfBuilder(pair.grids, (2.0, 2.0)), []
    for fine in (Window(0, 72, 0, SIDE), Window(56, SIDE, 0, SIDE)):
        coarse = nominal.coarse_window(fine)
        (fr, fc), (cr, cc) = fine.slices, coarse.slices
        samples.append(Sample(case.hsi[:, cr, cc].astype(np.float32), case.msi[:, fr, fc].astype(np.float32), fine, coarse))
    assert error(register_locally(pair.grids, samples), case, 1.0) < 0.1
