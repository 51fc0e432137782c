"""Which dask scheduler runs the tiles: dask's own, threads, processes or a cluster."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import dask
import dask.base

from geofuse.cube.compute import PROCESSES
from geofuse.errors import InvalidInput

LOCAL = ("threads", "processes", "synchronous")
OWN = ("distributed", "cuda")
"""Clusters that a run starts for itself, and closes."""
_OWN = "geofuse.cluster"  # in dask's configuration: the one that was asked for
# A worker is ended when it takes this many times what was planned for it: a plan is kept, a leak does not take the machine.
_MEMORY_LEFT = 2


@dataclass(frozen=True)
class Engine:
    """What runs tasks.

    Attributes
    ----------
    tasks : int
        At once, in each process.
    processes : int
        That hold tasks; 0 where that is this process.
    memory : int or None
        Bytes that each process may use, where it was started by others.
    packs : bool
        What one task makes is packed for every task that needs it.
    """

    tasks: int
    processes: int = 0
    memory: int | None = None
    packs: bool = False

    @property
    def given(self) -> bool:
        """Whether the tasks at once are given by a cluster that was started elsewhere."""
        return self.memory is not None


def engine() -> Engine:
    """What would run tasks now."""
    own = dask.config.get(_OWN, None)
    if own == "cuda":
        return Engine(2, _gpus())  # one tile is on the GPU while the other is read or written
    if own:
        return Engine(1, _cores())
    if dask.config.get("scheduler", None) in PROCESSES:
        return Engine(1, _cores(), packs=True)
    if dask.config.get("scheduler", None) in ("synchronous", "sync", "single-threaded"):
        return Engine(1)
    client = active_client()
    if client is None:
        return Engine(_cores())
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    memory = [w["memory_limit"] for w in workers if w["memory_limit"]]
    return Engine(max((w["nthreads"] for w in workers), default=1), max(len(workers), 1), min(memory, default=sys.maxsize))


def active_client() -> Any:
    """The dask.distributed client that dask would compute with now; None for another scheduler."""
    if "distributed" not in sys.modules:
        return None
    client = getattr(dask.base.get_scheduler(), "__self__", None)
    return client if isinstance(client, sys.modules["distributed"].Client) else None


@contextmanager
def scheduler_of(name: str) -> Iterator[None]:
    """Run the block on a scheduler.

    Parameters
    ----------
    name : str
        ``threads``, ``processes``, ``synchronous``; the address of a dask.distributed scheduler; or ``distributed`` and ``cuda`` for a cluster
        on this machine, of one process a core or a GPU, which `started` starts when the tiles begin.

    Raises
    ------
    InvalidInput
        An unknown name, a library that is not installed, no GPU, or no scheduler at the address.
    """
    if name in LOCAL:
        with dask.config.set({"scheduler": name, _OWN: None}):
            yield
    elif name in OWN:
        _check_own(name)
        with dask.config.set({"scheduler": "threads", _OWN: name}):  # what is read for the fit comes here
            yield
    elif "://" in name:
        with connected(name) as client, client.as_current():
            yield
    else:
        known = ", ".join((*LOCAL, *OWN))
        raise InvalidInput(f"There is no scheduler {name!r}; expected {known}, or an address such as tcp://127.0.0.1:8786.")


@contextmanager
def started(workers: int, memory: int) -> Iterator[None]:
    """Run the block on a cluster of our own, where `scheduler_of` asked for one.

    Parameters
    ----------
    workers : int
        Tasks at once.
    memory : int
        Bytes that were planned for all of them.
    """
    own = dask.config.get(_OWN, None)
    if own is None:
        yield
        return
    from distributed import Client

    # Spilling would fill a disk unasked, and a paused worker may wait for ever: too much memory ends the worker alone.
    fractions: dict[str, Any] = {f"distributed.worker.memory.{name}": False for name in ("target", "spill", "pause")}
    processes = min(workers, engine().processes)
    options = {
        "n_workers": processes,
        "threads_per_worker": workers // processes,
        "memory_limit": _MEMORY_LEFT * memory // processes,
        "dashboard_address": None,
        "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"},  # what is left without a dashboard asks for a port all the same
        "silence_logs": logging.CRITICAL,
    }
    with (
        dask.config.set(fractions),
        _kind(own)(**options) as made,
        Client(made, set_as_default=False) as client,
        client.as_current(),
        dask.config.set(scheduler=None),
    ):
        client.register_worker_callbacks(_leave_interrupts)
        yield


def _leave_interrupts() -> None:
    """Ctrl-C reaches every process of a terminal, and the one that runs the others handles it."""
    with suppress(ValueError):  # a worker that is but a thread
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _kind(own: str) -> Any:
    if own == "cuda":
        from dask_cuda import LocalCUDACluster

        return LocalCUDACluster
    from distributed import LocalCluster

    return LocalCluster


def _check_own(name: str) -> None:
    """Reject a cluster that cannot be started."""
    try:
        _kind(name)
    except ImportError as error:
        extra = "distributed" if name == "distributed" else "cuda"
        raise InvalidInput(f"The scheduler {name!r} needs {error.name or error}: pip install 'geofuse[{extra}]'.") from error
    if name == "cuda" and not _gpus():
        raise InvalidInput("The scheduler 'cuda' needs an NVIDIA GPU, and none was found; use --scheduler threads or distributed.")


def _gpus() -> int:
    from dask_cuda.utils import get_n_gpus

    try:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        return len([d for d in visible.split(",") if d.strip()]) if visible is not None else int(get_n_gpus())
    except Exception:  # pynvml has many ways to say that there is no driver
        return 0


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """A client of a dask.distributed scheduler, which does not become the default one.

    Raises
    ------
    InvalidInput
        dask.distributed is not installed, or no scheduler is there.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise InvalidInput("A scheduler address needs dask.distributed: pip install 'geofuse[distributed]'.") from error
    try:
        # Not the default: a default client that does not come about stays it, and all later computing waits for it.
        client = Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as error:  # no scheduler there, or not an address
        raise InvalidInput(
            f"No dask scheduler answers at {address}: {error}. Start one with 'dask scheduler', or use --scheduler threads."
        ) from error
    with client:
        yield client


def _cores() -> int:
    """Tasks at once on this machine: what the user set for dask, else the cores that this process may use."""
    asked = dask.config.get("num_workers", None)
    if asked is not None:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
