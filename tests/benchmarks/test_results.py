from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cases import Case, all_cases
from benchmarks.results import COLUMNS, KEY, Results, set_aside
from geofuse.errors import InvalidInput

CASE = Case("jasper", 4, "qb4", "noisy", "known", "gem", 1)
FOUND = {"code": "abc", "psnr_db": 40.25, "error": ""}


def test_what_was_appended_is_there(tmp_path: Path) -> None:
    results = Results(tmp_path / "deep" / "cases.csv")
    assert results.rows() == []
    results.append(CASE, FOUND)
    results.append(Case("ip", 8, "s2", "clean", "known", "gsa"), {"code": "abc", "error": 'failed: "a", b\nc'})
    again = Results(results.path)
    first, second = again.rows()
    assert (first["psnr_db"], first["sam_deg"], first["seed"]) == ("40.25", "", "1")
    assert second["error"] == 'failed: "a", b c'
    assert again.finished("abc") == {CASE, Case("ip", 8, "s2", "clean", "known", "gsa")}
    assert again.finished("abc", failed=False) == {CASE}
    assert again.finished("another code") == set()


@given(cut=st.integers(1, 10_000))
def test_half_written_line_is_dropped(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    """Wherever the last line is cut, the ones before it stay, and the next one starts on a line of its own."""
    results = Results(tmp_path_factory.mktemp("cut") / "cases.csv")
    results.append(CASE, FOUND)
    whole = results.path.read_bytes()
    other = Case("ip", 8, "s2", "noisy", "known", "gem")
    results.append(other, FOUND)
    last = len(results.path.read_bytes()) - len(whole)
    results.path.write_bytes(results.path.read_bytes()[: -(1 + cut % last)])
    again = Results(results.path)
    assert again.finished("abc") == {CASE}
    again.append(other, FOUND)
    assert Results(results.path).finished("abc") == {CASE, other}


def test_key_tells_all_cases_apart(tmp_path: Path) -> None:
    keys = {tuple(str({**vars(case), "code": "abc"}[name]) for name in KEY) for case in all_cases()}
    assert len(keys) == len(all_cases())


def test_other_columns_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text(",".join(COLUMNS[:-1]) + "\n")
    with pytest.raises(InvalidInput, match=r"finished.*--fresh"):
        Results(path)
    assert set_aside(path) == tmp_path / "cases.csv.old"
    assert Results(path).rows() == []
    assert set_aside(tmp_path / "nothing.csv") is None


def test_strange_value_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="colour"):
        Results(tmp_path / "cases.csv").append(CASE, {"colour": "red"})
