"""Offline validation of items and collections against the vendored schemas, and against that of the properties of geofuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import geofuse
from benchmarks.stac_schemas import validation


@pytest.fixture(scope="session")
def validate() -> Callable[[dict[str, Any]], list[str]]:
    """Return a function document → messages of all schemas that hold for it; no network."""
    return validation(Path(geofuse.__file__).parent / "stac" / "geofuse.schema.json")
