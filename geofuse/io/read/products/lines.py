"""Surface reflectance in ENVI format of AVIRIS (Classic, NG and 3) and Hyperion: which instrument, when, and bands in order of wavelength.

File names are those of JPL (``f130503t01p00r11rdn_refl_img_corr``, ``ang20160831t201002_corr_v1n2_img``, ``AV320231008t151049_…_RFL_ORT``): AVIRIS
data product pages and the *AVIRIS-NG L2 README*. The header counts before the name. Rotated lines keep true centres (`geofuse.io.read.turned`).
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from geofuse.errors import InvalidCube
from geofuse.io.read import envi
from geofuse.io.read.base import Description, Request
from geofuse.io.read.formats import ENVI
from geofuse.io.read.items import utc_text
from geofuse.io.read.products.folder import leads_to

_INSTRUMENT = re.compile(r"AVIRIS(-?(NG|Classic|[0-9]))?|Hyperion", re.IGNORECASE)
_SPELT = {"aviris": "AVIRIS", "avirisng": "AVIRIS-NG", "avirisclassic": "AVIRIS Classic", "hyperion": "Hyperion"}
_CLASSIC = re.compile(r"f(?P<year>\d\d)(?P<month>\d\d)(?P<day>\d\d)t\d\dp\d\dr\d\d", re.IGNORECASE)
_TIMED = re.compile(r"(ang|AV(?P<number>\d))(?P<date>\d{8})t(?P<time>\d{6})", re.IGNORECASE)
_FIRST_YEAR = 87  # AVIRIS first flew in 1987
_RADIANCE, _REFLECTANCE = re.compile(r"rdn|radiance", re.IGNORECASE), re.compile(r"refl|rfl|corr_v", re.IGNORECASE)


class LinesReader:
    """A data file or its header."""

    name = "AVIRIS and Hyperion in ENVI format"

    def recognises(self, source: str) -> bool:
        """Whether its header or its name is that of such an image."""
        return leads_to(source, lambda path: path.is_file() and envi.is_envi(path) and _instrument(envi.data_file(path)))

    def describe(self, source: str, request: Request) -> Description:
        """Read the metadata."""
        path = _data(source)
        if _RADIANCE.search(path.name) and not _REFLECTANCE.search(path.name):
            raise InvalidCube(
                f"{_instrument(path)} radiance, by its name; expected surface reflectance: fetch or make that of the same line"
            )
        found = ENVI.describe(source, request)
        along = np.argsort(found.table.wavelength, kind="stable")  # NaN last: bands without a wavelength stay as they are
        level = " L2A" if _REFLECTANCE.search(path.name) else ""
        about: dict[str, Any] = {**found.about, "id": path.stem}
        return replace(
            found.take(along),
            sensor=f"{_instrument(path)}{level}",
            about=about | {"datetime": found.about.get("datetime") or _time(path.name)},
        )

    def files(self, source: str, request: Request) -> list[str]:
        """The data file and its header."""
        path = _data(source)
        return [str(path), *map(str, envi.headers(path))]


LINES = LinesReader()


def _data(source: str) -> Path:
    return envi.data_file(Path(source))


def _instrument(path: Path) -> str | None:
    """The instrument by the header, more closely by the name where the header says AVIRIS only; None for others."""
    header = envi.header(path)
    said = _INSTRUMENT.search(header.get("sensor_type", "")) or _INSTRUMENT.search(header.get("description", ""))
    by_header = _spelt(said[0]) if said else None
    return _by_name(path.name) or by_header if by_header in (None, "AVIRIS") else by_header


def _spelt(said: str) -> str:
    plain = re.sub(r"[^a-z0-9]", "", said.lower())
    return _SPELT.get(plain) or f"AVIRIS-{plain[-1]}"


def _by_name(name: str) -> str | None:
    if timed := _TIMED.match(name):
        return f"AVIRIS-{timed['number'] or 'NG'}"
    return "AVIRIS Classic" if _CLASSIC.match(name) else None


def _time(name: str) -> str | None:
    if timed := _TIMED.match(name):
        return utc_text(f"{timed['date']}T{timed['time']}")
    if day := _CLASSIC.match(name):
        century = 19 if int(day["year"]) >= _FIRST_YEAR else 20
        return utc_text(f"{century}{day['year']}-{day['month']}-{day['day']}")
    return None
