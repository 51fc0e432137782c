"""What a user makes of an image: classes and depths that are known by how the images were made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.downstream import FEATURES, Images, classified, depth, depth_deviation, feature_of, kept
from geofuse.simulate import DRAWN, composition


def test_depth_is_that_of_a_dip_below_a_sloping_line() -> None:
    nm = np.array([2120.0, 2207.0, 2270.0])
    line = 0.2 + 0.0001 * (nm - 2120)
    image = (line * [1, 0.7, 1])[:, None, None]
    assert depth(image, nm, FEATURES[0])[0, 0] == pytest.approx(0.3)


def test_its_deviation_is_that_of_noise() -> None:
    nm, rng = np.array([2120.0, 2207.0, 2270.0]), np.random.default_rng(0)
    clean = np.broadcast_to(np.array([0.3, 0.25, 0.4])[:, None, None], (3, 100, 100))
    noisy = clean + 0.005 * rng.normal(size=clean.shape)
    found = depth_deviation(Images(noisy, noisy, clean, clean, np.full(clean.shape, 0.005)), nm, FEATURES[0])
    assert found[0, 0] == pytest.approx(depth(noisy, nm, FEATURES[0]).std(), rel=0.05)


def test_the_feature_is_one_that_the_bands_reach() -> None:
    assert feature_of(np.arange(400.0, 2500, 10)) == FEATURES[0]
    assert feature_of(np.arange(400.0, 1000, 10)) == FEATURES[1]
    assert feature_of(np.arange(400.0, 800, 10)) is None


def test_classes_that_spectra_tell_apart_are_found() -> None:
    classes = np.tile(np.repeat([0, 1], 8), (32, 4)).reshape(32, 64) % 2
    image = np.stack([classes + 1.0, 2 - 0.5 * classes, np.ones(classes.shape)])
    image += 0.01 * np.random.default_rng(0).normal(size=image.shape)
    assert (classified(image, classes) == classes).mean() == 1


def test_a_fifth_is_dropped() -> None:
    deviation = np.arange(100.0).reshape(10, 10)
    assert kept(deviation, np.ones((10, 10), bool)).sum() == 80


def test_a_drawn_scene_is_its_materials() -> None:
    """Light and shares are those of the image: nothing is brighter than its materials in full light can be."""
    shares, spectra = composition(replace(DRAWN["town"], rows=24, cols=24, largest=12))
    assert shares.shape == (24, 24, 24)
    assert (shares >= 0).all()
    assert 0.5 < np.median(shares.sum(0)) < 2
    assert spectra.shape == (24, 285)
