"""Disk space, against a disk that is filled step by step."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geofuse.errors import InvalidOutput
from geofuse.io.write.journal import Journal
from geofuse.io.write.space import check_space, disk_space

BLOCK = 2**16
HALF = 20  # blocks of a staging raster, and of an output


def interrupted(output: Path, blocks: int) -> None:
    """What a run left that had written so much of its staging raster."""
    folder = output.with_name(f".{output.name}.geofuse")
    folder.mkdir()
    (folder / "level0.raw").write_bytes(b"x" * (blocks * BLOCK))


def asked_for(monkeypatch: pytest.MonkeyPatch, *outputs: Path, **options: bool) -> int:
    """The least number of free blocks with which outputs are not rejected."""
    for free in range(10 * HALF):
        monkeypatch.setattr("shutil.disk_usage", lambda _, free=free: type("Usage", (), {"free": free * BLOCK})())
        try:
            check_space(outputs, 2 * HALF * BLOCK, **options)
        except InvalidOutput:
            continue
        return free
    raise AssertionError("never enough")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(staged=st.lists(st.integers(0, HALF), min_size=1, max_size=3))
def test_the_fullest_moment_decides(staged: list[int], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = [tmp_path_factory.mktemp("disk") / "0.tif"]
    outputs += [outputs[0].with_name(f"{k}.tif") for k in range(1, len(staged))]
    used, fullest = 0, 0
    for output, part in zip(outputs, staged, strict=True):
        interrupted(output, part)
        used += HALF - part  # the staging raster is completed
        used += HALF  # the output is made of it
        fullest = max(fullest, used)
        used -= HALF  # the staging raster goes
    assert asked_for(monkeypatch, *outputs) == fullest


def test_two_outputs_take_one_draft_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = tmp_path / "a.tif", tmp_path / "b.tif"
    assert asked_for(monkeypatch, a) == 2 * HALF
    assert asked_for(monkeypatch, a, b) == 3 * HALF
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 2.5e9})())
    with pytest.raises(InvalidOutput, match=rf"a\.tif and b\.tif takes up to 3\.00 GB in {tmp_path}, 2\.50 GB are free"):
        check_space([a, b], 2 * 10**9)


@pytest.mark.parametrize("published", [False, True])
def test_what_is_finished_takes_no_more(published: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But where it is not resumed."""
    output = tmp_path / "a.tif"
    interrupted(output, HALF // 2)
    with Journal(tmp_path / ".a.tif.geofuse" / "journal.jsonl", {}) as journal:
        journal.append("final", sha256="", size=3)
    assert asked_for(monkeypatch, output) >= 3 * HALF // 2 - 1, "the journal records it, and it is not there"
    (output if published else tmp_path / ".a.tif.geofuse" / "final.tif").write_bytes(b"abc")
    assert asked_for(monkeypatch, output) == 0
    assert asked_for(monkeypatch, output, resume=False) >= 3 * HALF // 2 - 1


def test_it_is_what_a_cube_takes() -> None:
    """A staging raster and an output, each with overviews that add a quarter, a sixteenth, … of the image: a third."""
    assert disk_space((3, 300, 200), "float32") == pytest.approx(2 * 4 / 3 * 3 * 300 * 200 * 4, abs=1)
