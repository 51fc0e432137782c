"""Positions by affine arithmetic and pyproj; windows by looking at every pixel."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from geofuse.errors import InvalidInput, InvalidPair
from geofuse.pair.grid import Window, common_windows, pair_grids
from tests.pairs import CRS, NORTH, WEST, boxes


def geobox_of(path: Path) -> GeoBox:
    with rasterio.open(path) as image:
        return GeoBox(image.shape, image.transform, image.crs.to_wkt())


def test_berlin(berlin: tuple[Path, Path]) -> None:
    """By hand: 30 m over 3.6 m; the first coarse centre, (383487.37, 5818287.35), is 17.4 m and 16.2 m from the fine corner."""
    pair = pair_grids(*map(geobox_of, berlin))
    assert pair.aligned
    assert pair.ratio == pytest.approx(25 / 3, rel=1e-9)
    rows, cols = pair.axes
    assert (rows.first, cols.first) == pytest.approx((16.2 / 3.6 - 0.5, 17.4 / 3.6 - 0.5), abs=1e-6)
    assert rows.centres()[:2] == pytest.approx([4.0, 4 + 25 / 3], abs=1e-6)
    # From the fine corner the coarse image reaches from row 1/3 to 667 and from column 2/3 to 500.7, the fine one to 660 and 494.
    # The centre of the first fine column, at 0.5, lies outside.
    assert pair.coarse.shape == (80, 60)
    assert pair.output == Window(0, 660, 1, 494)
    assert pair.output_geobox.shape == (660, 493)
    assert pair.output_geobox.affine.c == pytest.approx(383469.97 + 3.6)


TWELFTHS = st.integers(18, 384).map(lambda n: Fraction(n, 12))  # ratios from 1.5 to 32


@settings(max_examples=150, deadline=None)
@given(
    ratio=TWELFTHS,
    coarse=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    fine=st.tuples(st.integers(4, 200), st.integers(4, 200)),
    start=st.tuples(st.integers(-1000, 1000), st.integers(-1000, 1000)),
)
def test_any_aligned_pair(ratio: Fraction, coarse: tuple[int, int], fine: tuple[int, int], start: tuple[int, int]) -> None:
    """In exact fractions: edges are multiples of 1/24 fine pixel, so that nothing hangs on rounding."""
    edges = [Fraction(s, 24) for s in start]  # upper left corner of the coarse image, in fine pixels from the fine corner
    overlap = [[k for k in range(n) if e <= k + Fraction(1, 2) <= e + c * ratio] for n, e, c in zip(fine, edges, coarse, strict=True)]
    low = GeoBox(coarse, Affine(float(ratio), 0, WEST + float(edges[1]), 0, -float(ratio), NORTH - float(edges[0])), CRS)
    high = GeoBox(fine, Affine(1, 0, WEST, 0, -1, NORTH), CRS)
    if min(map(len, overlap)) < 2 * ratio:
        with pytest.raises(InvalidPair, match=r"do not overlap|fine pixels only"):
            pair_grids(low, high)
        return
    pair = pair_grids(low, high)
    assert pair.ratio == pytest.approx(float(ratio), rel=1e-6)
    out = pair.output.offset(pair.fine_window.top, pair.fine_window.left)
    assert out == Window(overlap[0][0], overlap[0][-1] + 1, overlap[1][0], overlap[1][-1] + 1)
    touched = [
        [k for k in range(c) if e + k * ratio < o[-1] + 1 and e + (k + 1) * ratio > o[0]]
        for c, e, o in zip(coarse, edges, overlap, strict=True)
    ]
    assert pair.coarse_window == Window(touched[0][0], touched[0][-1] + 1, touched[1][0], touched[1][-1] + 1)
    corner = pair.fine_window.top, pair.fine_window.left
    for axis, e, near, at in zip(pair.axes, edges, touched, corner, strict=True):
        expected = [float(e + (k + Fraction(1, 2)) * ratio - Fraction(1, 2) - at) for k in near]
        assert axis.centres() == pytest.approx(expected, abs=1e-6)
        assert axis.centres(0.25) == pytest.approx(np.array(expected) + 0.25, abs=1e-6)
    # The working fine grid has a margin of four coarse pixels around the output where there are any, and is the original's pixels.
    near = pair.fine_window
    vertical, horizontal = (near.top, near.bottom, out.top, out.bottom, fine[0]), (near.left, near.right, out.left, out.right, fine[1])
    for low_side, high_side, start, stop, size in (vertical, horizontal):
        assert low_side == 0 or 4 * ratio <= start - low_side < 4 * ratio + 2
        assert high_side == size or 4 * ratio <= high_side - stop < 4 * ratio + 2
    assert pair.fine.affine.almost_equals(high.affine * Affine.translation(pair.fine_window.left, pair.fine_window.top), 1e-6)
    assert pair.fine.shape == pair.fine_window.shape
    assert pair.coarse.shape == pair.coarse_window.shape
    assert pair.output_geobox.shape == out.shape


def test_oblong_pixels() -> None:
    low = GeoBox((20, 10), Affine(8, 0, WEST, 0, -4, NORTH), CRS)
    pair = pair_grids(low, GeoBox((80, 80), Affine(1, 0, WEST, 0, -1, NORTH), CRS))
    rows, cols = pair.axes
    assert (rows.ratio, cols.ratio, rows.first, cols.first) == pytest.approx((4, 8, 1.5, 3.5), abs=1e-6)
    assert pair.ratio == pytest.approx(np.sqrt(32))


@pytest.mark.parametrize("crs", ["EPSG:25832", "EPSG:4326", "EPSG:3035"])
def test_another_crs_against_pyproj(crs: str) -> None:
    """The coarse image in another system, around the middle of the fine one."""
    fine = GeoBox((300, 260), Affine(3.6, 0, WEST, 0, -3.6, NORTH), CRS)
    x, y = Transformer.from_crs(CRS, crs, always_xy=True).transform(WEST + 130 * 3.6, NORTH - 150 * 3.6)
    size = (30 / 68_000, 30 / 111_300) if crs == "EPSG:4326" else (30.0, 30.0)  # degrees of longitude are short at 52.5° north
    coarse = GeoBox((24, 20), Affine(size[0], 0, x - 10 * size[0], 0, -size[1], y + 12 * size[1]), crs)
    pair = pair_grids(coarse, fine)
    assert not pair.aligned
    assert pair.ratio == pytest.approx(30 / 3.6, rel=0.01)
    rows, cols = np.mgrid[0 : pair.coarse.shape[0], 0 : pair.coarse.shape[1]].astype(float)
    r, c = rows + pair.coarse_window.top, cols + pair.coarse_window.left
    back = Transformer.from_crs(crs, CRS, always_xy=True)
    east, north = back.transform(coarse.affine.c + (c + 0.5) * size[0], coarse.affine.f - (r + 0.5) * size[1])
    found_row, found_col = pair.to_fine(rows, cols)
    np.testing.assert_allclose(found_row, (NORTH - north) / 3.6 - 0.5 - pair.fine_window.top, atol=1e-5)
    np.testing.assert_allclose(found_col, (east - WEST) / 3.6 - 0.5 - pair.fine_window.left, atol=1e-5)
    again_row, again_col = pair.to_coarse(found_row, found_col)
    np.testing.assert_allclose(again_row, rows, atol=1e-4)
    np.testing.assert_allclose(again_col, cols, atol=1e-4)
    # The aligned stand-in agrees in the middle of the scene, where it is pinned down.
    middle = [axis.centres().mean() for axis in pair.axes]
    centre = pair.to_fine(np.array([(pair.coarse.shape[0] - 1) / 2]), np.array([(pair.coarse.shape[1] - 1) / 2]))
    assert middle == pytest.approx([float(v[0]) for v in centre], abs=1e-6)


def test_a_flipped_grid_is_not_aligned() -> None:
    low, high = boxes((10, 10), (40, 40), 4.0)
    south_up = GeoBox((10, 10), Affine(4, 0, WEST, 0, 4, NORTH - 40), CRS)
    assert pair_grids(low, high).aligned
    flipped = pair_grids(south_up, high)
    assert not flipped.aligned
    rows, cols = flipped.to_fine(np.array([0.0, 9.0]), np.array([0.0, 9.0]))
    assert rows == pytest.approx([37.5, 1.5], abs=1e-6)
    assert cols == pytest.approx([1.5, 37.5], abs=1e-6)


def test_one_system_in_two_spellings_is_aligned() -> None:
    low, high = boxes((10, 10), (40, 40), 4.0)
    assert pair_grids(GeoBox(low.shape, low.affine, low.crs.to_wkt()), high).aligned


@pytest.mark.parametrize(
    ("ratio", "message"),
    [
        (0.25, r"finer pixels .*ratio 0\.25.*swap them"),
        (1.2, r"ratio of HSI to MSI is 1\.2; expected 1\.5 to 32"),
        (40.0, r"ratio of HSI to MSI is 40; expected 1\.5 to 32"),
    ],
)
def test_refused_ratios(ratio: float, message: str) -> None:
    with pytest.raises(InvalidPair, match=message):
        pair_grids(*boxes((100, 100), (100, 100), ratio))


@pytest.mark.parametrize("ratio", [1.5, 32.0])
def test_ratios_at_the_limits_are_accepted(ratio: float) -> None:
    assert pair_grids(*boxes((4, 4), (128, 128), ratio)).ratio == pytest.approx(ratio)


@pytest.mark.parametrize(("large", "small"), [(0.3, 0.2), (3.2, 0.1)])
def test_no_ratio_at_the_limits_is_refused_for_its_rounding(large: float, small: float) -> None:
    for west, north in np.random.default_rng(0).uniform((2e5, 1e6), (8e5, 9e6), (50, 2)).round(2):
        low, high = (GeoBox((n, n), Affine(size, 0, west, 0, -size, north), CRS) for n, size in ((40, large), (200, small)))
        assert pair_grids(low, high).ratio == pytest.approx(large / small)


def test_two_coarse_pixels_are_enough() -> None:
    assert pair_grids(*boxes((3, 3), (54, 54), 27.0, first=(13, 13))).output.shape == (54, 54)


def test_refused_places() -> None:
    low, high = boxes((20, 20), (80, 80), 4.0)
    with pytest.raises(InvalidPair, match=r"do not overlap: HSI covers 13\..*°E, 52\..*°N, MSI covers 13\..*check the files"):
        pair_grids(low.translate_pix(25, 0), high)
    with pytest.raises(InvalidPair, match="overlap by 80 × 4 fine pixels only"):
        pair_grids(low.translate_pix(19, 0), high)
    nowhere = GeoBox((20, 20), Affine(4, 0, 5e7, 0, -4, 9e7), "EPSG:25832")
    with pytest.raises(InvalidInput, match="check"):
        pair_grids(nowhere, high)


@pytest.mark.parametrize("crs", ['LOCAL_CS["Arbitrary",UNIT["metre",1]]', "IAU_2015:49910"])
def test_crs_that_are_not_of_the_earth(crs: str) -> None:
    """One image on a grid of its own, or on Mars; two of them there form a pair, and are rejected with messages of their own."""
    low, high = boxes((20, 20), (80, 80), 4.0)
    there = [GeoBox(box.shape, box.affine, crs) for box in (low, high)]
    for one, other in ((there[0], high), (low, there[1])):
        with pytest.raises(
            InvalidPair, match=r"Nothing leads from the CRS '(Arbitrary|unknown|Mars|EPSG)[^']*' of one image to '[^\[]*' of"
        ):
            pair_grids(one, other)
    assert pair_grids(*there).ratio == pytest.approx(4.0)
    with pytest.raises(InvalidPair, match=r"do not overlap: HSI covers x 383569\.97–383649\.97, y"):
        pair_grids(there[0].translate_pix(25, 0), there[1])


windows = st.builds(lambda t, h, le, w: Window(t, t + h, le, le + w), *[st.integers(0, 50), st.integers(1, 50)] * 2)


@given(window=windows, pixels=st.integers(0, 80), rows=st.integers(-9, 9), cols=st.integers(-9, 9))
def test_windows(window: Window, pixels: int, rows: int, cols: int) -> None:
    within = Window(0, 100, 0, 100)
    assume(window.bottom <= 100 and window.right <= 100)
    canvas = np.arange(100 * 100).reshape(100, 100)
    assert canvas[window.slices].shape == window.shape
    grown = window.grown(pixels, within)
    rows_near = [r for r in range(100) if window.top - pixels <= r < window.bottom + pixels]
    cols_near = [c for c in range(100) if window.left - pixels <= c < window.right + pixels]
    assert np.array_equal(canvas[grown.slices], canvas[np.ix_(rows_near, cols_near)])
    assert window.offset(rows, cols).offset(-rows, -cols) == window


@given(start=st.tuples(st.integers(-12, 12), st.integers(-12, 12)), size=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_common_windows(start: tuple[int, int], size: tuple[int, int]) -> None:
    """Both windows cut out the same places, and all that both images show."""
    one = GeoBox((10, 8), Affine(3.6, 0, WEST, 0, -3.6, NORTH), CRS)
    other = GeoBox(size, one.affine * Affine.translation(start[1], start[0]), CRS)
    places = np.stack(np.mgrid[0:10, 0:8], -1)
    theirs = np.stack(np.mgrid[0 : size[0], 0 : size[1]], -1) + start
    shared = {tuple(p) for p in places.reshape(-1, 2).tolist()} & {tuple(p) for p in theirs.reshape(-1, 2).tolist()}
    if not shared:
        with pytest.raises(InvalidPair, match="no pixel in common"):
            common_windows(one, other)
        return
    here, there = common_windows(one, other)
    assert np.array_equal(places[here.slices], theirs[there.slices])
    assert {tuple(p) for p in places[here.slices].reshape(-1, 2).tolist()} == shared


@pytest.mark.parametrize("change", [Affine.translation(0.3, 0), Affine.scale(1.1), Affine.rotation(2)])
def test_other_grids_have_no_common_windows(change: Affine) -> None:
    one = GeoBox((10, 8), Affine(3.6, 0, WEST, 0, -3.6, NORTH), CRS)
    with pytest.raises(InvalidPair, match="not on one grid"):
        common_windows(one, GeoBox((10, 8), one.affine * change, CRS))
    with pytest.raises(InvalidPair, match=r"not on one grid: EPSG:32633 with pixels of 3\.6 and EPSG:32632 with"):
        common_windows(one, GeoBox((10, 8), one.affine, "EPSG:32632"))


def test_true_positions_against_pyproj() -> None:
    """Centres in degrees on a fine grid in metres; what lies farther than a pixel from the grid has none, nor has what is NaN."""
    fine = GeoBox((300, 260), Affine(3.6, 0, WEST, 0, -3.6, NORTH), CRS)
    lon, lat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(WEST + 400, NORTH - 500)
    step = np.array([30 / 111_300, 30 / 68_000])
    pair = pair_grids(
        GeoBox((20, 18), Affine(step[1], 0, lon - 9 * step[1], 0, -step[0], lat + 10 * step[0]), "EPSG:4326"), fine, displaced=True
    )
    window = Window(3, 9, 2, 7)
    moved = np.random.default_rng(0).uniform(-0.9, 0.9, (2, 6, 5))
    moved[:, 2, 3], moved[:, 4, 1], moved[0, 0, 0] = (1.1, 0), (0, -1.1), np.nan
    row, col = np.mgrid[3:9, 2:7] + 0.5 + moved
    affine = pair.coarse.affine
    found = pair.true_positions(np.stack([affine.f + affine.e * row, affine.c + affine.a * col]), window)
    lost = np.zeros((6, 5), bool)
    lost[2, 3] = lost[4, 1] = lost[0, 0] = True
    assert np.array_equal(np.isnan(found), np.stack([lost, lost]))
    east, north = Transformer.from_crs("EPSG:4326", CRS, always_xy=True).transform(affine.c + affine.a * col, affine.f + affine.e * row)
    expected = np.stack([(pair.fine.affine.f - north) / 3.6 - 0.5, (east - pair.fine.affine.c) / 3.6 - 0.5])
    np.testing.assert_allclose(found[:, ~lost], expected[:, ~lost], atol=1e-5)


def test_displaced_pixels_beyond_the_overlap_are_kept() -> None:
    """One more on each side, where the image has any."""
    low, high = boxes((20, 20), (41, 41), 4.0, first=(1.5 - 20, 1.5 - 20))
    plain, displaced = pair_grids(low, high).coarse_window, pair_grids(low, high, displaced=True).coarse_window
    assert displaced == plain.grown(1, Window(0, 20, 0, 20))
    assert plain != displaced


@pytest.mark.parametrize("shift", [0, 360])
def test_a_coarse_image_of_half_the_globe(shift: float) -> None:
    """It reaches where the fine image's CRS ends; ratio and windows are those of its part around the fine image."""
    step = 30 / 111_300
    lon, lat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(WEST + 500, NORTH - 500)
    north, west = lat + 100_000.5 * step, lon - 500_000.5 * step
    coarse = GeoBox((500_000, 1_000_000), Affine(step, 0, west + shift, 0, -step, north), "EPSG:4326")
    fine = GeoBox((250, 250), Affine(4, 0, WEST, 0, -4, NORTH), CRS)
    pair = pair_grids(coarse, fine)
    around = pair_grids(GeoBox((80, 80), Affine(step, 0, lon - 40.5 * step, 0, -step, lat + 40.5 * step), "EPSG:4326"), fine)
    assert pair.coarse.shape == around.coarse.shape
    assert pair.output == around.output
    assert pair.ratio == pytest.approx(around.ratio, rel=1e-9)
    assert pair.coarse_window == around.coarse_window.offset(100_000 - 40, 500_000 - 40)
