"""What a cube says of its source: carried through a fusion, into the item, and harmless where it is missing or odd."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import geofuse
from geofuse.cube.sources import parse_time, source_of, sources_of, time_of
from geofuse.errors import InvalidInput
from tests.crops import small_cubes, small_model

HSI = {"href": "https://host/enmap.json?token=abc", "id": "ENMAP-1", "datetime": "2009-08-20T10:11:12Z", "gsd": 30.0}
MSI = {"href": "s3://bucket/hymap.tif", "id": "HYMAP-7", "datetime": "2009-08-20T12:00:00Z", "gsd": 3.6}


def with_source(cube: xr.DataArray, about: dict[str, Any]) -> xr.DataArray:
    made = cube.assign_coords(time=np.datetime64(about["datetime"].removesuffix("Z"), "ns"))
    return made.assign_attrs(geofuse_source=json.dumps(about))


@pytest.fixture(scope="module")
def fused() -> xr.DataArray:
    hsi, msi = small_cubes(chunks=None)
    return geofuse.fuse(with_source(hsi, HSI), with_source(msi, MSI), model=small_model("sylvester"), progress=False)


def item_of(fused: xr.DataArray, folder: Path, **options: Any) -> dict[str, Any]:
    path = fused.mossfuse.to_cog(folder / "a.tif", progress=False)
    fused.mossfuse.to_stac(path, **options)
    item: dict[str, Any] = json.loads((folder / "a.json").read_text())
    return item


def test_a_fused_cube_carries_both_sources_and_the_time_of_the_coarse_one(fused: xr.DataArray) -> None:
    assert sources_of(fused) == {"hsi": HSI, "msi": MSI}
    assert fused.time.shape == ()
    assert time_of(fused) == dt.datetime(2009, 8, 20, 10, 11, 12, tzinfo=dt.UTC)


def test_the_item_says_when_from_what_and_at_which_resolution(fused: xr.DataArray, tmp_path: Path) -> None:
    item = item_of(fused, tmp_path)
    assert item["properties"]["datetime"] == "2009-08-20T10:11:12Z"
    assert item["properties"]["end_datetime"] == "2009-08-20T12:00:00Z"
    assert item["properties"]["geofuse:datetime_source"] == "hsi"
    assert item["properties"]["gsd"] == 30.0
    links = [(link["geofuse:role"], link["href"], link["geofuse:id"]) for link in item["links"] if link["rel"] == "derived_from"]
    assert links == [("hsi", "https://host/enmap.json", "ENMAP-1"), ("msi", "s3://bucket/hymap.tif", "HYMAP-7")]


def test_files_that_say_nothing_of_themselves_are_linked_and_measured(tmp_path: Path, berlin: tuple[Path, Path]) -> None:
    made = geofuse.fuse(*small_cubes(chunks=None), model=small_model("sylvester"), progress=False)
    assert "time" not in made.coords
    item = item_of(made, tmp_path)
    assert item["properties"]["gsd"] == pytest.approx(30.0)
    assert item["properties"]["geofuse:datetime_source"] == "processing"
    links = [link["href"] for link in item["links"] if link["rel"] == "derived_from"]
    assert [Path(href).name for href in links] == ["coarse.tif", "fine.tif"]
    assert all(not href.startswith(("/", "file:")) and (tmp_path / href).resolve().is_file() for href in links)


def test_a_time_that_was_set_on_the_fused_cube_alone_is_taken(tmp_path: Path) -> None:
    made = geofuse.fuse(*small_cubes(chunks=None), model=small_model("sylvester"), progress=False)
    item = item_of(made.assign_coords(time=np.datetime64("2009-08-20T09:00", "ns")), tmp_path)
    assert item["properties"]["datetime"] == "2009-08-20T09:00:00Z"


def test_a_time_that_is_given_wins(fused: xr.DataArray, tmp_path: Path) -> None:
    assert item_of(fused, tmp_path, datetime="2010-01-02")["properties"]["datetime"] == "2010-01-02T00:00:00Z"


def test_attributes_of_another_make_are_passed_over() -> None:
    hsi, _ = small_cubes(chunks=None)
    odd = ["[1, 2]", "{", 7, json.dumps({"href": 3, "datetime": "last summer", "gsd": -1.0, "id": None, "more": 1})]
    for value in odd:
        found = source_of(hsi.assign_attrs(geofuse_source=value))
        assert set(found) == {"href", "gsd"}
        assert found["gsd"] == pytest.approx(30.0)
        assert sources_of(hsi.assign_attrs(geofuse_sources=value)) == {}
    assert time_of(hsi.assign_coords(time=np.datetime64("NaT", "ns"))) is None
    assert time_of(hsi.assign_coords(time=3)) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2009-08-20", dt.datetime(2009, 8, 20, tzinfo=dt.UTC)),
        ("2009-08-20T12:00:00+02:00", dt.datetime(2009, 8, 20, 10, tzinfo=dt.UTC)),
        ("2009-08-20/2009-08-21", (dt.datetime(2009, 8, 20, tzinfo=dt.UTC), dt.datetime(2009, 8, 21, tzinfo=dt.UTC))),
    ],
)
def test_times_that_people_write(text: str, expected: Any) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2009-08-21/2009-08-20", "2009-08-20/..", "2009-13-01"])
def test_times_that_cannot_be_read(text: str) -> None:
    with pytest.raises(InvalidInput, match="expected ISO 8601"):
        parse_time(text)


def test_the_command_line_takes_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from geofuse.cli import main
    from geofuse.pipeline.job import Job

    asked: list[Job] = []
    report: Callable[..., Any] = geofuse.Report
    monkeypatch.setattr(Job, "run", lambda self: (asked.append(self), (None, report()))[1])
    with pytest.raises(SystemExit) as end:
        main(["fuse", "a.tif", "b.tif", "-o", str(tmp_path / "c.tif"), "--datetime", "2009-08-20T10:00:00Z"])
    assert end.value.code == 0
    assert asked[0].datetime == dt.datetime(2009, 8, 20, 10, tzinfo=dt.UTC)
    with pytest.raises(SystemExit) as end:
        main(["fuse", "a.tif", "b.tif", "-o", str(tmp_path / "c.tif"), "--datetime", "noon"])
    assert end.value.code == 2
    assert "expected ISO 8601" in capsys.readouterr().err
