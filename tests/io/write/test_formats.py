"""Formats: which one a name means, and a format that geofuse does not know goes through the engine and the command as its own do."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.crs import CRS

from geofuse.cube.bands import BandTable
from geofuse.cube.schema import geobox
from geofuse.errors import InvalidOutput, RunError
from geofuse.io.read.fingerprint import content_sha256
from geofuse.io.write import formats
from geofuse.io.write.base import OutputFormat, Written, WrittenBand
from geofuse.io.write.cog import COG, write_cog
from geofuse.io.write.engine import Receipt, write_raster
from geofuse.io.write.formats import check_suffix, endings, format_of
from geofuse.io.write.output import RUN_TAG
from geofuse.io.write.staging import Corner, StagingRaster
from geofuse.io.write.statistics import BandStatistics
from geofuse.io.write.zarr import ZARR
from geofuse.pipeline.job import Job
from tests.crops import small_files, small_model
from tests.io.write.test_resume import Source


class Planes(OutputFormat):
    """A folder with one array of numpy a band, and the tags as lines of text."""

    name = "folder of planes"
    suffixes = (".planes",)
    root = "tags.txt"
    sidecars = (".note",)

    def check(self, path: str | os.PathLike[str], options: Mapping[str, str]) -> None:
        if set(options) - {"order"}:
            raise InvalidOutput(f"{path}: planes have no option but order")

    def recognises(self, path: Path) -> bool:
        return (path / self.root).is_file()

    def finalize(
        self,
        final: Path,
        staging: StagingRaster,
        cube: xr.DataArray,
        statistics: BandStatistics,
        tags: Mapping[str, str],
        options: Mapping[str, str],
    ) -> None:
        shutil.rmtree(final, ignore_errors=True)
        final.mkdir()
        numbers = np.memmap(staging.path(0), staging.stored.dtype, "r", shape=staging.shape)
        for band, plane in enumerate(numbers):
            np.save(final / f"{band:03}.npy", np.asarray(plane, order="F" if options.get("order") == "F" else "C"))
        bands = ",".join(BandTable.from_cube(cube).names)
        box = geobox(cube)
        lines = {**tags, "bands": bands, "grid": repr(tuple(box.affine)[:6]), "crs": str(box.crs), "valid": str(statistics.valid_percent)}
        (final / self.root).write_text("".join(f"{key}={value}\n" for key, value in lines.items()))

    def check_metadata(self, final: Path, staging: StagingRaster, cube: xr.DataArray) -> None:
        if len(list(final.glob("*.npy"))) != staging.shape[0] or self._tags(final)["grid"] != repr(tuple(geobox(cube).affine)[:6]):
            raise RunError("other planes than those written; nothing was left")

    def windows(self, final: Path, corners: Sequence[Corner]) -> Iterator[Iterable[NDArray[Any]]]:
        planes = [np.load(file, mmap_mode="r") for file in sorted(final.glob("*.npy"))]
        for top, left, height, width in corners:
            yield [np.ascontiguousarray(plane[top : top + height, left : left + width]) for plane in planes]

    def run_of(self, path: Path) -> str | None:
        return self._tags(path).get(RUN_TAG)

    def describe(self, path: Path) -> Written:
        tags, planes = self._tags(path), [np.load(file, mmap_mode="r") for file in sorted(path.glob("*.npy"))]
        box = GeoBox(planes[0].shape, affine_of(tags["grid"]), tags["crs"])
        bands = tuple(WrittenBand(plane.dtype.name, -32768.0, 1e-4, 0.0, "1", {}) for plane in planes)
        return Written(box, CRS.from_user_input(tags["crs"]), BandTable.make(tags["bands"].split(",")), bands, tags)

    def _tags(self, path: Path) -> dict[str, str]:
        return dict(line.split("=", 1) for line in (path / self.root).read_text().splitlines())


def affine_of(text: str) -> Any:
    return Affine(*(float(number) for number in text.strip("()").split(",")))


PLANES = Planes()


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS, PLANES))


def write(source: Source, path: Path, **options: Any) -> Receipt:
    return write_raster(source.cube(), path, format_of(path), progress=False, block=64, **options)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.tif", COG), ("a.TIFF", COG), ("s3://b/a.zarr", ZARR), ("a.Zarr", ZARR), ("a", COG), ("a.zarr.old", COG), ("x/a.planes", PLANES)],
)
def test_which_format_a_name_means(name: str, expected: OutputFormat) -> None:
    assert format_of(name) is expected
    assert format_of(Path(name)) is expected


def test_every_usual_ending_is_listed() -> None:
    assert endings() == ".tif (a GeoTIFF) or .zarr (a Zarr store) or .planes (a folder of planes)"


def test_a_name_of_another_format_is_rejected() -> None:
    check_suffix("a.anything", COG)
    with pytest.raises(InvalidOutput, match=r"would be a folder of planes; write it with to_planes, or let its name end in \.tif"):
        check_suffix("a.planes", COG)


def test_staged_verified_and_published(tmp_path: Path) -> None:
    """The stored numbers are those of the COG of the same cube, window for window."""
    source, path = Source(), tmp_path / "a.planes"
    receipt = write(source, path, extra_tags={"what": "a test"})
    cog = write_cog(source.cube(), tmp_path / "a.tif", progress=False, block=64)
    assert left_in(tmp_path) == ["a.planes", "a.tif"]
    assert receipt.path == path
    assert receipt.sha256 == content_sha256(path)
    assert (receipt.windows_checked, receipt.clipped, receipt.valid_percent) == (cog.windows_checked, cog.clipped, cog.valid_percent)
    corner = (30, 10, 100, 90)
    ((planes, expected),) = zip(PLANES.windows(path, [corner]), map(list, COG.windows(cog.path, [corner])), strict=True)
    assert np.array_equal(list(planes), expected)
    assert PLANES.describe(path).tags["what"] == "a test"


def test_what_is_read_back_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = Planes.finalize

    def spoil(self: Planes, final: Path, *given: Any) -> None:
        genuine(self, final, *given)
        plane = np.load(final / "001.npy")
        plane[70, 3] += 1
        np.save(final / "001.npy", plane)

    monkeypatch.setattr(Planes, "finalize", spoil)
    with pytest.raises(RunError, match=r"1 of 36 windows read back differ.*band 2 at row 64, column 0"):
        write(Source(), tmp_path / "a.planes")
    assert left_in(tmp_path) == []


def test_metadata_that_differ_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Planes, "finalize", lambda _self, final, *_: (final.mkdir(), (final / "tags.txt").write_text("grid=\n")))
    with pytest.raises(RunError, match="other planes than those written"):
        write(Source(), tmp_path / "a.planes")
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("after", [1, 11])
def test_resumed_after_an_interruption(after: int, tmp_path: Path) -> None:
    source, path = Source(), tmp_path / "a.planes"
    source.stop_after = after
    with pytest.raises(KeyboardInterrupt), dask.config.set(scheduler="synchronous"):
        write(source, path)
    assert left_in(tmp_path) == [".a.planes.geofuse"]
    source.computed, source.stop_after = 0, 10**9
    with pytest.raises(InvalidOutput, match="order was not given"):
        write(source, path, options={"order": "F"})
    receipt = write(source, path)
    assert source.computed == source.tiles - after
    assert left_in(tmp_path) == ["a.planes"]
    assert receipt.sha256 == write(Source(), tmp_path / "b.planes").sha256


def test_interrupted_when_all_tiles_were_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, path = Source(), tmp_path / "a.planes"
    with monkeypatch.context() as patch:
        patch.setattr(Planes, "check_metadata", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write(source, path)
    source.computed = 0
    write(source, path)
    assert source.computed == 0
    assert left_in(tmp_path) == ["a.planes"]


def test_options_are_checked_before_anything_is_computed(tmp_path: Path) -> None:
    source = Source()
    with pytest.raises(InvalidOutput, match="no option but order"):
        write(source, tmp_path / "a.planes", options={"compression": "zstd"})
    assert source.computed == 0
    assert left_in(tmp_path) == []


def test_only_its_own_kind_is_replaced_and_what_stood_beside_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "a.planes"
    write(Source(), path)
    for name in ("a.planes.note", "a.planes.aux.xml"):
        (tmp_path / name).touch()
    with pytest.raises(InvalidOutput, match=r"exists.*overwrite"):
        write(Source(), path)
    write(Source(100, 90), path, overwrite=True)
    assert PLANES.describe(path).geobox.shape == (100, 90)
    assert left_in(tmp_path) == ["a.planes", "a.planes.aux.xml"]
    (path / "tags.txt").unlink()
    with pytest.raises(InvalidOutput, match="is no folder of planes"):
        write(Source(), path, overwrite=True)


def test_a_whole_fusion(tmp_path: Path) -> None:
    """The job, its layers, its item, and whether it is done: nothing but the line in the list of formats was needed."""
    model = small_model("sylvester").save(tmp_path / "model.safetensors")
    (tmp_path / "made").mkdir()
    job = Job(*map(str, small_files()), tmp_path / "made" / "out.planes", model=model, progress=False)
    assert not job.is_done()
    job.run()
    assert left_in(tmp_path / "made") == ["out.json", "out.planes", "out_quality.planes"]
    assert job.is_done()
    item = json.loads(job.item_path.read_text())
    assert len(item["assets"]["data"]["bands"]) == len(PLANES.describe(job.output).bands) == 177
