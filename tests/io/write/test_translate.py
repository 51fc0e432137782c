"""GDAL's copy in a process of its own: the same file, ended when it is asked to, and when its parent dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import rasterio

import geofuse.io.write.cog as cog
from geofuse.errors import RunError
from geofuse.io.write.cog import write_cog
from geofuse.io.write.translate import translate
from tests.crops import small_cubes

OPTIONS = {"TILED": "YES", "COMPRESS": "DEFLATE", "ZLEVEL": "9", "BIGTIFF": "YES"}
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """Sixty bands of nothing, which take minutes to compress."""
    side = 20_000
    with (tmp_path / "holes.raw").open("wb") as file:
        file.truncate(2 * side * side)
    band = (
        '<VRTRasterBand dataType="Int16" band="{}" subClass="VRTRawRasterBand"><SourceFilename relativetoVRT="1">holes.raw</SourceFilename>'
        f"<PixelOffset>2</PixelOffset><LineOffset>{2 * side}</LineOffset></VRTRasterBand>"
    )
    bands = "".join(band.format(k) for k in range(1, 61))
    path = tmp_path / "endless.vrt"
    path.write_text(f'<VRTDataset rasterXSize="{side}" rasterYSize="{side}">{bands}</VRTDataset>')
    return path


def gone(process: psutil.Process) -> bool:
    """Whether it ends within some seconds."""
    try:
        process.wait(timeout=10)
    except psutil.TimeoutExpired:
        return False
    return True


@pytest.fixture
def _interrupted_soon() -> Iterator[None]:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 2)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@posix
@pytest.mark.usefixtures("_interrupted_soon")
def test_an_interrupt_takes_effect_at_once(endless: Path, tmp_path: Path) -> None:
    before = psutil.Process().children()  # other tests' servers
    with pytest.raises(KeyboardInterrupt):
        translate(endless, tmp_path / "out.tif", OPTIONS)
    assert set(psutil.Process().children()) <= set(before)


@posix
def test_the_copy_ends_with_its_parent(endless: Path, tmp_path: Path) -> None:
    program = f"from pathlib import Path; from geofuse.io.write.translate import translate; translate(Path({str(endless)!r}), Path('out.tif'), {OPTIONS})"
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path)
    while not (tmp_path / "out.tif").exists():
        assert parent.poll() is None
        time.sleep(0.01)
    (child,) = psutil.Process(parent.pid).children()
    parent.kill()
    parent.wait()
    assert gone(child)


def test_a_process_of_its_own_writes_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    msi = small_cubes()[1]
    here = write_cog(msi, tmp_path / "here.tif", progress=False)
    monkeypatch.setattr(cog, "_COPY_HERE", 0)
    there = write_cog(msi, tmp_path / "there.tif", progress=False)
    assert here.path.read_bytes() == there.path.read_bytes()
    with rasterio.open(there.path) as file:
        assert np.isfinite(file.read()).all()


def test_what_went_wrong_there_is_said_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match=r"copying the staging raster failed: .*nowhere\.vrt"):
        translate(tmp_path / "nowhere.vrt", tmp_path / "out.tif", OPTIONS)
    monkeypatch.setattr(cog, "_COPY_HERE", 0)
    monkeypatch.setattr(cog, "write_vrt", lambda staging, *_: staging.folder / "nowhere.vrt")
    with pytest.raises(RunError, match="nowhere"):
        write_cog(small_cubes()[1], tmp_path / "a.tif", progress=False)
