"""The command: killed by SIGKILL it resumes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.cases import DEFAULT_METHODS, REFERENCE, Case
from benchmarks.cost import NOMINAL, Costs
from benchmarks.environment import ROOT, code_version
from benchmarks.results import Results
from benchmarks.run import _while_time_lasts, main

COMMON = ["--scenes", "jasper", "--ratios", "4", "--responses", "qb4", "--noise", "noisy", "--operators", "known", "--quiet"]
COUNT = 6  # seeds of the reference, which takes milliseconds


@pytest.mark.slow
def test_killed_run_goes_on(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*COMMON, "--methods", "oracle", "--seeds", str(COUNT), "--out", str(tmp_path)]
    monkeypatch.setenv("GEOFUSE_BENCHMARK_DATA", str(tiny_data))
    path = tmp_path / "cases.csv"
    run = subprocess.Popen([sys.executable, "-m", "benchmarks.run", *arguments], cwd=ROOT, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not (path.exists() and path.read_bytes().count(b"\n") > 3) and time.monotonic() < until and run.poll() is None:
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL  # it was alive until then
    with path.open("ab") as file:  # and it died while it wrote
        file.write(b"jasper,4,qb")
    before = path.read_bytes().rsplit(b"\n", 1)[0] + b"\n"
    kept = Results(path).rows()
    assert 3 <= len(kept) < COUNT
    assert main(arguments) == 0
    assert f"{COUNT} cases, {len(kept)} of them measured" in capsys.readouterr().out
    assert path.read_bytes().startswith(before)  # nothing was measured again
    rows = Results(path).rows()
    assert len(rows) == len({Case.of(row) for row in rows}) == COUNT
    assert all(row["psnr_db"] and row["code"] == code_version() for row in rows)
    assert (tmp_path / "table.md").exists()


@pytest.fixture
def small(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments of a run of one method on one pair."""
    monkeypatch.setenv("GEOFUSE_BENCHMARK_DATA", str(tiny_data))
    return [*COMMON, "--methods", "oracle", "--seeds", "2", "--out", str(tmp_path)]


@pytest.mark.slow
def test_fresh_starts_anew_and_keeps_the_old(small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*small, "--plan"]) == 0
    assert "2 cases, 0 of them measured; about 1 s" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())  # a plan writes nothing
    assert main(small) == 0
    first = (tmp_path / "cases.csv").read_bytes()
    assert main(small) == 0
    assert (tmp_path / "cases.csv").read_bytes() == first
    assert main([*small, "--fresh"]) == 0
    assert (tmp_path / "cases.csv.old").read_bytes() == first
    assert len(Results(tmp_path / "cases.csv").rows()) == 2


def test_refusals(small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*small, "--methods", "magic"]) == 2
    assert "no method 'magic'" in capsys.readouterr().err
    monkeypatch.setenv("GEOFUSE_BENCHMARK_DATA", str(tmp_path / "nowhere"))
    assert main(small) == 2
    assert "jasper_ridge.npz are not in" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*small, "--scenes", "atlantis"])


def test_cases_that_do_not_fit_are_left_out() -> None:
    dear, cheap = (Case("jasper", 4, "qb4", "noisy", "known", method) for method in ("mlp", "bicubic"))
    assert NOMINAL["mlp"] > 5 > NOMINAL["bicubic"]
    assert list(_while_time_lasts([dear, cheap], Costs([]), time.monotonic() + 5)) == [cheap]
    assert list(_while_time_lasts([dear, cheap], Costs([("jasper", "mlp", 1.0)]), time.monotonic() + 5)) == [dear, cheap]


def test_every_usual_method_has_a_guess() -> None:
    assert set(NOMINAL) == {REFERENCE, *DEFAULT_METHODS}
