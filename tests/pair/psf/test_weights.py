"""The weights against loops and polynomials."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import j1

from geofuse.pair.grid import Axis
from geofuse.pair.psf.weights import banded_psf, cubic_matrix, psf_matrix
from tests.pairs import naive_psf


@settings(max_examples=80, deadline=None)
@given(
    ratio=st.floats(1.5, 32),
    first=st.floats(-3, 20),
    width=st.floats(0.2, 1.2),
    shift=st.floats(-1.5, 1.5),
    coarse=st.integers(1, 6),
    fine=st.integers(1, 70),
)
def test_matrix_against_loops(ratio: float, first: float, width: float, shift: float, coarse: int, fine: int) -> None:
    matrix = psf_matrix(Axis(ratio, first, coarse, fine), width * ratio, shift * ratio)
    np.testing.assert_allclose(matrix, naive_psf(ratio, first, coarse, fine, width * ratio, shift * ratio), atol=1e-12)
    np.testing.assert_allclose(matrix.sum(1), 1)


@pytest.mark.parametrize(("exponent", "flatness"), [(1.5, 3.76), (2.0, 3.0), (4.0, 2.19), (8.0, 1.92)])
def test_shapes_have_the_width_that_is_asked_for(exponent: float, flatness: float) -> None:
    """Standard deviation, and kurtosis Γ(5/p) Γ(1/p) / Γ(3/p)², whose limits are 6 (Laplace) and 1.8 (box); the cut at 4 σ takes off a little."""
    axis, place = Axis(20.0, 199.5, 1, 400), np.arange(400)
    weight = banded_psf(axis, 20.0, 0.3, slice(0, 1), slice(0, 400), exponent)[0]
    distance = place - 199.8
    assert weight @ distance == pytest.approx(0, abs=0.01)
    assert np.sqrt(weight @ distance**2) == pytest.approx(20, rel=0.02)
    assert weight @ distance**4 / (weight @ distance**2) ** 2 == pytest.approx(flatness, rel=0.1)


@pytest.mark.parametrize("cutoff", [0.8, 1.5, 3.0])
def test_a_detector_behind_optics(cutoff: float) -> None:
    """The diffraction pattern of a round aperture, summed along a line and over a detector 70 pixels wide: both written out."""
    wide, reach = 70, 150
    place = np.arange(-reach - wide, reach + wide + 1)
    radius = np.pi * cutoff / wide * np.hypot(place[:, None], np.arange(-3000, 3001))
    line = ((2 * j1(np.maximum(radius, 1e-9)) / np.maximum(radius, 1e-9)) ** 2).sum(1)
    detector = np.r_[0.5, np.ones(wide - 1), 0.5] / wide
    expected = np.convolve(line, detector, mode="same")[wide:-wide]
    axis = Axis(1.0, 250.0, 1, 501)
    found = banded_psf(axis, wide / np.sqrt(12), 0.0, slice(0, 1), slice(0, 501), cutoff=cutoff)[0, 250 - reach : 251 + reach]
    np.testing.assert_allclose(found / found.sum(), expected / expected.sum(), atol=2e-3 * expected.max() / expected.sum())


@settings(max_examples=40, deadline=None)
@given(ratio=st.floats(1.5, 32), first=st.floats(-5, 20), shift=st.floats(-10, 10))
def test_interpolation_reproduces_quadratics(ratio: float, first: float, shift: float) -> None:
    """Keys' kernel with a = -1/2 is exact for polynomials of second degree, away from the edge."""
    axis = Axis(ratio, first, 9, round(9 * ratio))
    matrix = cubic_matrix(axis, shift)
    centre, fine = first + shift + ratio * np.arange(9), np.arange(axis.fine)
    inner = (fine > centre[1]) & (fine < centre[-2])
    for power in range(3):
        np.testing.assert_allclose((matrix @ (centre / ratio) ** power)[inner], (fine[inner] / ratio) ** power, atol=1e-9)
    np.testing.assert_allclose(matrix.sum(1), 1)
