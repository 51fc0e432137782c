"""Whole runs on a dask.distributed cluster: one file whatever the scheduler, and what happens when something of the cluster dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from distributed import Client, LocalCluster

from geofuse.errors import InvalidInput, InvalidOutput, RunInterrupted
from geofuse.pipeline.job import Job
from geofuse.run.scheduling import scheduler_of, started
from geofuse.run.stream import run_tiles
from tests.crops import few_files, few_model
from tests.test_kill import tiles

TILES = 12


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return few_model("gem").save(tmp_path_factory.mktemp("model") / "m.safetensors")


def job(out: Path, model: Path, **options: Any) -> Job:
    options = {"progress": False, "tile": 40} | options
    return Job(*map(str, few_files()), out, model=model, **options)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, model: Path) -> bytes:
    out = tmp_path_factory.mktemp("undisturbed") / "a.tif"
    job(out, model).run()
    return out.read_bytes()


@pytest.fixture
def threads_as_workers() -> Iterator[str]:
    """A cluster within this process: as quick as threads, and spoken to as any other."""
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


def written(bar: str) -> str:
    """The last state of the bar that counts tiles, without its seconds."""
    lines = [line for line in bar.replace("\r", "\n").splitlines() if line.startswith("writing")]
    return lines[-1].split("[")[0]


def test_a_cluster_writes_the_same_file_under_the_same_bar(
    tmp_path: Path, model: Path, undisturbed: bytes, threads_as_workers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bars = {}
    for name in ("threads", threads_as_workers):
        out = tmp_path / name[:6] / "a.tif"
        out.parent.mkdir()
        with scheduler_of(name):
            job(out, model, progress=True).run()
        bars[name] = written(capsys.readouterr().err)
        assert out.read_bytes() == undisturbed
        assert sorted(p.name for p in out.parent.iterdir()) == ["a.json", "a.tif", "a_quality.tif"]
    assert len(set(bars.values())) == 1
    assert f"{TILES}/{TILES}" in bars["threads"]


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["synchronous", "processes", "distributed", "address"])
def test_other_processes_write_the_same_file_under_the_same_bar(
    scheduler: str, tmp_path: Path, model: Path, undisturbed: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.tif"
    if scheduler == "address":
        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, scheduler_of(cluster.scheduler_address):
            job(out, model, progress=True).run()
    else:
        with scheduler_of(scheduler):
            job(out, model, progress=True).run()
    said = capsys.readouterr().err
    assert f"{TILES}/{TILES}" in written(said)
    assert {line.split(":")[0] for line in said.replace("\r", "\n").splitlines() if line} == {"writing", "finishing"}
    assert out.read_bytes() == undisturbed
    assert busy_children() == []


def test_workers_that_do_not_see_the_output_are_rejected(
    tmp_path: Path, model: Path, threads_as_workers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what an earlier run has finished is not touched."""
    out, kept = tmp_path / "a.tif", tmp_path / ".a.tif.geofuse"
    monkeypatch.setattr("geofuse.io.write.shared_path._read", lambda path: None)
    with scheduler_of(threads_as_workers):
        with pytest.raises(
            InvalidOutput, match=r"The workers inproc://\S+, inproc://\S+ do not see the output's folder .*a folder that all"
        ):
            job(out, model).run()
        assert list(tmp_path.iterdir()) == []
        kept.mkdir()
        (kept / "journal.jsonl").write_text("{}\n")
        with pytest.raises(InvalidOutput, match="do not see"):
            job(out, model).run()
    assert {p.name for p in kept.iterdir()} == {"lock", "journal.jsonl"}


