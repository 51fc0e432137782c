from __future__ import annotations

import numpy as np

from geofuse.simulate import distorted, simulate_pair, smooth_displacement


def test_pixels_of_a_distorted_image_lie_elsewhere() -> None:
    """A ramp shows where: the displacement itself, and NaN beyond the scene."""
    row, col = np.mgrid[:96, :80].astype(float)
    pair = simulate_pair(np.stack([row, col, row + col]) / 100, np.array([500.0, 600.0, 700.0]), 4, "qb4", noise=False)
    displacement = smooth_displacement((96, 80), 6.0)
    case = distorted(pair, displacement)
    at = np.mgrid[:24, :20] * 4.0 + 1.5
    moved = at + displacement(*at)
    inside = (moved > -0.5).all(0) & (moved[0] < 95.5) & (moved[1] < 79.5)
    assert 0.5 < inside.mean() < 1
    assert np.array_equal(np.isfinite(case.hsi).all(0), inside)
    far = (moved > 9).all(0) & (moved[0] < 86) & (moved[1] < 70)
    np.testing.assert_allclose(100 * case.hsi[:2, far], moved[:, far], atol=0.05)


def test_no_common_shift() -> None:
    field = smooth_displacement((50, 70), 5.0)(*np.mgrid[:50, :70])
    assert np.abs(field.mean((1, 2))).max() < 1e-9
    assert abs(np.hypot(*field).max() - 5.0) < 1e-9
