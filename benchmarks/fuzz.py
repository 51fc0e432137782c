"""Damaged and hostile files, and what opening them comes to: opened, rejected with an error of geofuse, or anything worse.

    python -m benchmarks.fuzz --cases 1000

Every case is a file or a product of one kind, spoilt by a generator that its number seeds: the same number is the same file. Cases are opened
one after the other in a forked process, which is replaced where one takes too long, wants too much memory or kills it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import resource
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from benchmarks.fuzz_cases import FORMATS, Bases, Opening, make_bases

SLOW_S, LIMIT_S = 5.0, 30.0
LARGE_MB, LIMIT_MB = 1024, 4096
OUTCOMES = ("opened", "rejected", "raw exception", "slow", "memory", "crash")


def outcome(opening: Opening) -> tuple[str, str]:
    """What opening comes to, and the message."""
    from geofuse.errors import GeofuseError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opening()
    except GeofuseError as error:
        return "rejected", str(error)
    except MemoryError as error:
        return "memory", repr(error)
    except BaseException as error:
        return "raw exception", f"{type(error).__name__}: {str(error)[:200]}"
    return "opened", ""


def run_case(bases: Bases, kind: str, number: int) -> tuple[str, str, float, float]:
    """Make a case and open it here: outcome, message, seconds, MB by which this process grew at its largest."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        opening = FORMATS[kind](bases, Path(folder), random.Random(f"{kind} {number}"))
        before, begin = _reset_peak(), time.monotonic()
        what, said = outcome(opening)
        seconds, grown = time.monotonic() - begin, _peak_mb() - before
    if what != "raw exception" and seconds > SLOW_S:
        what = "slow"
    if what != "raw exception" and grown > LARGE_MB:
        what = "memory"
    return what, said, seconds, grown


def _reset_peak() -> float:
    Path("/proc/self/clear_refs").write_text("5")
    return _peak_mb()


def _peak_mb() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _work(bases: Bases, pipe: Any) -> None:
    import dask

    import geofuse

    dask.config.set(scheduler="synchronous")
    outcome(lambda: geofuse.open_hsi(bases.path("0.tif")).values)  # imports: neither their time nor their memory is that of a case
    pipe.send("ready")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT_MB * 2**20,) * 2)
    while True:
        pipe.send(run_case(bases, *pipe.recv()))


class Worker:
    """A forked process that opens cases, and is replaced when one was too much for it."""

    def __init__(self, bases: Bases) -> None:
        self._bases = bases
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")
        self._pipe, end = context.Pipe()
        self._process = context.Process(target=_work, args=(self._bases, end), daemon=True)
        self._process.start()
        end.close()
        self._pipe.recv()

    def run(self, kind: str, number: int) -> tuple[str, str, float, float]:
        """See `run_case`."""
        self._pipe.send((kind, number))
        try:
            if self._pipe.poll(LIMIT_S):
                answer: tuple[str, str, float, float] = self._pipe.recv()
                return answer
            found = "slow", f"ended after {LIMIT_S:g} s", LIMIT_S, 0.0
        except EOFError:
            found = "crash", "the process ended", 0.0, 0.0
        self.close()
        self._start()
        return found

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """A server on this machine: its address, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def run(cases: int, kinds: list[str], first: int = 0, show: bool = False) -> dict[str, Counter[str]]:
    """Open so many cases of each kind; how often each outcome came, and requests that reached the server."""
    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory(prefix="fuzz-bases-") as folder, listening() as (address, asked):
        bases = Bases(Path(folder), address)
        made = multiprocessing.get_context("spawn").Process(target=make_bases, args=(bases.folder,))
        made.start()  # elsewhere: threads of this process would be missing from those that it forks
        made.join()
        import geofuse.model  # noqa: F401 (with torch, before memory is limited and time is taken)

        worker = Worker(bases)
        for kind in kinds:
            asked.clear()
            counts[kind] = Counter()
            for number in range(first, first + cases):
                before = len(asked)
                what, said, seconds, grown = worker.run(kind, number)
                counts[kind][what] += 1
                if show and len(asked) > before:
                    print(f"{kind} {number}: asked for {asked[before:]}: {said}", flush=True)
                if show and what not in ("opened", "rejected"):
                    print(f"{kind} {number}: {what}, {seconds:.1f} s, {grown:.0f} MB: {said}", flush=True)
            counts[kind]["requests"] = len(asked)
        worker.close()
    return counts


def table(counts: dict[str, Counter[str]]) -> str:
    """The counts as Markdown."""
    columns = (*OUTCOMES, "requests")
    rows = [f"| {kind} | " + " | ".join(str(found[column]) for column in columns) + " |" for kind, found in counts.items()]
    return "\n".join([f"| format | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|", *rows])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000, help="files a format")
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--formats", nargs="*", default=list(FORMATS), choices=list(FORMATS))
    parser.add_argument("--show", action="store_true", help="print each case that is neither opened nor rejected")
    options = parser.parse_args()
    print(table(run(options.cases, options.formats, options.first, options.show)))


if __name__ == "__main__":
    main()
