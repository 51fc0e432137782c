"""What a change of the prior mean is worth to the coarse pixels, and which of them are used for what."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geofuse.methods.mossfuse.criterion import JUDGEMENT, SQUARE, TRAINING, TUNING, Criterion, Example, Judged, make_examples, window_of
from geofuse.pair.grid import Window
from geofuse.pair.images import as_like, mix
from geofuse.pair.patch import part_of, placed
from tests.methods.mossfuse.scenes import SIDE, estimator, scene, with_gaps


@torch.no_grad()
def made(gaps: bool = False, seed: int = 0) -> tuple[Example, Criterion]:
    pair = with_gaps(scene()) if gaps else scene()
    (example,), criterion = make_examples(estimator(), None, [pair.patch(dtype=torch.float64)], seed)
    return example, criterion


def some_change(example: Example, seed: int = 1) -> torch.Tensor:
    return 0.1 * torch.randn(example.z.shape, dtype=example.z.dtype, generator=torch.Generator().manual_seed(seed))


def test_coarse_pixels_are_dealt_out_in_squares() -> None:
    use = made()[0].use
    assert {int(v) for v in use.unique()} <= {-1, TRAINING, TUNING, JUDGEMENT}
    inner = use[2 * SQUARE : -2 * SQUARE, 2 * SQUARE : -2 * SQUARE]
    assert (inner >= 0).all()
    squares = inner.unfold(0, SQUARE, SQUARE).unfold(1, SQUARE, SQUARE).flatten(2)
    assert (squares == squares[..., :1]).all()
    assert 0.4 < float((use == TRAINING).sum() / (use >= 0).sum()) < 0.8
    assert torch.equal(use, made()[0].use)
    assert not torch.equal(use, made(seed=1)[0].use)


def test_nothing_is_asked_where_an_image_is_incomplete() -> None:
    example = made(gaps=True)[0]
    assert (example.use[11:14, 3:7] == -1).all(), "dead pixels of the HSI, and those around them"
    assert (example.use[5:7, 8:11] == -1).all(), "the gap of the MSI"
    assert not example.innovation[:, example.use == -1].any()
    assert int((example.use >= 0).sum()) > 0.5 * SIDE**2


def test_the_gain_is_what_the_change_takes_from_the_square_of_the_innovation() -> None:
    """By an independent sum: (A C Aᵀ + 1)⁻¹ of every component as a dense matrix."""
    example, criterion = made()
    change, psf = some_change(example), example.seen.psf
    mask = (example.use == JUDGEMENT).double()
    moved = mix(as_like(criterion.components.axes.T, change), change)
    shown = psf.forward(moved - psf.upsample(psf.forward(moved))) * mask
    size = mask.numel()
    units = torch.eye(size, dtype=torch.float64).reshape(size, *mask.shape)
    square = psf.square(units).flatten(1).numpy()
    expected = 0.0
    for value, weight, asked, s in zip(criterion.components.value, criterion.weight, example.innovation * mask, shown, strict=True):
        metric = weight * np.linalg.inv(value * square + np.eye(size))
        before, after = asked.flatten().numpy(), (asked - s).flatten().numpy()
        expected += before @ metric @ before - after @ metric @ after
    gains = criterion.judged(example, change, JUDGEMENT).gains(1.0)
    assert len(gains) == example.squares(JUDGEMENT)
    assert gains.sum() == pytest.approx(expected, rel=1e-6)


def test_the_amplitude_gains_most_and_is_bounded() -> None:
    judged = Judged(np.array([[3.0, 4.0, 10.0], [1.0, 4.0, 10.0]]))
    assert judged.amplitude == 0.5
    gains = [judged.gains(a).sum() for a in (0.4, 0.5, 0.6)]
    assert max(gains) == gains[1] == 2.0
    assert Judged(-judged.products).amplitude == 0
    assert Judged(np.array([[9.0, 4.0, 10.0]])).amplitude == 1


def test_each_part_is_judged_with_the_amplitude_of_the_other() -> None:
    """Of two parts that say the opposite none confirms the other, though each by itself would."""
    one, other = Judged(np.array([[4.0, 4.0, 10.0]] * 5)), Judged(np.array([[-4.0, 4.0, 10.0]] * 5))
    assert Judged.crossed(one, one) == (0.4, 0.0)
    gain, error = Judged.crossed(one, other)
    assert gain == -0.6
    assert error > 0


def test_a_window_asks_what_the_whole_asks() -> None:
    example, criterion = made(gaps=True)
    patch = with_gaps(scene()).patch(dtype=torch.float64)
    window = Window(6, 66, 2, 60)
    part, change = window_of(example, patch, window), some_change(example)
    used = part.use >= 0
    assert int(used.sum()) > 20
    first = slice(None), *window.slices
    whole, seen = criterion.shown(example.seen.psf, change), criterion.shown(part.seen.psf, change[first])
    rows, cols = placed(part_of(patch, window))[2].slices
    assert torch.equal(part.use[used], example.use[rows, cols][used])
    torch.testing.assert_close(part.innovation[:, used], example.innovation[:, rows, cols][:, used])
    # Interpolation reaches two coarse pixels, of which the second weighs little and may lie beyond the window.
    assert float((seen - whole[:, rows, cols])[:, used].abs().max()) < 0.2 * float(whole.abs().max())
