"""Folders of batches: what one kind does, the other does."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from geofuse.errors import InvalidOutput
from geofuse.io.write.folders import Folder, S3Folder, folder_at
from tests import storage

pytest.importorskip("boto3")
server, bucket = storage.server, storage.bucket  # the fixtures


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "local":
        return folder_at(tmp_path / "fused")
    request.getfixturevalue("bucket")
    return folder_at("s3://scenes/all/fused/")


def test_files_are_written_listed_read_and_removed(folder: Folder, tmp_path: Path) -> None:
    assert not folder.exists()
    with folder.locked():
        folder.write("b/state.json", b"1")
        folder.write("a/state.json", b"2")
        folder.write("a/state.json", b"3")
        folder.write("collection.json", b"{}")
        folder.write("a/.hidden", b"")
        (tmp_path / "made").write_bytes(b"4")
        folder.send(tmp_path / "made", "a/a.tif")
    assert folder.exists()
    assert folder.names() == ["a/a.tif", "a/state.json", "b/state.json"]
    assert list(folder.read(["a/state.json", "c/state.json", "a/a.tif"])) == [b"3", None, b"4"]
    with folder.local(["a/state.json"]) as root:
        assert (root / "a" / "state.json").read_bytes() == b"3"
    folder.remove("a/state.json")
    folder.remove("a/state.json")
    assert folder.names() == ["a/a.tif", "b/state.json"]


def test_lines_are_appended_to_those_of_earlier_runs(folder: Folder) -> None:
    for name in "ab":
        with folder.locked(), folder.appending("log.jsonl") as append:
            append(name)
            append(name)
    assert list(folder.read(["log.jsonl"])) == [b"a\na\nb\nb\n"]


def test_two_runs_exclude_each_other(folder: Folder) -> None:
    with folder.locked(), pytest.raises(InvalidOutput, match="Another batch works in"), pickle.loads(pickle.dumps(folder)).locked():
        pytest.fail("both are in")


def test_keys_that_lead_out_of_the_folder_are_no_names(bucket: Any) -> None:
    for key in ("fused/../x/a.json", "fused/a/../b", "fused/..\\a/b", "fused/a/b/c", "fused/ok/ok.json", "fused//a"):
        bucket.put_object(Key=key, Body=b"{}")
    assert S3Folder("s3://scenes/fused").names() == ["ok/ok.json"]


@pytest.mark.parametrize("place", ["s3://scenes", "s3://scenes/"])
def test_a_bucket_is_no_folder(place: str) -> None:
    with pytest.raises(InvalidOutput, match="s3://bucket/folder"):
        folder_at(place)


def test_a_bucket_that_is_not_there(bucket: Any) -> None:
    with pytest.raises(InvalidOutput, match=r"s3://nowhere/fused cannot be read.*credentials"):
        folder_at("s3://nowhere/fused").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidOutput, match="cannot be made"), folder_at(tmp_path / "file" / "fused").locked():
        pytest.fail("it is there")


def test_documents_of_object_storage_say_what_they_are(bucket: Any) -> None:
    folder_at("s3://scenes/fused").write("a/state.json", json.dumps({}).encode())
    assert bucket.Object("fused/a/state.json").content_type == "application/json"
