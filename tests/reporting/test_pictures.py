"""Pictures and maps of a report: small, of the right colours and numbers, and decoded only where they are what they claim."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np
import pyproj
import pytest

from geofuse.reporting.maps import draw_part
from geofuse.reporting.pictures import decoded, decoded_map, encoded_flags, encoded_map, excerpt, metres_of

EXTENT = (384_000.0, 384_360.0, 5_817_000.0, 5_817_360.0)


def flat(red: float, green: float, blue: float) -> np.ndarray:
    return np.broadcast_to(np.array([red, green, blue])[:, None, None], (3, 40, 40)).copy()


def ramp() -> np.ndarray:
    """From black to white in each colour, eastwards."""
    return np.broadcast_to(np.linspace(0, 0.4, 40), (3, 40, 40)).copy()


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
    assert decoded_map({"top": 1.0, "image": odd}) is None
    assert decoded_map(odd) is None
    assert draw_part({"pictures": dict.fromkeys(("hsi", "msi", "fused", "uncertainty"), odd) | {"extent": odd, "metres": odd}}) is None


def test_numbers_of_a_map_come_back_with_their_gaps() -> None:
    values = np.linspace(0, 0.3, 64 * 64).reshape(64, 64)
    values[:8] = np.nan
    found = decoded_map(encoded_map(values))
    assert found is not None
    assert np.isnan(found[:8]).all()
    known = values[8:] < 0.28  # above the percentile 99 all are its colour
    assert np.abs(found[8:] - values[8:])[known].max() < 0.01
    assert decoded_map(encoded_map(np.full((4, 4), np.nan))) is not None


def test_flags_come_back_to_the_bit() -> None:
    flags = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = decoded(encoded_flags(flags))
    assert image is not None
    np.testing.assert_array_equal(image[..., 0], flags)


def test_units_of_a_crs_are_metres_feet_or_none() -> None:
    assert metres_of(pyproj.CRS(32633)) == 1.0
    assert metres_of(pyproj.CRS(2263)) == pytest.approx(0.3048, rel=1e-5)  # New York, US survey feet
    assert metres_of(pyproj.CRS(4326)) == 0.0
