"""Where a raster lies on the globe: its outline in longitude and latitude."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import antimeridian
import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from pyproj.exceptions import ProjError
from rasterio.features import shapes
from shapely import MultiPolygon, Polygon, intersection, segmentize, to_geojson, transform, union_all
from shapely.geometry import shape

from geofuse.cube.georef import crs_name
from geofuse.errors import InvalidCube

# Straight pixel edges are curves in longitude and latitude: 16 pieces a side keep the outline of a 100 km scene within 0.1 m.
_PIECES_PER_SIDE = 16
_TOLERANCE_DEG = 1e-7  # about 1 cm on the ground
_DECIMALS = 7
_SIDE = 512  # pixels along each side that decide about the outline of the data
_SPECK = 1e-3  # of the largest part: smaller ones do not show
_MOST_PARTS = 16


def footprint(geobox: GeoBox, valid: NDArray[np.bool_] | None = None) -> tuple[dict[str, Any], list[float]]:
    """Outline and bounding box of a grid, or of its pixels with data, in EPSG:4326, as STAC and GeoJSON (RFC 7946) want them.

    The outline is densified before it is projected, cut at the antimeridian, led around a pole that it holds, and runs counter-clockwise.

    Parameters
    ----------
    geobox : odc.geo.geobox.GeoBox
        The grid; it must have a CRS.
    valid : ndarray of bool, optional
        Where there is data, as `thinned` gives it. The outline leads around these pixels, to within one of them; gaps within it, such as
        clouds, and specks outside it do not show.

    Returns
    -------
    geometry : dict
        GeoJSON Polygon, or MultiPolygon where it crosses the antimeridian or has several parts; degrees.
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
    to_lonlat, box = _transformer(geobox), geobox.extent.boundingbox
    parts = []
    for outline in _outlines(geobox, valid):
        dense = segmentize(outline, max(box.span_x, box.span_y) / _PIECES_PER_SIDE)
        ring = _counter_clockwise(np.column_stack(to_lonlat.transform(*np.asarray(dense.exterior.coords).T)))
        cut = antimeridian.fix_polygon(Polygon(ring), fix_winding=False, great_circle=False)
        parts += list(getattr(cut, "geoms", [cut]))
    whole = parts[0] if len(parts) == 1 else MultiPolygon(parts)
    thin = transform(whole.simplify(_TOLERANCE_DEG), lambda lonlat: lonlat.round(_DECIMALS))
    return json.loads(to_geojson(thin)), antimeridian.bbox(thin)


def thinned(plane: NDArray[Any], missing: Sequence[int] = (0,)) -> NDArray[np.bool_]:
    """Where there is data, in pixels so large that an image has some hundred along each side; one holds data if any in it does.

    Parameters
    ----------
    plane : ndarray, shape (rows, columns)
    missing : sequence of int
        What stands in it where there is no data.

    Examples
    --------
    >>> thinned(np.eye(3)).sum(), thinned(np.eye(5000)).shape
    (np.int64(3), (500, 500))
    """
    step = max(1, -(-max(plane.shape) // _SIDE))
    columns, rows = np.arange(0, plane.shape[1], step), range(0, plane.shape[0], step)
    return np.array([np.logical_or.reduceat(~np.isin(plane[top : top + step], missing).all(0), columns) for top in rows])


def _outlines(geobox: GeoBox, valid: NDArray[np.bool_] | None) -> list[Polygon]:
    """Rings around the pixels with data, on the grid's own map."""
    whole = geobox.extent.geom
    if valid is None or valid.all() or not valid.any():
        return [whole]
    step = max(1, -(-max(geobox.shape) // _SIDE))
    large = geobox.affine * Affine.scale(step)
    found = (shape(ring) for ring, _ in shapes(valid.astype(np.uint8), mask=valid, transform=large))
    filled = union_all([Polygon(part.exterior) for part in found])
    parts = sorted(getattr(filled, "geoms", [filled]), key=lambda part: -part.area)
    kept = [part for part in parts if part.area >= _SPECK * parts[0].area]
    if len(kept) > _MOST_PARTS:
        kept = [union_all(kept).convex_hull]
    pixel = max(abs(large.a), abs(large.e))
    drawn = [intersection(part, whole).simplify(pixel) for part in kept]
    return [Polygon(part.exterior) for each in drawn for part in getattr(each, "geoms", [each]) if part.geom_type == "Polygon"] or [whole]


def _transformer(geobox: GeoBox) -> Transformer:
    """From the CRS of a grid to longitude and latitude."""
    try:
        return Transformer.from_crs(str(geobox.crs), "EPSG:4326", always_xy=True)
    except ProjError:
        name = crs_name(geobox.crs.proj)  # type: ignore[union-attr]
        raise InvalidCube(
            f"A STAC item says where an image is in longitude and latitude, and nothing leads there from its CRS {name!r}. Write no item "
            "(--no-stac), or give both images a CRS of the earth."
        ) from None


def _counter_clockwise(ring: np.ndarray) -> np.ndarray:
    """The ring (N, 2), longitude and latitude, reversed if on the globe it runs clockwise; a CRS may have its axes mirrored."""
    steps = (np.diff(ring[:, 0]) + 180) % 360 - 180
    lon, lat = np.cumsum(steps), (ring[1:, 1] + ring[:-1, 1]) / 2
    around = round(lon[-1] / 360)  # times around a pole
    clockwise = around * lat.mean() < 0 if around else (steps * lat).sum() > 0
    return ring[::-1] if clockwise else ring
