"""Notebooks: what is committed was run, is that of the script beside it, and is small. `make notebooks` runs them."""

from __future__ import annotations

import re
from pathlib import Path

import jupytext
import nbformat
import pytest

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
SCRIPTS = sorted(NOTEBOOKS.glob("*.py"))
MOST_BYTES = 400_000


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_notebook_is_that_of_its_script_and_was_run(script: Path) -> None:
    notebook = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        (cell.cell_type, cell.source) for cell in jupytext.read(script).cells
    ]
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert outputs
    assert not [output for output in outputs if output.output_type == "error"]


@pytest.mark.parametrize("notebook", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_it_is_small_and_names_no_place_of_the_machine_that_ran_it(notebook: Path) -> None:
    assert notebook.with_suffix(".py").exists()
    assert notebook.stat().st_size < MOST_BYTES
    assert re.findall(r"/(?:home|root|Users)/\w+", notebook.read_text(encoding="utf-8")) == []


def test_every_notebook_is_listed() -> None:
    listed = (NOTEBOOKS / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in NOTEBOOKS.glob("*.ipynb") if f"({path.name})" not in listed] == []
