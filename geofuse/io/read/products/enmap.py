"""EnMAP L2A surface reflectance: a folder with metadata in XML, the spectral image and quality layers.

*EnMAP Ground Segment, Product Specification Level 1B / Level 1C / Level 2A* (DLR), whose names and values are taken from EnPT.
Bands of the VNIR detector come before those of the SWIR detector, which overlap between 900 and 1000 nm. Reflectance is DN × GainOfBand + OffsetOfBand.
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
from geofuse.io.read.products.rasters import Layer, Rule, described_raster, layer_of, screened
from geofuse.io.read.products.spectra import ordered
from geofuse.io.read.xml import number_of, read_xml, text_of

_NAME, _MARK = "EnMAP L2A", re.compile(rb"<level_X[\s>]")
_NODATA = -32768.0
# Layers, and the flag that each raises at some values.
_LAYERS = (
    ("QL_QUALITY_CLOUD", Mask.CLOUD, (1,)),
    ("QL_QUALITY_CIRRUS", Mask.CIRRUS, (1, 2, 3)),  # thin, medium, thick
    ("QL_QUALITY_CLOUDSHADOW", Mask.SHADOW, (1,)),
    ("QL_QUALITY_SNOW", Mask.SNOW, (1,)),
    ("QL_QUALITY_HAZE", Mask.HAZE, (1,)),
    ("QL_QUALITY_CLASSES", Mask.WATER, (2,)),  # land, water, background
)
# Bits: quality in bits 0 and 1 (both: not produced), saturated in the SWIR and in the VNIR in bits 4 and 5.
_TEST_FLAGS, _SATURATED, _NOT_PRODUCED = "QL_QUALITY_TESTFLAGS", 0b110000, 0b11
_PIXEL_MASK = "QL_PIXELMASK"


def _described(found: Delivery) -> Description:
    root = read_xml(found.metadata)
    level = text_of(root, "base/level") or text_of(root, "metadata/schema/processingLevel")
    if level != "L2A":
        raise InvalidCube(f"EnMAP {level or 'of unknown level'}; expected L2A, surface reflectance on a map grid")
    image = described_raster(found.image())
    bands = _bands(root)
    columns = [np.array([number_of(band, name) for band in bands]) for name in ("wavelengthCenterOfBand", "FWHMOfBand", "GainOfBand")]
    offset = np.array([number_of(band, "OffsetOfBand") if text_of(band, "OffsetOfBand") else 0.0 for band in bands])
    order, table = ordered(columns[0], columns[1], detector=_detectors(root, len(bands)))
    nodata = number_of(root, "specific/backgroundValue") if text_of(root, "specific/backgroundValue") else _NODATA
    defects = layer_of(found.raster(_PIXEL_MASK), image, image.shape[0])
    made = screened(image, order, table, scale=columns[2], offset=offset, nodata=nodata, rules=_rules(found, image), defects=defects)
    when = utc_text(text_of(root, "base/temporalCoverage/startTime"))
    return replace(made, sensor=_NAME, attrs={}, about={"href": made.place, "id": found.base, "datetime": when, "gsd": 30.0})


def _bands(root: Element) -> list[Element]:
    """The elements that describe the bands, in the order of the image."""
    found = root.findall("specific/bandCharacterisation/bandID")
    if not found or [band.get("number", "").strip() for band in found] != [str(number + 1) for number in range(len(found))]:
        raise InvalidCube("its metadata do not number the bands from 1 (specific/bandCharacterisation); fetch the delivery again")
    return found


def _detectors(root: Element, count: int) -> list[str]:
    """VNIR or SWIR for each band, by the lists of channels; no name where they do not say."""
    names = [""] * count
    for detector in ("vnir", "swir"):
        listed = text_of(root, f"specific/{detector}ProductQuality/expectedChannelsList") or ""
        for number in listed.split(","):
            if number.strip().isdecimal() and 1 <= int(number) <= count:
                names[int(number) - 1] = detector.upper()
    return names


def _rules(found: Delivery, image: Description) -> tuple[Rule, ...]:
    rules = []
    for name, flag, values in _LAYERS:
        layer = layer_of(found.raster(name), image)
        if layer is not None:
            rules.append(Rule(layer, int(flag), values=values))
    tests: Layer | None = layer_of(found.raster(_TEST_FLAGS), image)
    if tests is not None:
        rules.append(Rule(tests, int(Mask.SATURATED), bits=_SATURATED, unless=_NOT_PRODUCED))
    return tuple(rules)


ENMAP = DeliveryReader(_NAME, _MARK, _described, (*(name for name, *_ in _LAYERS), _TEST_FLAGS, _PIXEL_MASK))
