"""Batches on a dask cluster of this machine: what is made is what one process makes, and a worker that is lost costs its pair one attempt."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from distributed import Client, LocalCluster, get_worker

import geofuse
from geofuse.errors import InvalidInput, InvalidOutput, RunInterrupted
from geofuse.io.read.fingerprint import file_sha256
from geofuse.io.write.folders import LocalFolder
from geofuse.pipeline import cluster
from geofuse.pipeline.batch import Task
from geofuse.pipeline.states import DONE, State
from tests.pipeline.test_batch import broken, catalog, ended, made

QUIET: dict[str, Any] = {"threads_per_worker": 2, "dashboard_address": None, "silence_logs": 50}


@pytest.fixture(scope="module")
def workers() -> Iterator[LocalCluster]:
    """A worker within this process: as quick as a thread, and spoken to as any other."""
    with LocalCluster(n_workers=1, processes=False, **QUIET) as running:
        yield running


def test_pairs_are_made_on_the_workers_as_on_this_machine(workers: LocalCluster, tmp_path: Path) -> None:
    source = catalog(tmp_path / "source", ["a", "b"])
    broken(source, "b", {"href": "./nowhere.tif"})
    table = made(source, tmp_path / "out", method="bicubic", scheduler=workers.scheduler_address)
    assert table.state.tolist() == ["done", "failed"], table.reason.tolist()
    assert "nowhere.tif" in table.reason[1]
    made(source, tmp_path / "here", method="bicubic")
    assert file_sha256(tmp_path / "out" / "a" / "a.tif") == file_sha256(tmp_path / "here" / "a" / "a.tif")
    assert len(json.loads((tmp_path / "out" / "collection.json").read_text())["links"]) == 2
    assert not list((tmp_path / "out").glob(".seen*"))


def tasks_of(tmp_path: Path, count: int) -> tuple[LocalFolder, list[Task]]:
    source = catalog(tmp_path / "source", [f"p{k}" for k in range(count)])
    folder = LocalFolder(tmp_path / "out")
    folder.path.mkdir()
    return folder, [Task(pair, folder, {"memory": 10**9}) for pair in geofuse.search_pairs(str(source), "h", "m").pair]


def dies(task: Task) -> State:
    """Ends its worker: each time for p1, the first time only for p2."""
    tried = task.folder.path / f"{task.pair.id}.tried"  # type: ignore[attr-defined]
    again = tried.exists()
    tried.write_text("2" if again else "1")
    if task.pair.id == "p1" or (task.pair.id == "p2" and not again):
        os.kill(os.getpid(), signal.SIGKILL)
    return State.of(task.pair, DONE)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_what_a_lost_worker_had_is_tried_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "work", dies)
    folder, tasks = tasks_of(tmp_path, 5)
    with LocalCluster(n_workers=2, **QUIET) as running, cluster.cluster(running.scheduler_address, folder) as run:
        states = {state.id: state for state in run(iter(tasks))}
    assert {name: state.state for name, state in states.items()} == {"p0": "done", "p1": "failed", "p2": "done", "p3": "done", "p4": "done"}
    assert "lost 2 times" in states["p1"].reason
    assert {path.stem: path.read_text() for path in folder.path.glob("*.tried")} == {"p0": "1", "p1": "2", "p2": "2", "p3": "1", "p4": "1"}


class Flickering:
    """A client whose one worker is gone at its second look, and back at the next one."""

    status = "running"

    def __init__(self) -> None:
        self.looks, self.futures, self.cancelled = count(), [], []  # type: ignore[var-annotated]

    def scheduler_info(self, n_workers: int) -> dict[str, Any]:
        return {"workers": {} if next(self.looks) == 1 else {"tcp://a": {"status": "running"}}}

    def submit(self, *_: Any, **__: Any) -> Any:
        state = State("p0", "h", [], DONE)
        self.futures.append(SimpleNamespace(done=lambda again=bool(self.futures): again, result=lambda: state))
        return self.futures[-1]

    def cancel(self, futures: list[Any]) -> None:
        self.cancelled += futures


def test_what_a_lost_worker_had_is_not_begun_again_when_it_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_check_seen", lambda *_: None)
    monkeypatch.setattr(cluster, "_LOOK_S", 0.01)
    folder, tasks = tasks_of(tmp_path, 1)
    client = Flickering()
    assert [state.state for state in cluster._made(client, folder, iter(tasks))] == [DONE]
    assert len(client.futures) == 2
    assert client.cancelled == client.futures[:1]


@pytest.mark.slow
def test_a_real_pair_in_workers_that_are_processes(tmp_path: Path) -> None:
    source = catalog(tmp_path / "source", ["a", "b"])
    with LocalCluster(n_workers=2, memory_limit="2GB", **QUIET) as running:
        table = made(source, tmp_path / "out", method="bicubic", scheduler=running.scheduler_address)
    assert table.state.tolist() == ["done", "done"], table.reason.tolist()


def counted(task: Task) -> State:
    """How many tasks its worker has at once, as the reason."""
    time.sleep(0.2)
    worker: Any = get_worker()
    return State.of(task.pair, DONE, str(len(worker.state.executing)))


def test_a_worker_has_one_pair_at_a_time_whatever_its_threads(
    workers: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "work", counted)
    folder, tasks = tasks_of(tmp_path, 4)
    with cluster.cluster(workers.scheduler_address, folder) as run:
        assert [state.reason for state in run(iter(tasks))] == ["1"] * 4


def test_a_pair_is_planned_for_a_part_of_the_memory_of_its_worker(
    workers: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[Any] = []
    monkeypatch.setattr("geofuse.pipeline.batch.run_task", lambda task: planned.append(task.options["memory"]) or State.of(task.pair, DONE))
    folder, tasks = tasks_of(tmp_path, 1)
    tasks = [replace(task, options={"memory": 10**13}) for task in tasks]
    with cluster.cluster(workers.scheduler_address, folder) as run:
        list(run(iter(tasks)))
    assert planned == [workers.workers[0].memory_manager.memory_limit // 2]


def test_without_any_worker_it_waits_and_then_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "work", counted)
    monkeypatch.setattr(cluster, "_PATIENCE", 2)
    folder, tasks = tasks_of(tmp_path, 1)
    with LocalCluster(n_workers=0, processes=False, **QUIET) as empty, cluster.cluster(empty.scheduler_address, folder) as run:
        with pytest.raises(RunInterrupted, match="No worker of the dask cluster is ready"):
            list(run(iter(tasks)))
        empty.scale(1)
        assert [state.state for state in run(iter(tasks))] == [DONE]


def test_workers_that_do_not_see_the_folder_are_named(workers: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_sees", lambda folder, name: None)
    source = catalog(tmp_path / "source", ["a"])
    with pytest.raises(InvalidOutput, match=r"inproc://.*do not see the batch folder"):
        made(source, tmp_path / "out", method="bicubic", scheduler=workers.scheduler_address)


def test_workers_of_another_version_are_named(workers: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with Client(workers.scheduler_address, set_as_default=False) as client:
        answers = dict.fromkeys(client.scheduler_info()["workers"], "geofuse 0.0.9")
        monkeypatch.setattr(client, "run", lambda *_: answers)
        with pytest.raises(InvalidInput, match="have other versions"):
            cluster._check_versions(client)


def test_what_is_no_cluster_is_rejected(tmp_path: Path) -> None:
    source = str(catalog(tmp_path / "source", ["a"]))
    asked = ["batch", "run", source, "--hsi", "h", "--msi", "m", "-o", str(tmp_path / "out"), "-q"]
    assert ended(*asked, "--scheduler", "magic") == 2
    assert ended(*asked, "--scheduler", "tcp://127.0.0.1:8786", "--jobs", "2") == 2
    assert not (tmp_path / "out").exists()
