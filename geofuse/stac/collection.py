"""The collection of a batch folder: ``collection.json`` (STAC 1.1) and ``items.parquet`` (stac-geoparquet), of all items that are there."""

from __future__ import annotations

import datetime as dt
import importlib.util
import json
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pystac

from geofuse.io.write.folders import Folder
from geofuse.stac.geoparquet import write_geoparquet

COLLECTION, PARQUET = "collection.json", "items.parquet"
_ID = "geofuse"
_DESCRIPTION = "Hyperspectral bands at multispectral pixels, fused by geofuse from pairs of items that each item links to."
_ALWAYS = pystac.TemporalExtent([[None, None]])  # type: ignore[arg-type]
_EVERYWHERE = pystac.SpatialExtent([[-180.0, -90.0, 180.0, 90.0]])


def stub(folder: Path) -> pystac.Collection:
    """The collection that items of a batch folder link to."""
    found = pystac.Collection(_ID, _DESCRIPTION, pystac.Extent(_EVERYWHERE, _ALWAYS))
    found.set_self_href(str((folder / COLLECTION).absolute()))
    return found


def items_of(folder: Folder) -> list[str]:
    """The items of a batch folder: ``ID/ID.json`` beside ``ID/ID.tif``."""
    names = set(folder.names())
    images = sorted(name.removesuffix(".tif") for name in names if name.endswith(".tif"))
    return [f"{name}.json" for name in images if f"{name}.json" in names and len(set(name.split("/"))) == 1]


def write_collection(folder: Folder) -> bool:
    """Write both; False where there is no item."""
    names = items_of(folder)
    if not names:
        return False
    with folder.local(names) as root:
        paths = [root / name for name in names if (root / name).is_file()]
        made = _collection(_each(paths), paths, root)
        part = root / f".{COLLECTION}.part"
        part.write_text(json.dumps(made, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        folder.send(part, COLLECTION)
        if importlib.util.find_spec("rustac") is None:
            warnings.warn(f"{PARQUET} is not written: rustac is not installed; pip install 'geofuse[cloud]'", UserWarning, stacklevel=2)
        else:
            part = root / f".{PARQUET}.part.parquet"
            write_geoparquet(lambda: (_located(item, path, root) for item, path in zip(_each(paths), paths, strict=True)), part)
            folder.send(part, PARQUET)
    return True


def _each(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """One item at a time: those of many bands are large."""
    for path in paths:
        yield json.loads(path.read_text(encoding="utf-8"))


def _located(item: dict[str, Any], path: Path, folder: Path) -> dict[str, Any]:
    """The item with addresses that start from the batch folder, where the file with all of them lies."""
    for named in (*item["assets"].values(), *item["links"]):
        href = named["href"]
        if "://" not in href and not os.path.isabs(href):
            named["href"] = "./" + os.path.relpath(path.parent / href, folder).replace(os.sep, "/")
    return item


def _collection(items: Iterator[dict[str, Any]], paths: list[Path], folder: Path) -> dict[str, Any]:
    boxes, times, values, assets = [], [], {}, {}  # type: ignore[var-annotated]
    for item in items:
        properties = item["properties"]
        boxes.append(item["bbox"])
        times += [properties[key] for key in ("datetime", "start_datetime", "end_datetime") if properties.get(key)]
        for key in ("gsd", "geofuse:method", "processing:level"):
            if key in properties:
                values.setdefault(key, set()).add(properties[key])
        for key, asset in item["assets"].items():
            assets.setdefault(key, {name: asset[name] for name in ("title", "type", "roles") if name in asset})
    made = stub(folder)
    made.extent = pystac.Extent(pystac.SpatialExtent([_around(boxes)]), pystac.TemporalExtent([_span(times)]))
    made.license = "other"
    made.providers = [pystac.Provider("geofuse", "Fusion of both sources of each item.", [pystac.ProviderRole.PROCESSOR])]
    made.summaries = pystac.Summaries({key: sorted(found) for key, found in values.items()})
    made.extra_fields["item_assets"] = assets
    text = made.to_dict(include_self_link=False, transform_hrefs=False)
    links = [{"rel": "item", "href": f"./{path.parent.name}/{path.name}", "type": "application/geo+json"} for path in paths]
    text["links"] = [{"rel": "root", "href": f"./{COLLECTION}", "type": "application/json"}, *links]
    return text


def _around(boxes: list[list[float]]) -> list[float]:
    """The box around all; the whole width where one of them crosses the antimeridian."""
    west, south, east, north = zip(*boxes, strict=True)
    if any(left > right for left, right in zip(west, east, strict=True)):
        return [-180.0, min(south), 180.0, max(north)]
    return [min(west), min(south), max(east), max(north)]


def _span(times: list[str]) -> list[dt.datetime | None]:
    moments = [dt.datetime.fromisoformat(time) for time in times]
    return [min(moments), max(moments)] if moments else [None, None]
