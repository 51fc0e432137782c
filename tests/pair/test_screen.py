"""What is left out before anything is estimated: fill values, outliers, bands without data; and what is reported of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geofuse.errors import InvalidCube
from geofuse.pair.faults import faults
from geofuse.pair.grid import Window
from geofuse.pair.scene import Sample
from geofuse.pair.screen import OUTLIER, Screen, fit_screen, possible
from tests.pairs import Pair, bell_responses, made_up_scene, simulated


@pytest.fixture(scope="module")
def pair() -> Pair:
    return simulated(made_up_scene(40, 80, 80), bell_responses(40, 4), (20, 20), 4.0)


def changed(sample: Sample) -> Sample:
    """A copy that may be written to."""
    return replace(sample, hsi=sample.hsi.copy(), msi=sample.msi.copy())


def test_a_pair_without_defects_stays_as_it_is(pair: Pair) -> None:
    screen = fit_screen([pair.sample])
    cleared = screen.clear(pair.sample)
    assert cleared.gaps is None
    assert np.array_equal(cleared.hsi, pair.sample.hsi)
    assert np.array_equal(cleared.msi, pair.sample.msi)
    assert faults(screen, [pair.sample], pair.grids) == ()


@pytest.mark.parametrize("fill", [-9999.0, -0.9999, -32768.0, -3.2768, 6.5535, 1e6, 0.0])
def test_undeclared_fill_values_are_gaps(fill: float, pair: Pair) -> None:
    """In both images, whole pixels of them, raw or scaled by 1e-4."""
    bad = changed(pair.sample)
    bad.hsi[:, 3:6, 4:9] = fill
    bad.msi[:, 30:41, 20:33] = fill
    screen = fit_screen([bad])
    cleared = screen.clear(bad)
    assert np.array_equal(np.isnan(cleared.hsi), bad.hsi == fill)
    assert np.array_equal(np.isnan(cleared.msi), bad.msi == fill)
    found = faults(screen, [bad], pair.grids)
    assert [(f.image, f.kind, f.count, f.place) for f in found] == [
        ("HSI", "impossible", 40 * 15, (3, 4)),
        ("MSI", "impossible", 4 * 11 * 13, (30, 20)),
    ]
    assert found[0].value == pytest.approx(fill)


def test_counts_are_possible_where_all_values_are_counts(pair: Pair) -> None:
    """Which is warned of elsewhere; their fill values are found too."""
    low, high = possible([np.where(np.random.default_rng(0).random(pair.msi.shape) < 0.2, -9999, 1e4 * pair.msi)])
    assert low > -9999
    assert high > 1e4 * pair.msi.max()


def test_a_hot_value_costs_its_band_and_its_pixel(pair: Pair) -> None:
    bad = changed(pair.sample)
    bad.hsi[11, 7, 9] += 0.5
    bad.msi[2, 40, 40] += 0.9
    screen = fit_screen([bad])
    cleared, wrong = screen.clear(bad), screen.wrong(bad)
    assert cleared.gaps is not None
    assert np.argwhere(cleared.gaps).tolist() == [[11, 7, 9]]
    assert cleared.hsi[11, 7, 9] == pytest.approx(pair.hsi[11, 7, 9], abs=4 * pair.hsi_noise[11])
    assert np.argwhere(np.isnan(cleared.msi)).tolist() == [[k, 40, 40] for k in range(4)]
    assert np.argwhere(wrong[0] == OUTLIER).tolist() == [[11, 7, 9]]
    assert np.argwhere(wrong[1] == OUTLIER).tolist() == [[2, 40, 40]]
    assert {(f.image, f.kind, f.count, f.bands, f.place) for f in faults(screen, [bad], pair.grids)} == {
        ("HSI", "outlier", 1, (11,), (7, 9)),
        ("MSI", "outlier", 1, (2,), (40, 40)),
    }


def test_a_pixel_of_few_bands_is_missing(pair: Pair) -> None:
    bad = changed(pair.sample)
    bad.hsi[5:, 2, 2] = np.nan
    bad.hsi[20:, 2, 3] = np.nan
    cleared = fit_screen([bad]).clear(bad)
    assert np.isnan(cleared.hsi[:, 2, 2]).all()
    assert np.isfinite(cleared.hsi[:, 2, 3]).all()


def test_bands_without_data_take_no_part(pair: Pair) -> None:
    bad = changed(pair.sample)
    bad.hsi[[4, 5]] = np.nan
    bad.hsi[20] = 0
    bad.hsi[20, :10] = np.nan
    bad.msi[3] = -9999
    screen = fit_screen([bad])
    assert np.flatnonzero(~screen.hsi_bands).tolist() == [4, 5]
    assert np.flatnonzero(~screen.msi_bands).tolist() == [3]
    cleared = screen.clear(bad)
    assert (len(cleared.hsi), len(cleared.msi)) == (38, 3)
    assert np.isfinite(cleared.hsi).all()
    assert [w.shape for w in screen.wrong(bad)] == [bad.hsi.shape, bad.msi.shape]
    found = {(f.image, f.kind): f for f in faults(screen, [bad], pair.grids)}
    assert found["HSI", "empty"].bands == (4, 5)
    assert found["MSI", "empty"].bands == (3,)
    assert found["HSI", "gaps"].bands == (20,)
    assert found["HSI", "gaps"].share == 0.5


@pytest.mark.parametrize("role", ["hsi", "msi"])
@pytest.mark.parametrize("value", [np.nan, -9999.0])
def test_an_image_without_data_is_rejected(role: str, value: float, pair: Pair) -> None:
    empty = replace(pair.sample, **{role: np.full_like(getattr(pair.sample, role), value)})
    with pytest.raises(InvalidCube, match=f"The {role.upper()} holds no data where the two images overlap"):
        fit_screen([empty])


def test_a_window_is_cleared_as_the_whole_is(pair: Pair) -> None:
    bad = changed(pair.sample)
    bad.hsi[np.random.default_rng(1).random(bad.hsi.shape) < 0.02] = np.nan
    bad.hsi[3, 8, 8] = 1.0
    bad.msi[1, 33, 30] += 0.9
    screen = Screen.from_arrays(fit_screen([bad]).arrays())
    coarse, fine = Window(5, 15, 4, 18), Window(20, 60, 16, 72)
    part = Sample(bad.hsi[(slice(None), *coarse.slices)], bad.msi[(slice(None), *fine.slices)], fine, coarse)
    whole, cleared = screen.clear(bad), screen.clear(part)
    assert whole.gaps is not None
    assert cleared.gaps is not None
    assert np.array_equal(cleared.gaps, whole.gaps[(slice(None), *coarse.slices)])
    assert cleared.hsi == pytest.approx(whole.hsi[(slice(None), *coarse.slices)], abs=1e-6)
    inner = slice(3, -3), slice(3, -3)  # of what lies outside nothing is known here
    assert np.array_equal(cleared.msi[:, *inner], whole.msi[(slice(None), *fine.slices)][:, *inner], equal_nan=True)
