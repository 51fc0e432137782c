"""Where a Zarr store says that its pixels lie: the attributes of the GeoZarr conventions, and the shapes of its chunks.

Followed are the conventions `multiscales`, `proj` and `spatial`, each in its version 0.1 (https://github.com/zarr-conventions): CRS as
WKT2 with its code beside it, transform and shape of every level, and which level was made from which. CF says the same once more, in
the variable ``spatial_ref``, for readers that know only that.
"""

from __future__ import annotations

from typing import Any

import pyproj
from affine import Affine
from odc.geo.geobox import GeoBox

# 512 KiB a band, 8 MiB a chunk before compression: one read of a spectrum opens a chunk for each 16 bands, one of a band reads 16.
_CHUNK_BANDS, _CHUNK_SIDE = 16, 256
# A shard is encoded in memory as a whole.
_SHARD_BYTES = 128 * 2**20

_CONVENTIONS = {
    "multiscales": ("d35379db-88df-4056-af3a-620245f8e347", "Multiscale layout of zarr datasets"),
    "proj": ("f17cb550-5864-4468-aeb7-f3180cfb622f", "Coordinate reference system information for geospatial data"),
    "spatial": ("689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "Spatial coordinate information"),
}

Shape = tuple[int, int, int]


def chunking(bands: int, side: int, itemsize: int) -> tuple[Shape, Shape]:
    """Shapes (bands, rows, columns) of a chunk, which is read as a whole, and of a shard, which is a file of many chunks.

    Parameters
    ----------
    bands : int
        Of the image.
    side : int
        Pixels along the side of a shard, a multiple of 16.
    itemsize : int
        Bytes of a stored number.

    Examples
    --------
    >>> chunking(224, 512, 2), chunking(177, 512, 4)
    (((16, 256, 256), (224, 512, 512)), ((15, 256, 256), (120, 512, 512)))
    """
    inner = side // 2
    while inner > _CHUNK_SIDE:  # sides are multiples of 16, and at most 4096
        inner //= 2
    depth = -(-bands // -(-bands // _CHUNK_BANDS))
    groups = -(-bands // depth)
    most = max(1, _SHARD_BYTES // (depth * side * side * itemsize))
    return (depth, inner, inner), (depth * min(groups, most), side, side)


def level_geobox(image: GeoBox, level: int) -> GeoBox:
    """Grid of an overview: the same corner, pixels twice as large from level to level."""
    rows, cols = (-(-length // 2**level) for length in image.shape)
    t, factor = image.affine, 2**level
    return GeoBox((rows, cols), Affine(t.a * factor, 0.0, t.c, 0.0, t.e * factor, t.f), image.crs)


def root_attributes(image: GeoBox, levels: int, variable: str) -> dict[str, Any]:
    """Attributes of the root group, which holds the image itself, and overviews as groups ``1``, ``2`` and so on.

    Parameters
    ----------
    image : GeoBox
        Grid of the image.
    levels : int
        Overviews.
    variable : str
        Name of the array in each of the groups.
    """
    assets = [f"{level}/{variable}" if level else variable for level in range(levels + 1)]
    layout: list[dict[str, Any]] = []
    for level, asset in enumerate(assets):
        step = {"derived_from": assets[level - 1]} if level else {}
        transform = {"scale": [2.0, 2.0] if level else [1.0, 1.0], "translation": [0.0, 0.0]}
        layout.append({"asset": asset, **step, "transform": transform, **_placed(level_geobox(image, level))})
    return {
        "Conventions": "CF-1.11",
        "zarr_conventions": [_declared(name) for name in _CONVENTIONS],
        "multiscales": {"layout": layout, "resampling_method": "average"},
        **_crs(image),
        "spatial:dimensions": ["y", "x"],
        "spatial:bbox": list(image.boundingbox.bbox),
    }


def array_attributes(grid: GeoBox) -> dict[str, Any]:
    """Attributes of the image, or of an overview, by itself."""
    return {
        "zarr_conventions": [_declared("proj"), _declared("spatial")],
        **_crs(grid),
        "spatial:dimensions": ["y", "x"],
        **_placed(grid),
        "spatial:registration": "pixel",
    }


def _placed(grid: GeoBox) -> dict[str, Any]:
    return {"spatial:shape": list(grid.shape), "spatial:transform": [float(value) for value in tuple(grid.affine)[:6]]}


def _crs(grid: GeoBox) -> dict[str, Any]:
    crs = pyproj.CRS.from_wkt(str(grid.crs.to_wkt()))  # type: ignore[union-attr]
    authority = crs.to_authority(min_confidence=100)
    return {"proj:wkt2": crs.to_wkt("WKT2_2019")} | ({"proj:code": ":".join(authority)} if authority else {})


def _declared(name: str) -> dict[str, str]:
    uuid, description = _CONVENTIONS[name]
    return {
        "schema_url": f"https://raw.githubusercontent.com/zarr-conventions/{name}/refs/tags/v0.1/schema.json",
        "spec_url": f"https://github.com/zarr-conventions/{name}/blob/v0.1/README.md",
        "uuid": uuid,
        "name": name,
        "description": description,
    }
