"""A DESIS L2A delivery of the known scene: names, elements, types and fill values as DLR delivers them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from geofuse.simulate.products import truth

GSD, NODATA = 30.0, -32768
BASE = "DESIS-HSI-L2A-DT0485529167_001-20220712T223540-V0220"
WAVELENGTHS = 401.275 + 2.553 * np.arange(235)
QUALITY = ("shadow", "land", "snow", "haze over land", "haze over water", "cloud over land", "cloud over water", "water", "AOT", "WV")


def transform(rows: int, cols: int) -> Affine:
    """The grid around the centre of the scene."""
    return Affine(GSD, 0, truth.CENTRE[0] - cols // 2 * GSD, 0, -GSD, truth.CENTRE[1] + rows // 2 * GSD)


def quality(rows: int, cols: int) -> NDArray[np.uint8]:
    """QL_QUALITY-2: each mask says something somewhere."""
    made = np.zeros((len(QUALITY), rows, cols), np.uint8)
    made[1] = 1
    for band in (0, 2, 3, 4, 5, 6, 7):
        made[band, 3 + band : 6 + band, 5:12] = 1
    made[8], made[9] = 20, 60
    return made


def write(folder: Path, *, rows: int = 32, cols: int = 30, metadata: dict[str, str] | None = None) -> Path:
    """Write a delivery and return its folder; ``metadata`` are texts to replace in the XML."""
    place = folder / BASE
    place.mkdir()
    t = transform(rows, cols)
    y, x = np.mgrid[:rows, :cols] + 0.5
    numbers = np.round(truth.footprint(t.c + x * GSD, t.f - y * GSD, WAVELENGTHS, GSD) * 1e4).astype(np.int16)
    numbers[:, :, :2] = NODATA
    profile = {"driver": "GTiff", "width": cols, "height": rows, "crs": truth.CRS, "transform": t, "interleave": "pixel", "compress": "lzw"}
    with rasterio.open(place / f"{BASE}-SPECTRAL_IMAGE.tif", "w", count=235, dtype="int16", **profile) as file:
        file.write(numbers)
    for name, layers in (("QL_QUALITY-2", quality(rows, cols)), ("QL_QUALITY", np.zeros((235, rows, cols), np.uint8))):
        with rasterio.open(place / f"{BASE}-{name}.tif", "w", count=len(layers), dtype="uint8", **profile) as file:
            file.write(layers)
    (place / f"{BASE}-SPECTRAL_IMAGE.hdr").write_text(_header(rows, cols))
    text = _xml()
    for old, new in (metadata or {}).items():
        assert old in text
        text = text.replace(old, new)
    (place / f"{BASE}-METADATA.xml").write_text(text)
    return place


def _header(rows: int, cols: int) -> str:
    """A header in the manner of ENVI, which is delivered beside the GeoTIFF."""
    listed = ", ".join(f"{nm:.3f}" for nm in WAVELENGTHS)
    return (
        f"ENVI\nsamples = {cols}\nlines = {rows}\nbands = 235\nheader offset = 0\nfile type = TIFF\ndata type = 2\ninterleave = bip\n"
        f"byte order = 0\nwavelength units = nanometers\nwavelength = {{{listed}}}\ndata ignore value = {NODATA}\n"
    )


def _xml() -> str:
    bands = "".join(
        f"<band><bandNumber>{number}</bandNumber><wavelengthCenterOfBand>{nm:.3f}</wavelengthCenterOfBand>"
        f"<wavelengthWidthOfBand>3.5</wavelengthWidthOfBand><response>0.1,1,0.1</response><wavelengths>{nm - 3:g},{nm:g},{nm + 3:g}</wavelengths>"
        "<gainOfBand>1.0E-4</gainOfBand><offsetOfBand>0.0</offsetOfBand><deadPixels>0</deadPixels></band>\n"
        for number, nm in enumerate(WAVELENGTHS, start=1)
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<hsi_doc xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<metadata><schema><type>hsi_doc</type><processingLevel>L2A</processingLevel></schema></metadata>
<base><mission>DESIS</mission><satelliteID>ISS</satelliteID><sensor>HSI</sensor><productType>L2A</productType>
<temporalCoverage><startTime>2022-07-12T22:35:40.123456Z</startTime><endTime>2022-07-12T22:35:44.5Z</endTime></temporalCoverage></base>
<specific><tileID>1</tileID><backgroundValue>{NODATA}</backgroundValue><numberOfBands>235</numberOfBands>
<interiorOrientation><band><bandNumber>1</bandNumber></band></interiorOrientation>
<bandCharacterisation>
{bands}</bandCharacterisation></specific>
</hsi_doc>
"""
