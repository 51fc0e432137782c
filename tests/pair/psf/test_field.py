"""A field moves coarse pixels, and the fine grid sees them where they lie."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.polynomial.legendre import legval

from geofuse.pair.grid import Window
from geofuse.pair.psf.builder import PsfBuilder
from geofuse.pair.psf.field import Field
from tests.pairs import tensor, uncropped, whole

LIKE = torch.zeros(1, dtype=torch.float64)


def bent(shape: tuple[int, int]) -> Field:
    """Up to three fine pixels, in both directions."""
    coefficients = np.zeros((2, 3, 3))
    coefficients[0, 0, 1], coefficients[0, 2, 0], coefficients[1, 1, 1] = 1.5, 0.7, -1.2
    return Field(coefficients, shape)


def test_products_of_legendre_polynomials() -> None:
    field, (row, col) = bent((41, 61)), np.array([[3.0, 20.0], [50.0, 7.0]])
    u, v = row / 20 - 1, col / 30 - 1
    expected = [1.5 * v + 0.7 * legval(u, [0, 0, 1]), -1.2 * u * v]
    np.testing.assert_allclose(field.at(row, col), expected)
    far = field.at(np.array([1e6]), np.array([20.0]))
    assert np.abs(far).max() < 4, "beyond the grid it does not grow"


def test_pixels_are_seen_and_upsampled_where_they_lie() -> None:
    pair = uncropped((14, 12), ratio=4.0)
    builder = PsfBuilder(pair, (2.0, 2.0), (0.6, -0.4), bent((56, 48)))
    everything = whole(pair.fine.shape), whole(pair.coarse.shape)
    psf = builder.build(*everything, np.ones((14, 12), bool), LIKE)
    row, col = np.mgrid[:56, :48].astype(float)
    down, right = psf.forward(tensor(np.stack([row, col]))).numpy()
    nominal = np.mgrid[:14, :12] * 4.0 + 1.5
    expected = nominal + np.array([0.6, -0.4])[:, None, None] + builder.field.at(*nominal)  # type: ignore[union-attr]
    inner = (slice(3, -3), slice(3, -3))
    np.testing.assert_allclose(down[inner], expected[0][inner], atol=1e-3)
    np.testing.assert_allclose(right[inner], expected[1][inner], atol=1e-3)
    up = psf.upsample(tensor(expected)).numpy()
    np.testing.assert_allclose(up[:, 12:-12, 12:-12], np.stack([row, col])[:, 12:-12, 12:-12], atol=0.05)


def test_a_window_equals_the_whole() -> None:
    pair = uncropped((24, 22), ratio=4.0)
    builder = PsfBuilder(pair, (1.8, 2.1), (0.6, -0.4), bent((96, 88)))
    everything = builder.build(whole(pair.fine.shape), whole(pair.coarse.shape), np.ones((24, 22), bool), LIKE)
    rng = np.random.default_rng(0)
    x, y = tensor(rng.normal(size=(2, 96, 88))), tensor(rng.normal(size=(2, 24, 22)))
    fine = Window(20, 76, 16, 80)
    coarse = builder.coarse_window(fine)
    (fr, fc), (cr, cc) = fine.slices, coarse.slices
    part = builder.build(fine, coarse, np.ones(coarse.shape, bool), LIKE)
    observed = part.observed.numpy() > 0
    assert observed.sum() > 50
    # White noise is the worst case of the lattice on which it is blurred (`LATTICE`).
    np.testing.assert_allclose(part.forward(x[:, fr, fc])[:, observed], everything.forward(x)[:, cr, cc][:, observed], atol=2e-4)
    np.testing.assert_allclose(part.upsample(y[:, cr, cc]), everything.upsample(y)[:, fr, fc], atol=1e-10)
    v = tensor(rng.normal(size=(2, *coarse.shape)))
    assert float((part.adjoint(v) * x[:, fr, fc]).sum()) == pytest.approx(float((v * part.forward(x[:, fr, fc])).sum()))


def test_a_window_holds_the_pixels_that_decide_about_nodata() -> None:
    """Those by the georeference too: what is displaced inwards by more than a coarse pixel lies elsewhere than where nodata are looked for."""
    pair = uncropped((30, 30), ratio=4.0)
    coefficients = np.zeros((2, 2, 2))
    coefficients[0, 1, 0] = 10.0  # at both ends outwards
    builder = PsfBuilder(pair, (2.0, 2.0), (-2.0, 0.0), Field(coefficients, pair.fine.shape))
    assert builder.coarse_window(whole(pair.fine.shape)) == whole(pair.coarse.shape)
