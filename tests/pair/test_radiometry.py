"""Gain and offset between the sensors: those that were put in, with the errors that are claimed, and none where there are none."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from geofuse.pair.radiometry import Radiometry, measure_radiometry

PIXELS, DRAWS, NOISE = 400, 200, 0.004


def drawn(gain: float, offset: float, seed: int = 0, noise: float = NOISE) -> tuple[np.ndarray, np.ndarray]:
    """Independent bands of other ground each, seen by two sensors with noise."""
    rng = np.random.default_rng(seed)
    ground = rng.uniform(0.05, 0.4, (DRAWS, PIXELS))
    predicted, seen = (image + noise * rng.normal(size=ground.shape) for image in (ground, gain * ground + offset))
    return predicted, seen


@cache
def found(gain: float, offset: float) -> Radiometry:
    return measure_radiometry(*drawn(gain, offset))


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (1.08, 0.01), (0.93, -0.01)])
def test_standard_errors_are_those_of_repetition(gain: float, offset: float) -> None:
    measured = found(gain, offset)
    for values, truth, claimed in ((measured.gain, gain, measured.gain_error), (measured.offset, offset, measured.offset_error)):
        assert abs(values.mean() - truth) < 4 * values.std() / np.sqrt(DRAWS)
        assert np.sqrt((claimed**2).mean()) == pytest.approx(values.std(), rel=0.3)


def test_what_is_there_is_applied_and_what_is_not_is_not() -> None:
    assert found(1.08, 0.01).applied.all()
    assert found(0.93, -0.01).applied.all()
    assert found(1.0, 0.0).applied.mean() < 0.05


def test_clouds_count_for_little() -> None:
    """Five per cent of the pixels, side by side, are far brighter in the MSI."""
    predicted, seen = drawn(1.05, 0.0)
    seen[:, 100:120] = 0.7
    measured = measure_radiometry(predicted, seen)
    assert measured.gain.mean() == pytest.approx(1.05, abs=0.01)
    assert measured.offset.mean() == pytest.approx(0, abs=0.003)


def test_other_ground_and_few_pixels() -> None:
    predicted, seen = drawn(1.08, 0.0)
    for other in (measure_radiometry(predicted, seen[:, ::-1]), measure_radiometry(predicted[:, :30], seen[:, :30])):
        assert not other.applied.any()
        assert (other.gain == 1).all()
        assert np.isnan(other.gain_error).all()
    assert measure_radiometry(predicted, seen[:, ::-1]).unlike.all()
    assert not measure_radiometry(predicted[:, :30], seen[:, :30]).unlike.any()


def test_a_band_of_unknown_response() -> None:
    predicted, seen = drawn(1.08, 0.0)
    predicted[0] = np.nan
    measured = measure_radiometry(predicted, seen)
    assert not measured.applied[0]
    assert measured.applied[1:].all()
