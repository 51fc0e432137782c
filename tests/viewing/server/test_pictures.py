from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import geofuse
from geofuse.cube.bands import BandTable
from geofuse.reporting.maps import draw_layers
from geofuse.reporting.pictures import encoded_flags
from geofuse.viewing.server import layers, pictures
from geofuse.viewing.server.layers import Layer
from geofuse.viewing.server.pictures import Bands, IndexOf
from geofuse.viewing.server.scene import NotThere, Scene, open_scene
from tests.viewing.server.conftest import COLUMNS, NM, ROWS, Files, reflectance


def test_stretch_is_that_of_the_pixels(files: Files) -> None:
    found = pictures.stretch(open_scene(files.fused), Bands((4, 2, 1)), 2)
    row, column = np.mgrid[:ROWS, :COLUMNS]
    shown = np.maximum(row, column) >= 16
    for (low, high), band in zip(found, (4, 2, 1), strict=True):
        expected = np.percentile(reflectance(band, row, column)[shown], (2, 98))
        np.testing.assert_allclose((low, high), expected, atol=2e-4)


def test_an_image_that_is_too_large_to_be_seen_whole_is_stretched_by_its_middle(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "MOST_VALUES", 3 * 512 * 512)
    fused = Layer(geofuse.open_hsi(files.fused))
    found = pictures.stretch(Scene("scene", fused), Bands((4, 2, 1)), 0)
    row, column = np.mgrid[24:536, 4:516]
    middle = reflectance(4, row, column)[(row >= 16) | (column >= 16)]
    np.testing.assert_allclose(found[0], (middle.min(), middle.max()), atol=1e-6)


def test_an_image_shows_the_bands_nearest_in_wavelength_or_none() -> None:
    fused = BandTable.make([f"{w:g}" for w in NM], NM)
    fine = BandTable.make(["b", "g", "r", "n"], [490, 560, 665, 842])
    assert pictures.matching((4, 2, 1), fused, fine) == [2, 1, 0]
    assert pictures.matching((10, 9, 6), fused, fine) is None
    assert pictures.matching((4, 2, 1), fused, BandTable.make(["b", "g", "r", "n"])) == [2, 1, 0]
    assert pictures.matching((7, 8, 9), BandTable.make("abcdefghij"), BandTable.make("abcdefghij")) == [7, 8, 9]


def test_presets_are_those_that_the_image_has() -> None:
    visible = BandTable.make([f"{w:g}" for w in NM[:5]], NM[:5])
    assert pictures.presets(visible) == {"True colour": (4, 2, 1)}
    assert set(pictures.presets(BandTable.make([f"{w:g}" for w in NM], NM))) == {"True colour", "Colour infrared", "Short-wave infrared"}
    assert pictures.presets(BandTable.make("abc")) == {"First bands": (2, 1, 0)}


def test_tiles_cover_the_map_once(files: Files) -> None:
    box = open_scene(files.fused).box
    assert pictures.levels(box) == 1
    shapes = {(c, r): pictures.tile_box(box, 0, c, r).shape for c in range(3) for r in range(3)}
    assert sum(h * w for h, w in shapes.values()) == ROWS * COLUMNS
    assert pictures.tile_box(box, 1, 1, 1).shape == (24, 4)
    for wrong in ((2, 0, 0), (-1, 0, 0), (0, 3, 0), (0, 0, -1)):
        with pytest.raises(NotThere):
            pictures.tile_box(box, *wrong)


def test_colours_follow_the_limits_and_nodata_is_clear() -> None:
    values = np.array([[[0.0, 0.1, 0.15, 0.3, np.nan]]] * 3, np.float32)
    found = pictures.picture(values, [(0.1, 0.3)] * 3)
    assert found[0, :, 0].tolist() == [0, 0, 64, 255, 0]
    assert found[0, :, 3].tolist() == [255, 255, 255, 255, 0]
    index = pictures.picture(values[:1], [(0.0, 0.3)])
    assert index[0, 0, :3].tolist() == [68, 1, 84]  # the ends of viridis, as its authors give them
    assert index[0, 3, :3].tolist() == [253, 231, 37]


def test_an_index_is_that_of_its_bands(files: Files) -> None:
    scene = open_scene(files.fused, msi=files.msi)
    box = scene.box[300:301, 300:301]
    near_infrared, red = reflectance(6, 300, 300), reflectance(4, 300, 300)
    for layer in scene.images().values():
        found = IndexOf("NDVI").values(layer, scene, box)
        assert found is not None
        assert found.item() == pytest.approx((near_infrared - red) / (near_infrared + red), rel=1e-4)
    assert IndexOf("NBR").values(scene.images()["msi"], scene, box) is None  # no short-wave infrared


def test_a_pixel_has_the_colour_of_its_most_serious_flag() -> None:
    found = pictures.flagged(np.array([[0, 1, 2, 4, 8, 16, 2 | 4 | 16, 2 | 8]], np.uint8))[0]
    assert found[:2, 3].tolist() == [0, 0]
    hexes = ["#" + bytes(pixel[:3]).hex() for pixel in found[2:]]
    assert hexes == ["#e69f00", "#8a949d", "#cc79a7", "#d55e00", "#d55e00", "#cc79a7"]


def test_a_flag_has_the_colour_that_it_has_in_a_report() -> None:
    report = {"scene": {"quality": encoded_flags(np.array([list(pictures.COLOURS)], np.uint8))}}
    (drawn,) = draw_layers(report).axes[0].images
    shown = drawn.to_rgba(drawn.get_array(), bytes=True)[0, :, :3]
    assert ["#" + bytes(pixel).hex() for pixel in shown] == list(pictures.COLOURS.values())


def test_png_fills_a_tile() -> None:
    with Image.open(io.BytesIO(pictures.png(np.full((3, 5, 4), 255, np.uint8)))) as image:
        pixels = np.asarray(image)
    assert pixels.shape == (256, 256, 4)
    assert (pixels[..., 3] > 0).sum() == 15
