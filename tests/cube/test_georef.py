"""Coordinates: to the last bit those of the image that the pixels belong to, in memory and through files."""

from __future__ import annotations

import base64
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import odc.stac
import pytest
import rioxarray
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rioxarray.rioxarray import affine_to_coords

import geofuse
from geofuse.cube.georef import centres, coordinate_tags, tagged_centres
from geofuse.cube.schema import as_cube, geobox, wrap
from geofuse.pair.scene import Scene
from geofuse.stac.item import Processing, make_item, write_item
from tests.crops import small_files, small_model

# Pixel size, and an origin of such a scene, metres and degrees.
METRES = st.tuples(st.sampled_from([10.0, 2.5, 3.6, 1 / 3, 0.3, 30.0, 29.97]), st.floats(1e5, 9e5), st.floats(-9e6, 9e6))
DEGREES = st.tuples(st.sampled_from([1 / 3600, 1e-4, 8.983152841195215e-05, 1 / 3]), st.floats(-179, 150), st.floats(-60, 85))
PLACES = st.one_of(METRES.map(lambda place: (32633, *place)), DEGREES.map(lambda place: (4326, *place)))
CUT = st.tuples(st.integers(0, 40), st.integers(0, 40))
NO_TAGS: dict[str, str] = {}


def image(place: tuple[int, float, float, float], side: int = 64, bands: int = 1, ratio: int = 1) -> xr.DataArray:
    crs, size, west, north = place
    data = np.full((bands, side // ratio, side // ratio), 0.2, np.float32)
    transform = Affine(size * ratio, 0, west, 0, -size * ratio, north)
    return wrap(data, transform=transform, crs=crs, names=[str(band) for band in range(bands)])


def same(one: Any, other: Any) -> bool:
    """Equal to the last bit along both axes."""
    return all(np.array_equal(one[dim].values, other[dim].values) for dim in ("y", "x"))


@settings(max_examples=30)
@given(PLACES)
def test_centres_are_those_of_rioxarray_and_odc(place: tuple[int, float, float, float]) -> None:
    cube = image(place)
    box = geobox(cube)
    assert all(np.array_equal(box.coords[key].values, cube[dim].values) for key, dim in zip(box.dimensions, ("y", "x"), strict=True))
    again = affine_to_coords(box.affine, *box.shape[::-1])
    assert all(np.array_equal(again[dim], cube[dim]) for dim in ("y", "x"))


@settings(max_examples=20)
@given(PLACES, CUT)
def test_the_fused_image_has_coordinates_of_the_msi(place: tuple[int, float, float, float], first: tuple[int, int]) -> None:
    msi = image(place)[:, first[0] % 7 :, first[1] % 7 :]
    hsi = image(place, bands=3, ratio=4)[:, 2:12, 3:14]
    y, x = Scene.of(hsi, as_cube(msi)).output_coordinates
    assert set(y) <= set(msi.y.values)
    assert set(x) <= set(msi.x.values)
    assert len(y) == 40
    assert len(x) == 44


@settings(max_examples=8)
@given(PLACES, CUT)
def test_coordinates_come_back_from_files(place: tuple[int, float, float, float], first: tuple[int, int]) -> None:
    cube = as_cube(image(place)[:, first[0] :, first[1] :])
    with tempfile.TemporaryDirectory() as folder:
        cog = geofuse.to_cog(cube, Path(folder) / "a.tif", progress=False)
        store = geofuse.to_zarr(cube, Path(folder) / "a.zarr", progress=False)
        assert same(geofuse.open_msi(cog), cube)
        assert same(geofuse.open_msi(store), cube)
        with xr.open_zarr(store) as dataset:
            assert same(dataset, cube)
        with rioxarray.open_rasterio(cog) as plain:
            for dim in ("y", "x"):
                np.testing.assert_allclose(plain[dim], cube[dim], rtol=0, atol=1e-6 * place[1])


@pytest.mark.parametrize("place", [(32633, 10.0, 399960.0, 5900040.0), (32633, 2.5, 383469.5, 5818303.5), (4326, 0.125, 13.25, 52.5)])
def test_bits_hold_for_every_reader_where_a_geotransform_can_say_them(place: tuple[int, float, float, float], tmp_path: Path) -> None:
    cube = image(place)[:, 13:, 7:]
    cog = geofuse.to_cog(cube, tmp_path / "a.tif", progress=False)
    with rioxarray.open_rasterio(cog) as plain, xr.open_dataset(cog, engine="rasterio") as dataset:
        assert same(plain, cube)
        assert same(dataset, cube)
        assert not any(key.startswith("geofuse") for key in plain.attrs)
    item = make_item(cog, Processing("none"))
    write_item(item)
    loaded = odc.stac.load([item])
    dims = loaded.odc.spatial_dims
    assert all(np.array_equal(loaded[theirs], cube[ours]) for theirs, ours in zip(dims, ("y", "x"), strict=True))


def test_arithmetic_with_the_msi_keeps_every_pixel(tmp_path: Path) -> None:
    """3.6 m, on the embedded scene: 98 of 125 columns were left of it when the coordinates differed by 6e-11 m."""
    hsi, msi = geofuse.open_hsi(small_files()[0]), geofuse.open_msi(small_files()[1])
    fused = geofuse.fuse(hsi, msi, model=small_model(), progress=False)
    assert (msi[0] - fused[0]).shape == fused.shape[1:]
    with rioxarray.open_rasterio(small_files()[1]) as own:
        assert (own[0] - fused[0]).shape == fused.shape[1:]
    cog = fused[:3].mossfuse.to_cog(tmp_path / "a.tif", progress=False)
    store = fused[:3].mossfuse.to_zarr(tmp_path / "a.zarr", progress=False)
    for again in (geofuse.open_hsi(cog), geofuse.open_msi(store), xr.open_zarr(store).reflectance):
        assert (msi[0].drop_vars("good") - again[0].drop_vars("good")).shape == fused.shape[1:]
    loaded = odc.stac.load([fused[:3].mossfuse.to_stac(cog)])
    assert loaded.sizes["x"] == fused.sizes["x"]
    np.testing.assert_allclose(loaded.x, fused.x, rtol=0, atol=3.6e-6)
    np.testing.assert_allclose(loaded.y, fused.y, rtol=0, atol=3.6e-6)


def test_coordinates_of_a_users_own_array_are_kept() -> None:
    """Ascending, and made by other sums than those of a geotransform."""
    x, y = np.linspace(13.1, 13.2, 64), np.linspace(52.0, 52.1, 64)
    array = xr.DataArray(np.ones((1, 64, 64), np.float32), dims=("band", "y", "x"), coords={"y": y, "x": x}).rio.write_crs(4326)
    cube = as_cube(array)
    assert np.array_equal(cube.x, x)
    assert np.array_equal(cube.y, y[::-1])
    assert (array.isel(band=0) - cube.isel(band=0)).shape == (64, 64)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no base64!",
        base64.b64encode(b"no zlib").decode(),
        *(base64.b64encode(zlib.compress(raw)).decode() for raw in (b"", b"\0" * 24, b"\xff\x7f" * 16)),
    ],
)
def test_a_tag_that_says_nothing_sensible_is_left_alone(text: str) -> None:
    assert np.array_equal(tagged_centres({"geofuse_x": text}, "x", 5e5, 3.6, 4), centres(5e5, 3.6, 4))


def test_a_tag_unpacks_to_no_more_than_the_coordinates() -> None:
    bomb = base64.b64encode(zlib.compress(b"\0" * 10**6, 9)).decode()
    assert np.array_equal(tagged_centres({"geofuse_x": bomb}, "x", 5e5, 3.6, 4), centres(5e5, 3.6, 4))


def test_coordinates_farther_away_than_rounding_are_no_business_of_the_tags() -> None:
    cube = image((32633, 3.6, 5e5, 5e6))
    assert coordinate_tags(cube.assign_coords(x=cube.x + 1e-3), geobox(cube).affine) == NO_TAGS
