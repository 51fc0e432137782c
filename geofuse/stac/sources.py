"""Items of a STAC catalog, one after the other: an API, a static catalog or collection, an ItemCollection, or stac-geoparquet.

Documents follow STAC 1.0 and 1.1, STAC API 1.0 (Item Search) and stac-geoparquet 1.0. They are data from elsewhere: bounded in size, number and
depth, and followed only where `geofuse.io.read.access` lets them lead.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlencode, urljoin, urlsplit

from geofuse.errors import InvalidCube, InvalidInput
from geofuse.io.read.access import Access
from geofuse.io.read.fingerprint import local_name
from geofuse.io.read.http import fetch, open_url, reading
from geofuse.redact import redact
from geofuse.stac.documents import read_features

MOST_DOCUMENTS = 1_000_000
"""Catalogs and pages that are opened of one source at most."""
DEEPEST = 32
_PAGE = 100  # items
_MISSING = "this needs {what}, which is not installed; pip install 'geofuse[cloud]'"


@dataclass(frozen=True)
class Query:
    """What is wanted of a source.

    Parameters
    ----------
    collections : tuple of str
        Ids; an item of no other is taken.
    bbox : tuple of float, optional
        West, south, east, north in degrees.
    datetime : str, optional
        RFC 3339, ``START/END``, for what a server filters; whoever takes the items filters by time themselves.
    """

    collections: tuple[str, ...]
    bbox: tuple[float, float, float, float] | None = None
    datetime: str | None = None


@dataclass(frozen=True)
class Found:
    """One item, or why there is none.

    Parameters
    ----------
    base : str
        Path or address that its relative links start from.
    item : dict, optional
        Its JSON, of which nothing is checked but that it is an object.
    error : str
        Why it could not be read.
    """

    base: str
    item: dict[str, Any] | None
    error: str = ""


def read_items(source: str, query: Query, access: Access) -> Iterator[Found]:
    """The items of a source that belong to the collections that are asked for; those of a server also by place and time.

    Raises
    ------
    InvalidInput
        The source is no STAC, or cannot be read.
    """
    try:
        for found in _items(source, query, access):
            if found.item is None or found.item.get("collection") in query.collections:
                yield found
    except InvalidCube as error:
        raise InvalidInput(f"{source}: {str(error).removeprefix(f'{redact(source)}: ')}") from None


def place_of(source: str) -> str:
    """The path or address that a source is read from, absolute."""
    return source if "://" in source and not source.startswith("file://") else str(Path(local_name(source)).expanduser().absolute())


def _items(source: str, query: Query, access: Access) -> Iterator[Found]:
    place = place_of(source)
    if urlsplit(place).path.lower().endswith((".parquet", ".geoparquet")):
        yield from _parquet(place)
        return
    members: dict[str, Any] = {}
    with closing(_text(place, access)) as stream, reading(place):
        for feature in read_features(stream, members):
            yield _embedded(feature, place)
    if members.get("type") == "FeatureCollection" and any(True for _ in hrefs(members, "next")):
        raise InvalidCube(f"one page of the items of a STAC API; {_root_of(members, place)}")
    if _is_api(members, place):
        yield from _searched(place, query, access)
    elif members.get("type") == "Collection" and any(True for _ in hrefs(members, "items")):
        raise InvalidCube(f"one collection of a STAC API; {_root_of(members, place)}")
    elif members.get("type") in ("Catalog", "Collection"):
        yield from _walked(members, place, access)
    elif members.get("type") == "Feature" and "/collections/" in place and "://" in place:
        raise InvalidCube(f"one item of a STAC API; {_root_of(members, place)}")
    elif members.get("type") == "Feature":
        yield Found(place, members)
    elif members.get("type") != "FeatureCollection":
        raise InvalidCube(
            f"JSON of the type {str(members.get('type'))[:40]!r}; expected a STAC API, a Catalog, a Collection or a FeatureCollection of items"
        )


def _root_of(members: dict[str, Any], place: str) -> str:
    """What to give instead of an address within an API."""
    root = next((absolute(href, place) for href in hrefs(members, "root")), place.partition("/collections")[0].partition("/search")[0])
    return f"expected the API itself, and both collections by their ids: give {redact(root)[:300]}"


def _embedded(feature: Any, place: str) -> Found:
    """An item within another document, whose relative links start from where it says that it lies itself."""
    if not isinstance(feature, dict):
        return Found(place, None, f"expected an item, found {type(feature).__name__}")
    own = next((href for href in hrefs(feature, "self") if "://" in href), place)
    return Found(own, feature)


def _text(place: str, access: Access) -> TextIO:
    if "://" in place:
        return io.TextIOWrapper(
            open_url(place, access, headers={"Accept": "application/geo+json, application/json"}), "utf-8-sig", "replace"
        )
    try:
        return open(place, encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise InvalidCube(f"cannot be read ({error.strerror}); check the path") from None


def read_document(place: str, access: Access) -> dict[str, Any]:
    """A catalog, a collection or an item, whole.

    Raises
    ------
    InvalidCube
        It cannot be read, or is a collection of items.
    """
    members: dict[str, Any] = {}
    with closing(
        _text(place, access) if "://" not in place else io.StringIO(fetch(place, access).decode("utf-8-sig", "replace"))
    ) as stream:
        for _ in read_features(stream, members):
            raise InvalidCube("a collection of items where a catalog links to one item")
    return members


def _walked(members: dict[str, Any], place: str, access: Access) -> Iterator[Found]:
    """Items of a static catalog, by depth first; a document that is linked to again is not read again."""
    ahead = [(place, 0)]
    seen: set[bytes] = set()
    first: dict[str, Any] | None = members
    while ahead:
        where, depth = ahead.pop()
        if _is_known(where, seen):
            continue
        try:
            catalog = first if first is not None else read_document(access.check(where), access)
            first = None
        except InvalidCube as error:
            yield Found(where, None, str(error))
            continue
        children, items = ([absolute(href, where) for href in hrefs(catalog, relation)] for relation in ("child", "item"))
        if children and depth >= DEEPEST:
            yield Found(where, None, f"catalogs more than {DEEPEST} deep; what lies below is left out")
            children = []
        ahead += [(child, depth + 1) for child in reversed(children)]
        for item in items:
            if not _is_known(item, seen):
                yield _linked(item, access)


def _is_known(place: str, seen: set[bytes]) -> bool:
    """Whether a document was opened before; from now on it was."""
    key = hashlib.sha256(place.partition("#")[0].encode("utf-8", "replace")).digest()[:12]
    if key in seen:
        return True
    if len(seen) >= MOST_DOCUMENTS:
        raise InvalidCube(f"more than {MOST_DOCUMENTS} documents; give a part of the catalog")
    seen.add(key)
    return False


def _linked(place: str, access: Access) -> Found:
    try:
        access.check(place)
        found = read_document(place, access)
    except InvalidCube as error:
        return Found(place, None, str(error))
    if found.get("type") != "Feature":
        return Found(place, None, f"expected an item, found {str(found.get('type'))[:40]!r}")
    return Found(place, found)


def hrefs(document: dict[str, Any], relation: str) -> Iterator[str]:
    """The addresses of a relation, among the links of a document."""
    links = document.get("links")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") == relation and isinstance(link.get("href"), str):
            yield link["href"]


def absolute(href: str, base: str) -> str:
    """What an address stands for in a document that lies at ``base``: an address, or a path here.

    Examples
    --------
    >>> absolute("../b.json", "https://example.com/a/c.json"), absolute("./b.json", "/data/c.json")
    ('https://example.com/b.json', '/data/b.json')
    """
    if "://" in href:
        return local_name(href)
    if "://" in base:
        return urljoin(base, href)
    return os.path.normpath(os.path.join(os.path.dirname(base), href))


def _is_api(members: dict[str, Any], place: str) -> bool:
    return "://" in place and ("conformsTo" in members or any(True for _ in hrefs(members, "search")))


def _searched(place: str, query: Query, access: Access) -> Iterator[Found]:
    """Items of an API, filtered by the server and page by page."""
    client = _client(place, access)
    try:
        posted = any(link.extra_fields.get("method") == "POST" for link in client.get_links("search"))
        search = client.search(
            method="POST" if posted else "GET", collections=list(query.collections), bbox=query.bbox, datetime=query.datetime, limit=_PAGE
        )
        for page in search.pages_as_dicts():
            features = page.get("features")
            for feature in features if isinstance(features, list) else ():
                yield _embedded(feature, place)
    except InvalidCube:
        raise
    except Exception as error:  # whatever pystac-client makes of odd pages
        raise InvalidCube(f"the search failed ({type(error).__name__}: {error})") from None


def _client(place: str, access: Access) -> Any:
    try:
        import pystac_client
        from pystac_client.stac_api_io import StacApiIO
    except ImportError:
        raise InvalidInput(f"{place} is a STAC API: " + _MISSING.format(what="pystac-client")) from None

    class BoundedIO(StacApiIO):
        """Requests of pystac-client under the bounds of geofuse: none is sent twice, so that no paging is endless."""

        sent: set[bytes] = set()  # noqa: RUF012 (one instance is made)

        def request(self, href: str, method: Any = None, headers: Any = None, parameters: Any = None) -> str:
            href, method = access.check(absolute(href, place)), (method or "GET").upper()
            body = parameters or {} if method == "POST" else None
            if parameters and body is None:
                href += ("&" if "?" in href else "?") + urlencode({key: value for key, value in parameters.items() if value is not None})
            if "/search" in href and _is_known(f"{method} {href} {json.dumps(body, sort_keys=True)}", self.sent):
                raise InvalidCube("the server leads from page to page in a circle; nothing more is asked of it")
            return fetch(href, access, method=method, headers=headers, body=body).decode("utf-8", "replace")

    try:
        return pystac_client.Client.open(place, stac_io=BoundedIO())
    except InvalidCube:
        raise
    except Exception as error:  # whatever pystac makes of odd JSON
        raise InvalidCube(f"cannot be used as a STAC API ({type(error).__name__}: {error})") from None


def _parquet(place: str) -> Iterator[Found]:
    """Items of stac-geoparquet, some hundred at a time: columns are decoded as they are needed."""
    from geofuse.stac.geoparquet import read_batches

    if "://" in place:
        raise InvalidCube("stac-geoparquet is read from a file; fetch it first")
    for item in read_batches(Path(place)):
        yield _embedded(item, place)
