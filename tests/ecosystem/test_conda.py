"""The recipe for conda says what pyproject.toml says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CONDA = {"torch": "pytorch", "dask[array]": "dask-core", "matplotlib": "matplotlib-base"}  # without what is for a display


def recipe() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "ecosystem" / "conda" / "recipe.yaml").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]  # type: ignore[no-any-return]


def as_conda(requirement: str) -> str:
    name, version = re.fullmatch(r"([\w.-]+(?:\[\w+\])?)(.*)", requirement).groups()  # type: ignore[union-attr]
    return f"{CONDA.get(name, name)} {version}"


def test_requirements_are_those_of_the_package() -> None:
    python, *others = recipe()["requirements"]["run"]
    assert sorted(others) == sorted(as_conda(requirement) for requirement in project()["dependencies"])
    assert python == "python >=${{ python_min }}"
    assert project()["requires-python"] == f">={recipe()['context']['python_min']}"


def test_name_version_and_licences_are_those_of_the_package() -> None:
    found, expected = recipe(), project()
    assert (found["package"]["name"], found["context"]["version"]) == (expected["name"], expected["version"])
    assert found["about"]["license"] == expected["license"]
    assert found["about"]["license_file"] == expected["license-files"]
    assert found["about"]["summary"] == expected["description"]
    assert all(list(ROOT.glob(name)) for name in found["about"]["license_file"])


def test_the_commands_are_those_of_the_package() -> None:
    assert recipe()["build"]["python"]["entry_points"] == [f"{name} = {target}" for name, target in project()["scripts"].items()]
