"""Outputs in S3, on moto's server: the object is the local file, or it is not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

import geofuse
from geofuse.cli import main
from geofuse.errors import InvalidOutput, RunError
from geofuse.io.write import remote
from geofuse.io.write.cog import write_cog
from geofuse.io.write.remote import check_remote, is_remote, local_place, upload
from geofuse.io.write.zarr import ZARR
from geofuse.pipeline.job import Job
from tests import storage
from tests.crops import few_files, few_model, small_cubes, small_files, small_model

boto3 = pytest.importorskip("boto3")


server, bucket = storage.server, storage.bucket  # the fixtures


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


@pytest.mark.parametrize("size", [5 * 2**20 + 1, 7], ids=["in parts", "in one"])
def test_what_arrives_damaged_is_no_object(size: int, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte is another one after its checksum was taken, and the server, unlike Amazon's, does not look."""
    monkeypatch.setattr(remote, "_PART", 5 * 2**20)
    (tmp_path / "a.bin").write_bytes(bytes(size))
    client = remote.s3_client()

    def damage(request: Any, **_: Any) -> None:
        if request.body:
            for name in [name for name in request.headers if name.lower().startswith("x-amz-checksum-sha256")]:
                del request.headers[name]
            request.body = b"!" + request.body.read()[1:]

    for name in ("UploadPart", "PutObject"):
        client.meta.events.register(f"before-send.s3.{name}", damage)
    monkeypatch.setattr(remote, "s3_client", lambda: client)
    with pytest.raises(OSError, match=r"not what was sent: found .*'ChecksumSHA256'"):
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
    with pytest.raises(InvalidOutput, match=r"s3://scenes/made/a\.tif exists.*overwrite"):
        write_cog(msi, "s3://scenes/made/a.tif", progress=False)
    write_cog(msi, "s3://scenes/made/a.tif", overwrite=True, progress=False)


