"""Licences and providers: of what the specification names, and no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import geofuse
from geofuse.stac.attribution import GEOFUSE, Attribution, combined
from geofuse.stac.origins import Origins
from tests.stac.catalog import item, write_items


def made(licence: str | None, *providers: dict[str, Any]) -> Attribution:
    return Attribution.of({"type": "Collection", "license": licence, "providers": list(providers)})


@pytest.mark.parametrize(
    ("licences", "expected"),
    [
        (["CC-BY-4.0", "CC-BY-4.0"], "CC-BY-4.0"),
        (["CC-BY-4.0", "CC0-1.0"], "other"),
        (["CC-BY-4.0", None], "other"),
        (["proprietary", "proprietary"], "other"),  # two texts, that nobody knows to be one
        (["CC BY; <b>", "CC BY; <b>"], "other"),
        ([None, None], None),
    ],
)
def test_one_licence_where_all_sources_have_it(licences: list[str | None], expected: str | None) -> None:
    assert combined([made(licence) for licence in licences]).license == expected


def test_providers_of_all_but_who_only_hosts_the_sources() -> None:
    hsi = made("CC0-1.0", {"name": "NASA", "roles": ["producer", "host"]}, {"name": "Bucket Ltd", "roles": ["host"]})
    msi = made(
        "CC0-1.0",
        {"name": "ESA", "roles": ["licensor"], "url": "https://esa.int"},
        {"name": "NASA", "roles": ["processor"]},
        GEOFUSE,
        {"name": "DLR"},
    )
    found = combined([hsi, msi])
    assert [(each["name"], each["roles"]) for each in found.providers] == [
        ("NASA", ["producer", "processor"]),
        ("ESA", ["licensor"]),
        ("DLR", []),
    ]
    assert found.fields["providers"][-1] == GEOFUSE
    assert hsi.providers[0]["roles"] == ["producer", "host"], "what was read is not changed"


def test_what_is_no_provider_nor_licence_is_left_out() -> None:
    wild: Any = {
        "type": "Collection",
        "license": 7,
        "providers": ["ESA", {"name": 3}, {"name": "a" * 10_000, "roles": "host", "url": "javascript:alert(1)", "x": {}}, None],
        "links": [
            {"rel": "license", "href": "file:///etc/passwd"},
            {"rel": "license", "href": "https://me:secret@example.com/l?token=x"},
            5,
        ],
    }
    found = Attribution.of(wild)
    assert found.license is None
    assert found.providers == ({"name": "a" * 500, "roles": []},)
    assert found.links == ({"rel": "license", "href": "https://example.com/l"},)
    assert not Attribution.of({"type": "Feature", "properties": "none", "links": {}})


def test_an_item_speaks_before_its_collection_and_each_collection_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "h.json").write_text(
        json.dumps({"type": "Collection", "license": "CC0-1.0", "providers": [{"name": "NASA", "roles": ["producer"]}]})
    )
    link = [{"rel": "collection", "href": "./h.json"}]
    items = [item("a", "h", links=link), item("b", "h", links=link, license="CC-BY-4.0"), item("m", "m", license="CC-BY-4.0")]
    pairs = geofuse.search_pairs(str(write_items(tmp_path / "items.json", items)), "h", "m").pair
    read: list[str] = []
    opened = geofuse.stac.origins.read_document
    monkeypatch.setattr(geofuse.stac.origins, "read_document", lambda place, access: read.append(place) or opened(place, access))
    origins = Origins()
    found = [origins.of(pair) for pair in pairs]
    assert [each.license for each in found] == ["other", "CC-BY-4.0"]
    assert [each.providers[0]["name"] for each in found] == ["NASA", "NASA"]
    assert read == [str(tmp_path / "h.json")]


def test_a_collection_that_cannot_be_read_or_may_not_be_says_nothing(tmp_path: Path) -> None:
    for href in ("./nowhere.json", "http://169.254.169.254/latest"):
        items = [item("a", "h", links=[{"rel": "collection", "href": href}]), item("m", "m")]
        (pair,) = geofuse.search_pairs(str(write_items(tmp_path / "items.json", items)), "h", "m").pair
        assert not Origins().of(pair)


def test_the_schema_in_the_documentation_is_that_of_the_package() -> None:
    package = Path(geofuse.__file__).parent
    documented = package.parent / "docs" / "reference" / "geofuse.schema.json"
    assert documented.read_text() == (package / "stac" / "geofuse.schema.json").read_text()
