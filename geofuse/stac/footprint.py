"""Where a raster lies on the globe: its outline in longitude and latitude."""

from __future__ import annotations

import json
from typing import Any

import antimeridian
import numpy as np
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from pyproj.exceptions import ProjError
from shapely import Polygon, to_geojson, transform

from geofuse.cube.georef import crs_name
from geofuse.errors import InvalidCube

# Straight pixel edges are curves in longitude and latitude: 16 pieces a side keep the outline of a 100 km scene within 0.1 m.
_PIECES_PER_SIDE = 16
_TOLERANCE_DEG = 1e-7  # about 1 cm on the ground
_DECIMALS = 7


def footprint(geobox: GeoBox) -> tuple[dict[str, Any], list[float]]:
    """Outline and bounding box of a grid in EPSG:4326, as STAC and GeoJSON (RFC 7946) want them.

    The outline is densified before it is projected, cut at the antimeridian, led around a pole that it holds, and runs counter-clockwise.

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
    to_lonlat = _transformer(geobox)
    outline = geobox.extent
    box = outline.boundingbox
    dense = outline.segmented(max(box.span_x, box.span_y) / _PIECES_PER_SIDE)
    ring = _counter_clockwise(np.column_stack(to_lonlat.transform(*np.asarray(dense.geom.exterior.coords).T)))
    cut = antimeridian.fix_polygon(Polygon(ring), fix_winding=False, great_circle=False)
    thin = transform(cut.simplify(_TOLERANCE_DEG), lambda lonlat: lonlat.round(_DECIMALS))
    return json.loads(to_geojson(thin)), antimeridian.bbox(thin)


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
