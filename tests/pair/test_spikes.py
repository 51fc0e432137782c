"""Wild values of an image of few bands: hot pixels are, what lies on the ground is not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from geofuse.pair.spikes import fit_spikes
from tests.pairs import bell_responses, made_up_scene


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    scene = np.tensordot(bell_responses(30, 4), made_up_scene(30, 80, 90), 1)
    return (scene + np.random.default_rng(1).normal(0, 1e-3, scene.shape)).astype(np.float32)


def test_a_hot_pixel_is_found_and_nothing_else(image: np.ndarray) -> None:
    hot = image.copy()
    planted = np.zeros(image.shape, bool)
    planted[[0, 1, 2, 3], [10, 30, 50, 79], [20, 40, 0, 60]] = True
    hot[planted] += 0.9
    assert np.array_equal(fit_spikes([hot]).find(hot), planted)
    assert not fit_spikes([image]).find(image).any()


def test_a_point_of_light_is_no_defect(image: np.ndarray) -> None:
    """Seen through optics of 0.5 pixels, in all bands, though not equally."""
    point = np.zeros(image.shape[1:])
    point[40, 45] = 1.0
    glint = image + gaussian_filter(point, 0.5) * np.array([1.0, 0.9, 0.8, 0.7])[:, None, None]
    assert not fit_spikes([image]).find(glint.astype(np.float32)).any()


def test_gaps_are_no_neighbours(image: np.ndarray) -> None:
    """Nodata beside a pixel says nothing, and a defect beside it is found all the same."""
    holed = image.copy()
    holed[:, 20:25, 20:25] = np.nan
    holed[1, 19, 22] += 0.9
    found = fit_spikes([holed]).find(holed)
    assert found.sum() == 1
    assert found[1, 19, 22]


def test_tiles_find_what_the_whole_does(image: np.ndarray) -> None:
    hot = image.copy()
    hot[2, 41, 37] += 0.9
    known = fit_spikes([hot])
    inner = known.find(hot[:, 30:60, 20:60])[:, 5:-5, 5:-5]
    assert np.array_equal(inner, known.find(hot)[:, 35:55, 25:55])


def test_one_band_alone_is_left_as_it_is(image: np.ndarray) -> None:
    assert not fit_spikes([image[:1]]).find(image[:1] * np.float32(3)).any()
