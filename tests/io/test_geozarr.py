"""Attributes against the conventions' own package, chunk shapes against what Zarr demands."""

from __future__ import annotations

from typing import Any

import pytest
import zarr_cm
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from geofuse.io.geozarr import array_attributes, chunking, level_geobox, root_attributes

GRID = GeoBox((701, 600), Affine(3.6, 0, 383469.97, 0, -3.6, 5818303.55), "EPSG:32633")


def group(attributes: dict[str, Any]) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


def array(attributes: dict[str, Any]) -> dict[str, Any]:
    described = {"data_type": "int16", "shape": [5, 701, 600], "fill_value": 0, "dimension_names": ["band", "y", "x"]}
    grid = {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [5, 701, 600]}}, "codecs": [{"name": "bytes"}]}
    keys = {"chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}}}
    return {"zarr_format": 3, "node_type": "array", "attributes": attributes, **described, **grid, **keys}


def test_the_conventions_accept_the_root_group() -> None:
    root = group(root_attributes(GRID, 2, "reflectance"))
    for convention in (zarr_cm.multiscales, zarr_cm.proj, zarr_cm.spatial):
        convention.validate_group_metadata(root)
    declared = {entry["name"]: entry for entry in root["attributes"]["zarr_conventions"]}
    assert declared["multiscales"] == zarr_cm.multiscales.CMO
    assert declared["proj"] == zarr_cm.proj.CMO
    assert declared["spatial"] == zarr_cm.spatial.CMO


def test_the_conventions_accept_the_array() -> None:
    for convention in (zarr_cm.proj, zarr_cm.spatial):
        convention.validate_array_metadata(array(array_attributes(GRID)))


@pytest.mark.parametrize(
    ("convention", "broken"),
    [
        (zarr_cm.multiscales, {"multiscales": {"layout": []}}),
        (zarr_cm.proj, {"proj:code": "32633"}),
        (zarr_cm.spatial, {"spatial:bbox": [1.0, 2.0, 3.0]}),
    ],
)
def test_the_check_itself_can_fail(convention: Any, broken: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        convention.validate_group_metadata(group(root_attributes(GRID, 2, "reflectance") | broken))


def test_levels_share_the_corner_and_cover_the_image() -> None:
    root = root_attributes(GRID, 2, "reflectance")
    assert [level["spatial:shape"] for level in root["multiscales"]["layout"]] == [[701, 600], [351, 300], [176, 150]]
    assert [level.get("derived_from") for level in root["multiscales"]["layout"]] == [None, "reflectance", "1/reflectance"]
    for level in root["multiscales"]["layout"]:
        assert level["spatial:transform"][2] == 383469.97
        assert level["spatial:transform"][5] == 5818303.55
    assert level_geobox(GRID, 2).affine == Affine(14.4, 0, 383469.97, 0, -14.4, 5818303.55)
    assert root["spatial:bbox"] == pytest.approx([383469.97, 5818303.55 - 3.6 * 701, 383469.97 + 3.6 * 600, 5818303.55])


def test_a_crs_without_a_code_is_text_alone() -> None:
    own = "+proj=laea +lat_0=10 +lon_0=-81 +ellps=WGS84 +units=m +no_defs"
    attributes = array_attributes(GeoBox((2, 3), Affine(1, 0, 0, 0, -1, 0), own))
    assert "proj:code" not in attributes
    assert attributes["proj:wkt2"].startswith("PROJCRS[")
    assert array_attributes(GRID)["proj:code"] == "EPSG:32633"


@given(bands=st.integers(1, 500), side=st.integers(1, 256).map(lambda k: 16 * k), itemsize=st.sampled_from([2, 4]))
def test_chunks_fill_shards(bands: int, side: int, itemsize: int) -> None:
    chunk, shard = chunking(bands, side, itemsize)
    assert all(whole % part == 0 for whole, part in zip(shard, chunk, strict=True))
    assert shard[1] == shard[2] == side
    assert chunk[0] <= 16
    assert chunk[1] <= 256
    assert shard[0] < bands + chunk[0]
    most = max(128 * 2**20, chunk[0] * side**2 * itemsize)
    assert shard[0] * side**2 * itemsize <= most
