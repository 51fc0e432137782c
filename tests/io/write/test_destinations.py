"""Destinations: a folder and object storage (on moto's server) keep the same promises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geofuse.errors import InvalidOutput
from geofuse.io.read.fingerprint import content_sha256, content_size
from geofuse.io.write.cog import COG, write_cog
from geofuse.io.write.destinations import S3, Destination, Local, destination_of
from geofuse.io.write.output import RUN_TAG
from geofuse.io.write.workspace import workspace
from geofuse.io.write.zarr import ZARR, write_zarr
from tests.io.write.test_cog import scene
from tests.io.write.test_remote import bucket, keys, server

__all__ = ["bucket", "server"]  # fixtures

RUN = "a run"


def test_which_one_a_path_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    local = destination_of(tmp_path / "a.tif", COG)
    assert (local.target, local.place, local.private) == (tmp_path / "a.tif", tmp_path / "a.tif", False)
    remote = destination_of("s3://scenes/x/a.tif", COG)
    assert remote.place == "s3://scenes/x/a.tif"
    assert remote.target.name == "a.tif"
    assert remote.target.is_relative_to(tmp_path)
    assert remote.private
    with pytest.raises(InvalidOutput, match="no address of an object"):
        destination_of("s3://scenes", COG)


def test_a_path_is_absolute_and_a_home_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert destination_of("a.tif", COG).target == tmp_path / "a.tif"
    assert destination_of("~/a.tif", COG).target == tmp_path / "home" / "a.tif"


def test_what_goes_beside_an_output(tmp_path: Path) -> None:
    local = Local(tmp_path / "a.zarr", ZARR).beside(tmp_path / "a_quality.zarr", ZARR)
    assert local.place == tmp_path / "a_quality.zarr"
    remote = S3("s3://scenes/x/a.tif", tmp_path / "a.tif", COG).beside(tmp_path / "a.json")
    assert remote.place == "s3://scenes/x/a.json"
    assert remote.target == tmp_path / "a.json"


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Destination]:
    """Make a destination for a name; of both kinds."""
    if request.param == "local":
        return lambda name, kind=None: destination_of(tmp_path / name, kind)
    request.getfixturevalue("bucket")
    return lambda name, kind=None: destination_of(f"s3://scenes/x/{name}", kind)


def made(destination: Destination, run: str = RUN) -> None:
    """What a run leaves at the target, and publishes."""
    writer = write_zarr if destination.target.suffix == ".zarr" else write_cog
    tags = {} if writer is write_zarr else {"extra_tags": {RUN_TAG: run}}
    receipt = writer(scene(1, 40, 30), destination.target, progress=False, overwrite=True, **tags)  # type: ignore[operator]
    destination.publish(receipt.sha256, run)
    destination.cleanup()


def interrupt(destination: Destination, name: str, **record: Any) -> None:
    """A run is interrupted when its journal has recorded something."""

    def run() -> None:
        with workspace(destination.target, {}, overwrite=True) as work:
            work.journal.append(name, **record)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()


def test_published_it_exists_and_is_taken(place: Callable[..., Destination]) -> None:
    destination = place("a.tif", COG)
    assert not destination.exists(RUN)
    assert not destination.check(overwrite=False, resume=True)
    made(destination)
    again = place("a.tif", COG)
    assert again.exists(RUN)
    assert not again.exists("another run")
    with pytest.raises(InvalidOutput, match=r"a\.tif exists.*overwrite"):
        again.check(overwrite=False, resume=True)
    assert not again.check(overwrite=True, resume=True), "no interrupted run left it"


@pytest.mark.parametrize("name", ["a.tif", "a.zarr"])
def test_what_an_interrupted_run_published_is_no_obstacle(name: str, place: Callable[..., Destination]) -> None:
    kind = ZARR if name.endswith("zarr") else COG
    destination = place(name, kind)
    made(destination)
    destination = place(name, kind)
    if not destination.target.exists():  # uploaded, and removed here
        write = write_zarr if kind is ZARR else write_cog
        write(scene(1, 40, 30), destination.target, progress=False)  # type: ignore[operator]
        destination.publish()
    sha256 = content_sha256(destination.target)
    interrupt(destination, "final", sha256=sha256, size=content_size(destination.target))
    destination.publish(sha256)
    assert destination.check(overwrite=False, resume=True)
    with pytest.raises(InvalidOutput, match="exists"):
        destination.check(overwrite=False, resume=False)


def test_a_folder_of_other_things_is_never_replaced(place: Callable[..., Destination], request: pytest.FixtureRequest) -> None:
    destination = place("a.zarr", ZARR)
    if isinstance(destination, S3):
        request.getfixturevalue("bucket").put_object(Key="x/a.zarr/thesis.txt", Body=b"precious")
    else:
        destination.target.mkdir()
        (destination.target / "thesis.txt").write_text("precious")
    with pytest.raises(InvalidOutput, match="no Zarr store"):
        destination.check(overwrite=True, resume=True)


def test_a_plain_file_beside_it(place: Callable[..., Destination]) -> None:
    """An item: of a local one nothing says which run wrote it but the image; an object bears it."""
    image = place("a.tif", COG)
    item = image.beside(image.target.with_suffix(".json"))
    assert not item.exists(RUN)
    item.target.write_text("{}")
    item.publish(run=RUN)
    assert item.exists(RUN)
    assert item.exists("another") is isinstance(item, Local)
    with pytest.raises(InvalidOutput, match=r"a\.json exists"):
        item.check(overwrite=False, resume=True)


def test_layers_come_before_a_local_image_and_after_a_remote_one(place: Callable[..., Destination]) -> None:
    destination = place("a.tif", COG)
    assert not destination.begun
    interrupt(destination, "quality", sha256="0")
    assert destination.begun is isinstance(destination, Local)


def test_nothing_stays_here_of_what_was_uploaded(bucket: Any, tmp_path: Path) -> None:
    destination = destination_of("s3://scenes/a.tif", COG)
    made(destination)
    assert keys(bucket) == ["a.tif"]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_failed_upload_is_an_error_of_the_system(bucket: Any, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("x")
    with pytest.raises(OSError, match=r"uploading to s3://nowhere/a\.tif failed"):
        S3("s3://nowhere/a.tif", tmp_path / "a.tif", COG).publish()
