"""Outputs in S3, on moto's server: the object is the local file, or it is not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

import geofuse
from geofuse.cli import main
from geofuse.errors import OutputRefused, RunFailed
from geofuse.io import remote
from geofuse.io.cog import write_cog
from geofuse.io.remote import check_remote, is_remote, local_place, upload
from tests.crops import small_cubes, small_files, small_model

boto3 = pytest.importorskip("boto3")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(port=0, verbose=False)
    running.start()
    yield "http://{}:{}".format(*running.get_host_and_port())
    running.stop()


@pytest.fixture
def bucket(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty bucket called ``scenes``, and a temporary folder of our own."""
    small_files()  # made before the temporary folder is another one
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    values = {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test", "DEFAULT_REGION": "eu-central-1", "ENDPOINT_URL": server}
    for name, value in values.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    made = boto3.resource("s3").Bucket("scenes")
    made.create(CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    yield made
    made.objects.all().delete()
    made.delete()


def keys(bucket: Any) -> list[str]:
    return [entry.key for entry in bucket.objects.all()]


def test_the_object_is_the_file(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_PART", 5 * 2**20)  # S3's smallest part
    content = np.random.default_rng(0).bytes(12 * 2**20 + 5)
    (tmp_path / "a.bin").write_bytes(content)
    upload(tmp_path / "a.bin", "s3://scenes/b/a.bin")
    stored = bucket.Object("b/a.bin").get()
    assert stored["Body"].read() == content
    assert stored["ETag"].endswith('-3"'), "in three parts"
    (tmp_path / "empty").touch()
    upload(tmp_path / "empty", "s3://scenes/empty")
    assert bucket.Object("empty").content_length == 0


def test_a_damaged_part_is_no_object(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.bin").write_bytes(b"abc")
    client, failures = remote._client()
    genuine = client.upload_part
    monkeypatch.setattr(client, "upload_part", lambda **given: genuine(**given) | {"ChecksumSHA256": "of something else"})
    monkeypatch.setattr(remote, "_client", lambda: (client, failures))
    with pytest.raises(OSError, match="part 1 arrived damaged"):
        upload(tmp_path / "a.bin", "s3://scenes/a.bin")
    assert keys(bucket) == []
    assert "Uploads" not in client.list_multipart_uploads(Bucket="scenes"), "nothing is left to be paid for"


def test_a_cube_goes_to_s3_and_nothing_stays_here(bucket: Any, tmp_path: Path) -> None:
    msi = small_cubes()[1]
    write_cog(msi, "s3://scenes/made/a.tif", progress=False)
    local = write_cog(msi, tmp_path / "a.tif", progress=False)
    assert keys(bucket) == ["made/a.tif"]
    assert bucket.Object("made/a.tif").get()["Body"].read() == local.path.read_bytes()
    assert list((tmp_path / "scratch").iterdir()) == []
    with pytest.raises(OutputRefused, match=r"s3://scenes/made/a\.tif exists.*overwrite"):
        write_cog(msi, "s3://scenes/made/a.tif", progress=False)
    write_cog(msi, "s3://scenes/made/a.tif", overwrite=True, progress=False)


def test_a_failed_upload_is_gone_on_with(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    msi, address = small_cubes()[1], "s3://scenes/a.tif"
    with monkeypatch.context() as patch:
        patch.setattr("geofuse.io.cog.upload", lambda *_: (_ for _ in ()).throw(OSError("the line is down")))
        with pytest.raises(RunFailed, match=r"the line is down.*kept"):
            write_cog(msi, address, progress=False)
    assert keys(bucket) == []
    monkeypatch.setattr("geofuse.io.cog._compress", lambda *_: pytest.fail("that had been done"))
    write_cog(msi, address, progress=False)
    assert keys(bucket) == ["a.tif"]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_the_command_line(bucket: Any, tmp_path: Path, server: str) -> None:
    """The image and its item; GDAL reads it where it is."""
    model = small_model().save(tmp_path / "m.safetensors")
    with pytest.raises(SystemExit) as end:
        main(["fuse", *map(str, small_files()), "-o", "s3://scenes/x/out.tif", "--model", str(model), "-q"])
    assert not end.value.code
    assert keys(bucket) == ["x/out.json", "x/out.tif"]
    assert list((tmp_path / "scratch").iterdir()) == []
    host = server.removeprefix("http://")
    with rasterio.Env(AWS_S3_ENDPOINT=host, AWS_HTTPS="NO", AWS_VIRTUAL_HOSTING="FALSE"), rasterio.open("s3://scenes/x/out.tif") as file:
        assert file.count == 177
        assert file.read(5).max() > 0


class TestStores:
    def test_a_store_is_its_folder_root_last(self, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        order, genuine = [], remote._upload_file
        monkeypatch.setattr(remote, "_upload_file", lambda file, address: order.append(address) or genuine(file, address))
        msi = small_cubes()[1]
        assert geofuse.to_zarr(msi, "s3://scenes/made/a.zarr", progress=False) == "s3://scenes/made/a.zarr"
        local = geofuse.to_zarr(msi, tmp_path / "a.zarr", progress=False)
        files = {path.relative_to(local).as_posix(): path for path in Path(local).rglob("*") if path.is_file()}
        assert keys(bucket) == sorted(f"made/a.zarr/{name}" for name in files)
        for name, path in files.items():
            assert bucket.Object(f"made/a.zarr/{name}").get()["Body"].read() == path.read_bytes()
        assert order[-1] == "s3://scenes/made/a.zarr/zarr.json"
        assert list((tmp_path / "scratch").iterdir()) == []

    def test_replacing_leaves_nothing_of_the_old_one(self, bucket: Any) -> None:
        msi, address = small_cubes()[1], "s3://scenes/a.zarr"
        geofuse.to_zarr(msi, address, progress=False)
        bucket.put_object(Key="a.zarr/0/reflectance/c/9/9/9", Body=b"a shard that the new store does not have")
        bucket.put_object(Key="a.zarr.txt", Body=b"precious")
        with pytest.raises(OutputRefused, match="exists"):
            geofuse.to_zarr(msi, address, progress=False)
        geofuse.to_zarr(msi, address, overwrite=True, progress=False)
        assert "a.zarr/0/reflectance/c/9/9/9" not in keys(bucket)
        assert bucket.Object("a.zarr.txt").get()["Body"].read() == b"precious"

    def test_objects_of_somebody_else_are_not_touched(self, bucket: Any) -> None:
        bucket.put_object(Key="a.zarr/.zgroup", Body=b"version 2")
        for overwrite in (False, True):
            with pytest.raises(OutputRefused, match="no Zarr store"):
                geofuse.to_zarr(small_cubes()[1], "s3://scenes/a.zarr", overwrite=overwrite, progress=False)
        assert keys(bucket) == ["a.zarr/.zgroup"]

    def test_a_failed_upload_is_no_store_and_is_gone_on_with(self, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        msi, address, genuine, sent = small_cubes()[1], "s3://scenes/a.zarr", remote._upload_file, []

        def upload_some(file: Path, to: str) -> None:
            sent.append(to)
            if len(sent) > 5:
                raise OSError("the line is down")
            genuine(file, to)

        with monkeypatch.context() as patch:
            patch.setattr(remote, "_upload_file", upload_some)
            with pytest.raises(RunFailed, match=r"the line is down.*kept"):
                geofuse.to_zarr(msi, address, progress=False)
        assert "a.zarr/zarr.json" not in keys(bucket)
        monkeypatch.setattr("geofuse.io.zarr.fill_store", lambda *_: pytest.fail("that had been done"))
        geofuse.to_zarr(msi, address, progress=False)
        assert "a.zarr/zarr.json" in keys(bucket)
        assert not [key for key in keys(bucket) if "geofuse" in key]
        assert list((tmp_path / "scratch").iterdir()) == []

    def test_the_command_line(self, bucket: Any, tmp_path: Path) -> None:
        model = small_model("fuse").save(tmp_path / "m.safetensors")
        with pytest.raises(SystemExit) as end:
            main(["fuse", *map(str, small_files()), "-o", "s3://scenes/x/out.zarr", "--model", str(model), "-q"])
        assert not end.value.code
        assert {"x/out.json", "x/out.zarr/zarr.json"} <= set(keys(bucket))
        assert list((tmp_path / "scratch").iterdir()) == []


def test_refusals(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for address, said in (("s3://scenes", "no address"), ("s3://scenes/folder/", "no address"), ("s3:///a.tif", "no address")):
        with pytest.raises(OutputRefused, match=said):
            local_place(address)
    with pytest.raises(OutputRefused, match=r"s3://nowhere/a\.tif cannot be written"):
        check_remote("s3://nowhere/a.tif")
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)  # Python's way to say: not installed
    with pytest.raises(OutputRefused, match=r"pip install 'geofuse\[s3\]'"):
        check_remote("s3://scenes/a.tif")
    assert not is_remote("/data/s3/a.tif")
