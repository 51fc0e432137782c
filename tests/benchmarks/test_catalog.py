"""The proof of a batch, in small: every planted fault, and two kills."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from benchmarks import catalog
from benchmarks.catalog_items import FAULTS, write_catalog
from benchmarks.catalog_page import page


def test_faults_are_spread_and_each_kind_is_planted(tmp_path: Path) -> None:
    made = write_catalog(tmp_path, "http://127.0.0.1:9", 20, len(FAULTS))
    assert {item.fault for item in made if item.fault} == set(FAULTS)
    assert len(made) == 20
    features = json.loads((tmp_path / "items.json").read_text())["features"]
    assert len({feature["id"] for feature in features}) == 40


def test_the_page_says_what_was_found() -> None:
    found = {
        "items": 20, "faulty": 2, "healthy": 18, "items read": 18, "alike": 2, "method": "bicubic", "kills": ["SIGKILL of all"], "summary": "18 done",
        "done before the last run": 5, "last run": (10, 30.0), "peak of few": (2, 500), "peak of all": (20, 510), "overhead": [(10.2, 10.0)] * 2,
        "faults": [("404", "h0001", "a|b")],
    }  # fmt: skip
    text = page(found)
    assert "510 MB (+2.0 %)" in text
    assert "median +2.0 % of 2" in text
    assert "| 404 | a\\|b |" in text


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt" or not Path("/proc/self/status").exists(), reason="signals and processes of Linux")
@pytest.mark.skipif(not Path(sys.executable).with_name("rustac").exists(), reason="rustac is not installed")
def test_twenty_items_with_every_fault_killed_twice(tmp_path: Path) -> None:
    found = catalog.prove(20, len(FAULTS), 2, "bicubic", 0, 1, tmp_path)
    assert (found["healthy"], found["faulty"]) == (20 - len(FAULTS), len(FAULTS))
