"""An EnMAP L2A delivery of the known scene: names, elements, types and fill values that EnPT reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from geofuse.simulate.products import truth

GSD, NODATA = 30.0, -32768
BASE = "ENMAP01-____L2A-DT0000002037_20220715T102515Z_001_V010402_20230201T101010Z"
VNIR, SWIR = np.linspace(418.416, 993.336, 91), np.linspace(902.252, 2445.53, 133)
WAVELENGTHS = np.concatenate([VNIR, SWIR])  # as the file holds them: the detectors overlap
FWHM = np.concatenate([np.linspace(6.9, 8.9, 91), np.linspace(11.1, 7.6, 133)])


def transform(rows: int, cols: int) -> Affine:
    """The grid around the centre of the scene."""
    left, top = truth.CENTRE[0] - cols // 2 * GSD, truth.CENTRE[1] + rows // 2 * GSD
    return Affine(GSD, 0, left, 0, -GSD, top)


def places(rows: int, cols: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """X and y of the pixel centres."""
    t = transform(rows, cols)
    y, x = np.mgrid[:rows, :cols] + 0.5
    return t.c + x * GSD, t.f - y * GSD


def seen(rows: int, cols: int) -> NDArray[np.bool_]:
    """The footprint, which is turned against the grid: its corners are nodata."""
    y, x = np.mgrid[:rows, :cols].astype(float)
    y, x = y - (rows - 1) / 2, x - (cols - 1) / 2
    angle = np.radians(12)
    return (np.abs(x * np.cos(angle) + y * np.sin(angle)) < 0.47 * cols) & (np.abs(y * np.cos(angle) - x * np.sin(angle)) < 0.47 * rows)


def layers(rows: int, cols: int) -> dict[str, NDArray[np.uint8]]:
    """Quality layers, each of which says something somewhere."""
    made = {name: np.zeros((rows, cols), np.uint8) for name in ("CLOUD", "CIRRUS", "CLOUDSHADOW", "SNOW", "HAZE", "TESTFLAGS")}
    made["CLOUD"][8:12, 9:15] = made["CLOUDSHADOW"][13:16, 9:15] = made["SNOW"][20, 20:24] = made["HAZE"][24:26, 8:20] = 1
    made["CIRRUS"][18, 10:13] = (1, 2, 3)
    made["TESTFLAGS"][22, 10:14] = (0b0001, 0b010000, 0b100000, 0b00001100)  # reduced; saturated SWIR, VNIR; interpolated
    made["CLASSES"] = np.where(seen(rows, cols), 1, 3).astype(np.uint8)
    made["CLASSES"][27, 5:25] = 2
    made["TESTFLAGS"][~seen(rows, cols)] = 255
    return made


def defects(rows: int, cols: int) -> NDArray[np.uint8]:
    """The pixel mask, a band each of the image: one value here, a whole pixel there."""
    made = np.zeros((WAVELENGTHS.size, rows, cols), np.uint8)
    made[100, 15, 15] = 1
    made[:150, 16, 16] = 1
    return made


def write(folder: Path, *, rows: int = 40, cols: int = 36, metadata: dict[str, str] | None = None, driver: str = "GTiff") -> Path:
    """Write a delivery and return its folder; ``metadata`` are texts to replace in the XML."""
    place = folder / BASE
    place.mkdir()
    values = truth.footprint(*places(rows, cols), WAVELENGTHS, GSD)
    numbers = np.where(seen(rows, cols), np.round(values * 1e4), NODATA).astype(np.int16)
    grid: dict[str, Any] = {"crs": truth.CRS, "transform": transform(rows, cols)}
    suffix = {"GTiff": "TIF", "ENVI": "BSQ"}[driver]
    _raster(place / f"{BASE}-SPECTRAL_IMAGE.{suffix}", numbers, driver=driver, nodata=NODATA, **grid)
    for name, layer in layers(rows, cols).items():
        _raster(place / f"{BASE}-QL_QUALITY_{name}.TIF", layer[None], **grid)
    _raster(place / f"{BASE}-QL_PIXELMASK.TIF", defects(rows, cols), **grid)
    text = _xml(rows, cols)
    for old, new in (metadata or {}).items():
        assert old in text
        text = text.replace(old, new)
    (place / f"{BASE}-METADATA.XML").write_text(text)
    return place


def _raster(path: Path, values: NDArray[Any], *, driver: str = "GTiff", **profile: Any) -> None:
    count, height, width = values.shape
    layout = {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "lzw", "interleave": "band"} if driver == "GTiff" else {}
    with rasterio.open(path, "w", driver=driver, width=width, height=height, count=count, dtype=values.dtype, **layout, **profile) as file:
        file.write(values)


def _xml(rows: int, cols: int) -> str:
    bands = "".join(
        f'<bandID number="{number}"><wavelengthCenterOfBand>{nm:.3f}</wavelengthCenterOfBand><FWHMOfBand>{fwhm:.5f}</FWHMOfBand>'
        "<GainOfBand>0.0001</GainOfBand><OffsetOfBand>0</OffsetOfBand></bandID>\n"
        for number, (nm, fwhm) in enumerate(zip(WAVELENGTHS, FWHM, strict=True), start=1)
    )
    lists = [",".join(map(str, numbers)) for numbers in (range(1, 92), range(92, 225))]
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<level_X xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="level_X.xsd">
<metadata><schema><processingLevel>L2A</processingLevel><version>01.04</version></schema><name>{BASE}-METADATA.XML</name></metadata>
<processing><terrainCorrection>Yes</terrainCorrection><productFormat>GeoTIFF+Metadata</productFormat>
<mapProjection>UTM_Zone_of_Scene_Center</mapProjection><correctionType>Land_Mode</correctionType></processing>
<base><revision>01</revision><format>ENMAP_L2A</format><level>L2A</level>
<temporalCoverage><startTime>2022-07-15T10:25:15.462817Z</startTime><stopTime>2022-07-15T10:25:20.012345Z</stopTime></temporalCoverage></base>
<specific><code>L2A</code><datatakeID>2037</datatakeID><backgroundValue>{NODATA}</backgroundValue>
<vnirProductQuality><numChannelsExpected>91</numChannelsExpected><expectedChannelsList>{lists[0]}</expectedChannelsList></vnirProductQuality>
<swirProductQuality><numChannelsExpected>133</numChannelsExpected><expectedChannelsList>{lists[1]}</expectedChannelsList></swirProductQuality>
<bandCharacterisation>
{bands}</bandCharacterisation></specific>
<product><image><merge><channels>{WAVELENGTHS.size}</channels><name>{BASE}-SPECTRAL_IMAGE.TIF</name>
<dimension><columns>{cols}</columns><rows>{rows}</rows></dimension></merge></image></product>
</level_X>
"""
