"""The operators that made a pair, as the solver takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.known import known_patch
from geofuse.simulate import simulate


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.4, -0.3)])
def test_known_operators_make_the_pair(shift: tuple[float, float]) -> None:
    case = simulate("berlin", 4, "qb4", Path(), noise=False, shift=shift)
    grids, patch = known_patch(case)
    assert grids.ratio == pytest.approx(4)
    made = patch.psf.forward(torch.as_tensor(case.truth, dtype=torch.float32)).numpy()
    assert np.abs(made - case.hsi).max() < 1e-4
    assert patch.hsi.numpy() == pytest.approx(case.hsi.astype(np.float32))
