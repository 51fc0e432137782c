from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

import geofuse
from geofuse.errors import InvalidInput, RunError
from tests.viewing.server.conftest import NM, Files, cube

ROOT = Path(__file__).resolve().parents[3]


def scene_at(url: str) -> dict[str, object]:
    with urllib.request.urlopen(f"{url}scene.json", timeout=20) as answer:
        found: dict[str, object] = json.load(answer)
        return found


def test_a_notebook_shows_it_in_a_frame_until_it_is_closed(files: Files) -> None:
    viewer = geofuse.open_hsi(files.fused).mossfuse.view(msi=geofuse.open_msi(files.msi))
    try:
        assert f'<iframe src="{viewer.url}" title=' in viewer._repr_html_()
        found = scene_at(viewer.url)
        assert found["title"] == "fused.tif"
        assert found["uncertainty"]
    finally:
        viewer.close()
    with pytest.raises(OSError, match="refused"):
        scene_at(viewer.url)
    viewer.close()  # once more does no harm


def test_an_image_in_memory_is_shown() -> None:
    with geofuse.view(cube(np.full((len(NM), 6, 5), 0.2))) as viewer:
        assert scene_at(viewer.url)["title"] == "image in memory"


def test_a_port_that_is_taken_is_said_and_by_default_passed_over(files: Files) -> None:
    with geofuse.view(files.fused, port=0) as first:
        port = int(first.url.rstrip("/").rpartition(":")[2])
        with pytest.raises(InvalidInput, match="choose another port"):
            geofuse.view(files.fused, port=port)
    with pytest.raises(InvalidInput, match="up to 65535"):
        geofuse.view(files.fused, port=70_000)


def test_a_viewer_that_does_not_start_leaves_its_port_free(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    import uvicorn

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    with pytest.raises(RunError, match="did not start") as failed:
        geofuse.view(files.fused, port=port)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    assert failed.tb is not None  # as a notebook keeps the last error, and with it all that its frames hold


def test_it_listens_on_this_machine_alone(files: Files) -> None:
    with geofuse.view(files.fused, port=0) as viewer:
        port = int(viewer.url.rstrip("/").rpartition(":")[2])
        with pytest.raises(OSError, match=r"refused|unreachable"):
            socket.create_connection(("127.0.0.2", port), timeout=5)


@pytest.mark.parametrize("package", ["starlette.applications", "spyndex", "uvicorn"])
def test_what_is_missing_is_named_with_its_extra(files: Files, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    for name in [name for name in sys.modules if name.startswith("geofuse.viewing.server.") and not name.endswith("show")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InvalidInput, match=r"pip install 'geofuse\[view\]'"):
        geofuse.view(files.fused)


def test_the_command_says_where_it_is_and_ends_with_an_interrupt(files: Files) -> None:
    command = [sys.executable, "-m", "geofuse", "view", str(files.fused), "--hsi", str(files.hsi), "--port", "0", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = line.split()[1]
        assert list(scene_at(url)["images"]) == ["hsi", "fused"]  # type: ignore[call-overload]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
