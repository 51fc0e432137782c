"""Run each task in a process of its own: its peak memory is its own, and what kills it kills nothing else."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

Task = TypeVar("Task")
# Forked from a process that has imported everything and computed nothing: a case starts in milliseconds, with no thread alive.
PRELOAD = ["benchmarks.measure"]
START = "forkserver" if sys.platform == "linux" else "spawn"


def each(
    tasks: Iterable[Task],
    work: Callable[[Task], dict[str, Any]],
    *,
    jobs: int = 1,
    deadline: float = float("inf"),
) -> Iterator[tuple[Task, dict[str, Any]]]:
    """Do tasks, some at a time; yields each with its outcome as it is finished.

    Parameters
    ----------
    tasks : iterable
        Taken one by one, as processes become free.
    work : callable
        A function of a module: task to dict. What it raises, and its process dying, becomes ``{"error": …}``.
    jobs : int
        Processes at a time; with several, each gets its share of the cores.
    deadline : float
        Value of `time.monotonic` at which unfinished tasks are given up.
    """
    context: Any = multiprocessing.get_context(START)
    if START == "forkserver":
        context.set_forkserver_preload(PRELOAD)
    free = list(_shares(jobs))
    left = iter(tasks)
    running: dict[Any, tuple[Any, Task, set[int] | None]] = {}
    try:
        while True:
            while free and (task := next(left, None)) is not None:
                here, there = context.Pipe(duplex=False)
                cores = free.pop()
                process = context.Process(target=_serve, args=(there, work, task, cores), daemon=True)
                process.start()
                there.close()
                running[here] = process, task, cores
            if not running:
                return
            ready = wait(list(running), timeout=None if deadline == float("inf") else max(deadline - time.monotonic(), 0))
            if not ready:  # the time is up
                return
            for here in ready:
                process, task, cores = running.pop(here)
                outcome = _receive(here, process)
                free.append(cores)
                yield task, outcome
    finally:
        for process, _, _ in running.values():
            process.kill()
            process.join()


def _shares(jobs: int) -> Iterator[set[int] | None]:
    """Cores of each job; None where they need not be separate, or cannot be."""
    if jobs == 1 or not hasattr(os, "sched_getaffinity"):
        yield from [None] * jobs
        return
    cores = sorted(os.sched_getaffinity(0))
    for job in range(jobs):
        yield set(cores[job::jobs]) or {cores[job % len(cores)]}


def _receive(here: Any, process: Any) -> dict[str, Any]:
    try:
        outcome: dict[str, Any] = here.recv()
    except EOFError:
        process.join()
        outcome = {"error": f"failed: the process ended with status {process.exitcode} and said nothing (out of memory?)"}
    process.join()
    here.close()
    return outcome


def _serve(there: Connection, work: Callable[[Any], dict[str, Any]], task: Any, cores: set[int] | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its children
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if cores is not None:
        os.sched_setaffinity(0, cores)
    try:
        outcome = work(task)
    except Exception as error:  # whatever it is, it belongs to this case and not to the run
        outcome = {"error": f"failed: {type(error).__name__}: {error}"}
    there.send(outcome)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
