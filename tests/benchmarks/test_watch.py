from __future__ import annotations

import sys

import pytest

from benchmarks.watch import run

SIZE = 20_000_000


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_bytes_of_a_child_count_once(tmp_path: object) -> None:
    """A process that has another write, and outlives it."""
    inner = f"open({str(tmp_path) + '/file'!r}, 'wb').write(bytes({SIZE}))"
    found = run(python(f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {inner!r}]); time.sleep(0.3)"))
    assert SIZE / 1e6 <= found.written_mb < 1.2 * SIZE / 1e6
    assert found.read_mb < SIZE / 1e6


def test_memory_and_processor_time_of_children() -> None:
    inner = "x = b'1' * 150_000_000; import time; end = time.process_time() + 0.4\nwhile time.process_time() < end: pass"
    found = run(python(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"))
    assert found.peak_mb > 150
    assert 0.4 <= found.cpu < 3
    assert found.seconds >= 0.4


def test_a_failure_says_what_the_command_said() -> None:
    with pytest.raises(RuntimeError, match="no such luck"):
        run(python("raise SystemExit('no such luck')"))
