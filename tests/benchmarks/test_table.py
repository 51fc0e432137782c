from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cases import Case
from benchmarks.results import Results
from benchmarks.summary import measured
from benchmarks.table import BEGIN, END, inserted, main, readme_part, report
from geofuse.errors import InvalidInput
from tests.benchmarks.test_summary import HAND, line


def test_readme_has_a_row_a_method_and_none_a_pair() -> None:
    part = readme_part(
        measured(
            [
                line("oracle", 40.0),
                line("oracle", 30.0, 4.0, ratio="8"),
                line("cnmf", 35.0, 1.0),
                line("auto", 41.25, 1.5, used="gem"),
                line("auto", 29.5, 3.0, ratio="8", used="gem"),
            ]
        )
    )
    assert "| method | 1:4 gain | 1:4 worst | 1:4 SAM | 1:8 gain | 1:8 worst | 1:8 SAM |" in part
    assert "| `auto` | +1.25 | +1.25 | 0.75 | -0.50 | -0.50 | 0.75 |" in part
    assert "| `cnmf` | -5.00 | -5.00 | 0.50 | – | – | – |" in part
    assert "`oracle`" not in part
    assert "1 scene (Jasper Ridge)" in part
    assert "the code has changed since" in part
    with pytest.raises(InvalidInput, match="estimated operators"):
        readme_part(measured([line("oracle", 40.0, operators="known")]))


def test_readme_says_what_is_gained_where_constants_were_not_chosen() -> None:
    lines = [line("oracle", 40.0), line("gem", 42.0), line("oracle", 30.0, scene="berlin"), line("gem", 30.5, scene="berlin")]
    assert "were chosen: `gem` +2.00 (1:4). On the others: `gem` +0.50 (1:4)." in readme_part(measured(lines))
    assert "On the others" not in readme_part(measured(lines[:2]))


def test_report_says_what_was_refused_and_that_the_code_changed() -> None:
    text = report(measured(HAND), {})
    assert "| Indian Pines, 4 bands, 1:4 | 50.00 / 1.00 | 53.50 / 0.90 | rejected |" in text
    assert "1 ×: rejected: too small" in text
    assert "**The code has changed since.**" in text


def test_only_what_is_between_the_markers_is_rewritten() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = inserted(text, "new")
    assert once == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert inserted(once, "new") == once
    for broken in ("nothing", f"{END}\n{BEGIN}", f"{BEGIN}{BEGIN}{END}"):
        with pytest.raises(InvalidInput, match="expected one line"):
            inserted(broken, "new")


def test_the_readme_has_its_place() -> None:
    readme = Path(__file__).resolve().parents[2] / "README.md"
    assert "new" in inserted(readme.read_text(encoding="utf-8"), "new")


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path)]) == 2
    assert "run make bench first" in capsys.readouterr().err
    results = Results(tmp_path / "cases.csv")
    for row in HAND:
        results.append(Case.of(row), {k: v for k, v in row.items() if k not in vars(Case.of(row))})
    (tmp_path / "environment.json").write_text("{}")
    readme = tmp_path / "README.md"
    readme.write_text(f"a\n{BEGIN}\nold\n{END}\n")
    assert main(["--out", str(tmp_path), "--readme", str(readme)]) == 0
    assert "`gem`" in readme.read_text()
    assert {"pairs.csv", "means.csv", "table.md", "gains-noisy.png", "quality-seconds-noisy.png"} <= {p.name for p in tmp_path.iterdir()}
