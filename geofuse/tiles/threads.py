"""How many threads a matrix product may use: measured, because two busy cores can be slower than one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Run torch operations of this thread on ``count`` cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fastest_thread_count() -> int:
    """Number of threads, one or all cores, with which the solver's kind of work runs fastest right now."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores == 1:
        return 1
    return min((1, cores), key=_seconds)


def _seconds(threads: int) -> float:
    matrix, image = torch.rand(20, 20), torch.rand(20, 300_000)
    weight = torch.rand(300_000)

    def work() -> float:
        begin = time.perf_counter()
        for _ in range(3):
            torch.addcmul(image, matrix @ image, weight)
        return time.perf_counter() - begin

    with torch_threads(threads):
        work()
        return min(work() for _ in range(2))
