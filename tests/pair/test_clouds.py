"""What only one image shows: found where it was put, attributed to the right image, and never where there is nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, gaussian_filter

from geofuse.pair.clouds import LARGEST_SHARE, Clouds, find_clouds
from geofuse.pair.psf.builder import PsfBuilder
from tests.pairs import Pair, bell_responses, made_up_scene, simulated

RATIO, COARSE = 4, 32


def made_up(seed: int = 0, shift: tuple[float, float] = (0.0, 0.0)) -> Pair:
    size = RATIO * COARSE
    return simulated(
        made_up_scene(30, size, size, seed=seed), bell_responses(30, 4), (COARSE, COARSE), float(RATIO), shift=shift, seed=seed
    )


def disc(share: float) -> np.ndarray:
    """Fine pixels of a round cloud off the centre."""
    size = RATIO * COARSE
    row, col = np.mgrid[:size, :size]
    return np.asarray(np.hypot(row - 0.4 * size, col - 0.6 * size) < size * np.sqrt(share / np.pi))


def coarse(cover: np.ndarray) -> np.ndarray:
    """Share of every coarse pixel."""
    return cover.reshape(COARSE, RATIO, COARSE, RATIO).mean((1, 3))


def clouded(pair: Pair, image: str, cover: np.ndarray, reflectance: float) -> Pair:
    if image == "msi":
        return replace(pair, msi=np.where(cover, reflectance, pair.msi))
    soft = gaussian_filter(cover.astype(float), RATIO / 2)
    share = coarse(soft)
    return replace(pair, hsi=(1 - share) * pair.hsi + share * reflectance)


def nominal(pair: Pair) -> PsfBuilder:
    return PsfBuilder(pair.grids, (RATIO / 2, RATIO / 2))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shift", [(0.0, 0.0), (1.0, -1.0)])
def test_nothing_is_found_where_there_is_nothing(seed: int, shift: tuple[float, float]) -> None:
    pair = made_up(seed, shift)
    assert find_clouds([pair.sample], nominal(pair)) == (None, 0.0)


@pytest.mark.parametrize("image", ["msi", "hsi"])
@pytest.mark.parametrize("share", [0.03, 0.05])
def test_a_cloud_is_found_and_blamed_on_the_image_that_shows_it(image: str, share: float) -> None:
    cover = disc(share)
    pair = clouded(made_up(), image, cover, 1.2)
    found, covered = find_clouds([pair.sample], nominal(pair))
    assert found is not None
    cleared, where = found.clear(pair.sample, nominal(pair))
    label = 1 if image == "msi" else 2
    inside, outside = coarse(cover) > 0.02, ~binary_dilation(coarse(cover) > 0, iterations=3)
    assert (where[inside] == label).all()
    assert not where[outside].any()
    assert covered == pytest.approx((where > 0).mean(), abs=0.02)
    kept, lost = (pair.sample.hsi, cleared.msi) if image == "msi" else (pair.sample.msi, cleared.hsi)
    assert np.isnan(lost[:, cover if image == "msi" else inside]).all()
    untouched = cleared.hsi if image == "msi" else cleared.msi
    assert np.array_equal(untouched, kept.astype(np.float32))


def test_what_is_usual_is_learned_without_the_cloud() -> None:
    pair = made_up()
    dirty = clouded(pair, "msi", disc(0.05), 1.2)
    found, _ = find_clouds([dirty.sample], nominal(pair))
    assert found is not None
    spectra = pair.truth.reshape(len(pair.truth), -1)
    error = (found.matrix - pair.srf) @ spectra + found.offset[:, None]
    assert np.sqrt((error**2).mean()) < 0.02 * np.sqrt(((pair.srf @ spectra) ** 2).mean())


def test_half_a_scene_is_no_cloud() -> None:
    """In another light: that is harmonised and not cut out."""
    pair = made_up()
    half = np.zeros((RATIO * COARSE,) * 2, bool)
    half[:, : int(2 * LARGEST_SHARE * RATIO * COARSE)] = True
    assert find_clouds([clouded(pair, "msi", half, 1.2).sample], nominal(pair)) == (None, 0.0)


def test_too_few_pixels_tell_nothing() -> None:
    pair = simulated(made_up_scene(12, 28, 28), bell_responses(12, 3), (7, 7), 4.0)
    assert find_clouds([pair.sample], nominal(pair)) == (None, 0.0)


def test_gaps_are_not_clouds_and_stay_gaps() -> None:
    pair = clouded(made_up(), "msi", disc(0.04), 1.2)
    hole = np.zeros(pair.msi.shape[1:], bool)
    hole[:20, :30] = True
    holed = replace(pair, msi=np.where(hole, np.nan, pair.msi))
    found, covered = find_clouds([holed.sample], nominal(pair))
    assert found is not None
    assert covered < 0.15
    cleared, where = found.clear(holed.sample, nominal(pair))
    assert np.isnan(cleared.msi[:, hole]).all()
    assert not where[:4, :6].any()


def test_a_window_is_cleared_like_the_whole() -> None:
    """What tiles rely on: inside their halo they see the same clouds."""
    pair = clouded(made_up(), "msi", disc(0.04), 1.2)
    found, _ = find_clouds([pair.sample], nominal(pair))
    assert found is not None
    whole = found.clear(pair.sample, nominal(pair))[1]
    fine = replace(pair.sample.fine, left=32)
    part = nominal(pair).coarse_window(fine)
    cut = replace(
        pair.sample, hsi=pair.sample.hsi[:, part.top : part.bottom, part.left :], msi=pair.sample.msi[:, :, 32:], fine=fine, coarse=part
    )
    inner = found.clear(cut, nominal(pair))[1]
    assert np.array_equal(inner[:, 8:], whole[:, part.left + 8 :])


def test_storage() -> None:
    pair = clouded(made_up(), "msi", disc(0.04), 1.2)
    found, _ = find_clouds([pair.sample], nominal(pair))
    assert found is not None
    again = Clouds(**found.arrays())
    assert np.array_equal(again.clear(pair.sample, nominal(pair))[1], found.clear(pair.sample, nominal(pair))[1])
