"""Fixtures that many tests use: the embedded Berlin pair, the shared benchmark scenes, and made-up ones in their place."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Workers of pytest-xdist ignore Ctrl-C, and so would the processes that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A slow moment of the machine is not a defect.
settings.register_profile("geofuse", deadline=None)
settings.load_profile("geofuse")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def berlin() -> tuple[Path, Path]:
    """Paths of the embedded 30 m hyperspectral and 3.6 m multispectral rasters."""
    data = REPOSITORY / "geofuse" / "demo" / "data"
    return data / "berlin_enmap_30m.tif", data / "berlin_hires_3p6m.tif"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of benchmark scenes that may not be redistributed; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("GEOFUSE_BENCHMARK_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "jasper_ridge.npz").exists():
        pytest.skip(f"benchmark scenes not found in {folder}; set GEOFUSE_BENCHMARK_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a made-up scene of 24 bands and 48 × 48 pixels under the names of all benchmark scenes that are not in the package."""
    from geofuse.simulate import SCENES
    from tests.pairs import made_up_scene

    folder = tmp_path_factory.mktemp("scenes")
    cube = (1000 * np.clip(made_up_scene(24, 48, 48), 0, None)).astype(np.float32)
    for scene in SCENES.values():
        if scene.file.endswith(".npz"):
            np.savez(folder / scene.file, **{scene.key: cube}, wavelength_nm=np.linspace(400, 2480, 24))
    return folder
