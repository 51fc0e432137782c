"""A catalog from end to end, killed on the way: ``python -m benchmarks.catalog [--items 200] [--faulty 20] [--kills 5] [--page docs/research/batch.md]``.

Small items, some with planted faults, of a STAC API on loopback (`rustac serve`, which others wrote) and a server of files with the troubles
of real ones, fused by ``geofuse batch run --jobs 2``, which is killed at random; then all that is there is checked, a tenth of it against a run
that was left alone. Also: peak memory with a tenth of the items and with all, and what a batch costs over its single runs.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.catalog_checks import check, read_states
from benchmarks.catalog_items import FIRST, Item, write_catalog
from benchmarks.catalog_overhead import overhead
from benchmarks.catalog_page import page
from benchmarks.catalog_server import serving_files, serving_items

TROUBLE_EVERY = 25  # requests: one is answered busy, reset or cut short
PATIENCE_S = 3  # with servers that drip
_PROGRAM = "from geofuse.cli import main\nmain()"


@dataclass(frozen=True)
class Batch:
    """A command, and where it writes.

    Parameters
    ----------
    source : str
        Address of the API.
    output : pathlib.Path
    method : str
    """

    source: str
    output: Path
    method: str

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start it, in a group of processes of its own, on one core: sums in another order are not the same to the bit."""
        asked = [
            "batch",
            "run",
            self.source,
            "--hsi",
            "h",
            "--msi",
            "m",
            "--max-gap",
            "3h",
            "-o",
            str(self.output),
            "--method",
            self.method,
        ]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "GDAL_HTTP_LOW_SPEED_TIME": str(PATIENCE_S)}
        command = [sys.executable, "-c", _PROGRAM, *asked, "-q", *options]
        return subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *options: str) -> tuple[str, float, float]:
        """Run it to its end: what it printed, seconds, and the peak of the memory of its largest process (MB)."""
        began, process = time.monotonic(), self.start(*options)
        with _peak_of(process.pid) as peak:
            said, wrong = process.communicate()
        if process.returncode not in (0, 1):
            raise RuntimeError(wrong)
        return said.strip().splitlines()[-1], time.monotonic() - began, peak[0]


@contextmanager
def _peak_of(group: int) -> Iterator[list[float]]:
    """The largest memory that a process of a group holds while the block runs."""
    peak, ended = [0.0], threading.Event()

    def look() -> None:
        while not ended.wait(0.5):
            for process in _members(group):
                with suppress(psutil.Error):
                    peak[0] = max(peak[0], process.memory_info().rss / 1e6)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def _members(group: int) -> list[psutil.Process]:
    with suppress(psutil.Error):
        first = psutil.Process(group)
        return [first, *first.children(recursive=True)]
    return []


def kill(batch: Batch, kills: int, items: int, chance: random.Random) -> list[str]:
    """Run the batch and kill it, several times at random moments; what was done, in words.

    Each time until some more pairs are done, and for a random while longer; the last time by SIGTERM, and else by SIGKILL of all its
    processes, or of the first one alone, whose others must end by themselves.
    """
    said = []
    for turn in range(kills):
        polite, alone = turn == kills - 1, turn % 2 == 1
        process, before = batch.start("--jobs", "2"), _count(batch.output)
        wanted = before + chance.randint(0, max(1, items // (2 * kills)))
        while process.poll() is None and _count(batch.output) < wanted:
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 6))
        if process.poll() is not None:
            said.append("over before it was killed")
            continue
        if polite or alone:
            process.send_signal(signal.SIGTERM if polite else signal.SIGKILL)
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        _wait_for_all(process.pid)
        how = "SIGTERM" if polite else "SIGKILL of the first process" if alone else "SIGKILL of all"
        said.append(f"{how} with {_count(batch.output)} pairs finished, exit status {process.returncode}")
        print(said[-1], flush=True)
    return said


def _count(output: Path) -> int:
    return sum(state["state"] != "waiting" for state in read_states(output).values())


def _wait_for_all(group: int, seconds: float = 20.0) -> None:
    """Wait until no process of a group is there; those that lost their first one must end by themselves."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    raise RuntimeError("processes of a killed batch went on")


def stamps(output: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of change of the images of all pairs that are done."""
    done = [name for name, state in read_states(output).items() if state["state"] == "done"]
    return {name: ((status := (output / name / f"{name}.tif").stat()).st_ino, status.st_mtime_ns) for name in done}


def prove(items: int, faulty: int, kills: int, method: str, seed: int, repeats: int, folder: Path) -> dict[str, Any]:
    """All of it; figures and findings by name. What is not as it should be raises AssertionError."""
    chance, files, few = random.Random(seed), folder / "files", max(2, items // 10)
    with ExitStack() as stack:
        root = stack.enter_context(serving_files(files, TROUBLE_EVERY))
        made = write_catalog(files, root, items, faulty)
        api = stack.enter_context(serving_items(files / "items.json"))
        killed, calm = (Batch(api, folder / name, method) for name in ("killed", "calm"))
        said = kill(killed, kills, items, chance)
        before, left = stamps(killed.output), items - _count(killed.output)
        summary, seconds, all_peak = killed.run("--jobs", "2")
        after = stamps(killed.output)
        assert {name: after[name] for name in before} == before, "a pair that was done was made again"
        last = (FIRST + dt.timedelta(days=few - 0.5)).isoformat().replace("+00:00", "Z")
        _, _, few_peak = calm.run("--jobs", "2", "--datetime", f"../{last}")
        found = check(killed.output, made, calm.output)
    return found | {
        "items": items,
        "kills": said,
        "done before the last run": len(before),
        "summary": summary,
        "last run": (left, round(seconds, 1)),
        "method": method,
        "peak of few": (few, round(few_peak)),
        "peak of all": (items, round(all_peak)),
        "overhead": overhead(folder, method, repeats),
        "faults": _planted(made, killed.output),
    }


def _planted(made: Sequence[Item], output: Path) -> list[tuple[str, str, str]]:
    """Each kind of fault, a pair that had it, and the reason that it got."""
    states, kinds = read_states(output), dict[str, tuple[str, str, str]]()
    for item in made:
        if item.fault:
            kinds.setdefault(item.fault.name, (item.fault.name, item.id, str(states[item.id]["reason"])))
    return list(kinds.values())


def main(arguments: Sequence[str] | None = None) -> None:
    """Prove it, and write or print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--faulty", type=int, default=20)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--method", default="bicubic")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=5, help="of the comparison with single runs")
    parser.add_argument("--page", type=Path)
    parser.add_argument("--json", type=Path, help="the figures")
    parser.add_argument("--folder", type=Path, help="keep everything there")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="geofuse-catalog-") as temporary:
        folder = asked.folder or Path(temporary)
        found = prove(asked.items, asked.faulty, asked.kills, asked.method, asked.seed, asked.repeats, folder)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))
    text = page(found)
    if asked.page:
        asked.page.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
