"""stac-geoparquet (specification 1.0): items read some hundred at a time, and written.

rustac, which writes them, reads a file whole; pyarrow reads by batches.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import shapely

from geofuse.errors import InvalidCube, InvalidInput

_BATCH = 256  # items that are read at once
_WRITTEN = 16
_TOP = ("type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "links", "assets", "collection")
_MISSING = "{what} is not installed; pip install 'geofuse[cloud]'"


def read_batches(path: Path) -> Iterator[dict[str, Any]]:
    """Items of a file as JSON objects.

    Raises
    ------
    InvalidCube
        It is no stac-geoparquet.
    InvalidInput
        pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise InvalidInput(f"cannot read {path}: " + _MISSING.format(what="pyarrow")) from None
    try:
        with pq.ParquetFile(path, memory_map=False, pre_buffer=False) as file:
            if missing := {"id", "geometry", "assets"} - set(file.schema_arrow.names):
                raise InvalidCube(f"no stac-geoparquet: it has no column {', '.join(sorted(missing))}")
            for batch in file.iter_batches(_BATCH, use_threads=False):
                yield from map(_item, batch.to_pylist())
    except (pa.ArrowException, OSError) as error:
        raise InvalidCube(f"cannot be read as stac-geoparquet ({error}); check the path, or write it again") from None


def _item(row: dict[str, Any]) -> dict[str, Any]:
    """The JSON of an item of its row: properties are columns of their own there, and what an item lacks is null."""
    kept = _plain({key: value for key, value in row.items() if key not in ("geometry", "bbox")})
    box = row.get("bbox")
    top = {key: kept.pop(key) for key in _TOP if key in kept}
    made = {"type": "Feature"} | top | {"geometry": _geometry(row.get("geometry")), "properties": kept}
    if isinstance(box, dict) and len(box) == 4:
        made["bbox"] = [box[key] for key in ("xmin", "ymin", "xmax", "ymax") if key in box]
    return made


def _geometry(value: Any) -> Any:
    try:
        return json.loads(shapely.to_geojson(shapely.from_wkb(value))) if isinstance(value, bytes) else value
    except shapely.errors.GEOSException:
        return None


def _plain(value: Any) -> Any:
    """JSON values, without what is null."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, dt.datetime):
        time = value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)
        return time.isoformat().replace("+00:00", "Z")
    return value.hex() if isinstance(value, bytes) else value


def write_geoparquet(read: Callable[[], Iterator[dict[str, Any]]], path: Path) -> Path:
    """Write items with rustac, some at a time, complete or not at all.

    Parameters
    ----------
    read : callable
        Begins the items anew; it is called twice.
    path : pathlib.Path

    Raises
    ------
    InvalidInput
        rustac is not installed.
    """
    try:
        from rustac import geoparquet_writer
    except ImportError:
        raise InvalidInput(f"cannot write {path}: " + _MISSING.format(what="rustac")) from None
    part = path.with_name(f".{path.name}.part.parquet")

    async def write() -> None:
        first = _showing_all(read())
        known = {item["id"] for item in first}
        others = (item for item in read() if item["id"] not in known)
        async with geoparquet_writer(first, str(part)) as file:
            while some := list(islice(others, _WRITTEN)):
                await file.write(some)

    try:
        with ThreadPoolExecutor(1) as thread:  # where a loop runs already, as in a notebook, another needs a thread of its own
            thread.submit(asyncio.run, write()).result()
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _showing_all(items: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """The few items that show every member that any has, and every type: the writer drops whatever its first items have not."""
    seen: set[tuple[str, str]] = set()
    shown = []
    for item in items:
        members = set(_members(item))
        if not members <= seen:
            seen |= members
            shown.append(item)
    return shown


def _members(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every member of a JSON value by its path, with its type."""
    yield path, type(value).__name__
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _members(inner, f"{path}/{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from _members(inner, f"{path}/*")
