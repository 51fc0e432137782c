"""Files against what their items say of them; checksums are those of hashlib, their codes those of the multihash table."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pystac
import pytest

from geofuse.errors import InvalidInput
from geofuse.io.read.access import Access, accessing
from geofuse.pipeline import inputs
from geofuse.pipeline.inputs import check_assets, server_stamp
from tests.stac.catalog import item, serving

CONTENT = b"some pixels"
SHA256 = "1220" + hashlib.sha256(CONTENT).hexdigest()


def asset_of(path: Path, **stated: Any) -> tuple[list[pystac.Item], list[str]]:
    path.write_bytes(CONTENT)
    text = item("a", "h", href=path.as_uri())
    text["assets"]["data"] |= {f"file:{key}": value for key, value in stated.items()}
    return [pystac.Item.from_dict(text)], [path.as_uri()]


@pytest.mark.parametrize(
    "stated",
    [
        {},
        {"size": len(CONTENT), "checksum": SHA256},
        {"checksum": "1340" + hashlib.sha512(CONTENT).hexdigest()},
        {"checksum": "1114" + hashlib.sha1(CONTENT).hexdigest()},
        {"checksum": "d50110" + hashlib.md5(CONTENT).hexdigest()},
        {"checksum": "b24040" + "0" * 128},  # blake2b-512, which is not looked at
        {"checksum": "no hexadecimal"},
        {"checksum": 7, "size": "large"},
    ],
)
def test_what_is_right_or_cannot_be_compared(stated: dict[str, Any], tmp_path: Path) -> None:
    check_assets(*asset_of(tmp_path / "a.tif", **stated))


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        ({"size": 12}, r"11 bytes, and its item says 12 \(file:size\)"),
        ({"checksum": "1220" + "0" * 64}, r"checksum \(sha256\) is .*…, and its item says 0000000000000000…"),
        ({"checksum": "d50110" + "0" * 32}, r"checksum \(md5\)"),
    ],
)
def test_what_is_wrong_is_said(stated: dict[str, Any], reason: str, tmp_path: Path) -> None:
    items, files = asset_of(tmp_path / "a.tif", **stated)
    with pytest.raises(InvalidInput, match=reason):
        check_assets(items, files)
    check_assets(items, [])  # of files that are not read nothing is compared


def test_large_files_are_compared_by_their_size_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "LARGEST", 10)
    check_assets(*asset_of(tmp_path / "a.tif", checksum="1220" + "0" * 64))
    with pytest.raises(InvalidInput, match="file:size"):
        check_assets(*asset_of(tmp_path / "a.tif", size=5))


def test_files_of_a_server(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(CONTENT)
    with serving(tmp_path) as root, accessing(Access(f"{root}/items.json", cache=tmp_path)):
        text = item("a", "h", href=f"{root}/a.tif")
        text["assets"]["data"] |= {"file:size": len(CONTENT), "file:checksum": SHA256}
        check_assets([pystac.Item.from_dict(text)], [f"{root}/a.tif"])
        text["assets"]["data"]["file:checksum"] = SHA256[:-1] + ("0" if SHA256[-1] != "0" else "1")
        with pytest.raises(InvalidInput, match="checksum"):
            check_assets([pystac.Item.from_dict(text)], [f"{root}/a.tif"])


def test_the_stamp_changes_when_a_file_of_a_server_does(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(CONTENT)
    with serving(tmp_path) as root:
        access = Access(f"{root}/items.json")
        before = server_stamp([f"{root}/a.tif", "b.tif"], access)
        assert server_stamp([f"{root}/a.tif"], access) == before
        (tmp_path / "a.tif").write_bytes(CONTENT + b"!")
        assert server_stamp([f"{root}/a.tif"], access) != before
