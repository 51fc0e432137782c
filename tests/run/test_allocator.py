"""The allocator, watched by the system's own count of page faults."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, threading
from geofuse.run.allocator import keep_freed_memory
import torch

if sys.argv[1] == "kept":
    assert keep_freed_memory()


def work():
    for _ in range(20):
        torch.ones(12_000_000)  # 48 MB, freed at once


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


work()  # the first time costs its pages either way
before = faults()
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is not glibc's")
@pytest.mark.slow
def test_freed_memory_is_used_again() -> None:
    found = {
        kind: int(subprocess.run([sys.executable, "-c", PROGRAM, kind], check=True, capture_output=True, text=True).stdout)
        for kind in ("kept", "given back")
    }
    assert found["given back"] > 20 * 48_000_000 / 4096 / 2
    assert found["kept"] < found["given back"] / 2
