"""The closed form with known operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from geofuse.simulate import closed_form_oracle, simulate


def test_reference_solves_its_own_equations(tiny_data: Path) -> None:
    """What it says explains both images to within the noise that it was told of, and better than interpolation explains the fine one."""
    pair = simulate("jasper", 4, "qb4", tiny_data)
    fused = closed_form_oracle(pair)
    hsi_error = (pair.dh @ fused @ pair.dw.T - pair.hsi) / pair.hsi_noise[:, None, None]
    msi_error = (np.tensordot(pair.srf, fused, 1) - pair.msi) / pair.msi_noise[:, None, None]
    assert np.sqrt((hsi_error**2).mean()) < 1.2
    assert np.sqrt((msi_error**2).mean()) < 1.2


def test_reference_without_noise(tiny_data: Path) -> None:
    """It is told of little noise then, and does better than with the real one."""
    errors = []
    for noise in (True, False):
        pair = simulate("jasper", 4, "qb4", tiny_data, noise=noise)
        errors.append(np.sqrt(((closed_form_oracle(pair) - pair.truth) ** 2).mean()))
    assert errors[1] < errors[0]
