"""A scene that is small and may be redistributed, because it is made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.pairs import made_up_scene
from tests.scenes import SCENES


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a made-up scene of 24 bands and 48 × 48 pixels under the names of all benchmark scenes."""
    folder = tmp_path_factory.mktemp("scenes")
    cube = (1000 * np.clip(made_up_scene(24, 48, 48), 0, None)).astype(np.float32)
    for file, *_ in SCENES.values():
        np.savez(folder / f"{file}.npz", cube=cube, wavelength_nm=np.linspace(400, 2480, 24))
    return folder
