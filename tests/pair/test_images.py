from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate1d

from geofuse.pair.images import BLOCK, blur, mix
from tests.pairs import tensor


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 2 * BLOCK + 3),
    cols=st.integers(1, 2 * BLOCK + 3),
    half=st.integers(0, 9),
    mode=st.sampled_from(["constant", "replicate"]),
    seed=st.integers(0, 99),
)
def test_blur_against_scipy(rows: int, cols: int, half: int, mode: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image, side = rng.normal(size=(2, rows, cols)), rng.random(half + 1)
    kernel = np.concatenate([side[:0:-1], side])
    name = {"constant": "constant", "replicate": "nearest"}[mode]
    expected = correlate1d(correlate1d(image, kernel, axis=1, mode=name), kernel, axis=2, mode=name)
    np.testing.assert_allclose(blur(tensor(image), tensor(kernel), mode).numpy(), expected, atol=1e-11)


@pytest.mark.parametrize("shape", [(3, 4), (64, 65)])
def test_mix(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    matrix, image = rng.normal(size=(2, 5)), rng.normal(size=(5, *shape))
    np.testing.assert_allclose(mix(tensor(matrix), tensor(image)).numpy(), np.tensordot(matrix, image, 1))
    assert mix(torch.eye(5), torch.zeros(5, *shape)).shape == (5, *shape)
