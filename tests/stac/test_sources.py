"""Sources of items: files, servers of files on loopback, and a STAC API that others wrote; and hostile ones."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from geofuse.errors import InvalidInput
from geofuse.io.read import http
from geofuse.io.read.access import Access
from geofuse.stac import sources
from geofuse.stac.pairs import Wanted, find_pairs
from geofuse.stac.sources import Query, read_items
from tests.stac.catalog import item, serving, serving_api, write_catalog, write_items

ITEMS = [item("a", "h"), item("b", "m"), item("c", "other"), item("d", "h", time="2024-08-01T00:00:00Z", box=(20.0, 0.0, 21.0, 1.0))]
BOTH = Query(("h", "m"))


def ids(source: str | Path, query: Query = BOTH, access: Access | None = None) -> list[str]:
    return [found.item["id"] if found.item else found.error for found in read_items(str(source), query, access or Access(str(source)))]


def test_an_item_collection(tmp_path: Path) -> None:
    assert ids(write_items(tmp_path / "items.json", ITEMS)) == ["a", "b", "d"]


def test_a_single_item_and_no_stac(tmp_path: Path) -> None:
    (tmp_path / "item.json").write_text(json.dumps(ITEMS[0]))
    assert ids(tmp_path / "item.json") == ["a"]
    for text in ('{"type": "Topology"}', "[]", "", "{"):
        (tmp_path / "odd.json").write_text(text)
        with pytest.raises(InvalidInput, match=r"odd\.json"):
            ids(tmp_path / "odd.json")
    with pytest.raises(InvalidInput, match="check the path"):
        ids(tmp_path / "none.json")


@pytest.mark.parametrize("way", ["file", "http"])
def test_a_static_catalog_with_a_cycle(way: str, tmp_path: Path) -> None:
    path = write_catalog(tmp_path, ITEMS)
    if way == "file":
        found = list(read_items(str(path), BOTH, Access(str(path))))
        assert found[0].base == str(tmp_path / "0.json")
    else:
        with serving(tmp_path) as root:
            found = list(read_items(f"{root}/catalog.json", BOTH, Access(f"{root}/catalog.json")))
        assert found[0].base == f"{root}/0.json"
    assert [made.item["id"] for made in found if made.item] == ["a", "b", "d"]


def test_what_cannot_be_read_does_not_hide_the_rest(tmp_path: Path) -> None:
    path = write_catalog(tmp_path, ITEMS, {"rel": "item", "href": "./none.json"}, {"rel": "child", "href": "./gone.json"})
    (tmp_path / "1.json").write_text("{")
    found = ids(path)
    assert found[0] == "a"
    assert found[2] == "d"
    assert sorted(found[1:2] + found[3:]) == sorted(
        ["the JSON ends too early; fetch it again"] + ["cannot be read (No such file or directory); check the path"] * 2
    )


def test_a_catalog_that_is_endlessly_deep(tmp_path: Path) -> None:
    def answer(request: Any) -> bool:
        number = int(request.path.strip("/").removesuffix(".json"))
        text = {"type": "Catalog", "id": str(number), "links": [{"rel": "child", "href": f"./{number + 1}.json"}]}
        body = json.dumps(text).encode()
        request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
        return True

    with serving(tmp_path, answer) as root:
        assert ids(f"{root}/0.json") == [f"catalogs more than {sources.DEEPEST} deep; what lies below is left out"]


def api(folder: Path, page: Any) -> Any:
    """Answers of a STAC API whose search says what ``page`` says."""

    def answer(request: Any) -> bool:
        root = f"http://{request.headers['Host']}"
        if "/search" in request.path:
            body = page(request.path, root)
        else:
            conforms = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
            links = [
                {"rel": "search", "href": f"{root}/search", "type": "application/geo+json", "method": "GET"},
                {"rel": "root", "href": root},
            ]
            body = {"type": "Catalog", "id": "api", "stac_version": "1.0.0", "description": "-", "conformsTo": conforms, "links": links}
        text = json.dumps(body).encode()
        request.send_response(200)
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        request.wfile.write(text)
        return True

    return serving(folder, answer)


def test_paging_in_a_circle_ends(tmp_path: Path) -> None:
    def page(path: str, root: str) -> dict[str, Any]:
        links = [{"rel": "next", "href": f"{root}/search?token=again", "method": "GET"}]
        return {"type": "FeatureCollection", "features": ITEMS[:1], "links": links}

    pytest.importorskip("pystac_client")
    with api(tmp_path, page) as root, pytest.raises(InvalidInput, match="in a circle"):
        ids(root)


def test_endless_paging_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def page(path: str, root: str) -> dict[str, Any]:
        links = [{"rel": "next", "href": f"{root}/search?token={time.perf_counter_ns()}", "method": "GET"}]
        return {"type": "FeatureCollection", "features": ITEMS[:1], "links": links}

    pytest.importorskip("pystac_client")
    monkeypatch.setattr(sources, "MOST_DOCUMENTS", 20)
    with api(tmp_path, page) as root, pytest.raises(InvalidInput, match="more than 20 documents"):
        ids(root)


@pytest.mark.parametrize("hostile", ["http://169.254.169.254/search", "http://10.0.0.1/search", "http://intranet/search"])
def test_pages_lead_to_no_other_place_of_the_network(hostile: str, tmp_path: Path) -> None:
    def page(path: str, root: str) -> dict[str, Any]:
        return {"type": "FeatureCollection", "features": ITEMS[:1], "links": [{"rel": "next", "href": hostile, "method": "GET"}]}

    pytest.importorskip("pystac_client")
    with api(tmp_path, page) as root, pytest.raises(InvalidInput, match="--allow-host"):
        ids(root)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A STAC API that others wrote, with 250 hyperspectral items, so that it has pages, and two multispectral ones."""
    pytest.importorskip("pystac_client")
    folder = tmp_path_factory.mktemp("rustac")
    many = [item(f"h{k}", "h", time=f"2024-06-{1 + k % 30:02d}T10:00:00Z", href="http://127.0.0.1:9/a.tif") for k in range(250)]
    fine = [item("m1", "m", href="file:///data/m.tif"), item("m2", "m", box=(20.0, 0.0, 21.0, 1.0), href="file:///data/m.tif")]
    made = write_items(folder / "items.json", [*many, *fine])
    with serving_api(made) as address:
        yield address


