from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

from benchmarks.isolate import each


def work(task: int) -> dict[str, Any]:
    if task == 2:
        raise ValueError("two is bad")
    if task == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if task == 4:
        time.sleep(60)
    return {"square": task**2, "process": os.getpid()}


@pytest.mark.slow
def test_each_task_has_its_own_process_and_its_own_end() -> None:
    outcomes = dict(each([1, 2, 3, 5], work))
    assert (outcomes[1]["square"], outcomes[5]["square"]) == (1, 25)
    assert len({outcomes[1]["process"], outcomes[5]["process"], os.getpid()}) == 3
    assert outcomes[2]["error"] == "failed: ValueError: two is bad"
    assert "status -9" in outcomes[3]["error"]


@pytest.mark.slow
def test_several_at_a_time_and_a_deadline() -> None:
    start = time.monotonic()
    outcomes = dict(each([4, 1, 5], work, jobs=2, deadline=start + 20))
    assert outcomes.keys() == {1, 5}  # the sleeper is given up, and nobody waits for it
    assert time.monotonic() - start < 50


def test_nothing_to_do() -> None:
    assert list(each([], work)) == []
