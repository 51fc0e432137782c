"""Interrupted anywhere, a run resumes: only what is unfinished is computed, and the pixels are those of an uninterrupted run."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

import geofuse.io.write.cog as cog
import geofuse.io.write.engine as engine
from geofuse.cube.schema import wrap
from geofuse.errors import InvalidOutput, RunError
from geofuse.io.read.open import open_msi
from geofuse.io.write import workspace
from geofuse.io.write.cog import write_cog


class Source:
    """Lazy pixels that are counted, and a moment at which the machine is stopped."""

    def __init__(self, rows: int = 200, cols: int = 150, chunk: int = 64) -> None:
        rng = np.random.default_rng(5)
        self.values = rng.uniform(0, 1, (3, rows, cols)).astype(np.float32)
        self.values[:, : rows // 3, :20] = np.nan
        self.chunk, self.computed, self.stop_after = chunk, 0, 10**9
        self._lock = threading.Lock()

    def cube(self) -> xr.DataArray:
        """The same array by name each time, as a script that is run again makes it."""
        data = da.from_array(self.values, chunks=(3, self.chunk, self.chunk), name="source").map_blocks(
            self._count, dtype="float32", name="counted", meta=np.empty((0, 0, 0), "f4")
        )
        return wrap(data, transform=Affine(10, 0, 5e5, 0, -10, 5e6), crs=32633, names=["a", "b", "c"])

    def _count(self, block: np.ndarray) -> np.ndarray:
        with self._lock:
            if self.computed >= self.stop_after:
                raise KeyboardInterrupt
            self.computed += 1
        return block

    @property
    def tiles(self) -> int:
        return int(np.prod([-(-size // self.chunk) for size in self.values.shape[1:]]))

    def stopped(self, path: Path, after: int, **options: object) -> None:
        """Write until so many tiles are computed."""
        self.computed, self.stop_after = 0, after
        with pytest.raises(KeyboardInterrupt), dask.config.set(scheduler="synchronous"):
            write_cog(self.cube(), path, progress=False, block=64, **options)  # type: ignore[arg-type]
        self.computed, self.stop_after = 0, 10**9

    def write(self, path: Path, **options: object) -> None:
        write_cog(self.cube(), path, progress=False, block=64, **options)  # type: ignore[arg-type]


def same_file(one: Path, other: Path) -> bool:
    """Pixels, overviews, tags: everything that can be read."""
    with rasterio.open(one) as a, rasterio.open(other) as b:
        levels = range(len(a.overviews(1)))
        same = np.array_equal(a.read(), b.read()) and a.overviews(1) == b.overviews(1) and a.profile == b.profile
        same &= [a.tags(k) for k in a.indexes] == [b.tags(k) for k in b.indexes]
    for level in levels:
        with rasterio.open(one, overview_level=level) as a, rasterio.open(other, overview_level=level) as b:
            same &= np.array_equal(a.read(), b.read())
    return bool(same)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "whole.tif"
    Source().write(path)
    return path


@pytest.mark.parametrize("after", [1, 5, 11])
def test_only_unfinished_tiles_are_computed(whole: Path, tmp_path: Path, after: int) -> None:
    source, path = Source(), tmp_path / "a.tif"
    source.stopped(path, after)
    assert [p.name for p in tmp_path.iterdir()] == [".a.tif.geofuse"]
    source.write(path)
    assert source.computed == source.tiles - after
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]
    assert same_file(path, whole)


def test_stopped_again_and_again(whole: Path, tmp_path: Path) -> None:
    source, path = Source(), tmp_path / "a.tif"
    for _ in range(source.tiles - 1):
        source.stopped(path, 1)
    source.write(path)
    assert source.computed == 1
    assert same_file(path, whole)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_what_a_crash_of_the_machine_spoils_is_noticed(whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Bytes of the staging raster that never reached the disk, overviews that are gone, a journal that ends in the middle of a line."""
    source, path = Source(), tmp_path_factory.mktemp("spoiled") / "a.tif"
    source.stopped(path, data.draw(st.integers(1, source.tiles - 1)))
    folder = path.with_name(".a.tif.geofuse")
    with (folder / "level0.raw").open("r+b") as raw:
        raw.seek(data.draw(st.integers(0, (folder / "level0.raw").stat().st_size - 100)))
        raw.write(bytes(data.draw(st.integers(0, 100))))
    for level in folder.glob("level[1-9].raw"):
        if data.draw(st.booleans()):
            level.unlink()
    journal = (folder / "journal.jsonl").read_bytes()
    (folder / "journal.jsonl").write_bytes(journal[: data.draw(st.integers(0, len(journal)))])
    source.write(path)
    assert source.computed <= source.tiles
    assert same_file(path, whole)


@pytest.mark.parametrize("level", [0, 1])
def test_one_byte_that_was_lost_is_one_tile_that_is_computed_again(whole: Path, tmp_path: Path, level: int) -> None:
    """Of an overview nothing is computed again: it is made from the tile that is there."""
    source, path = Source(), tmp_path / "a.tif"
    source.stopped(path, source.tiles - 1)
    with (tmp_path / ".a.tif.geofuse" / f"level{level}.raw").open("r+b") as raw:
        values = np.frombuffer(raw.read(), "int16")
        lost = int(np.flatnonzero(values > 0)[0])
        raw.seek(2 * lost)
        raw.write(b"\0\0")
    source.write(path)
    assert source.computed == (2 if level == 0 else 1)
    assert same_file(path, whole)


