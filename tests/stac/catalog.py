"""Small STAC catalogs: items as dicts, and servers of files on loopback."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from benchmarks.catalog_server import Ranges, running, serving_items

Answer = Callable[[SimpleHTTPRequestHandler], bool]


def item(
    name: str,
    collection: str,
    *,
    time: str = "2024-06-30T10:00:00Z",
    box: tuple[float, float, float, float] = (10.0, 50.0, 11.0, 51.0),
    href: str = "./image.tif",
    links: list[dict[str, Any]] | None = None,
    **properties: Any,
) -> dict[str, Any]:
    """An item of one raster asset."""
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "collection": collection,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": list(box),
        "properties": {"datetime": time, **{key.replace("__", ":"): value for key, value in properties.items()}},
        "links": links or [],
        "assets": {"data": {"href": href, "type": "image/tiff; application=geotiff", "roles": ["data"]}},
    }


def write_items(path: Path, items: list[dict[str, Any]]) -> Path:
    """An ItemCollection."""
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}), encoding="utf-8")
    return path


def write_catalog(folder: Path, items: list[dict[str, Any]], *extra: dict[str, str]) -> Path:
    """A static catalog: one collection below it, with an item each in a file of its own, and further links."""
    links = []
    for number, made in enumerate(items):
        (folder / f"{number}.json").write_text(json.dumps(made), encoding="utf-8")
        links.append({"rel": "item", "href": f"./{number}.json"})
    about = {"stac_version": "1.1.0", "description": "made up"}
    inner = {"type": "Catalog", "id": "inner", **about, "links": [*links, {"rel": "child", "href": "./catalog.json"}, *extra]}
    (folder / "inner.json").write_text(json.dumps(inner), encoding="utf-8")
    outer = {"type": "Catalog", "id": "outer", **about, "links": [{"rel": "child", "href": "./inner.json"}]}
    (folder / "catalog.json").write_text(json.dumps(outer), encoding="utf-8")
    return folder / "catalog.json"


@contextmanager
def serving_api(items: Path) -> Iterator[str]:
    """Serve an ItemCollection as a STAC API, by ``rustac serve``, which others wrote. Yields its address."""
    if not Path(sys.executable).with_name("rustac").exists():
        pytest.skip("rustac is not installed")
    with serving_items(items) as address:
        yield address


def serving(folder: Path, answer: Answer = lambda _: False) -> AbstractContextManager[str]:
    """Serve the files of a folder on loopback, with ranges; ``answer`` may answer a request itself. Yields the address of the root."""

    class Handler(Ranges):
        def do_GET(self) -> None:
            if not answer(self):
                super().do_GET()

    return running(ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))))
