"""Pixels that are needed in this process are computed in it."""

from __future__ import annotations

import os
import threading

import dask
import pytest

from geofuse.cube.compute import PROCESSES, compute_here


@pytest.mark.parametrize("scheduler", PROCESSES)
def test_processes_are_not_asked(scheduler: str) -> None:
    with dask.config.set(scheduler=scheduler):
        assert compute_here(dask.delayed(os.getpid)(), 7) == (os.getpid(), 7)


def test_other_schedulers_stay() -> None:
    with dask.config.set(scheduler="synchronous"):
        assert compute_here(dask.delayed(threading.get_ident)()) == (threading.get_ident(),)
