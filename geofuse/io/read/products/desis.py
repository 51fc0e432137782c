"""DESIS L2A surface reflectance: a folder with metadata in XML, the spectral image of 235 bands, and quality layers.

*DESIS Product Guide* and *DESIS ATBD L2A processor* (DLR): reflectance is DN × gainOfBand + offsetOfBand, and the bands of ``QL_QUALITY-2``
are masks of shadow, land, snow, haze over land and over water, cloud over land and over water, and water; then aerosol and water vapour.
"""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree.ElementTree import Element

import numpy as np

from geofuse.cube.masks import Mask
from geofuse.errors import InvalidCube
from geofuse.io.read.base import Description
from geofuse.io.read.items import utc_text
from geofuse.io.read.products.delivery import Delivery, DeliveryReader
from geofuse.io.read.products.rasters import Rule, described_raster, layer_of, screened
from geofuse.io.read.products.spectra import ordered
from geofuse.io.read.xml import number_of, read_xml, text_of

_NAME, _MARK = "DESIS L2A", re.compile(rb"DESIS")
_NODATA = -32768.0
_QUALITY = "QL_QUALITY-2"
# Bands of the quality layer, from 1, and the flag that each raises where it is not 0.
_FLAGS = {1: Mask.SHADOW, 3: Mask.SNOW, 4: Mask.HAZE, 5: Mask.HAZE, 6: Mask.CLOUD, 7: Mask.CLOUD, 8: Mask.WATER}
_COLUMNS = ("wavelengthCenterOfBand", "wavelengthWidthOfBand", "gainOfBand", "offsetOfBand")


def _described(found: Delivery) -> Description:
    root = read_xml(found.metadata)
    level = _level(root, found.base)
    if level != "L2A":
        raise InvalidCube(f"DESIS {level or 'of unknown level'}; expected L2A, surface reflectance on a map grid")
    image = described_raster(found.image())
    wavelength, width, scale, offset = _columns(root)
    order, table = ordered(wavelength, width)
    given = text_of(root, ".//backgroundValue")
    quality = layer_of(found.raster(_QUALITY), image, max(_FLAGS))
    made = screened(
        image,
        order,
        table,
        scale=scale,
        offset=offset,
        nodata=number_of(root, ".//backgroundValue") if given else _NODATA,
        rules=() if quality is None else tuple(Rule(quality, int(flag), band, bits=0xFF) for band, flag in _FLAGS.items()),
        defects=None,
    )
    when = utc_text(text_of(root, ".//startTime"))
    return replace(made, sensor=_NAME, attrs={}, about={"href": made.place, "id": found.base, "datetime": when, "gsd": 30.0})


def _level(root: Element, base: str) -> str | None:
    """Processing level by the metadata, else by the name of the product."""
    said = [text_of(root, f".//{tag}") or "" for tag in ("processingLevel", "level", "productType")]
    found = next((match for text in (*said, base) if (match := re.search(r"L[12][ABC]", text))), None)
    return found[0] if found else None


def _columns(root: Element) -> list[np.ndarray]:
    """Wavelength, width, gain and offset of the bands in the order of the image; `band` elements also stand elsewhere."""
    bands = next((part.findall("band") for part in root.iter("bandCharacterisation")), [])
    if not bands or [number_of(band, "bandNumber") for band in bands] != list(range(1, len(bands) + 1)):
        raise InvalidCube("its metadata do not number the bands from 1 (bandCharacterisation); fetch the delivery again")
    return [np.array([number_of(band, name) for band in bands]) for name in _COLUMNS]


DESIS = DeliveryReader(_NAME, _MARK, _described, (_QUALITY,))
