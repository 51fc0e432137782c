"""The closed form with known operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geofuse.simulate import closed_form_oracle, simulate


@pytest.mark.parametrize(("scene", "ratio", "limit"), [("jasper", 4, 1.2), ("berlin", 8, 2.0)], ids=["even coarse grid", "odd coarse grid"])
def test_reference_solves_its_own_equations(tiny_data: Path, scene: str, ratio: int, limit: float) -> None:
    """It explains both images to within their noise, and less closely where it learns how much detail there is from 10 x 7 pixels only."""
    pair = simulate(scene, ratio, "qb4", tiny_data)
    fused = closed_form_oracle(pair)
    hsi_error = (pair.dh @ fused @ pair.dw.T - pair.hsi) / pair.hsi_noise[:, None, None]
    msi_error = (np.tensordot(pair.srf, fused, 1) - pair.msi) / pair.msi_noise[:, None, None]
    assert np.sqrt((hsi_error**2).mean()) < limit
    assert np.sqrt((msi_error**2).mean()) < limit


def test_reference_without_noise(tiny_data: Path) -> None:
    """It is given little noise then, and does better than with the real one."""
    errors = []
    for noise in (True, False):
        pair = simulate("jasper", 4, "qb4", tiny_data, noise=noise)
        errors.append(np.sqrt(((closed_form_oracle(pair) - pair.truth) ** 2).mean()))
    assert errors[1] < errors[0]