def test_stopped_while_compressing(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, path = Source(), tmp_path / "a.tif"
    for module, step in ((cog, "_compress"), (engine, "content_sha256")):
        with monkeypatch.context() as patch:
            patch.setattr(module, step, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt, match="resume from there"):
                source.write(path)
    source.computed = 0
    source.write(path)
    assert source.computed == 0
    assert same_file(path, whole)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"dtype": "float32"}, 'dtype was "int16" and is "float32"'), ({"extra_tags": {"a": "1"}}, "tags a was not given")],
)
def test_another_run_is_refused_and_the_first_one_stays(tmp_path: Path, options: dict[str, object], said: str) -> None:
    source, path = Source(), tmp_path / "a.tif"
    source.stopped(path, 4)
    with pytest.raises(InvalidOutput, match=f"(?s){said}.*--no-resume"):
        source.write(path, **options)
    source.write(path)
    assert source.computed == source.tiles - 4


def test_other_pixels_are_another_run(tmp_path: Path) -> None:
    source, path = Source(), tmp_path / "a.tif"
    source.stopped(path, 4)
    other = source.cube()
    other = other.copy(data=other.data + 0)
    with pytest.raises(InvalidOutput, match="pixels was"):
        write_cog(other, path, progress=False, block=64)
    write_cog(other, path, progress=False, block=64, resume=False)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_a_file_that_changed_is_another_run(tmp_path: Path, whole: Path) -> None:
    """What dask calls a lazy file goes by its bytes and its time, not only by its path."""
    copy = tmp_path / "copy.tif"
    copy.write_bytes(whole.read_bytes())
    name = open_msi(copy).data.name
    assert open_msi(copy).data.name == name
    copy.write_bytes(whole.read_bytes()[:-1] + b"\0\0")
    assert open_msi(copy).data.name != name


def test_an_output_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    """It came into the output's place while the run lay unfinished."""
    source, path = Source(), tmp_path / "a.tif"
    source.stopped(path, 4)
    path.write_text("precious")
    with pytest.raises(InvalidOutput, match="exists"):
        source.write(path)
    assert path.read_text() == "precious"
    source.write(path, overwrite=True)
    assert source.computed == source.tiles - 4


@pytest.mark.parametrize("instead", [None, "precious"])
def test_a_published_file_that_is_gone_is_made_again(
    instead: str | None, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run was killed when its file had appeared; then it was taken away, or replaced, before the run was resumed."""
    source, path = Source(), tmp_path / "a.tif"
    genuine = workspace.Workspace.publish
    with monkeypatch.context() as patch:
        patch.setattr(workspace.Workspace, "publish", lambda *given: genuine(*given) or (_ for _ in ()).throw(KeyboardInterrupt))
        patch.setattr(workspace.Workspace, "withdraw", lambda _: None)  # nobody does when a run is killed
        with pytest.raises(KeyboardInterrupt):
            source.write(path)
    path.unlink()
    if instead:
        path.write_text(instead)
    source.computed = 0
    source.write(path, overwrite=instead is not None)
    assert source.computed == 0
    assert same_file(path, whole)


def test_killed_while_it_cleans_up(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal goes when what takes long to remove is gone; so the run can be resumed, and has nothing to do."""
    source, path = Source(), tmp_path / "a.tif"
    genuine = os.unlink

    def stop(name: str, **given: int) -> None:
        if str(name).endswith("journal.jsonl"):
            raise KeyboardInterrupt
        genuine(name, **given)

    with monkeypatch.context() as patch:
        patch.setattr("os.unlink", stop)
        with pytest.raises(KeyboardInterrupt):
            source.write(path)
    left = [p.name for p in (tmp_path / ".a.tif.geofuse").iterdir()]
    assert "journal.jsonl" in left
    assert not [name for name in left if name.endswith(".raw")]
    source.computed = 0
    source.write(path)
    assert source.computed == 0
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]
    assert same_file(path, whole)


def test_two_runs_never_share_a_folder(tmp_path: Path) -> None:
    source, path = Source(), tmp_path / "a.tif"
    folder = tmp_path / ".a.tif.geofuse"
    folder.mkdir()
    with FileLock(folder / "lock"), pytest.raises(InvalidOutput, match="Another run is making"):
        source.write(path)
    assert source.computed == 0
    assert folder.is_dir()
    source.write(path)  # the other one has ended


def test_a_defect_leaves_nothing_of_earlier_work_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, path = Source(), tmp_path / "a.tif"
    source.stopped(path, 4)
    monkeypatch.setattr(engine.StagedRaster, "verify", lambda *_: (_ for _ in ()).throw(RunError("differ")))
    with pytest.raises(RunError, match="differ"):
        source.write(path)
    assert list(tmp_path.iterdir()) == []
