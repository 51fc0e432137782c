"""The page in a browser: it loads, and does what its controls say; without an error, and usable by keyboard and screen reader."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from PIL import Image

import geofuse
from tests.viewing.server.conftest import Files

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = (
    os.environ.get("GEOFUSE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium; GEOFUSE_CHROMIUM names it")
QUIET = (
    "no-sandbox",
    "disable-gpu",
    "disable-quic",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
)
SIZE = {"width": 1200, "height": 800}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as tool:
        opened = tool.chromium.launch(executable_path=CHROMIUM, args=[f"--{name}" for name in QUIET])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def url(files: Files) -> Iterator[str]:
    with geofuse.view(files.fused, hsi=files.hsi, msi=files.msi, port=0) as viewer:
        yield viewer.url


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    """The page, of which nothing may go wrong, and which asks nobody else for anything."""
    context = browser.new_context(viewport=SIZE, permissions=["clipboard-read", "clipboard-write"])
    found, wrong = context.new_page(), []
    found.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    found.on("pageerror", lambda error: wrong.append(str(error)))
    found.on("response", lambda answer: wrong.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
    found.on("request", lambda asked: None if asked.url.startswith((url, "data:")) else wrong.append(f"asked {asked.url}"))
    load(found, url)
    yield found
    context.close()
    assert wrong == []


def load(page: Any, address: str) -> None:
    page.goto(address)
    page.wait_for_selector("html[data-ready=yes]")
    page.wait_for_selector("#map[aria-busy=false]")


def seen(page: Any) -> np.ndarray:
    """What the map shows."""
    page.wait_for_selector("#map[aria-busy=false]")
    return pixels_of(page.locator("#map"))


def pixels_of(element: Any) -> np.ndarray:
    """A part of the page as it is drawn."""
    with Image.open(io.BytesIO(element.screenshot())) as image:
        return np.asarray(image.convert("RGB")).astype(float)


def hash_of(page: Any) -> dict[str, str]:
    return dict(re.findall(r"(\w+)=([^&]*)", page.url.partition("#")[2]))


def click_middle_right(page: Any) -> None:
    box = page.locator("#map").bounding_box()
    page.mouse.click(box["x"] + 0.6 * box["width"], box["y"] + 0.6 * box["height"])
    page.wait_for_selector("#chart canvas")


def test_a_click_shows_spectra_their_table_and_the_quality(page: Any) -> None:
    click_middle_right(page)
    assert re.search(r"x \d+.*EPSG:32633; longitude 13\.\d+°, latitude 52\.\d+°; row \d+, column \d+", page.inner_text("#place"))
    assert "Quality 1: both images" in page.inner_text("#place-quality")
    assert page.inner_text("#series").split("\n")[:3] == ["Fused", "± 1 σ", "Hyperspectral"]
    page.click("summary")
    rows = page.locator("#table tbody tr").all_inner_texts()
    assert len(rows) == 11
    assert [cell.strip() for cell in rows[8].split("\t")] == ["1375.0", "not usable", "0.0100", "not usable", ""]
    page.select_option("#interval", "1.645")
    assert "± 1.645 σ" in page.inner_text("#series")
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "spectra.csv"


def test_bands_that_are_not_usable_are_gaps(page: Any) -> None:
    """The band at 1375 nm lies in water vapour; its neighbours are 865 and 1610 nm."""
    click_middle_right(page)
    page.wait_for_timeout(300)  # uPlot draws with the next frame
    frame, plot = page.locator("#chart").bounding_box(), page.locator("#chart .u-over").bounding_box()
    red, green, blue = np.moveaxis(pixels_of(page.locator("#chart")), 2, 0)
    at = {nm: round(plot["x"] - frame["x"] + (nm - 450) / (2190 - 450) * plot["width"]) for nm in (500, 600, 1200, 1500)}
    line = (blue > red + 100) & (blue > green + 30)
    assert {nm: bool(line[:, column].any()) for nm, column in at.items()} == {500: True, 600: True, 1200: False, 1500: False}


def test_a_notebook_at_another_port_frames_it(browser: Any, url: str, tmp_path: Path) -> None:
    (tmp_path / "notebook.html").write_text(f'<iframe src="{url}" width="900" height="600"></iframe>', encoding="utf-8")
    serve = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as notebook:
        Thread(target=notebook.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(f"http://localhost:{notebook.server_port}/notebook.html")
        page.frame_locator("iframe").locator("html[data-ready=yes]").wait_for()
        page.close()
        notebook.shutdown()


def test_the_swipe_moves_by_keyboard_and_the_map_with_it(page: Any) -> None:
    page.select_option("#left", "msi")
    page.select_option("#preset", "index:NBR")  # the multispectral image has no bands for it: the left side is empty
    assert "no bands for NBR" in page.inner_text("#note")
    middle = seen(page)
    page.focus("#swipe")
    for _ in range(25):
        page.keyboard.press("ArrowRight")
    assert page.input_value("#swipe") == "75"
    assert hash_of(page)["swipe"] == "75"
    moved = seen(page)
    empty = [np.ptp(shown[380:420], axis=2).max(0) < 15 for shown in (middle, moved)]  # columns without colour
    width = middle.shape[1]
    at = slice(int(0.55 * width), int(0.6 * width))
    assert not empty[0][at].any()
    assert empty[1][at].all()


def test_presets_bands_and_stretch_change_what_is_seen(page: Any) -> None:
    page.select_option("#left", "fused")
    first = seen(page)
    page.select_option("#preset", label="Colour infrared")
    assert [page.input_value(f"#{channel}") for channel in ("red", "green", "blue")] == ["7", "5", "3"]
    page.select_option("#red", "1")
    assert page.locator("#preset option:checked").inner_text() == "own bands"
    assert hash_of(page)["bands"] == "1,5,3"
    page.select_option("#stretch", "fixed")
    page.fill("#high", "0.9")
    page.keyboard.press("Tab")
    dark = seen(page)
    assert dark.mean() < first.mean()
    page.check("#quality")
    assert "only one of the two images" in page.inner_text("#quality-legend")
    assert np.abs(seen(page) - dark).max() > 50


def test_a_link_leads_to_the_same_view(page: Any, url: str) -> None:
    page.select_option("#preset", "index:NDVI")
    page.select_option("#left", "msi")
    page.focus("#map")
    page.keyboard.press("+")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")  # the pixel in the middle
    page.wait_for_selector("#chart canvas")
    page.click("#copy")
    page.wait_for_function("document.getElementById('copy').textContent === 'Copied'")
    link, before, place = page.evaluate("navigator.clipboard.readText()"), seen(page), page.inner_text("#place")
    page.goto("about:blank")
    load(page, link)
    assert page.inner_text("#place") == place
    assert np.abs(seen(page) - before).mean() < 1


@pytest.mark.parametrize("preset", ["index:NDVI", "bands:5,3,2"])
def test_an_image_that_cannot_be_seen_from_afar_is_said(page: Any, url: str, preset: str) -> None:
    def without_overviews(route: Any) -> None:
        answer = route.fetch()
        scene = answer.json()
        scene["images"]["hsi"]["fromAfar"] = False
        route.fulfill(response=answer, json=scene)

    page.route("**/scene.json", without_overviews)
    load(page, url)
    page.select_option("#preset", preset)
    assert "Hyperspectral has no overviews: where it is empty, zoom in." in page.inner_text("#note")


def test_a_place_outside_is_said(page: Any) -> None:
    page.fill("#x", "0")
    page.fill("#y", "0")
    page.click("text=Go there")
    assert "no pixel of the fused image" in page.inner_text("#place")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1200, 800), (390, 800)], ids=["wide", "narrow"])
def test_axe_finds_nothing(page: Any, scheme: str, size: tuple[int, int]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.check("#quality")
    page.focus("#map")
    page.keyboard.press("Enter")
    page.wait_for_selector("#chart canvas")
    page.click("summary")
    found = axe.run(page).response["violations"]
    assert [(rule["id"], [node["target"] for node in rule["nodes"]]) for rule in found] == []


def test_every_control_is_reached_by_tab(page: Any) -> None:
    page.focus("#map")
    reached = []
    for _ in range(25):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    wanted = ["swipe", "left", "right", "preset", "red", "green", "blue", "stretch", "quality", "x", "y"]
    assert [name for name in wanted if name not in reached] == []


def test_a_screen_without_room_scrolls_down_only(page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 700})
    click_middle_right(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