def test_a_stac_api_page_by_page(server: str) -> None:
    assert sorted(ids(server)) == sorted([*(f"h{k}" for k in range(250)), "m1", "m2"])


def test_a_stac_api_filters_by_place_and_time(server: str) -> None:
    asked = Query(("h", "m"), (9.0, 49.0, 12.0, 52.0), "2024-06-30T00:00:00Z/2024-07-01T00:00:00Z")
    assert sorted(ids(server, asked)) == sorted([*(f"h{k}" for k in range(29, 250, 30)), "m1"])


def test_pairs_of_a_stac_api(server: str) -> None:
    found = find_pairs(server, Wanted.of("h", "m", "9,49,12,52", "2024-06-28/2024-06-30", "36h", 20, 0.5))
    assert sorted(pair.id for pair in found.pairs) == sorted(f"h{k}" for k in range(250) if k % 30 in (28, 29))
    assert {item.id for pair in found.pairs for item in pair.msi} == {"m1"}
    assert {reason for _, reason in found.left} == {"no MSI item within 1.5 days (the nearest is 2 days apart)"}


@pytest.mark.parametrize(
    ("part", "what"), [("/collections/h", "one collection"), ("/collections/h/items/h1", "one item"), ("/collections/h/items", "one page")]
)
def test_an_address_within_an_api_is_an_error_that_says_what_to_give(part: str, what: str, server: str) -> None:
    with pytest.raises(InvalidInput, match=f"{what} .*of a STAC API; expected the API itself.*give {server}/?$"):
        ids(server + part)


