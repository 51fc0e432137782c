"""Ids of hostile catalogs as names of folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from geofuse.stac.names import folder_name, folder_names

HOSTILE = [
    *("../up", "/etc/passwd", "a/b", "a\\b", "..", ".", "", ".hidden", "-rf", "con", "NUL.txt", "a\nb", "a\0b", "x" * 10_000, "ü" * 300),
    *("a:b", "collection.json", "\ud800", "a.", "a b", "%2e%2e%2f", "items.parquet"),
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:20]))
def test_a_hostile_id_becomes_a_plain_name_within_the_folder(text: str, tmp_path: Path) -> None:
    name = folder_name(text)
    assert name.isascii()
    assert len(name) <= 80
    made = tmp_path / name
    made.mkdir()
    assert made.resolve().parent == tmp_path.resolve()
    assert not name.startswith((".", "-"))


def test_names_are_unique_whatever_the_case() -> None:
    ids = [*HOSTILE, "a", "A", "a", "a", "b/c", "b c"]
    names = folder_names(ids, [str(k) for k in range(len(ids))])
    assert len({name.lower() for name in names}) == len(ids)


def test_names_do_not_depend_on_the_order() -> None:
    ids, origins = ["a", "b", "a", "c/d"], ["1", "2", "3", "4"]
    forward = dict(zip(origins, folder_names(ids, origins), strict=True))
    backward = dict(zip(origins[::-1], folder_names(ids[::-1], origins[::-1]), strict=True))
    assert forward == backward
    assert forward["2"] == "b"
