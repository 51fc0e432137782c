"""Fixtures that many tests use: the embedded Berlin pair and the shared benchmark scenes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")

# A slow moment of the machine is not a defect.
settings.register_profile("geofuse", deadline=None)
settings.load_profile("geofuse")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def berlin() -> tuple[Path, Path]:
    """Paths of the embedded 30 m hyperspectral and 3.6 m multispectral rasters."""
    data = REPOSITORY / "geofuse" / "data"
    return data / "berlin_enmap_30m.tif", data / "berlin_hires_3p6m.tif"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of benchmark scenes that may not be redistributed; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("GEOFUSE_BENCHMARK_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "jasper_ridge.npz").exists():
        pytest.skip(f"benchmark scenes not found in {folder}; set GEOFUSE_BENCHMARK_DATA to their folder")
    return folder