def test_geoparquet_says_what_json_says(tmp_path: Path) -> None:
    rustac = pytest.importorskip("rustac")
    pytest.importorskip("pyarrow")
    rustac.write_sync(str(tmp_path / "items.parquet"), ITEMS)
    found = {made.item["id"]: made.item for made in read_items(str(tmp_path / "items.parquet"), BOTH, Access("")) if made.item}
    assert set(found) == {"a", "b", "d"}
    for made in (ITEMS[0], ITEMS[3]):
        assert found[made["id"]]["properties"] == made["properties"]
        assert found[made["id"]]["assets"] == made["assets"]
        assert found[made["id"]]["bbox"] == made["bbox"]
        assert {tuple(place) for place in found[made["id"]]["geometry"]["coordinates"][0]} == {
            tuple(p) for p in made["geometry"]["coordinates"][0]
        }
    shutil.copy(__file__, tmp_path / "odd.parquet")
    with pytest.raises(InvalidInput, match="stac-geoparquet"):
        ids(tmp_path / "odd.parquet")


def test_a_library_that_is_missing_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pystac_client", None)
    with pytest.raises(InvalidInput, match=r"geofuse\[cloud\]"):
        ids(tmp_path / "items.parquet")
    with api(tmp_path, lambda *_: {}) as root, pytest.raises(InvalidInput, match=r"geofuse\[cloud\]"):
        ids(root)


def test_a_document_without_end_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "DOCUMENT_BYTES", 2**20)
    write_catalog(tmp_path, [])

    def answer(request: Any) -> bool:
        if "inner" not in request.path:
            return False
        request.send_response(200)
        request.end_headers()
        try:
            while True:
                request.wfile.write(b" " * 2**16)
        except OSError:
            return True

    with serving(tmp_path, answer) as root:
        (found,) = ids(f"{root}/catalog.json")
    assert "MiB of JSON" in found


def test_it_waits_as_the_server_asks_and_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(http.time, "sleep", pauses.append)
    write_items(tmp_path / "items.json", ITEMS)
    states = iter([(503, "7"), (429, "Wed, 21 Oct 2015 07:28:00 GMT"), (500, None), (200, None)])

    def answer(request: Any) -> bool:
        code, patience = next(states, (500, None))
        if code == 200:
            return False
        request.send_response(code)
        if patience:
            request.send_header("Retry-After", patience)
        request.end_headers()
        return True

    with serving(tmp_path, answer) as root:
        assert ids(f"{root}/items.json") == ["a", "b", "d"]
        assert pauses == [7.0, 0.0, 2.0]
        with pytest.raises(InvalidInput, match="500"):
            ids(f"{root}/items.json")


def test_a_redirect_leads_to_no_other_place_of_the_network(tmp_path: Path) -> None:
    def answer(request: Any) -> bool:
        request.send_response(302)
        request.send_header("Location", "http://169.254.169.254/latest/meta-data")
        request.end_headers()
        return True

    with serving(tmp_path, answer) as root, pytest.raises(InvalidInput, match="allow-host"):
        ids(f"{root}/items.json")


def test_a_connection_that_breaks_and_an_address_that_is_none_are_said(tmp_path: Path) -> None:
    """A link with a space, and a response that ends within a chunk: of the first the link is left out, of the second the source."""

    def answer(request: Any) -> bool:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        request.wfile.write(b"ff\r\n{")
        request.close_connection = True
        return True

    with serving(tmp_path, answer) as root, pytest.raises(InvalidInput, match="connection broke"):
        http.fetch(f"{root}/inner.json", Access(root))
    with pytest.raises(InvalidInput, match="check the address"):
        http.fetch("http://example.com/my scene.json", Access("http://example.com/"))


def test_slow_drips_do_not_stop_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_PATIENCE_S", 0.3)

    def answer(request: Any) -> bool:
        request.send_response(200)
        request.end_headers()
        with suppress(OSError):
            for _ in range(50):
                request.wfile.write(b" ")
                request.wfile.flush()
                time.sleep(0.05)
        return True

    with serving(tmp_path, answer) as root, pytest.raises(InvalidInput, match="too slow"):
        http.fetch(f"{root}/inner.json", Access(root))
