"""Where a raster lies on the globe: its outline in longitude and latitude."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from pyproj import Transformer
from pyproj.exceptions import ProjError
from rasterio.warp import transform_geom

from geofuse.cube.georef import crs_name
from geofuse.errors import InvalidCube

Ring = list[list[float]]

# Straight pixel edges are curves in longitude and latitude: 16 pieces a side keep the outline of a 100 km scene within 0.1 m.
_PIECES_PER_SIDE = 16
_TOLERANCE_DEG = 1e-7  # about 1 cm on the ground
_DECIMALS = 7


def footprint(geobox: GeoBox) -> tuple[dict[str, Any], list[float]]:
    """Outline and bounding box of a grid in EPSG:4326, as STAC and GeoJSON (RFC 7946) want them.

    The outline is densified before it is projected, cut at the antimeridian, and runs counter-clockwise.

    Parameters
    ----------
    geobox : odc.geo.geobox.GeoBox
        The grid; it must have a CRS.

    Returns
    -------
    geometry : dict
        GeoJSON Polygon, or MultiPolygon where the grid crosses the antimeridian; degrees.
    bbox : list of float
        West, south, east, north in degrees; west is greater than east across the antimeridian.

    Raises
    ------
    InvalidCube
        Nothing leads from its CRS to longitude and latitude on the earth: it is a local one, or of another planet.

    Examples
    --------
    >>> from odc.geo.geobox import GeoBox
    >>> geometry, bbox = footprint(GeoBox.from_bbox((13, 52, 14, 53), "EPSG:4326", resolution=0.5))
    >>> geometry["type"], bbox
    ('Polygon', [13.0, 52.0, 14.0, 53.0])
    """
    _check_of_the_earth(geobox)
    outline = geobox.extent
    box = outline.boundingbox
    dense = outline.segmented(max(box.span_x, box.span_y) / _PIECES_PER_SIDE)
    lonlat = transform_geom(str(geobox.crs), "EPSG:4326", dense.json, antimeridian_cutting=True)
    thin = Geometry(lonlat, "EPSG:4326").simplify(_TOLERANCE_DEG).json
    polygons = thin["coordinates"] if thin["type"] == "MultiPolygon" else [thin["coordinates"]]
    rings = [_counter_clockwise([[round(float(v), _DECIMALS) for v in point] for point in polygon[0]]) for polygon in polygons]
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings}, _bbox(rings)
    return {"type": "MultiPolygon", "coordinates": [[ring] for ring in rings]}, _bbox(rings)


def _check_of_the_earth(geobox: GeoBox) -> None:
    try:
        Transformer.from_crs(str(geobox.crs), "EPSG:4326")
    except ProjError:
        name = crs_name(geobox.crs.proj)  # type: ignore[union-attr]
        raise InvalidCube(
            f"A STAC item says where an image is in longitude and latitude, and nothing leads there from its CRS {name!r}. Write no item "
            "(--no-stac), or give both images a CRS of the earth."
        ) from None


def _counter_clockwise(ring: Ring) -> Ring:
    """The ring, reversed if its signed (shoelace) area is negative."""
    twice_area = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise(ring))
    return ring if twice_area > 0 else ring[::-1]


def _bbox(rings: list[Ring]) -> list[float]:
    lats = [y for ring in rings for _, y in ring]
    lons = [[x for x, _ in ring] for ring in rings]
    touches_east = [max(xs) >= 180 for xs in lons]
    touches_west = [min(xs) <= -180 for xs in lons]
    if len(rings) > 1 and any(touches_east) and any(touches_west):
        # RFC 7946, 5.2: a box across the antimeridian starts in the east and ends in the west.
        west = min(min(xs) for xs, east_part in zip(lons, touches_east, strict=True) if east_part)
        east = max(max(xs) for xs, west_part in zip(lons, touches_west, strict=True) if west_part)
    else:
        west, east = min(map(min, lons)), max(map(max, lons))
    return [west, min(lats), east, max(lats)]
