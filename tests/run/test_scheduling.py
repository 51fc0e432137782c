"""Schedulers: those that exist are used, and nothing of them stays."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any, ClassVar

import dask
import numpy as np
import pytest
from distributed import LocalCluster, default_client

import geofuse
from geofuse.errors import InvalidInput
from geofuse.run.scheduling import Engine, active_client, engine, scheduler_of, started
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


@pytest.mark.parametrize("name", ["cron", "", "Threads", "127.0.0.1:8786"])
def test_unknown_names_are_rejected(name: str) -> None:
    with (
        pytest.raises(InvalidInput, match=r"expected threads, processes, synchronous, distributed, cuda, or an address"),
        scheduler_of(name),
    ):
        pass


def test_an_address_that_is_none_is_rejected() -> None:
    with pytest.raises(InvalidInput, match="No dask scheduler answers at carrier://pigeon"), scheduler_of("carrier://pigeon"):
        pass
    # Nobody waits for the pigeon afterwards.
    with pytest.raises(ValueError, match="No clients found"):
        default_client()
    assert dask.delayed(sum)([1, 2]).compute() == 3


@pytest.mark.slow
def test_an_address_without_an_answer_is_refused_in_seconds() -> None:
    start = time.monotonic()
    with pytest.raises(InvalidInput, match="Start one with 'dask scheduler'"), scheduler_of("tcp://127.0.0.1:9"):
        pass
    assert time.monotonic() - start < 60


def test_missing_distributed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)  # Python's way to say: not installed
    with pytest.raises(InvalidInput, match=r"pip install 'geofuse\[distributed\]'"), scheduler_of("tcp://127.0.0.1:8786"):
        pass


def test_a_cluster_of_our_own_needs_what_it_is_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InvalidInput, match=r"needs distributed: pip install 'geofuse\[distributed\]'"), scheduler_of("distributed"):
        pass
    monkeypatch.setitem(sys.modules, "dask_cuda", None)
    with pytest.raises(InvalidInput, match=r"needs dask_cuda: pip install 'geofuse\[cuda\]'"), scheduler_of("cuda"):
        pass


class CudaCluster:
    """What geofuse knows of dask_cuda, on processors."""

    asked: ClassVar[dict[str, Any]] = {}

    def __new__(cls, **options: Any) -> Any:
        cls.asked = options
        return LocalCluster(**options, processes=False)


@pytest.fixture
def dask_cuda(monkeypatch: pytest.MonkeyPatch) -> int:
    """Three GPUs."""
    library, utils = ModuleType("dask_cuda"), ModuleType("dask_cuda.utils")
    library.LocalCUDACluster, utils.get_n_gpus = CudaCluster, lambda: 3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dask_cuda", library)
    monkeypatch.setitem(sys.modules, "dask_cuda.utils", utils)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return 3


def test_a_process_a_gpu(dask_cuda: int) -> None:
    with scheduler_of("cuda"):
        assert engine() == Engine(tasks=2, processes=dask_cuda)
        assert active_client() is None  # until the tiles begin
        with started(workers=6, memory=6 * 10**9):
            assert (CudaCluster.asked["n_workers"], CudaCluster.asked["threads_per_worker"]) == (3, 2)
            assert CudaCluster.asked["memory_limit"] >= 2 * 10**9
            assert active_client() is not None
        with started(workers=2, memory=6 * 10**9):
            assert (CudaCluster.asked["n_workers"], CudaCluster.asked["threads_per_worker"]) == (2, 1)
        assert active_client() is None


@pytest.mark.parametrize("visible", ["", " "])
def test_no_gpu_is_said(dask_cuda: int, visible: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(InvalidInput, match="needs an NVIDIA GPU, and none was found; use --scheduler threads"), scheduler_of("cuda"):
        pass


def test_engines() -> None:
    with dask.config.set(num_workers=5):
        for name, expected in (
            ("threads", Engine(5)),
            ("synchronous", Engine(1)),
            ("processes", Engine(1, 5, packs=True)),
            ("distributed", Engine(1, 5)),
        ):
            with scheduler_of(name):
                assert engine() == expected
        with (
            LocalCluster(n_workers=3, threads_per_worker=2, processes=False, dashboard_address=None, memory_limit=10**9) as cluster,
            scheduler_of(cluster.scheduler_address),
        ):
            assert engine() == Engine(2, 3, memory=10**9)


def test_what_the_block_raises_passes_through() -> None:
    with pytest.raises(KeyError), scheduler_of("threads"):
        raise KeyError("inside")
