"""Tiles partition the output; samples lie on the scene."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from geofuse.pair.grid import Window, pair_grids
from geofuse.run.tiles import sample_windows, tile_windows, validation_window


@given(top=st.integers(0, 40), left=st.integers(0, 40), height=st.integers(1, 200), width=st.integers(1, 200), tile=st.integers(1, 90))
def test_tiles_partition_the_output(top: int, left: int, height: int, width: int, tile: int) -> None:
    output = Window(top, top + height, left, left + width)
    count = np.zeros((top + height + 3, left + width + 3), int)
    for row in tile_windows(output, tile):
        for window in row:
            assert max(window.shape) <= tile
            count[window.slices] += 1
    expected = np.zeros_like(count)
    expected[output.slices] = 1
    assert np.array_equal(count, expected)


@given(ratio=st.floats(1.5, 32), coarse=st.integers(8, 300), budget=st.integers(10_000, 1_000_000))
def test_samples_lie_on_the_scene_apart_and_within_the_budget(ratio: float, coarse: int, budget: int) -> None:
    size = int(coarse * ratio)
    fine = GeoBox((size, size), from_origin(0, 0, 1, 1), "EPSG:32633")
    pair = pair_grids(GeoBox((coarse, coarse), from_origin(0, 0, ratio, ratio), "EPSG:32633"), fine)
    windows = sample_windows(pair, budget)
    count = np.zeros(pair.fine.shape, int)
    for window in windows:
        assert 0 <= window.top < window.bottom <= pair.fine.shape[0]
        assert 0 <= window.left < window.right <= pair.fine.shape[1]
        count[window.slices] += 1
    assert count.max() == 1
    # One block is read whatever the budget; beyond that the budget holds.
    assert len(windows) == 1 or count.sum() <= budget


def test_a_small_scene_is_sampled_whole() -> None:
    pair = pair_grids(GeoBox((20, 30), from_origin(0, 0, 4, 4), "EPSG:32633"), GeoBox((80, 120), from_origin(0, 0, 1, 1), "EPSG:32633"))
    assert sample_windows(pair, 80 * 120) == [Window(0, 80, 0, 120)]
    assert validation_window(pair) == Window(0, 80, 0, 120)


def test_validation_reads_a_bounded_part_of_a_large_scene() -> None:
    pair = pair_grids(
        GeoBox((3000, 3000), from_origin(0, 0, 3, 3), "EPSG:32633"), GeoBox((9000, 9000), from_origin(0, 0, 1, 1), "EPSG:32633")
    )
    window = validation_window(pair)
    assert window.shape == (288, 288)  # 96 coarse pixels of 3
    assert window.top == (9000 - 288) // 2


@given(length=st.integers(1, 60), budget=st.integers(100_000, 400_000))
def test_a_long_strip_stays_within_the_budget(length: int, budget: int) -> None:
    """As an image taken along a flight line: 30 coarse pixels of 4 wide."""
    coarse = GeoBox((30 * length, 30), from_origin(0, 0, 4, 4), "EPSG:32633")
    pair = pair_grids(coarse, GeoBox((120 * length, 120), from_origin(0, 0, 1, 1), "EPSG:32633"))
    windows = sample_windows(pair, budget)
    assert sum(int(np.prod(w.shape)) for w in windows) <= budget
    if len(windows) > 1:  # and they lie all along it
        gaps = np.diff([w.top for w in windows])
        assert gaps.min() > 0.9 * gaps.max()
