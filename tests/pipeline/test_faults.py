"""Faults of the world around a batch: servers that go, disks that are full, workers that die, clocks that jump."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

import geofuse
from geofuse.io.read.fingerprint import file_sha256
from geofuse.io.write.folders import LocalFolder
from geofuse.pipeline import job
from geofuse.pipeline.states import read_state
from tests.pipeline.test_batch import broken, catalog, made, stamps
from tests.stac.catalog import serving


def test_what_is_done_stays_so_while_its_server_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geofuse.io.read.http.time.sleep", lambda _: None)
    gone: list[bool] = []

    def answer(request: Any) -> bool:
        if gone:
            request.send_error(503)
        return bool(gone)

    (tmp_path / "source").mkdir()
    with serving(tmp_path / "source", answer) as root:
        source = catalog(tmp_path / "source", ["a"], root)
        assert made(source, tmp_path / "out", method="bicubic").state.tolist() == ["done"]
        first = stamps(tmp_path / "out")
        gone.append(True)
        with pytest.warns(UserWarning, match="a: done before; whether its inputs changed since is not known"):
            table = made(source, tmp_path / "out", method="bicubic")
        assert (table.state[0], stamps(tmp_path / "out")) == ("done", first)
        assert "503" in table.reason[0]
        assert read_state(LocalFolder(tmp_path / "out"), "a").reason.startswith("overlap")  # type: ignore[union-attr]
        failed = made(source, tmp_path / "out", method="bicubic", seed=1)
        assert failed.state.tolist() == ["failed"]
        assert "503" in failed.reason[0]
        gone.clear()
        assert made(source, tmp_path / "out", method="bicubic").state.tolist() == ["done"]
        assert not list((tmp_path / "out").glob("*/.*"))


def test_inputs_are_looked_at_before_and_after_a_pair_is_made_and_once_where_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    monkeypatch.setattr(job, "fingerprint", lambda file, known=job.fingerprint: looked.append(str(file)) or known(file))
    source = catalog(tmp_path / "source", ["a"])
    for count in (4, 2):  # two files
        looked.clear()
        made(source, tmp_path / "out", method="bicubic")
        assert len(looked) == count


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_full_disk_is_a_reason_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    """No file may grow beyond 60 kB, as if the disk were full; the image is larger."""
    source, output = catalog(tmp_path / "source", ["a"]), tmp_path / "out"
    made(source, tmp_path / "undisturbed", method="bicubic")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
    try:
        table = made(source, output, method="bicubic")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert table.state.tolist() == ["failed"], table.reason.tolist()
    assert not (output / "a" / "a.tif").exists()
    assert not (output / "a" / "a.json").exists()
    assert made(source, output, method="bicubic").state.tolist() == ["done"]
    assert file_sha256(output / "a" / "a.tif") == file_sha256(tmp_path / "undisturbed" / "a" / "a.tif")
    assert not list(output.glob("*/.*"))


def test_a_clock_that_jumps_changes_no_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Back by a day at each look."""
    began, looks = time.monotonic(), iter(range(10**6))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 86400 * next(looks))
    table = made(catalog(tmp_path / "source", ["a"]), tmp_path / "out", method="bicubic")
    assert table.state.tolist() == ["done"]
    assert 0 < table.seconds[0] < time.monotonic() - began


def die(url: str) -> str:
    """A hook that kills its process, as a system does that is out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    return url


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_worker_that_is_killed_takes_its_pair_with_it_and_no_other(tmp_path: Path) -> None:
    source = catalog(tmp_path / "source", ["a", "b", "c"])
    shutil.copy(tmp_path / "source" / "hsi.tif", tmp_path / "source" / "other.tif")
    broken(source, "b", {"href": "http://127.0.0.1:9/other.tif"})
    pairs = geofuse.search_pairs(str(source), "h", "m", patch_url=die)
    table = geofuse.batch(pairs, tmp_path / "out", method="bicubic", jobs=2, progress=False)
    assert table.state.tolist() == ["done", "failed", "done"]
    assert "its process died (exit status -9)" in table.reason[1]
    assert read_state(LocalFolder(tmp_path / "out"), "b").state == "failed"  # type: ignore[union-attr]
