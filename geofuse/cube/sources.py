"""Where a cube comes from: what is known of its source travels in its attributes, and what two were fused into carries that of both.

An input may carry the scalar coordinate ``time`` (UTC) and the attribute ``geofuse_source``, JSON of ``href``, ``id``, ``datetime`` and ``gsd``.
A fused cube carries ``geofuse_sources``, JSON with one such object each for ``hsi`` and ``msi``. All of it may be absent.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from pyproj import Geod

from geofuse.cube.schema import geobox
from geofuse.errors import InvalidInput

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

SOURCE, SOURCES, TIME = "geofuse_source", "geofuse_sources", "time"
_TEXTS = ("href", "id", "datetime")


def pixel_size_m(geobox: GeoBox) -> float:
    """Mean pixel side in metres; measured on the ellipsoid at the centre where the CRS is in degrees."""
    dx, dy = abs(geobox.resolution.x), abs(geobox.resolution.y)
    crs = geobox.crs
    if crs is not None and crs.geographic:
        lon, lat = geobox.extent.centroid.coords[0]
        geod = Geod(ellps="WGS84")
        dx, dy = geod.inv(lon, lat, lon + dx, lat)[2], geod.inv(lon, lat - dy / 2, lon, lat + dy / 2)[2]
    elif crs is not None:
        metres = crs.proj.axis_info[0].unit_conversion_factor
        dx, dy = dx * metres, dy * metres
    return round((dx + dy) / 2, 6)


def source_of(cube: xr.DataArray) -> dict[str, Any]:
    """What is known of the source of a cube: ``href``, ``id``, ``datetime`` (RFC 3339), ``gsd`` in metres; unknown ones are left out.

    Parameters
    ----------
    cube : DataArray
        As `geofuse.open_hsi` and its relatives return it; its pixel size stands in for a ground sampling distance that is not known.
    """
    found = _checked(_parsed(cube.attrs.get(SOURCE)))
    place, time = cube.encoding.get("source"), time_of(cube)
    if isinstance(place, str):
        found.setdefault("href", place)
    if time is not None:
        found.setdefault("datetime", time.isoformat().replace("+00:00", "Z"))
    found.setdefault("gsd", pixel_size_m(geobox(cube)))
    return found


def sources_of(fused: xr.DataArray) -> dict[str, dict[str, Any]]:
    """What a fused cube says of the two images that it was made from, by role; empty where it says nothing."""
    found = _parsed(fused.attrs.get(SOURCES))
    return {role: _checked(found[role]) for role in ("hsi", "msi") if isinstance(found.get(role), dict)}


def both_sources(hsi: xr.DataArray, msi: xr.DataArray) -> str:
    """The attribute ``geofuse_sources`` of what two cubes are fused into."""
    return json.dumps({"hsi": source_of(hsi), "msi": source_of(msi)})


def time_of(cube: xr.DataArray | xr.Dataset) -> dt.datetime | None:
    """When a cube was acquired, UTC, by its scalar coordinate ``time``; None where it has none."""
    if TIME not in cube.coords or cube.coords[TIME].size != 1:
        return None
    value = cube.coords[TIME].values.reshape(())
    if value.dtype.kind != "M" or np.isnat(value):
        return None
    made: dt.datetime = value.astype("datetime64[us]").item().replace(tzinfo=dt.UTC)
    return made


def with_time(cube: xr.DataArray, like: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """The cube with the scalar coordinate ``time`` of another, where that has one."""
    time = time_of(like)
    return cube if time is None else cube.assign_coords({TIME: np.datetime64(time.replace(tzinfo=None), "ns")})


def parse_time(text: str) -> dt.datetime | tuple[dt.datetime, dt.datetime]:
    """A date, a time, or two of them with a slash between, in ISO 8601; without a zone it is UTC.

    Raises
    ------
    InvalidInput
        It is neither.

    Examples
    --------
    >>> parse_time("2024-06-30T10:20:00Z").isoformat()
    '2024-06-30T10:20:00+00:00'
    """
    parts = text.strip().split("/")
    try:
        times = [utc(dt.datetime.fromisoformat(part)) for part in parts]
    except ValueError:
        times = []
    if len(times) == 2 and times[0] <= times[1]:
        return times[0], times[1]
    if len(times) != 1:
        raise InvalidInput(
            f"The time is {text!r}; expected ISO 8601 such as 2024-06-30T10:20:00Z, or two with a slash between, the earlier first."
        )
    return times[0]


def utc(time: dt.datetime) -> dt.datetime:
    """The same moment in UTC; a time without a zone is taken as UTC."""
    return time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)


def _parsed(text: Any) -> dict[str, Any]:
    """An attribute may hold anything."""
    try:
        found = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _checked(found: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {key: found[key] for key in _TEXTS if isinstance(found.get(key), str) and found[key]}
    try:
        utc(dt.datetime.fromisoformat(kept.get("datetime", "2000-01-01")))
    except ValueError:
        del kept["datetime"]
    gsd = found.get("gsd")
    if isinstance(gsd, int | float) and not isinstance(gsd, bool) and math.isfinite(gsd) and gsd > 0:
        kept["gsd"] = float(gsd)
    return kept