def test_workers_that_see_another_input_are_rejected(
    tmp_path: Path, model: Path, threads_as_workers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geofuse.io.write.shared_path._size", lambda path: 7 if "fine" in path else os.stat(path).st_size)
    with scheduler_of(threads_as_workers), pytest.raises(InvalidInput, match=r"do not see the input \S*fine\.tif"):
        job(tmp_path / "a.tif", model).run()
    assert list(tmp_path.iterdir()) == []


def test_workers_are_asked_for_the_name_that_they_will_open(
    tmp_path: Path, model: Path, threads_as_workers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that was started in another folder has no such relative path."""
    hsi, msi = few_files()
    monkeypatch.chdir(hsi.parent)
    monkeypatch.setattr("geofuse.io.write.shared_path._size", lambda path: os.stat(path).st_size if os.path.isabs(path) else None)
    with scheduler_of(threads_as_workers), pytest.raises(InvalidInput, match=r"do not see the input few\.tif.*give the whole path"):
        Job(hsi.name, msi.name, tmp_path / "a.tif", model=model, progress=False).run()


class Noting:
    """A value that notes, in a file a process, that it was unpacked there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        with (self.folder / str(os.getpid())).open("a") as file:
            file.write(".")


def brightened(block: Any, shared: Noting, block_id: Any = None) -> Any:
    time.sleep(0.05)
    return block + 1


def corner(tile: Any, top: int, left: int) -> tuple[int, float]:
    return os.getpid(), float(tile[0, 0, 0])


@pytest.mark.slow
def test_what_all_tiles_share_travels_once_to_each_worker(tmp_path: Path) -> None:
    import dask.array as da

    shared = dask.delayed(Noting(tmp_path), pure=False, traverse=False)
    data = da.zeros((1, 80, 80), chunks=(1, 10, 10)).map_blocks(brightened, shared, dtype=float, meta=da.zeros((0, 0, 0))._meta)
    found: dict[Any, Any] = {}
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, scheduler_of(cluster.scheduler_address):
        run_tiles(data, corner, [(i, j) for i in range(8) for j in range(8)], found.__setitem__)
    workers = {pid for pid, _ in found.values()}
    assert len(found) == 64
    assert len(workers) == 2
    assert {pid: len((tmp_path / str(pid)).read_text()) for pid in workers} == dict.fromkeys(workers, 1)


def amid(folder: Path, act: Callable[[], None], after: int = 3) -> threading.Thread:
    """Act once the journal in a folder records so many tiles."""

    def wait() -> None:
        end = time.monotonic() + 120
        while tiles(folder) < after and time.monotonic() < end:
            time.sleep(0.005)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def busy_children() -> list[psutil.Process]:
    """Worker processes of this one: those that multiprocessing spawned, without its tracker of resources."""
    return [p for p in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_nothing_but_time(tmp_path: Path, model: Path, undisturbed: bytes) -> None:
    out, killed = tmp_path / "a.tif", []

    def kill() -> None:
        victim = busy_children()[0]
        killed.append(tiles(tmp_path / ".a.tif.geofuse"))
        victim.kill()

    with dask.config.set(num_workers=2), scheduler_of("distributed"):
        thread = amid(tmp_path / ".a.tif.geofuse", kill)
        job(out, model).run()
    thread.join()
    assert 3 <= killed[0] < TILES
    assert out.read_bytes() == undisturbed


def deadly(tile: Any, top: int, left: int) -> int:
    os._exit(1)


@pytest.mark.slow
def test_a_tile_that_ends_every_worker_ends_the_run() -> None:
    import dask.array as da

    with scheduler_of("distributed"), started(2, 4 * 10**9), pytest.raises(RunInterrupted, match="ended the workers that tried it"):
        run_tiles(da.zeros((1, 20, 20), chunks=(1, 10, 10)), deadly, [(0, 0)], lambda place, value: None)


@pytest.mark.slow
def test_a_scheduler_that_is_killed_ends_the_run_and_the_next_goes_on(tmp_path: Path, model: Path, undisturbed: bytes) -> None:
    out, folder, scheduler = tmp_path / "a.tif", tmp_path / ".a.tif.geofuse", tmp_path / "scheduler.json"
    dask_command = [
        sys.executable,
        "-m",
        "distributed.cli.dask_scheduler",
        "--port",
        "0",
        "--no-dashboard",
        "--scheduler-file",
        str(scheduler),
    ]
    scheduler = subprocess.Popen(dask_command, stderr=subprocess.DEVNULL)
    worker_command = [
        sys.executable,
        "-m",
        "distributed.cli.dask_worker",
        "--scheduler-file",
        str(scheduler),
        "--nthreads",
        "1",
        "--no-dashboard",
    ]
    worker = subprocess.Popen([*worker_command, "--death-timeout", "20"], stderr=subprocess.DEVNULL)
    try:
        with Client(scheduler_file=str(scheduler), timeout="60s", set_as_default=False) as client:
            client.wait_for_workers(1, timeout=60)
            address = client.scheduler.address
        amid(folder, scheduler.kill)
        with (
            scheduler_of(address),
            pytest.raises(RunInterrupted, match=r"The dask scheduler was lost .*kept in .a.tif.geofuse: run the same again"),
        ):
            job(out, model).run()
    finally:
        for process in (scheduler, worker):
            process.kill()
            process.wait()
    assert not out.exists()
    assert 3 <= tiles(folder) < TILES
    job(out, model).run()
    assert out.read_bytes() == undisturbed


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_no_process_and_can_go_on(how: int, tmp_path: Path, model: Path, undisturbed: bytes) -> None:
    """Ctrl-C reaches all processes of the terminal; the other signals reach the run alone."""
    out = tmp_path / "a.tif"
    command = [
        sys.executable,
        "-m",
        "geofuse",
        "fuse",
        *map(str, few_files()),
        "-o",
        str(out),
        "--model",
        str(model),
        "--tile",
        "40",
        "-q",
    ]
    command += ["--scheduler", "distributed"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while tiles(tmp_path / ".a.tif.geofuse") < 3 and process.poll() is None:
        time.sleep(0.005)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 2
    (os.killpg if how == signal.SIGINT else os.kill)(process.pid, how)
    said = process.communicate(timeout=60)[1]
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []
    assert not out.exists()
    if how != signal.SIGKILL:
        assert process.returncode == 130
        assert said.startswith("geofuse: interrupted; what was finished is kept in .a.tif.geofuse: run the same again")
        assert len(said.splitlines()) == 1
    job(out, model).run()
    assert out.read_bytes() == undisturbed
