from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer

import geofuse
from geofuse.viewing.server import layers
from geofuse.viewing.server.layers import FileLayer, Layer, TooFar, layer_of, sampled
from tests.viewing.server.conftest import COLUMNS, NM, NORTH, PIXEL, ROWS, WEST, Files, cube, reflectance


def test_a_whole_file_is_read_with_its_overviews_and_a_part_of_it_is_not(files: Files) -> None:
    whole = geofuse.open_hsi(files.fused)
    assert isinstance(layer_of(whole), FileLayer)
    assert isinstance(layer_of(whole, str(files.fused)), FileLayer)
    assert not isinstance(layer_of(whole.isel(x=slice(10, None))), FileLayer)
    assert not isinstance(layer_of(whole.compute()), FileLayer)


@pytest.mark.parametrize("in_memory", [False, True])
def test_pixels_of_the_same_grid_are_those_of_the_image(files: Files, in_memory: bool) -> None:
    image = geofuse.open_hsi(files.fused)
    layer = layer_of(image.compute() if in_memory else image)
    values = sampled(layer, [6, 0], layer.box[100:356, 200:456])
    row, column = np.mgrid[100:356, 200:456]
    np.testing.assert_allclose(values, [reflectance(band, row, column) for band in (6, 0)], atol=1e-6)


def test_bands_of_some_are_those_of_the_file(files: Files) -> None:
    layer = layer_of(geofuse.open_hsi(files.fused, bands=["842 nm", "490 nm"]))
    assert isinstance(layer, FileLayer)
    np.testing.assert_allclose(layer.spectrum(80, 160), [reflectance(band, 80, 160) for band in (6, 1)], atol=1e-6)


@pytest.mark.parametrize("in_memory", [False, True])
def test_seen_from_afar_a_pixel_is_one_of_those_under_it(files: Files, in_memory: bool) -> None:
    image = geofuse.open_hsi(files.fused)
    layer = layer_of(image.compute() if in_memory else image)
    values = sampled(layer, [3], layer.box.zoom_out(8)[4:60, 4:60])[0]
    row, column = np.mgrid[4:60, 4:60] * 8 + 4
    np.testing.assert_allclose(values, reflectance(3, row, column), atol=1e-6)  # blocks of 8 x 8 pixels are alike


def test_another_crs_shows_the_same_places(files: Files) -> None:
    layer = layer_of(geofuse.open_hsi(files.hsi))
    to_there = Transformer.from_crs(32633, 32632, always_xy=True)
    x, y = to_there.transform(WEST + 3000, NORTH - 2500)
    box = GeoBox((40, 50), Affine(37, 0, x, 0, -37, y), "EPSG:32632")
    values = sampled(layer, [2], box)[0]
    with rasterio.open(files.hsi) as file:
        for row, column in ((0, 0), (20, 30), (39, 49)):
            place = to_there.transform(x + 37 * (column + 0.5), y - 37 * (row + 0.5), direction="INVERSE")
            assert values[row, column] == pytest.approx(next(file.sample([place], 3))[0] * 1e-4, abs=1e-6)


def test_there_is_nothing_beside_the_image(files: Files) -> None:
    layer = layer_of(geofuse.open_hsi(files.fused))
    far = GeoBox((8, 8), Affine(PIXEL, 0, WEST - 1e5, 0, -PIXEL, NORTH), layer.box.crs)
    assert np.isnan(sampled(layer, [0], far)).all()
    edge = GeoBox((8, 8), Affine(PIXEL, 0, WEST + (COLUMNS - 4) * PIXEL, 0, -PIXEL, NORTH - (ROWS - 6) * PIXEL), layer.box.crs)
    np.testing.assert_array_equal(np.isfinite(sampled(layer, [0], edge)[0]), np.add.outer(np.arange(8) >= 6, np.arange(8) >= 4) == 0)


def test_an_image_without_overviews_is_not_read_as_a_whole(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "MOST_VALUES", 256 * 256)
    lazy = Layer(geofuse.open_hsi(files.fused))  # as a product's reader gives it
    assert not lazy.seen_from_afar
    assert np.isfinite(sampled(lazy, [0], lazy.box[100:356, 100:356])).all()
    with pytest.raises(TooFar):
        sampled(lazy, [0], lazy.box.zoom_out(2))


def test_a_place_is_a_pixel_in_any_crs(files: Files) -> None:
    layer = layer_of(geofuse.open_hsi(files.fused))
    x, y = WEST + 1234.5, NORTH - 4321.0
    assert layer.pixel_at(x, y, CRS(32633)) == (432, 123)
    assert layer.pixel_at(*Transformer.from_crs(32633, 4326, always_xy=True).transform(x, y), CRS(4326)) == (432, 123)
    assert layer.pixel_at(WEST - 1, y, CRS(32633)) is None
    assert layer.pixel_at(x, NORTH + 1, CRS(32633)) is None


def test_nodata_and_masks_are_nan(files: Files) -> None:
    assert np.isnan(layer_of(geofuse.open_hsi(files.fused)).spectrum(3, 3)).all()
    values = np.full((len(NM), 8, 8), 0.3)
    values[:, 2, 2] = np.nan
    assert np.isnan(layer_of(cube(values)).spectrum(2, 2)).all()
