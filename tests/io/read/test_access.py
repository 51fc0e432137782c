"""Where a catalog may lead."""

from __future__ import annotations

import pytest

from geofuse.errors import InvalidCube
from geofuse.io.read.access import Access

HERE = [
    *("file:///etc/passwd", "/etc/passwd", "http://localhost/a", "http://127.0.0.1:8000/a", "http://127.1.2.3/a", "http://[::1]/a"),
    *(
        "http://[::ffff:127.0.0.1]/a",
        "http://0.0.0.0/a",
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/a",
        "http://10.1.2.3/a",
    ),
    *(
        "http://192.168.0.1/a",
        "http://172.16.0.1/a",
        "http://2130706433/a",
        "http://0x7f000001/a",
        "http://0177.0.0.1/a",
        "http://127.0.0.0x1/a",
        "http://0177.0.0.0x1/a",
        "http://169.254\u3002169.254/latest",
        "http://[64:ff9b::7f00:1]/a",
        "http://a.localhost/",
    ),
    *("http://metadata.google.internal/a", "http://intranet/a", "https://printer.local/a", "http://localhost./a", "http://127.1/a"),
    *("http://user@127.0.0.1/a", "http://[broken/a", "FILE:///etc/passwd"),
]


@pytest.mark.parametrize("href", HERE)
def test_a_catalog_of_the_internet_names_no_place_here(href: str) -> None:
    with pytest.raises(InvalidCube, match="--allow-host"):
        Access("https://example.com/catalog.json").check(href)


@pytest.mark.parametrize(
    "href", ["https://example.com/a.tif", "http://8.8.8.8/a", "s3://bucket/a.tif", "gs://bucket/a", "https://10.example.com/"]
)
def test_it_names_what_is_public(href: str) -> None:
    assert Access("https://example.com/catalog.json").check(href) == href


@pytest.mark.parametrize(
    ("href", "host"),
    [
        ("file:///data/a.tif", "file"),
        ("/data/a.tif", "file"),
        ("http://127.0.0.1:80/a", "127.0.0.1"),
        ("http://10.0.0.7/a", "10.0.0.7"),
        ("http://nas/a", "nas"),
    ],
)
def test_a_host_that_is_allowed_and_no_other(href: str, host: str) -> None:
    access = Access("https://example.com/catalog.json", frozenset({host}))
    assert access.check(href) == href
    with pytest.raises(InvalidCube):
        access.check("http://10.0.0.8/a")


@pytest.mark.parametrize(
    ("place", "own", "other"),
    [
        ("/data/catalog.json", "/data/a.tif", "http://10.0.0.7/a"),
        ("/data/catalog.json", "http://127.0.0.1/a", "http://169.254.169.254/a"),
        ("http://127.0.0.1:7822", "http://127.0.0.1:9000/a", "http://192.168.0.1/a"),
        ("http://10.0.0.7/stac", "http://10.0.0.7:8080/a", "http://127.0.0.1/a"),
        ("http://10.0.0.7/stac", "https://example.com/a", "file:///etc/passwd"),
    ],
)
def test_a_catalog_of_here_names_its_own(place: str, own: str, other: str) -> None:
    assert Access(place).check(own) == own
    with pytest.raises(InvalidCube):
        Access(place).check(other)


def test_no_credentials_in_what_is_said() -> None:
    with pytest.raises(InvalidCube) as error:
        Access("https://example.com/?token=hunter2").check("http://me:secret@10.0.0.1/a?sig=abc")
    assert not [word for word in ("hunter2", "secret", "abc") if word in str(error.value)]
