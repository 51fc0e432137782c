"""STAC items as sources: read from JSON, what they say of the acquisition, and their assets brought onto one grid."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import xarray as xr
from affine import Affine

from geofuse.cube.normalise import is_lazy
from geofuse.cube.schema import geobox
from geofuse.cube.sources import SOURCE
from geofuse.errors import InvalidCube
from geofuse.io.read.fingerprint import local_name
from geofuse.redact import redact

if TYPE_CHECKING:
    from pystac import Asset, Item

_ITEM_BYTES = 2**24
# Tags in which a file may say when the scene was acquired; that of TIFF says when the file was made.
_ACQUIRED = ("acquisitiondatetime", "acquisition_datetime", "acquisition_time", "acquisition time", "date_acquired", "time_coverage_start")


def is_item(source: str) -> bool:
    """Whether a path or address names JSON, as STAC items are, or an item of an API.

    Examples
    --------
    >>> is_item("scene.json"), is_item("https://example.com/a.geojson?x=1"), is_item("https://example.com/collections/c/items/S2A_1")
    (True, True, True)
    >>> is_item("scene.tif"), is_item("https://example.com/items/scene.tif"), is_item("items/scene")
    (False, False, False)
    """
    parts = urlsplit(source)
    path = parts.path.lower()
    of_api = parts.scheme in ("http", "https") and "/collections/" in path and path.rstrip("/").split("/")[-2:-1] == ["items"]
    return path.endswith((".json", ".geojson")) or (of_api and not path.endswith((".tif", ".tiff", ".jp2", ".zarr")))


def name_of(source: str | Item | tuple[Item, ...]) -> str:
    """The path or address of a source, for people: of an item its own, or its id; of several all."""
    if isinstance(source, tuple):
        return ", ".join(map(name_of, source))
    return source if isinstance(source, str) else source.get_self_href() or source.id


def read_item(source: str) -> Item:
    """Read a STAC item from a file or an address.

    Raises
    ------
    InvalidCube
        Not there, no JSON, or JSON that is no STAC item.
    """
    import pystac
    from pystac.stac_io import DefaultStacIO

    path = os.path.expanduser(local_name(source))
    if "://" not in path:
        path = os.path.abspath(path)
        if not os.path.isfile(path):
            raise InvalidCube("no such file; check the path")
        if os.path.getsize(path) > _ITEM_BYTES:
            raise InvalidCube(f"{os.path.getsize(path) / 1e6:.0f} MB of JSON are no STAC item; give the item of one scene")
    try:
        found = json.loads(DefaultStacIO().read_text(path))
        if not isinstance(found, dict) or found.get("type") != "Feature" or not isinstance(found.get("assets"), dict):
            kind = found.get("type") if isinstance(found, dict) else type(found).__name__
            raise InvalidCube(f"expected a STAC item (a Feature with assets), found {str(kind)[:40]!r}; give the item of one scene")
        return pystac.Item.from_dict(found, href=path)
    except InvalidCube:
        raise
    except Exception as error:  # whatever pystac makes of odd JSON
        raise InvalidCube(f"cannot be read as a STAC item ({type(error).__name__}: {error}); correct it, or give a raster") from None


def described(cube: xr.DataArray, about: Mapping[str, Any]) -> xr.DataArray:
    """The cube with where it comes from: the attribute `SOURCE`, and a scalar coordinate ``time`` where that is known."""
    known = {key: about.get(key) for key in ("href", "id", "datetime", "gsd")}
    known["href"] = redact(known["href"]) if known["href"] else None
    made = cube
    if known["datetime"]:
        naive = dt.datetime.fromisoformat(known["datetime"]).astimezone(dt.UTC).replace(tzinfo=None)
        made = cube.assign_coords(time=((), np.datetime64(naive, "ns"), {"long_name": "time of acquisition (UTC)"}))
    made = made.assign_attrs({SOURCE: json.dumps(known)})
    made.encoding = dict(cube.encoding)
    return made


def about_item(source: Item | Asset) -> dict[str, Any]:
    """What an item, or the item that an asset belongs to, says of its acquisition."""
    item: Any = source if hasattr(source, "assets") else source.owner
    if item is None:
        return {"href": source.get_absolute_href() or source.href}  # type: ignore[union-attr]
    properties = getattr(item, "properties", {})
    when = getattr(item, "datetime", None) or properties.get("start_datetime")
    gsd = properties.get("gsd")
    href = item.get_self_href() or (None if source is item else source.href)  # type: ignore[union-attr]
    return {"href": href, "id": item.id, "datetime": utc_text(when), "gsd": float(gsd) if isinstance(gsd, int | float) else None}


def about_file(place: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """What a file says of its acquisition, by its tags."""
    lower = {key.lower(): value for key, value in tags.items()}
    return {"href": place, "datetime": next((when for key in _ACQUIRED if (when := utc_text(lower.get(key)))), None)}


def utc_text(when: dt.datetime | str | None) -> str | None:
    """RFC 3339, in UTC; None for what is no time."""
    try:
        time = dt.datetime.fromisoformat(when.strip("{} \"'")) if isinstance(when, str) else when
    except ValueError:
        return None
    if time is None:
        return None
    time = time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)
    return time.isoformat().replace("+00:00", "Z")


def on_one_grid(cubes: Sequence[xr.DataArray], names: Sequence[str], resolution: float | None) -> list[xr.DataArray]:
    """Bring cubes of one scene onto the grid of the first of those with the smallest pixels, or onto pixels of a size.

    Larger pixels are repeated (nearest neighbour, nothing is interpolated), smaller ones are averaged.

    Parameters
    ----------
    cubes : sequence of DataArray
    names : sequence of str
        Of them, for messages.
    resolution : float, optional
        Pixel size in units of the CRS. Without it nothing is resampled.

    Raises
    ------
    InvalidCube
        Different grids without ``resolution``, different CRS, or a pixel size that is no multiple of a finer one.
    """
    grids = [geobox(cube) for cube in cubes]
    if resolution is None:
        if any(grid != grids[0] for grid in grids):
            sizes = ", ".join(f"{name} {abs(grid.affine.a):g}" for name, grid in zip(names, grids, strict=True))
            raise InvalidCube(
                f"the bands are not on one grid (pixel sizes: {sizes}); choose bands of one resolution, or say onto which pixel size to bring "
                "them: resolution=10 (--msi-resolution 10)"
            )
        return list(cubes)
    if not 0 < resolution < np.inf:
        raise InvalidCube(f"resolution={resolution!r}; expected a pixel size in units of the CRS, such as 10")
    if any(grid.crs != grids[0].crs for grid in grids):
        raise InvalidCube("the bands are in different CRS; warp them to one grid first, e.g. with odc.stac.load")
    finest = min(grids, key=lambda grid: abs(grid.affine.a))
    box, t = finest.boundingbox, finest.affine
    rows, cols = (max(1, round(span / resolution)) for span in (box.span_y, box.span_x))
    target = type(finest)((rows, cols), Affine(resolution, 0.0, t.c, 0.0, -resolution, t.f), finest.crs)
    return [_resampled(cube, target, name) for cube, name in zip(cubes, names, strict=True)]


def _repeated(values: Any, own: Any, target: Any) -> Any:
    """Pixels of a grid on a finer one whose pixels each lie in one of them, chunks as they are; None where they do not, or reach beyond."""
    times = round(own.affine.a / target.affine.a)
    left, top = (~target.affine) @ (own.affine.c, own.affine.f)
    first = np.round([-top, -left]).astype(int)
    last = first + target.shape
    if times < 1 or not np.allclose([own.affine.a / target.affine.a, -top, -left], [times, *first], rtol=0, atol=1e-6):
        return None
    if (first < 0).any() or (last > times * np.array(own.shape)).any():
        return None
    if not is_lazy(values):
        made = _larger(values, times)
    else:
        chunks = (values.chunks[0], *(tuple(times * size for size in sizes) for sizes in values.chunks[1:]))
        made = values.map_blocks(_larger, times, chunks=chunks, dtype=values.dtype, meta=np.empty((0, 0, 0), values.dtype))
    return made[:, first[0] : last[0], first[1] : last[1]]


def _larger(block: Any, times: int) -> Any:
    """Each pixel repeated along rows and columns."""
    return block.repeat(times, 1).repeat(times, 2)


def _resampled(cube: xr.DataArray, target: Any, name: str) -> xr.DataArray:
    own = geobox(cube)
    if own == target:
        return cube
    step, size = target.affine.a, own.affine.a
    factor = round(step / size)
    if factor > 1:
        offset = np.array([target.affine.c - own.affine.c, own.affine.f - target.affine.f]) / size
        if abs(step / size - factor) > 1e-6 or np.abs(offset - np.round(offset)).max() > 1e-3:
            raise InvalidCube(f"pixels of {step:g} are no whole number of those of band {name} ({size:g}); choose a multiple")
        col, row = (int(v) for v in np.round(offset) % factor)
        cube = cube.isel(y=slice(row, None), x=slice(col, None)).coarsen(y=factor, x=factor, boundary="trim").mean().astype(np.float32)
        size *= factor
    y, x = (target.coords[dim].values for dim in target.dimensions)
    if (values := _repeated(cube.data, own, target)) is not None:
        kept = {name: coord for name, coord in cube.coords.items() if not {"y", "x"} & set(coord.dims)}
        return xr.DataArray(values, {**kept, "y": y, "x": x}, cube.dims, attrs=cube.attrs)
    # a hair more than half a pixel: further away lies the outside of the image, which is nodata
    return cube.reindex(y=y, x=x, method="nearest", tolerance=size * (0.5 + 1e-6))
