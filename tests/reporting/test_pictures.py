"""The pictures of a report: small, placed, of the right colours, and drawn from nothing but the record."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import rioxarray  # noqa: F401  (registers .rio)

import geofuse
from geofuse.reporting.pictures import SIDE, decoded, draw_pictures, excerpt
from geofuse.reporting.report import Report
from tests.crops import small_cubes, small_model

EXTENT = (384_000.0, 384_360.0, 5_817_000.0, 5_817_360.0)


def flat(red: float, green: float, blue: float) -> np.ndarray:
    return np.broadcast_to(np.array([red, green, blue])[:, None, None], (3, 40, 40)).copy()


def ramp() -> np.ndarray:
    """From black to white in each colour, eastwards."""
    return np.broadcast_to(np.linspace(0, 0.4, 40), (3, 40, 40)).copy()


def part(**changed: Any) -> dict[str, Any]:
    return excerpt(ramp(), ramp(), ramp(), EXTENT, "EPSG:32633") | {"metres": 1.0} | changed


def test_colours_stay_where_they_are_and_gaps_are_white() -> None:
    fused = ramp()
    fused[0, :20], fused[:, 30:] = 0.4, np.nan
    image = decoded(excerpt(ramp(), ramp(), fused, EXTENT, "EPSG:32633")["fused"])
    assert image is not None
    assert image.shape == (40, 40, 3)
    red, green, blue = image[10, 5].astype(int)
    assert red > 200 > 120 > max(green, blue)
    assert image[36, 20].min() > 240
    assert np.abs(np.diff(image[25, 20].astype(int))).max() < 12, "grey"


def test_coordinates_and_a_scale_bar_are_drawn() -> None:
    figure = draw_pictures({"pictures": part()})
    assert figure is not None
    coarse, fine, fused = figure.axes
    assert [ax.get_title(loc="left").split()[0] for ax in figure.axes] == ["hyperspectral", "multispectral", "fused"]
    assert tuple(coarse.images[0].get_extent()) == EXTENT
    figure.canvas.draw()
    assert {"384100", "384200", "384300"} <= {text.get_text() for text in fine.get_xticklabels()}
    assert {"5817100", "5817200", "5817300"} <= {text.get_text() for text in coarse.get_yticklabels()}
    assert coarse.get_ylabel() == "EPSG:32633"
    assert [text.get_text() for text in fused.texts] == ["100 m"]
    assert np.ptp(fused.lines[0].get_xdata()) == pytest.approx(100)


def test_a_bar_is_in_metres_where_the_map_is_in_feet_and_absent_where_it_is_in_degrees() -> None:
    feet = draw_pictures({"pictures": part(metres=0.3048)})
    degrees = draw_pictures({"pictures": part(metres=0.0)})
    assert feet is not None
    assert degrees is not None
    assert [text.get_text() for text in feet.axes[2].texts] == ["20 m"]
    assert np.ptp(feet.axes[2].lines[0].get_xdata()) == pytest.approx(20 / 0.3048)
    assert not degrees.axes[2].texts


def test_the_quality_layer_is_drawn_where_there_is_one() -> None:
    layer = np.ones((30, 20), np.uint8)
    layer[:5], layer[10, 10], layer[12, 12] = 0, 1 | 2, 1 | 8
    figure = draw_pictures({"pictures": part()}, layer)
    assert figure is not None
    shown = np.asarray(figure.axes[3].images[0].get_array())
    assert [shown[0, 0], shown[20, 10], shown[10, 10], shown[12, 12]] == [0, 1, 2, 4]
    legend = figure.axes[3].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["nodata", "good", "one image only", "outside the physical range"]
    page = Report({"quality": {"good": 0.98, "masked": 0.02}}, quality=layer).to_html()
    assert page.count("<img") == 1
    assert "98.00 %" in page
    assert "<img" not in Report({"quality": {"good": 0.98}}).to_html()


def bomb() -> str:
    """A PNG of 20 000 x 20 000 pixels in a few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(content).decode()


@pytest.mark.parametrize("odd", [None, 7, "file:///etc/passwd", "data:image/svg+xml;base64,AAAA", "data:image/png;base64,AAAA", bomb()])
def test_what_is_no_small_picture_is_not_drawn(odd: Any) -> None:
    assert decoded(odd) is None
    assert draw_pictures({"pictures": dict.fromkeys(("hsi", "msi", "fused"), odd) | {"extent": odd, "metres": odd}}) is None


@pytest.mark.parametrize("extent", [None, [1, 2, 3], [2, 1, 0, 1], ["a", 1, 0, 1]])
def test_pictures_without_a_place_are_drawn_without_coordinates(extent: Any) -> None:
    figure = draw_pictures({"pictures": part(extent=extent)})
    assert figure is not None
    assert not figure.axes[0].get_xticks().size


def test_a_fused_image_brings_its_pictures_to_the_page() -> None:
    """Of the middle of the scene, on the fine grid; without another read; and the record grows by less than 100 kB."""
    hsi, msi = small_cubes(chunks=None)
    fused = geofuse.fuse(hsi, msi, model=small_model(), progress=False)
    record = fused.mossfuse.report().to_dict()
    pictures = record["pictures"]
    assert len(json.dumps(pictures)) < 100_000
    images = {key: decoded(pictures[key]) for key in ("hsi", "msi", "fused")}
    west, east, south, north = pictures["extent"]
    for image in images.values():
        assert image is not None
        assert max(image.shape) <= SIDE
        assert image.shape[:2] == (round((north - south) / 3.6), round((east - west) / 3.6))
    left, bottom, right, top = msi.rio.bounds()
    assert left - 1e-6 < west < east < right + 1e-6
    assert bottom - 1e-6 < south < north < top + 1e-6
    # what is fused looks like the fine image, and a block of it on average like the coarse one
    detail = [np.asarray(images[key], float).mean(-1) for key in ("hsi", "msi", "fused")]
    assert np.corrcoef(detail[1].ravel(), detail[2].ravel())[0, 1] > 0.9
    assert np.corrcoef(detail[0].ravel(), detail[2].ravel())[0, 1] > 0.3
    page = fused.mossfuse.report().to_html()
    assert page.index("<img") < page.index("Fused with")
    assert len(page) < 3_000_000
