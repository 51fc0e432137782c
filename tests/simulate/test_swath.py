"""A scanner's pixels lie where it says, and the grid shows the nearest of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geofuse.simulate import cubes, gridded, observed_at, scan, simulate, simulate_pair, swath_cube


def test_on_the_grid_it_sees_what_the_map_product_shows() -> None:
    pair = simulate("berlin", 4, "qb4", Path(), noise=False)
    row, col = np.mgrid[:20, :14] * 4.0 + 1.5
    seen = observed_at(pair.truth[::40], row.ravel(), col.ravel(), 2.0)
    # Both cut the PSF at four standard deviations, to the pixel: weights of 3e-4 differ.
    assert seen.reshape(-1, 20, 14) == pytest.approx(pair.hsi[::40], abs=1e-3)


def test_a_ramp_is_seen_at_the_centres() -> None:
    row, col = np.mgrid[:80, :60].astype(float)
    swath = scan(np.stack([row, col]) / 100, 4, noise=False)
    inner = (swath.rows > 9) & (swath.rows < 70) & (swath.cols > 9) & (swath.cols < 50)
    assert inner.sum() > 100
    assert 100 * swath.spectra[0, inner] == pytest.approx(swath.rows[inner], abs=0.02)
    assert 100 * swath.spectra[1, inner] == pytest.approx(swath.cols[inner], abs=0.02)


def test_the_grid_shows_the_nearest_pixel_and_counts_each_once() -> None:
    row, col = np.mgrid[:80, :60].astype(float)
    swath = scan(np.stack([row, col]) / 100, 4, noise=False)
    image, centres = gridded(swath, (20, 15), 4)
    known = np.isfinite(centres[0])
    assert 0.9 < known.mean() < 1, "some are shown twice"
    places = centres[:, known]
    assert len(np.unique(places, axis=1).T) == known.sum()
    grid = np.mgrid[:20, :15] * 4.0 + 1.5
    distance = np.hypot(swath.rows - grid[0][..., None], swath.cols - grid[1][..., None])
    nearest = distance.argmin(-1)
    assert np.array_equal(image[0], swath.spectra[0][nearest], equal_nan=True)
    assert np.array_equal(places[0], swath.rows[nearest][known])
    twice = [np.argwhere(nearest == k) for k in range(len(swath.rows)) if (nearest == k).sum() > 1]
    for pixels in twice:
        counted = [tuple(p) for p in pixels if known[tuple(p)]]
        assert counted == [min((tuple(p) for p in pixels), key=lambda p: distance[p].min())]


def test_the_cube_says_where_its_pixels_lie() -> None:
    rng = np.random.default_rng(0)
    pair = simulate_pair(rng.random((6, 80, 60)), np.linspace(400, 1000, 6), 4, "qb4")
    swath = scan(pair.truth, 4)
    cube, (_, msi) = swath_cube(pair, swath), cubes(pair)
    known = np.isfinite(cube.centre_y.values)
    assert np.hypot(cube.centre_y - cube.y, cube.centre_x - cube.x).max() <= 0.75 * 16
    rows = (float(msi.y[0]) - cube.centre_y.values[known]) / 4
    assert np.isin(rows.round(6), swath.rows.round(6)).all()
    assert "centre_y" not in swath_cube(pair, swath, true_centres=False).coords
