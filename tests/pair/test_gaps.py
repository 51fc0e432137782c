from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geofuse.pair.gaps import FILL_REACH, fill_gaps
from tests.pairs import tensor

masks = st.tuples(st.integers(1, 14), st.integers(1, 14), st.floats(0, 1), st.integers(0, 2**16))


def case(rows: int, cols: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, rows, cols)), rng.random((rows, cols)) < share


def naive(image: np.ndarray, valid: np.ndarray, row: int, col: int) -> np.ndarray:
    total, weight = np.zeros(len(image)), 0.0
    for r, c in np.argwhere(valid):
        if max(abs(r - row), abs(c - col)) <= FILL_REACH:
            w = math.exp(-((r - row) ** 2 + (c - col) ** 2) / 2)
            total, weight = total + w * image[:, r, c], weight + w
    return total / weight if weight > 1e-6 else np.zeros(len(image))


@settings(max_examples=60, deadline=None)
@given(masks)
def test_valid_pixels_are_untouched_and_gaps_averaged(shape: tuple[int, int, float, int]) -> None:
    image, valid = case(*shape)
    filled = fill_gaps(tensor(image), torch.as_tensor(valid)).numpy()
    assert np.array_equal(filled[:, valid], image[:, valid])
    for row, col in np.argwhere(~valid):
        np.testing.assert_allclose(filled[:, row, col], naive(image, valid, row, col), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(masks)
def test_what_lies_under_the_mask_does_not_matter(shape: tuple[int, int, float, int]) -> None:
    image, valid = case(*shape)
    garbage = np.where(valid, image, 1e12)
    one, other = (fill_gaps(tensor(i), torch.as_tensor(valid)) for i in (image, garbage))
    assert torch.equal(one, other)


def test_nothing_near_is_zero() -> None:
    image, valid = torch.ones(1, 40, 40), torch.zeros(40, 40, dtype=torch.bool)
    valid[0, 0] = True
    filled = fill_gaps(image, valid)
    assert filled[0, 1, 1] == 1
    assert not filled[0, 20:, 20:].any()
