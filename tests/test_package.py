"""What the package requires is what it imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FOR_DEVELOPERS = {"dev", "docs"}
UNDECLARED = {"botocore", "geopandas", "markupsafe"}  # of boto3; used where it is there; of jinja2


def plain(requirement: str) -> str:
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")  # type: ignore[index]


def imported() -> dict[str, str]:
    """Every outside module that is imported anywhere in the package, and a file that does it."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "geofuse").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            found |= {name.split(".")[0]: path.name for name in names}
    return {name: file for name, file in found.items() if name not in sys.stdlib_module_names | UNDECLARED | {"geofuse"}}


def test_whatever_is_imported_is_required_by_the_package_or_by_an_extra() -> None:
    extras = [r for name, needed in PROJECT["optional-dependencies"].items() if name not in FOR_DEVELOPERS for r in needed]
    declared = {plain(requirement) for requirement in [*PROJECT["dependencies"], *extras]}
    distributions = packages_distributions()
    undeclared = {
        name: file
        for name, file in imported().items()
        if not declared & {plain(d) for d in distributions.get(name, [name])} and plain(name) not in declared
    }
    assert not undeclared


def test_developers_get_every_extra_that_can_be_tested_anywhere() -> None:
    extras = PROJECT["optional-dependencies"]
    dev = {plain(r) for r in extras["dev"]}
    if "geofuse" in dev:
        dev |= {plain(r) for r in extras["docs"]}
    needed = {plain(r) for name, rs in extras.items() if name not in ("dev", "cuda") for r in rs}  # dask-cuda needs a GPU's driver
    assert needed - dev == set()
