from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.cost_model import MEANING
from benchmarks.cost_tables import COMMAND, DOCS, area_table, halo_table, mgrs_tiles, read_table, write_docs
from geofuse.errors import InvalidInput
from tests.benchmarks.test_cost_model import NOTHING

CONSTANTS = dict.fromkeys(MEANING, 1e-6) | {"disk": 1e9, "stored": 1.5, "graph_memory": 2e4}


def folder_of(tmp_path: Path) -> Path:
    found = {"commit": "abc", "environment": "def", "values": CONSTANTS}
    (tmp_path / "constants.json").write_text(json.dumps(found))
    trial = {"side": 10, "workers": 2, "scheduler": "threads", "pause": 0.1}
    times = {"build": 0.1, "begin": 0.2, "run": 6.0, "schedule": 0.3, "merge": 0.0, "slept": 10.0, "memory": 20_000, "load": 0.5}
    (tmp_path / "simulation.json").write_text(json.dumps({"rows": [trial | times]}))
    return tmp_path / "constants.json"


@pytest.mark.slow
def test_all_tables_find_their_places(tmp_path: Path) -> None:
    page = tmp_path / "scaling.md"
    page.write_text(DOCS.read_text(encoding="utf-8"), encoding="utf-8")
    write_docs(page, folder_of(tmp_path))
    text = page.read_text(encoding="utf-8")
    assert "| 100 | 2 | threads | 100 | 5.0 | 6.0 | 1.20 | 1.00 | 2.00 | 3.00 | 20 | 2 | 0.5 |" in text
    assert text.count(COMMAND) == DOCS.read_text(encoding="utf-8").count(COMMAND)
    write_docs(page, tmp_path / "constants.json")
    assert page.read_text(encoding="utf-8") == text
    page.write_text("no place")
    with pytest.raises(InvalidInput, match="expected one line"):
        write_docs(page, tmp_path / "constants.json")


def test_halos_cost_what_geometry_says() -> None:
    """Inner tiles of 512 with a halo of 61 see (634 / 512)² = 1.53 times their pixels; those at the scene's edge less."""
    line = next(row for row in halo_table().splitlines() if row.startswith("| 6 |"))
    cells = [float(cell) for cell in line.split("|")[2:-1]]
    assert cells[0] == 61
    assert 1.4 < cells[3] < (634 / 512) ** 2
    assert cells[1] > cells[2] > cells[3] > cells[4] > 1


def test_blocks_of_a_file_make_reading_dearer() -> None:
    for line in read_table().splitlines()[2:]:
        cells = line.split("|")[2:-1]
        alone, grouped = ([float(cell) for cell in cells[first::4]] for first in (1, 3))
        assert all(one >= group >= 1 for one, group in zip(alone, grouped, strict=True))
        assert alone == sorted(alone)


def test_tiles_of_an_area() -> None:
    assert mgrs_tiles(1e10) == pytest.approx(1e6, rel=0.02)  # the border is nothing to a large area
    assert mgrs_tiles(1e-9) == 1


def test_a_country_in_core_hours() -> None:
    """A second a value: 50 tiles of 10,980² × 285."""
    line = area_table(NOTHING | {"store": 1.0, "stored": 1.0}).splitlines()[2]
    assert line.startswith("| Germany | 357,600 | 3.58 | 50 | 2.04 | 3.44 | 1.72 |")
    hours = 50 * 285 * 10_980**2 / 3600
    assert float(line.split("|")[8].replace(",", "")) == pytest.approx(hours, rel=0.01)
