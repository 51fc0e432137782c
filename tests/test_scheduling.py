"""Schedulers: those that exist are used, and nothing of them stays."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import dask
import numpy as np
import pytest
from distributed import LocalCluster, default_client

import geofuse
from geofuse.errors import RefusedInput
from geofuse.scheduling import scheduler_of
from tests.crops import small_cubes, small_model


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    before = dask.config.get("scheduler", None)
    yield
    assert dask.config.get("scheduler", None) == before


def fused_on(scheduler: str) -> np.ndarray:
    with scheduler_of(scheduler):
        fused: np.ndarray = geofuse.fuse(*small_cubes(), model=small_model(), tile=70, progress=False).values
    return fused


def names_of_threads(scheduler: str) -> set[str]:
    with scheduler_of(scheduler):
        return set(dask.compute(*[dask.delayed(lambda: threading.current_thread().name, pure=False)() for _ in range(4)]))


def test_local_schedulers() -> None:
    assert names_of_threads("synchronous") == {threading.current_thread().name}
    assert names_of_threads("threads") - {threading.current_thread().name}


def test_threads_and_one_thread_give_the_same_numbers() -> None:
    assert np.array_equal(fused_on("threads"), fused_on("synchronous"), equal_nan=True)


@pytest.mark.slow
def test_processes_give_the_same_numbers() -> None:
    assert np.array_equal(fused_on("processes"), fused_on("synchronous"), equal_nan=True)


@pytest.mark.slow
def test_a_cluster_gives_the_same_numbers() -> None:
    """The fit, too, reads its sample through the cluster."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        over_there = fused_on(address)
        with scheduler_of(address):
            assert dask.delayed(os.getpid)().compute() != os.getpid()
            model = geofuse.fit(*small_cubes(), method="gem", progress=False)
    assert np.array_equal(over_there, fused_on("synchronous"), equal_nan=True)
    assert model.report["geometry"] == small_model().report["geometry"]


@pytest.mark.parametrize("name", ["cron", "", "Threads", "distributed", "127.0.0.1:8786"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(RefusedInput, match=r"expected threads, processes, synchronous, or an address"), scheduler_of(name):
        pass


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(RefusedInput, match="No dask scheduler answers at carrier://pigeon"), scheduler_of("carrier://pigeon"):
        pass
    # Nobody waits for the pigeon afterwards.
    with pytest.raises(ValueError, match="No clients found"):
        default_client()
    assert dask.delayed(sum)([1, 2]).compute() == 3


@pytest.mark.slow
def test_an_address_without_an_answer_is_refused_in_seconds() -> None:
    start = time.monotonic()
    with pytest.raises(RefusedInput, match="Start one with 'dask scheduler'"), scheduler_of("tcp://127.0.0.1:9"):
        pass
    assert time.monotonic() - start < 60


def test_missing_distributed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)  # Python's way to say: not installed
    with pytest.raises(RefusedInput, match=r"pip install 'geofuse\[distributed\]'"), scheduler_of("tcp://127.0.0.1:8786"):
        pass


def test_what_the_block_raises_passes_through() -> None:
    with pytest.raises(KeyError), scheduler_of("threads"):
        raise KeyError("inside")
