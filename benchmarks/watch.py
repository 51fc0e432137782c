"""Run a command and watch it from outside: seconds, processor seconds, peak memory, bytes."""

from __future__ import annotations

import resource
import subprocess
import threading
import time
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Took:
    """What a command took, its children included; memory and bytes in MB."""

    seconds: float
    cpu: float
    peak_mb: float
    read_mb: float
    written_mb: float


def run(command: list[str]) -> Took:
    """Run a command.

    Processor time and bytes are what the system adds to this process when it takes leave of a child that ended, which holds those of the
    child's own children too. (Adding up the counters of a process and its children, read while they run, counts those that have ended twice.)

    Raises
    ------
    RuntimeError
        The command failed; what it said.

    Examples
    --------
    >>> run(["head", "--bytes=20000000", "/dev/zero"]).written_mb > 19
    True
    """
    me = psutil.Process()
    bytes_before, cpu_before, begin = me.io_counters(), cpu_of_children(), time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    watch = PeakMemory(process.pid)
    _, said = process.communicate()
    seconds = time.monotonic() - begin
    peak, bytes_after = watch.end(), me.io_counters()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: {said}")
    read, written = (getattr(bytes_after, name) - getattr(bytes_before, name) for name in ("read_chars", "write_chars"))
    return Took(
        round(seconds, 2), round(cpu_of_children() - cpu_before, 2), round(peak / 1e6), round(read / 1e6, 1), round(written / 1e6, 1)
    )


def cpu_of_children() -> float:
    """Processor seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class PeakMemory:
    """Resident bytes of a process and its children together, looked at twenty times a second."""

    def __init__(self, pid: int) -> None:
        self._root, self._peak = psutil.Process(pid), 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            total = 0
            try:
                family = [self._root, *self._root.children(recursive=True)]
            except psutil.Error:
                continue
            for process in family:
                try:
                    total += process.memory_info().rss
                except psutil.Error:
                    continue
            self._peak = max(self._peak, total)

    def end(self) -> int:
        """Stop looking; the highest that was seen."""
        self._over.set()
        self._thread.join()
        return self._peak
