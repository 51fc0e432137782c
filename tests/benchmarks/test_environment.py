from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.environment import MEASURING, ROOT, WITHOUT, bare, code_version, environment, remember
from benchmarks.scale import NO_FIGURES


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The sources that count, in a folder of their own."""
    shutil.copytree(ROOT / "geofuse", tmp_path / "geofuse", ignore=shutil.ignore_patterns("data", "__pycache__"))
    for name in MEASURING:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.slow
def test_version_changes_with_the_code_that_counts(copy: Path) -> None:
    def edit(name: str, old: str, new: str) -> str:
        path = copy / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        return code_version(copy)

    before = code_version(copy)
    assert before == code_version()
    assert edit("geofuse/methods/gem/estimator.py", "\nCLASSES = 12\n", "\nCLASSES = 12  # a dozen\n") == before
    assert edit("geofuse/methods/gem/estimator.py", '"""One stage:', '"""A stage:') == before
    assert edit("geofuse/cli.py", "import", "import sys\nimport") == before
    changed = edit("geofuse/methods/gem/estimator.py", "\nCLASSES = 12", "\nCLASSES = 13")
    assert changed != before
    assert edit("geofuse/simulate/pairs.py", "HSI_SNR_DB, MSI_SNR_DB = 35.0", "HSI_SNR_DB, MSI_SNR_DB = 36.0") not in (before, changed)


def test_what_changes_no_figure_is_there() -> None:
    there = {path.stem for path in (ROOT / "geofuse").iterdir()}
    assert {*WITHOUT, *NO_FIGURES} <= there


def test_bare_code_keeps_what_runs() -> None:
    assert bare("x = 'text'") != bare("x = 'other'")
    assert bare("class A:\n    '''Doc.'''\n    x = 1") == bare("class A:\n    x = 1  # one")


def test_environments_are_kept_by_name(tmp_path: Path) -> None:
    path = tmp_path / "environment.json"
    found = environment()
    names = [remember(found, path), remember(found | {"cores": 64}, path), remember(found, path)]
    assert names[0] == names[2] != names[1]
    known = json.loads(path.read_text())
    assert known[names[1]]["cores"] == 64
    assert known[names[0]]["libraries"]["torch"]
    assert str(Path.home()) not in path.read_text()
