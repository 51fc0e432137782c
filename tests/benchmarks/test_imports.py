"""The package uses neither tests nor benchmarks, and benchmarks no tests: what they share is `geofuse.simulate`."""

from __future__ import annotations

import ast

import pytest

from benchmarks.environment import ROOT


@pytest.mark.parametrize(("folder", "forbidden"), [("geofuse", {"tests", "benchmarks"}), ("benchmarks", {"tests"})])
def test_nothing_is_imported_from_below(folder: str, forbidden: set[str]) -> None:
    files, found = sorted((ROOT / folder).rglob("*.py")), []
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [n.name for n in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            found += [f"{file.name}: {name}" for name in names if name.partition(".")[0] in forbidden]
    assert len(files) > 20
    assert found == []
