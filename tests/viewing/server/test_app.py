"""The viewer over HTTP: what it answers, and what it does not."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from geofuse.viewing.server.app import Viewer, make_app, pages
from geofuse.viewing.server.scene import open_scene
from tests.viewing.server.conftest import NORTH, PIXEL, WEST, Files, reflectance

TestClient = pytest.importorskip("starlette.testclient").TestClient
LIMITS = "limits=0,0.5,0,0.5,0,0.5"


@pytest.fixture(scope="module")
def client(files: Files) -> Iterator[Any]:
    viewer = Viewer(open_scene(files.fused, files.hsi, files.msi))
    yield TestClient(make_app(viewer), base_url="http://127.0.0.1:8765")
    viewer.close()


def pixels(answer: Any) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(answer.content)) as image:
        return np.asarray(image)


def test_a_tile_shows_the_bands_that_were_asked_for(client: Any) -> None:
    found = pixels(client.get(f"/tiles/fused/0/1/0.png?bands=5,3,2&{LIMITS}"))
    row, column = np.mgrid[:256, 256:512]
    for channel, band in enumerate((4, 2, 1)):
        np.testing.assert_allclose(found[..., channel], 255 * reflectance(band, row, column) / 0.5, atol=0.51)
    assert (found[..., 3] == 255).all()


@pytest.mark.parametrize("image", ["hsi", "msi", "fused"])
def test_all_images_share_one_map_and_one_stretch(client: Any, image: str) -> None:
    found = pixels(client.get(f"/tiles/{image}/1/0/0.png?bands=5,3,2&{LIMITS}")).astype(float)
    expected = 255 * reflectance(4, 2 * 100, 2 * 120) / 0.5
    assert found[100, 120, 0] == pytest.approx(expected, abs=2)  # coarse pixels average 1.25 steps of the formula
    assert found[250:256, :, 3].all()


def test_the_map_ends_with_the_fused_image(client: Any) -> None:
    alpha = pixels(client.get(f"/tiles/hsi/0/2/2.png?bands=5,3,2&{LIMITS}"))[..., 3]
    assert (alpha > 0).sum() == (560 - 512) * (520 - 512)


def test_an_image_without_the_band_is_clear(client: Any) -> None:
    assert not pixels(client.get(f"/tiles/msi/1/0/0.png?bands=11,10,7&{LIMITS}")).any()
    assert not pixels(client.get("/tiles/msi/1/0/0.png?index=NBR&limits=0,1")).any()
    assert pixels(client.get("/tiles/fused/1/0/0.png?index=NBR&limits=0,1")).any()


def test_quality_is_a_layer(client: Any) -> None:
    found = pixels(client.get("/tiles/quality/0/0/0.png"))
    assert found[110, 110].tolist() == [0xD5, 0x5E, 0, 255]
    assert found[50, 50, 3] == 0


def test_the_scene_says_what_there_is(client: Any) -> None:
    scene = client.get("/scene.json").json()
    assert (scene["width"], scene["height"], scene["levels"], scene["crs"]) == (520, 560, 1, "EPSG:32633")
    assert list(scene["images"]) == ["hsi", "msi", "fused"]
    assert scene["images"]["msi"]["standIn"] == [1 - 1, 0, 1, None, 2, 2, 3, 3, None, None, None]
    assert {"NDVI", "NBR"} <= {index["name"] for index in scene["indices"]}
    assert next(index for index in scene["indices"] if index["name"] == "NBR")["images"] == ["hsi", "fused"]


def test_places_and_tables(client: Any) -> None:
    x, y = WEST + 30.5 * PIXEL, NORTH - 20.5 * PIXEL
    assert client.get(f"/place.json?x={x}&y={y}").json()["row"] == 20
    table = client.get(f"/spectra.csv?x={x}&y={y}")
    assert table.headers["content-disposition"] == 'attachment; filename="spectra.csv"'
    assert client.get("/stretch.json?bands=5,3,2&percent=2").json()[0][0] == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/tiles/fused/0/0/0.png", 400),
        (f"/tiles/fused/0/0/0.png?bands=0,1,2&{LIMITS}", 400),
        (f"/tiles/fused/0/0/0.png?bands=12,1,2&{LIMITS}", 400),
        (f"/tiles/fused/0/0/0.png?bands=1,1&{LIMITS}", 400),
        ("/tiles/fused/0/0/0.png?bands=1,2,3&limits=0,1", 400),
        ("/tiles/fused/0/0/0.png?bands=1,2,3&limits=0,nan,0,1,0,1", 400),
        ("/tiles/fused/0/0/0.png?bands=1,2,3&limits=0,1e300,0,1,0,1", 400),
        ("/tiles/fused/0/0/0.png?index=__import__&limits=0,1", 400),
        (f"/tiles/other/0/0/0.png?bands=1,2,3&{LIMITS}", 404),
        (f"/tiles/fused/9/0/0.png?bands=1,2,3&{LIMITS}", 404),
        (f"/tiles/fused/0/99999999999999999999/0.png?bands=1,2,3&{LIMITS}", 404),
        ("/place.json?x=1e999&y=0", 400),
        ("/place.json?x=0&y=0", 404),
        ("/stretch.json?bands=1,2,3&percent=90", 400),
        ("/vendor/", 404),
        ("/vendor", 404),
        ("/../pyproject.toml", 404),
        ("/vendor/%2e%2e/%2e%2e/app.py", 404),
        ("/app.py", 404),
        ("/report.html.j2", 404),
    ],
)
def test_what_is_wrong_is_answered_in_words(client: Any, address: str, status: int) -> None:
    answer = client.get(address)
    assert answer.status_code == status
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_it_is_read_only(client: Any, method: str) -> None:
    assert client.request(method, "/scene.json").status_code == 405


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "localhost:9999"}, 200),  # through a tunnel
        ({"host": "evil.example:8765"}, 403),  # DNS rebinding
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": "evil.example@127.0.0.1"}, 403),
        ({"host": "127.0.0.1:8765", "origin": "http://127.0.0.1:8765"}, 200),
        ({"host": "127.0.0.1:8765", "origin": "http://evil.example"}, 403),
        ({"host": "127.0.0.1:8765", "origin": "http://127.0.0.1:8888"}, 403),
        ({"host": "127.0.0.1:8765", "origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),  # a link, and the frame of a notebook
        ({"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}, 200),
    ],
)
def test_only_its_own_pages_are_answered(client: Any, headers: dict[str, str], status: int) -> None:
    assert client.get("/scene.json", headers=headers).status_code == status


def test_every_answer_bears_the_policy(client: Any) -> None:
    for address in ("/", "/viewer.js", "/scene.json", "/nowhere"):
        headers = client.get(address).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        ancestors = re.search(r"frame-ancestors ([^;]+)", headers["content-security-policy"])
        assert ancestors is not None
        assert set(ancestors[1].split()) == {"'self'", "http://localhost:*", "http://127.0.0.1:*", "vscode-webview:"}
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
    assert client.get("/scene.json").headers["cache-control"] == "no-store"


def test_the_page_is_complete_and_loads_nothing_from_elsewhere(client: Any) -> None:
    text = client.get("/").text
    for address in re.findall(r'(?:src|href)="([^"]+)"', text):
        assert address == "data:," or client.get(address).status_code == 200
    for path, (content, _) in pages().items():
        words = content.decode()
        if path.startswith("/vendor/"):
            assert not re.search(r"\beval\(|new Function", words)
        else:
            assert "http" not in words, path
    assert not re.search(r"<script>|style=|onclick|<style", text)


def test_nothing_is_written(client: Any, files: Files) -> None:
    before = sorted(path.name for path in files.fused.parent.iterdir())
    client.get(f"/tiles/fused/1/0/0.png?bands=5,3,2&{LIMITS}")
    assert sorted(path.name for path in files.fused.parent.iterdir()) == before
    assert not list(Path(files.fused.parent).glob("*.aux.xml"))


def test_a_file_that_can_no_longer_be_read_is_said(files: Files, tmp_path: Path) -> None:
    lost = tmp_path / "lost.tif"
    lost.write_bytes(files.fused.read_bytes())
    viewer = Viewer(open_scene(lost))
    os.truncate(lost, 20_000)
    try:
        answer = TestClient(make_app(viewer), base_url="http://127.0.0.1").get(f"/tiles/fused/0/0/0.png?bands=1,2,3&{LIMITS}")
        assert answer.status_code == 503
        assert "could not be read" in answer.text
    finally:
        viewer.close()
