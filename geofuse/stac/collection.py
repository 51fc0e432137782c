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
from geofuse.stac.attribution import GEOFUSE, OTHER, Attribution, combined
from geofuse.stac.geoparquet import write_geoparquet

COLLECTION, PARQUET = "collection.json", "items.parquet"
_ID = "geofuse"
_EXTENSIONS = "https://stac-extensions.github.io/"
_PREFIXES = {"projection": "proj"}
_LISTED = ("gsd", "proj:code", "processing:level", "geofuse:method")
# Where it is, and what was measured on its pixels. And MLM: its version 1.4 rejects collections whose summaries are lists, as STAC has them.
_OWN = ("href", "file:", "mlm:")
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
    boxes, times, found, sources, assets = [], [], _Summaries(), set(), {}  # type: ignore[var-annotated]
    extensions: set[str] = set()
    for item in items:
        properties = item["properties"]
        boxes.append(item["bbox"])
        times += [properties[key] for key in ("datetime", "start_datetime", "end_datetime") if properties.get(key)]
        found.add(properties)
        sources.add(json.dumps([properties.get("license"), properties.get("providers", []), _licenses(item)]))
        extensions |= set(item["stac_extensions"])
        for key, asset in item["assets"].items():
            about = _asset(asset)
            assets[key] = _shared(assets[key], about) if key in assets else about
    made = stub(folder)
    made.extent = pystac.Extent(pystac.SpatialExtent([_around(boxes)]), pystac.TemporalExtent([_span(times)]))
    attribution = combined(_attribution(*json.loads(source)) for source in sorted(sources))
    text = made.to_dict(include_self_link=False, transform_hrefs=False)
    text |= {"license": OTHER, "providers": [GEOFUSE]} | attribution.fields | {"summaries": found.summaries, "item_assets": assets}
    text["stac_extensions"] = sorted(extension for extension in extensions if _is_used(extension, assets, found.summaries))
    links = [{"rel": "item", "href": f"./{path.parent.name}/{path.name}", "type": "application/geo+json"} for path in paths]
    text["links"] = [{"rel": "root", "href": f"./{COLLECTION}", "type": "application/json"}, *attribution.links, *links]
    return text


def _licenses(item: dict[str, Any]) -> list[Any]:
    return [link for link in item["links"] if link["rel"] == "license"]


def _attribution(licence: Any, providers: Any, links: Any) -> Attribution:
    return Attribution.of({"license": licence, "providers": providers, "links": links})


def _asset(asset: dict[str, Any]) -> dict[str, Any]:
    """What an asset may share with those of other items."""
    own = {key: value for key, value in asset.items() if not key.startswith(_OWN)}
    bands = [{key: value for key, value in band.items() if key != "statistics"} for band in asset.get("bands", ())]
    return own | ({"bands": bands} if bands else {})


def _shared(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in one.items() if other.get(key) == value}


def _is_used(extension: str, assets: dict[str, Any], summaries: dict[str, Any]) -> bool:
    """Whether the summaries, or the assets that items share, hold a field of an extension."""
    prefix = f"{_PREFIXES.get(name := extension.removeprefix(_EXTENSIONS).partition('/')[0], name)}:"
    bands = [band for asset in assets.values() for band in asset.get("bands", ())]
    return any(key.startswith(prefix) for each in (summaries, *assets.values(), *bands) for key in each)


class _Summaries:
    """Which values the properties of items take: all of them where there are few, or the range of numbers."""

    def __init__(self) -> None:
        self.values: dict[str, set[Any]] = {}
        self.ranges: dict[str, tuple[float, float]] = {}

    def add(self, properties: dict[str, Any]) -> None:
        for key, value in properties.items():
            if key in _LISTED and isinstance(value, str | int | float):
                self.values.setdefault(key, set()).add(value)
            elif key.startswith("geofuse:") and isinstance(value, int | float) and not isinstance(value, bool):
                low, high = self.ranges.get(key, (value, value))
                self.ranges[key] = min(low, value), max(high, value)

    @property
    def summaries(self) -> dict[str, Any]:
        ranges = {key: {"minimum": low, "maximum": high} for key, (low, high) in self.ranges.items()}
        return {key: sorted(found) for key, found in self.values.items()} | ranges


def _around(boxes: list[list[float]]) -> list[float]:
    """The box around all; the whole width where one of them crosses the antimeridian."""
    west, south, east, north = zip(*boxes, strict=True)
    if any(left > right for left, right in zip(west, east, strict=True)):
        return [-180.0, min(south), 180.0, max(north)]
    return [min(west), min(south), max(east), max(north)]


def _span(times: list[str]) -> list[dt.datetime | None]:
    moments = [dt.datetime.fromisoformat(time) for time in times]
    return [min(moments), max(moments)] if moments else [None, None]
