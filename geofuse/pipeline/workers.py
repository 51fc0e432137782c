"""Pairs in several processes: each pair in one that can die without the others, and without the batch."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Generator, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from geofuse.pipeline.states import FAILED, State

if TYPE_CHECKING:
    from geofuse.pipeline.batch import Task


def in_processes(tasks: Iterator[Task], count: int) -> Generator[State]:
    """The states of tasks as they are finished, ``count`` at a time.

    A process takes one task after the other, and another takes its place when it dies, such as for want of memory; the task that it had
    is failed.
    """
    workers = [_Worker() for _ in range(count)]
    try:
        for worker in workers:
            worker.give(next(tasks, None))
        while busy := [worker for worker in workers if worker.task is not None]:
            ready = wait([worker.pipe for worker in busy])
            for k, worker in enumerate(workers):
                if worker.task is None or worker.pipe not in ready:
                    continue
                yield worker.result()
                if not worker.process.is_alive():
                    workers[k] = worker = _Worker()
                worker.give(next(tasks, None))
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """A process, and the task that it works on."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()  # or the end of the process would not be seen
        self.task: Task | None = None

    def give(self, task: Task | None) -> None:
        self.task = task
        if task is not None:
            with suppress(BrokenPipeError):  # it died meanwhile, which `result` finds
                self.pipe.send(task)

    def result(self) -> State:
        assert self.task is not None
        task, self.task = self.task, None
        try:
            state: State = self.pipe.recv()
            return state
        except (EOFError, OSError):
            self.process.join()
            reason = f"its process died (exit status {self.process.exitcode}), such as for want of memory; run again with fewer jobs"
            return State.of(task.pair, FAILED, reason).keep(task.folder)

    def end(self) -> None:
        self.pipe.close()  # at which it ends, unless it is at work
        if self.task is not None:
            self.process.terminate()
        self.process.join()


def _serve(pipe: Connection[Any, Any]) -> None:
    """Work on tasks until there are no more, in a process of its own."""
    import signal
    import threading

    from geofuse.pipeline.batch import run_task
    from geofuse.run.allocator import keep_freed_memory

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the batch ends its processes itself
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_freed_memory()
    with suppress(EOFError, OSError):
        while True:
            pipe.send(run_task(pipe.recv()))


def _end_with_parent() -> None:
    """End when the batch does, however it ended: it may be run again at once, and the pair at work is no longer this process's."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
