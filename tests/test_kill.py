"""Runs that are killed, and run again: the file is that of a run that was left alone, to the byte."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from geofuse.errors import InvalidOutput
from geofuse.pipeline.job import Job
from tests.crops import few_files, few_model

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")

# One core: with several, the fit measures how many are worth using, and sums rounded in another order are not the same to the bit.
PROGRAM = """
import os
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from geofuse.cli import main
main()
"""


def command(out: Path, *options: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM, "fuse", *map(str, few_files()), "-o", str(out), "--tile", "40", "-q", *options]


def finished(out: Path, *options: str) -> bytes:
    """Run to the end; the bytes of the file and of its quality layer."""
    done = subprocess.run(command(out, *options), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in out.parent.iterdir()) == [out.with_suffix(".json").name, out.name, quality_of(out).name]
    return content(out)


def quality_of(out: Path) -> Path:
    return out.with_name(f"{out.stem}_quality.tif")


def content(out: Path) -> bytes:
    return out.read_bytes() + quality_of(out).read_bytes()


def stopped(out: Path, when: Callable[[Path], bool], *options: str, how: int = signal.SIGKILL) -> subprocess.CompletedProcess[str]:
    """Run until the folder of the output is in the state that is waited for, or the run is over."""
    process = subprocess.Popen(command(out, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    folder = out.with_name(f".{out.name}.geofuse")
    while process.poll() is None:
        if when(folder):
            process.send_signal(how)
            break
        time.sleep(0.001)
    said = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, *said)


def tiles(folder: Path) -> int:
    """Tiles that the journal records."""
    try:
        return (folder / "journal.jsonl").read_bytes().count(b'{"name":"tile')
    except FileNotFoundError:
        return 0


def fitting(folder: Path) -> bool:
    return (folder / "journal.jsonl").exists()


def amid_tiles(folder: Path) -> bool:
    return tiles(folder) >= 4


def compressing(folder: Path) -> bool:
    return (folder / "final.tif").exists()


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    return "--model", str(few_model("gem").save(tmp_path_factory.mktemp("model") / "m.safetensors"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, options: tuple[str, ...]) -> bytes:
    return finished(tmp_path_factory.mktemp("undisturbed") / "a.tif", *options)


def test_killed_in_every_stage(tmp_path: Path) -> None:
    """The fit that was cut short is done once more, and no third time; then the tiles resume, then the compression."""
    out, method = tmp_path / "killed" / "a.tif", ("--method", "sylvester")
    for folder in ("left", "killed"):
        (tmp_path / folder).mkdir()
    assert stopped(out, fitting, *method).returncode == -signal.SIGKILL
    assert stopped(out, amid_tiles, *method).returncode == -signal.SIGKILL
    kept = [p.name for p in out.parent.iterdir()]
    assert kept == [".a.tif.geofuse"]
    model = out.parent / kept[0] / "model.safetensors"
    fitted = model.stat().st_mtime_ns, model.stat().st_ino
    assert stopped(out, compressing, *method).returncode == -signal.SIGKILL
    assert (model.stat().st_mtime_ns, model.stat().st_ino) == fitted
    assert finished(out, *method) == finished(tmp_path / "left" / "a.tif", *method)


@pytest.mark.parametrize("how", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_ended_politely(how: int, tmp_path: Path, options: tuple[str, ...]) -> None:
    out = tmp_path / "a.tif"
    ended = stopped(out, amid_tiles, *options, how=how)
    assert ended.returncode == 130
    assert ended.stderr.splitlines()[-1].startswith("geofuse: interrupted; what was finished is kept in .a.tif.geofuse: run the same again")
    assert "Traceback" not in ended.stderr
    other = Job(*map(str, few_files()), out, model=Path(options[1]), tile=40, seed=7, progress=False)
    with pytest.raises(InvalidOutput, match="seed was 0 and is 7"):
        other.run()
    assert tiles(tmp_path / ".a.tif.geofuse") >= 4


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_killed_at_random(seed: int, tmp_path: Path, options: tuple[str, ...], undisturbed: bytes, life: float) -> None:
    """Killed twice, at moments drawn from the whole of a run's life."""
    draw, out, seen = random.Random(seed), tmp_path / "a.tif", []
    for _ in range(2):
        end = time.monotonic() + draw.uniform(0.2, 1.0) * life
        stopped(out, lambda _, end=end: time.monotonic() > end, *options)
        seen.append(tiles(tmp_path / ".a.tif.geofuse"))
        if out.exists() and not (tmp_path / ".a.tif.geofuse").exists():
            break  # it was quicker than death
    else:
        finished(out, *options)
    print("tiles at the moments of death:", seen)
    assert content(out) == undisturbed
    item = json.loads(out.with_suffix(".json").read_text())
    assert item["assets"]["data"]["file:size"] == out.stat().st_size


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory, options: tuple[str, ...]) -> float:
    """Seconds that an undisturbed run takes."""
    begin = time.monotonic()
    finished(tmp_path_factory.mktemp("timed") / "a.tif", *options)
    return time.monotonic() - begin