def test_a_failed_upload_is_gone_on_with(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    msi, address = small_cubes()[1], "s3://scenes/a.tif"
    with monkeypatch.context() as patch:
        patch.setattr("geofuse.io.write.destinations.upload", lambda *_, **__: (_ for _ in ()).throw(OSError("the line is down")))
        with pytest.raises(RunError, match=r"the line is down.*kept"):
            write_cog(msi, address, progress=False)
    assert keys(bucket) == []
    monkeypatch.setattr("geofuse.io.write.cog._compress", lambda *_: pytest.fail("that had been done"))
    write_cog(msi, address, progress=False)
    assert keys(bucket) == ["a.tif"]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_the_command_line(bucket: Any, tmp_path: Path, server: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The image and its item; GDAL reads it where it is."""
    model = small_model().save(tmp_path / "m.safetensors")
    with pytest.raises(SystemExit) as end:
        main(["fuse", *map(str, small_files()), "-o", "s3://scenes/x/out.tif", "--model", str(model), "-q"])
    assert not end.value.code
    assert keys(bucket) == ["x/out.json", "x/out.tif", "x/out_quality.tif"]
    assert list((tmp_path / "scratch").iterdir()) == []
    host = server.removeprefix("http://")
    with rasterio.Env(AWS_S3_ENDPOINT=host, AWS_HTTPS="NO", AWS_VIRTUAL_HOSTING="FALSE"), rasterio.open("s3://scenes/x/out.tif") as file:
        assert file.count == 177
        assert file.read(5).max() > 0
    again = ["fuse", *map(str, small_files()), "-o", "s3://scenes/x/out.tif", "--model", str(model), "-q"]
    capsys.readouterr()
    main_status(again, 0)
    assert "done already: s3://scenes/x/out.tif" in capsys.readouterr().out
    assert list((tmp_path / "scratch").iterdir()) == []
    main_status([*again, "--seed", "1"], 2)
    bucket.Object("x/out.json").delete()
    main_status(again, 2)


def main_status(arguments: list[str], expected: int) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert (end.value.code or 0) == expected


class TestStores:
    def test_a_store_is_its_folder_root_last(self, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        order, genuine = [], remote._send_whole
        monkeypatch.setattr(remote, "_send_whole", lambda *given: order.append(given[3]) or genuine(*given))
        msi = small_cubes()[1]
        assert geofuse.to_zarr(msi, "s3://scenes/made/a.zarr", progress=False) == "s3://scenes/made/a.zarr"
        local = geofuse.to_zarr(msi, tmp_path / "a.zarr", progress=False)
        files = {path.relative_to(local).as_posix(): path for path in Path(local).rglob("*") if path.is_file()}
        assert keys(bucket) == sorted(f"made/a.zarr/{name}" for name in files)
        for name, path in files.items():
            assert bucket.Object(f"made/a.zarr/{name}").get()["Body"].read() == path.read_bytes()
        assert order[-1] == "made/a.zarr/zarr.json"
        assert list((tmp_path / "scratch").iterdir()) == []

    def test_replacing_leaves_nothing_of_the_old_one(self, bucket: Any) -> None:
        msi, address = small_cubes()[1], "s3://scenes/a.zarr"
        geofuse.to_zarr(msi, address, progress=False)
        bucket.put_object(Key="a.zarr/reflectance/c/9/9/9", Body=b"a shard that the new store does not have")
        bucket.put_object(Key="a.zarr.txt", Body=b"precious")
        with pytest.raises(InvalidOutput, match="exists"):
            geofuse.to_zarr(msi, address, progress=False)
        geofuse.to_zarr(msi, address, overwrite=True, progress=False)
        assert "a.zarr/reflectance/c/9/9/9" not in keys(bucket)
        assert bucket.Object("a.zarr.txt").get()["Body"].read() == b"precious"

    def test_a_store_that_is_there_is_sent_again_where_it_differs(self, bucket: Any, tmp_path: Path) -> None:
        store, address = Path(geofuse.to_zarr(small_cubes()[1], tmp_path / "a.zarr", progress=False)), "s3://scenes/a.zarr"
        upload(store, address, ZARR)
        there = {entry.key: entry.last_modified for entry in bucket.objects.all()}
        upload(store, address, ZARR)
        assert {entry.key: entry.last_modified for entry in bucket.objects.all()} == there
        bucket.put_object(Key="a.zarr/reflectance/c/9/9/9", Body=b"a shard that this store does not have")
        upload(store, address, ZARR)
        bucket.Object("a.zarr/reflectance/zarr.json").delete()
        upload(store, address, ZARR)
        assert keys(bucket) == list(there)

    def test_objects_of_somebody_else_are_not_touched(self, bucket: Any) -> None:
        bucket.put_object(Key="a.zarr/.zgroup", Body=b"version 2")
        for overwrite in (False, True):
            with pytest.raises(InvalidOutput, match="no Zarr store"):
                geofuse.to_zarr(small_cubes()[1], "s3://scenes/a.zarr", overwrite=overwrite, progress=False)
        assert keys(bucket) == ["a.zarr/.zgroup"]

    def test_a_failed_upload_is_no_store_and_is_gone_on_with(self, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        msi, address, genuine, sent = small_cubes()[1], "s3://scenes/a.zarr", remote._send_whole, []

        def upload_some(*given: Any) -> None:
            sent.append(given)
            if len(sent) > 5:
                raise OSError("the line is down")
            genuine(*given)

        with monkeypatch.context() as patch:
            patch.setattr(remote, "_send_whole", upload_some)
            with pytest.raises(RunError, match=r"the line is down.*kept"):
                geofuse.to_zarr(msi, address, progress=False)
        assert "a.zarr/zarr.json" not in keys(bucket)
        monkeypatch.setattr("geofuse.io.write.zarr.fill_store", lambda *_: pytest.fail("that had been done"))
        geofuse.to_zarr(msi, address, progress=False)
        assert "a.zarr/zarr.json" in keys(bucket)
        assert not [key for key in keys(bucket) if "geofuse" in key]
        assert list((tmp_path / "scratch").iterdir()) == []

    def test_the_command_line(self, bucket: Any, tmp_path: Path) -> None:
        model = small_model("sylvester").save(tmp_path / "m.safetensors")
        with pytest.raises(SystemExit) as end:
            main(["fuse", *map(str, small_files()), "-o", "s3://scenes/x/out.zarr", "--model", str(model), "-q"])
        assert not end.value.code
        assert {"x/out.json", "x/out.zarr/zarr.json"} <= set(keys(bucket))
        assert list((tmp_path / "scratch").iterdir()) == []


KILLED_AFTER = """
import os, signal
import geofuse, geofuse.io.write.cog, geofuse.io.write.destinations, geofuse.io.write.zarr, geofuse.pipeline.job
from geofuse.cli import main
from geofuse.io.write import remote
from geofuse.io.write import workspace

def dying(name, calls):
    def die(*given, **options):
        done = genuine(*given, **options)
        calls.pop()
        if not calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    module, _, name = name.rpartition(".")
    module = eval(module)
    genuine = getattr(module, name)
    setattr(module, name, die)
"""


def killed_after(function: str, program: str, *, call: int = 1) -> None:
    """Run a program that is killed when it has called a function for the so-manieth time."""
    ending = f"dying({function!r}, [None] * {call})\n"
    ended = subprocess.run(
        [sys.executable, "-c", KILLED_AFTER + ending + program], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def write(address: str, **options: Any) -> None:
    """As the program below writes it."""
    getattr(geofuse, f"to_{_kind(address)}")(geofuse.open_msi(small_files()[1]), address, progress=False, **options)


def killed_while_writing(address: str, after: str) -> None:
    msi = str(small_files()[1])
    killed_after(after, f"geofuse.to_{_kind(address)}(geofuse.open_msi({msi!r}), {address!r}, progress=False)")


def _kind(address: str) -> str:
    return "zarr" if address.endswith("zarr") else "cog"


def forbid(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    for name in names:
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("that had been done"))


DONE = "geofuse.io.write.cog._compress", "geofuse.io.write.zarr.fill_store"
SENDING = ("geofuse.io.write.remote._send",)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
class TestKilledAfterTheUpload:
    """The object is there, and what was made of it here, too."""

    @pytest.mark.parametrize("address", ["s3://scenes/a.tif", "s3://scenes/a.zarr"])
    def test_its_own_object_is_no_obstacle(self, address: str, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        killed_while_writing(address, after="geofuse.io.write.destinations.upload")
        there = {entry.key: (entry.e_tag, entry.last_modified) for entry in bucket.objects.all()}
        assert there
        assert list((tmp_path / "scratch").iterdir()) != []
        with pytest.raises(InvalidOutput, match="exists"):  # what is not resumed is another run
            write(address, resume=False)
        forbid(monkeypatch, *DONE, *SENDING)
        if "zarr" in address:
            bucket.put_object(Key="a.zarr/!geofuse")  # as if killed before the last request
        write(address)
        assert {entry.key: (entry.e_tag, entry.last_modified) for entry in bucket.objects.all()} == there
        assert list((tmp_path / "scratch").iterdir()) == []
        with pytest.raises(InvalidOutput, match="exists"):
            write(address)

    def test_the_object_of_somebody_else_is(self, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        address = "s3://scenes/a.tif"
        killed_while_writing(address, after="geofuse.io.write.destinations.upload")
        whole = bucket.Object("a.tif").get()["Body"].read()
        forbid(monkeypatch, *DONE)
        for metadata in ({}, {"geofuse-sha256": "0" * 64}):  # of the same size
            bucket.put_object(Key="a.tif", Body=whole[::-1], Metadata=metadata)
            with pytest.raises(InvalidOutput, match=r"s3://scenes/a\.tif exists"):
                write(address)
            assert bucket.Object("a.tif").get()["Body"].read() == whole[::-1]
        write(address, overwrite=True)
        assert bucket.Object("a.tif").get()["Body"].read() == whole
        assert list((tmp_path / "scratch").iterdir()) == []

    def test_the_command_line(self, bucket: Any, tmp_path: Path) -> None:
        """The image is there, and its item is not."""
        model = few_model().save(tmp_path / "m.safetensors")
        command = ["fuse", *map(str, few_files()), "-o", "s3://scenes/x/out.tif", "--model", str(model), "-q"]
        killed_after("geofuse.io.write.destinations.upload", f"main({command!r})")
        assert keys(bucket) == ["x/out.tif"]
        with pytest.raises(SystemExit) as end:
            main(command)
        assert not end.value.code
        assert keys(bucket) == ["x/out.json", "x/out.tif", "x/out_quality.tif"]
        assert list((tmp_path / "scratch").iterdir()) == []


@pytest.fixture(scope="module")
def certain_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows its errors."""
    return few_model(uncertainty=True).save(tmp_path_factory.mktemp("model") / "m.safetensors")


class TestBeside:
    """The standard deviations and the item go where the image goes."""

    NAMES = ("x/out.json", "x/out.tif", "x/out_quality.tif", "x/out_uncertainty.tif")

    @pytest.fixture
    def job(self, certain_model: Path, bucket: Any) -> Callable[..., Job]:
        address, (hsi, msi) = "s3://scenes/x/out.tif", map(str, few_files())
        given: dict[str, Any] = {"model": certain_model, "uncertainty": True, "remote": address, "progress": False}
        return lambda **more: Job(hsi, msi, local_place(address), **given | more)

    @pytest.mark.parametrize("sent", [1, 3])
    def test_interrupted_between_two_of_them(
        self, sent: int, job: Callable[..., Job], bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls, genuine = [], remote.upload

        def upload_some(*given: Any, **about: Any) -> None:
            genuine(*given, **about)
            calls.append(given)
            if len(calls) == sent:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("geofuse.io.write.destinations.upload", upload_some)
            with pytest.raises(KeyboardInterrupt, match="kept"):
                job().run()
        assert len(keys(bucket)) == sent
        first = bucket.Object("x/out.tif").last_modified
        job().run()
        assert keys(bucket) == list(self.NAMES)
        assert bucket.Object("x/out.tif").last_modified == first
        assert list((tmp_path / "scratch").iterdir()) == []

    @pytest.mark.parametrize("name", NAMES)
    def test_what_is_there_is_rejected(self, name: str, job: Callable[..., Job], bucket: Any) -> None:
        bucket.put_object(Key=name, Body=b"precious")
        with pytest.raises(InvalidOutput, match=f"s3://scenes/{name} exists"):
            job().check()
        job(overwrite=True).check()
        if "uncertainty" in name:
            job(uncertainty=False).check()


class TestPartsOfUploads:
    """They are not left with the server, which would keep them and charge for them."""

    @pytest.fixture
    def file(self, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(remote, "_PART", 5 * 2**20)
        (tmp_path / "a.bin").write_bytes(np.random.default_rng(0).bytes(6 * 2**20))
        return tmp_path / "a.bin"

    def open_uploads(self) -> list[Any]:
        return list(boto3.client("s3").list_multipart_uploads(Bucket="scenes").get("Uploads", []))

    @pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
    def test_of_a_killed_run(self, file: Path, bucket: Any) -> None:
        upload_it = f"from pathlib import Path\nremote._PART = 5 * 2**20\nremote.upload(Path({str(file)!r}), 's3://scenes/a.bin')"
        killed_after("remote.Path.write_text", upload_it)  # the note of the upload that has begun
        assert len(self.open_uploads()) == 1
        others = boto3.client("s3").create_multipart_upload(Bucket="scenes", Key="a.bin")["UploadId"]
        upload(file, "s3://scenes/a.bin")
        assert [entry["UploadId"] for entry in self.open_uploads()] == [others], "that of somebody else is not touched"
        boto3.client("s3").abort_multipart_upload(Bucket="scenes", Key="a.bin", UploadId=others)
        assert bucket.Object("a.bin").get()["Body"].read() == file.read_bytes()
        assert [path.name for path in file.parent.iterdir() if path.is_file()] == ["a.bin"]

    @pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
    @pytest.mark.parametrize("down", [False, True], ids=["", "and the line is down"])
    def test_of_an_interrupted_run(self, down: bool, file: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the server cannot be told that an upload was given up, the next run does so."""
        client = remote.s3_client()

        def fail(error: BaseException) -> Callable[..., None]:
            return lambda **_: (_ for _ in ()).throw(error)

        with monkeypatch.context() as patch:
            patch.setattr(remote, "s3_client", lambda: client)
            genuine = client.upload_part
            patch.setattr(client, "upload_part", lambda **given: os.kill(os.getpid(), signal.SIGINT) or genuine(**given))
            if down:
                patch.setattr(client, "abort_multipart_upload", fail(remote.failures()[0]()))
            with pytest.raises(KeyboardInterrupt):
                upload(file, "s3://scenes/a.bin")
        assert len(self.open_uploads()) == down
        upload(file, "s3://scenes/a.bin")
        assert self.open_uploads() == []

    def test_small_files_have_none(self, tmp_path: Path, bucket: Any) -> None:
        """They go by one request, with the checksum that the server compares."""
        (tmp_path / "a.json").write_text("{}")
        upload(tmp_path / "a.json", "s3://scenes/a.json")
        there = boto3.client("s3").head_object(Bucket="scenes", Key="a.json", ChecksumMode="ENABLED")
        assert there["ChecksumSHA256"] == "RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=", "printf {} | sha256sum | xxd -r -p | base64"
        stored = bucket.Object("a.json").get()
        assert (stored["Body"].read(), stored["ContentType"]) == (b"{}", "application/geo+json")


def test_what_lies_where_an_object_is_made_is_no_obstacle(bucket: Any, tmp_path: Path) -> None:
    """A run was killed when it had nothing to do but to remove it."""
    address = "s3://scenes/a.tif"
    local_place(address).write_bytes(b"what a killed run left")
    write(address)
    assert bucket.Object("a.tif").content_length > 1000
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_folder_of_another_user_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert local_place("s3://scenes/a.tif").parent.is_dir()
    monkeypatch.setattr("os.getuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(InvalidOutput, match="belongs to another user"):
        local_place("s3://scenes/a.tif")


def test_refusals(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for address, said in (("s3://scenes", "no address"), ("s3://scenes/folder/", "no address"), ("s3:///a.tif", "no address")):
        with pytest.raises(InvalidOutput, match=said):
            local_place(address)
    with pytest.raises(InvalidOutput, match=r"s3://nowhere/a\.tif cannot be written"):
        check_remote("s3://nowhere/a.tif")
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)  # Python's way to say: not installed
    with pytest.raises(InvalidOutput, match=r"pip install 'geofuse\[s3\]'"):
        check_remote("s3://scenes/a.tif")
    assert not is_remote("/data/s3/a.tif")
