"""XML that is not what the metadata of a product are is rejected, and costs nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from geofuse.errors import InvalidCube
from geofuse.io.read.xml import number_of, read_xml, text_of

LAUGHS = '<!DOCTYPE a [<!ENTITY b "xxxxxxxxxx"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><a>&c;</a>'
EXTERNAL = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "a.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_prefixes_are_dropped(tmp_path: Path) -> None:
    root = read_xml(written(tmp_path, '<n1:a xmlns:n1="urn:x"><b id="1"> 2.5 </b><c/></n1:a>'))
    assert (root.tag, text_of(root, "b"), number_of(root, "b"), text_of(root, "c"), text_of(root, "d")) == ("a", "2.5", 2.5, None, None)
    with pytest.raises(InvalidCube, match="give None for c; expected a number"):
        number_of(root, "c")


@pytest.mark.parametrize("text", [LAUGHS, EXTERNAL, '<!DOCTYPE a SYSTEM "http://127.0.0.1/a.dtd"><a/>'])
def test_document_types_are_rejected(text: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidCube, match="declares a document type"):
        read_xml(written(tmp_path, text))


@pytest.mark.parametrize(
    "text", ["", "<a>", "<a></b>", b"\xff\xfe\x00", "<a>&b;</a>", '<?xml version="1.0" encoding="x"?><a/>', b"\0" * 99]
)
def test_what_is_no_xml(text: str | bytes, tmp_path: Path) -> None:
    with pytest.raises(InvalidCube, match="is no XML"):
        read_xml(written(tmp_path, text))


def test_deep_and_large_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidCube, match="deeper"):
        read_xml(written(tmp_path, "<a>" * 100_000))
    with (tmp_path / "a.xml").open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(InvalidCube, match="MB; expected the metadata of one product"):
        read_xml(tmp_path / "a.xml")
    with pytest.raises(InvalidCube, match="cannot be read"):
        read_xml(tmp_path / "b.xml")
