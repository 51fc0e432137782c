"""Sentinel-2 L2A products as SAFE folders: Sentinel-2 Products Specification Document, cut to a small tile.

Names of folders and files, elements of the metadata, types, fill value and offset are those of a product of processing baseline 05.11;
the text of the metadata is this module's own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from geofuse.simulate.products import truth

NAME = "S2A_MSIL2A_20240904T101031_N0511_R022_T33UUU_20240905T020950"
TILE, TAKEN = "T33UUU", "20240904T101031"
START = "2024-09-04T10:10:31.024Z"
# Name, pixel size (m), centre and FWHM (nm) of the bands of Sentinel-2A: Spectral_Information_List.
BANDS = {
    "B1": (60, 442.7, 20), "B2": (10, 492.7, 65), "B3": (10, 559.8, 35), "B4": (10, 664.6, 30), "B5": (20, 704.1, 15), "B6": (20, 740.5, 15),
    "B7": (20, 782.8, 20), "B8": (10, 832.8, 105), "B8A": (20, 864.7, 21), "B9": (60, 945.1, 20), "B10": (60, 1373.5, 30), "B11": (20, 1613.7, 90),
    "B12": (20, 2202.4, 175),
}  # fmt: skip
# North-west corner: tiles start at multiples of 20 m, and the three pixel sizes share it.
CORNER = (389_400.0, 5_820_600.0)
# A cloud, its shadow, snow and water, in pixels of 20 m: rows, columns and class of the scene classification.
CLASSES = (
    (slice(10, 16), slice(20, 28), 9),
    (slice(18, 22), slice(20, 28), 3),
    (slice(40, 44), slice(4, 8), 11),
    (slice(50, 54), slice(4, 8), 6),
)
CLOUD = 0.7  # reflectance


def file_name(band: str) -> str:
    """B2 → B02."""
    return f"B{band[1:].zfill(2)}"


def write(folder: Path, size: int = 1200, offset: int = -1000, nodata_rows: int = 0) -> Path:
    """Write a product with a tile of ``size`` metres; returns its folder.

    The cloud is bright in all bands. The first ``nodata_rows`` rows of 60 m hold no data.
    """
    root = folder / f"{NAME}.SAFE"
    granule = root / "GRANULE" / f"L2A_{TILE}_A048074_{TAKEN}"
    classes = classification(size // 20)
    for band, (resolution, *_) in BANDS.items():
        if band != "B10":
            values = reflectance(band, size)
            values = np.where(hidden(classes == 9, resolution, values.shape), CLOUD, values)
            stored = np.clip(np.round(values * 10000) - offset, 1, 32767).astype("uint16")
            stored[: nodata_rows * 60 // resolution] = 0
            _write(granule / "IMG_DATA" / f"R{resolution}m" / f"{TILE}_{TAKEN}_{file_name(band)}_{resolution}m.jp2", stored, resolution)
    _write(granule / "IMG_DATA" / "R20m" / f"{TILE}_{TAKEN}_SCL_20m.jp2", classes, 20)
    (root / "MTD_MSIL2A.xml").write_text(metadata(offset))
    (granule / "MTD_TL.xml").write_text(f'<n1:Level-2A_Tile_ID xmlns:n1="{PSD.format("PDI_Level-2A_Tile_Metadata")}"/>')
    (root / "manifest.safe").write_text("<xfdu/>")
    return root


def reflectance(band: str, size: int = 1200) -> np.ndarray:
    """The truth in the pixels of a band, without the cloud."""
    resolution, centre, _ = BANDS[band]
    steps = (np.arange(size // resolution) + 0.5) * resolution
    x, y = np.meshgrid(CORNER[0] + steps, CORNER[1] - steps)
    return truth.footprint(x, y, [centre], resolution)[0]


def classification(side: int) -> np.ndarray:
    """Classes in pixels of 20 m: vegetation, but for `CLASSES`."""
    found = np.full((side, side), 4, "uint8")
    for rows, cols, value in CLASSES:
        found[rows, cols] = value
    return found


def hidden(classes: np.ndarray, resolution: int, shape: tuple[int, ...]) -> np.ndarray:
    """Flags of 20 m in pixels of another size: of the pixel in which their centre lies."""
    rows, cols = ((np.arange(n) + 0.5) * resolution // 20 for n in shape)
    return classes[np.ix_(rows.astype(int), cols.astype(int))]


def _write(path: Path, values: np.ndarray, resolution: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "JP2OpenJPEG", "count": 1, "height": values.shape[0], "width": values.shape[1], "dtype": values.dtype}
    place = {"crs": truth.CRS, "transform": Affine(resolution, 0, CORNER[0], 0, -resolution, CORNER[1])}
    with rasterio.open(path, "w", **profile, **place, REVERSIBLE="YES", QUALITY="100", YCBCR420="NO") as file:
        file.write(values, 1)


PSD = "https://psd-15.sentinel2.eo.esa.int/PSD/{}.xsd"


def metadata(offset: int) -> str:
    """``MTD_MSIL2A.xml``; products before processing baseline 04.00, of offset 0, have no list of offsets."""
    offsets = "".join(f'<BOA_ADD_OFFSET band_id="{k}">{offset}</BOA_ADD_OFFSET>' for k in range(len(BANDS)))
    spectral = "".join(_spectral(k, band) for k, band in enumerate(BANDS))
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-2A_User_Product xmlns:n1="{PSD.format("User_Product_Level-2A")}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <n1:General_Info>
    <Product_Info>
      <PRODUCT_START_TIME>{START}</PRODUCT_START_TIME>
      <PRODUCT_STOP_TIME>{START}</PRODUCT_STOP_TIME>
      <PRODUCT_URI>{NAME}.SAFE</PRODUCT_URI>
      <PROCESSING_LEVEL>Level-2A</PROCESSING_LEVEL>
      <PRODUCT_TYPE>S2MSI2A</PRODUCT_TYPE>
      <PROCESSING_BASELINE>{"05.11" if offset else "02.12"}</PROCESSING_BASELINE>
      <Datatake datatakeIdentifier="GS2A_{TAKEN}_048074_N05.11">
        <SPACECRAFT_NAME>Sentinel-2A</SPACECRAFT_NAME>
        <DATATAKE_SENSING_START>{START}</DATATAKE_SENSING_START>
      </Datatake>
    </Product_Info>
    <Product_Image_Characteristics>
      <Special_Values><SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX></Special_Values>
      <Special_Values><SPECIAL_VALUE_TEXT>SATURATED</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>65535</SPECIAL_VALUE_INDEX></Special_Values>
      <QUANTIFICATION_VALUES_LIST>
        <BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>
        <AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE>
        <WVP_QUANTIFICATION_VALUE unit="cm">1000.0</WVP_QUANTIFICATION_VALUE>
      </QUANTIFICATION_VALUES_LIST>
      {f"<BOA_ADD_OFFSET_VALUES_LIST>{offsets}</BOA_ADD_OFFSET_VALUES_LIST>" if offset else ""}
      <Spectral_Information_List>{spectral}</Spectral_Information_List>
    </Product_Image_Characteristics>
  </n1:General_Info>
</n1:Level-2A_User_Product>
"""


def _spectral(number: int, band: str) -> str:
    """One band; its response is a box of its FWHM with flanks of 0.2, which reach from MIN to MAX."""
    resolution, centre, fwhm = BANDS[band]
    values = " ".join(["0.2"] * 5 + ["1"] * fwhm + ["0.2"] * 5)
    low, high = round(centre - fwhm / 2) - 5, round(centre + fwhm / 2) + 5
    return f"""
        <Spectral_Information bandId="{number}" physicalBand="{band}">
          <RESOLUTION>{resolution}</RESOLUTION>
          <Wavelength><MIN unit="nm">{low}</MIN><MAX unit="nm">{high}</MAX><CENTRAL unit="nm">{centre}</CENTRAL></Wavelength>
          <Spectral_Response><STEP unit="nm">1</STEP><VALUES>{values}</VALUES></Spectral_Response>
        </Spectral_Information>"""
