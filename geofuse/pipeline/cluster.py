"""Pairs on a dask cluster: one at a time on each worker. What passes between the machines is the task and how it went; pixels do not."""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dask

from geofuse.errors import InvalidInput, InvalidOutput, RunInterrupted
from geofuse.io.write.folders import Folder
from geofuse.io.write.vrt import software
from geofuse.pipeline.states import FAILED, State
from geofuse.run.scheduling import connected

if TYPE_CHECKING:
    from geofuse.pipeline.batch import Task

_ATTEMPTS = 2
_LOOK_S = 1.0  # how often to see which workers are there
_PATIENCE = 60  # looks without any worker
# Of a worker's memory, what a pair is planned for: what is not planned needs room, and more than all of it ends the worker.
_SHARE = 0.5


@contextmanager
def cluster(address: str, folder: Folder) -> Iterator[Callable[[Iterator[Task]], Generator[State]]]:
    """Work on a dask cluster that runs already; yields what makes tasks and gives their states as they are finished.

    Parameters
    ----------
    address : str
        Of the dask scheduler, such as ``tcp://host:8786``.
    folder : Folder
        The batch folder; every worker must see it.

    Raises
    ------
    InvalidInput
        No scheduler is there, or a worker has no geofuse or another version of it.
    InvalidOutput
        A worker does not see the folder.
    """
    with connected(address) as client:
        _check_versions(client)
        yield lambda tasks: _made(client, folder, tasks)


@dataclass(frozen=True)
class _Attempt:
    task: Task
    number: int = 1
    future: Any = None


def _made(client: Any, folder: Folder, tasks: Iterator[Task]) -> Generator[State]:
    """A worker has one task; what it had when it was lost is tried once more, on another one.

    Which worker has which task is decided here and not by dask, which would give a worker as many as it has threads, and try a task that ends
    workers as often as the cluster is set to.
    """
    _check_seen(client, folder)
    running: dict[str, _Attempt] = {}
    ahead: deque[_Attempt] = deque()
    idle = 0
    try:
        while True:
            workers = _workers(client)
            for worker in [worker for worker, attempt in running.items() if attempt.future.done() or worker not in workers]:
                attempt = running.pop(worker)
                if attempt.future.done():
                    yield _state(attempt)
                    continue
                client.cancel([attempt.future])  # or a worker that comes back would begin it beside the next attempt
                if attempt.number < _ATTEMPTS:
                    ahead.append(_Attempt(attempt.task, attempt.number + 1))
                else:
                    yield _lost(attempt.task)
            for worker, status in workers.items():
                if status == "running" and worker not in running and _any(ahead, tasks):  # dask pauses one that is short of memory
                    attempt = ahead.popleft()
                    running[worker] = replace(attempt, future=_submitted(client, attempt.task, worker))
            if not running and not _any(ahead, tasks):
                return
            idle = 0 if running else idle + 1
            if idle > _PATIENCE:
                raise RunInterrupted(
                    "No worker of the dask cluster is ready (there is none, or all are short of memory); start some, and run the same again."
                )
            _wait(running)
    finally:
        if client.status == "running":
            client.cancel([attempt.future for attempt in running.values()])


def _submitted(client: Any, task: Task, worker: str) -> Any:
    key = f"geofuse-{task.pair.id}-{uuid.uuid4().hex[:8]}"
    return client.submit(work, task, key=key, workers=[worker], allow_other_workers=False, pure=False)


def _any(ahead: deque[_Attempt], tasks: Iterator[Task]) -> bool:
    """Whether something is left to be made, which is put ahead."""
    if not ahead and (task := next(tasks, None)) is not None:
        ahead.append(_Attempt(task))
    return bool(ahead)


def _workers(client: Any) -> dict[str, str]:
    """The workers that are there, and how each of them is."""
    if client.status != "running":
        raise RunInterrupted("The dask scheduler is gone; start one, and run the same again.")
    return {worker: about["status"] for worker, about in sorted(client.scheduler_info(n_workers=-1)["workers"].items())}


def _wait(running: dict[str, _Attempt]) -> None:
    """Until a task is finished, but not for long: workers come and go."""
    end = time.monotonic() + _LOOK_S
    while time.monotonic() < end and not any(attempt.future.done() for attempt in running.values()):
        time.sleep(_LOOK_S / 20)


def _state(attempt: _Attempt) -> State:
    try:
        state: State = attempt.future.result()
        return state
    except Exception as error:  # whatever keeps a worker from beginning
        reason = f"the worker could not make it ({type(error).__name__}: {error})"
        return State.of(attempt.task.pair, FAILED, reason).keep(attempt.task.folder)


def _lost(task: Task) -> State:
    reason = f"the worker that made it was lost {_ATTEMPTS} times, such as for want of memory; run again with more memory a worker"
    return State.of(task.pair, FAILED, reason).keep(task.folder)


def work(task: Task) -> State:
    """Make a pair on a worker, with its threads and within its memory."""
    from distributed import get_worker

    from geofuse.pipeline.batch import run_task

    worker = get_worker()
    limit = getattr(worker.memory_manager, "memory_limit", None)
    memory = task.options.get("memory")
    if limit and memory:
        task = replace(task, options={**task.options, "memory": min(memory, int(_SHARE * limit))})
    with dask.config.set(scheduler="threads", num_workers=worker.state.nthreads):  # its tiles are its own
        return run_task(task)


def _check_versions(client: Any) -> None:
    try:
        found = client.run(software)
    except Exception as error:  # of a worker that has no geofuse, or cannot read what is sent
        raise InvalidInput(
            f"The workers of the dask cluster cannot run geofuse ({type(error).__name__}: {error}); install the same versions on all of them."
        ) from None
    if others := sorted(worker for worker, version in found.items() if version != software()):
        raise InvalidInput(
            f"The workers {', '.join(others)} have other versions than this process: {software()}; install the same on all of them."
        )


def _check_seen(client: Any, folder: Folder) -> None:
    word = uuid.uuid4().hex
    name = f".seen-{word}"
    folder.write(name, word.encode())
    try:
        blind = sorted(worker for worker, seen in client.run(_sees, folder, name).items() if seen != word)
    finally:
        folder.remove(name)
    if blind:
        raise InvalidOutput(
            f"The workers {', '.join(blind)} do not see the batch folder {folder}, into which they write. Use one that all of them share under the "
            "same path, or s3://…."
        )


def _sees(folder: Folder, name: str) -> str | None:
    try:
        content = next(iter(folder.read([name])))
    except (InvalidOutput, OSError):
        return None
    return None if content is None else content.decode()
