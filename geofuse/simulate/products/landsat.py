"""Landsat 8 and 9 Collection 2 Level-2 products: LSDS-1619, cut to a small scene.

Names of files, groups and keys of the metadata, types, fill values, scale and offset are those of a product of Landsat 9; the metadata hold the keys
of level 1 too, which have other values under the same names.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from geofuse.simulate.products import truth

NAME = "LC09_L2SP_193023_20240904_20240905_02_T1"
TAKEN = "2024-09-04T10:02:03.039642Z"
SCALE, OFFSET = 2.75e-05, -0.2
BANDS = {"SR_B1": 442.96, "SR_B2": 482.04, "SR_B3": 561.41, "SR_B4": 654.59, "SR_B5": 864.67, "SR_B6": 1608.86, "SR_B7": 2200.73}
CORNER = (389_385.0, 5_820_615.0)  # north-west; centres of pixels lie at multiples of 30 m
# Values of QA_PIXEL: clear; cloud; cloud shadow; cirrus; water.
CLEAR, CLOUD, SHADOW, CIRRUS, WATER = 21824, 22280, 23888, 54596, 21952
PLACES = (
    (slice(4, 8), slice(10, 14), CLOUD),
    (slice(8, 12), slice(10, 14), SHADOW),
    (slice(20, 22), slice(3, 6), CIRRUS),
    (slice(30, 32), slice(3, 6), WATER),
)
SATURATED = (slice(36, 38), slice(30, 33))


def write(folder: Path, size: int = 40, fill_rows: int = 2, text: bool = False) -> Path:
    """Write a product of ``size`` pixels a side, of which the first rows are fill; returns its folder.

    With ``text`` the metadata are in ODL (``_MTL.txt``) and not in JSON.
    """
    root = folder / NAME
    root.mkdir()
    for band in BANDS:
        stored = np.round((reflectance(band, size) - OFFSET) / SCALE).astype("uint16")
        stored[:fill_rows] = 0
        _write(root / f"{NAME}_{band}.TIF", stored, 0)
    quality = np.full((size, size), CLEAR, "uint16")
    for rows, cols, value in PLACES:
        quality[rows, cols] = value
    quality[:fill_rows] = 1
    _write(root / f"{NAME}_QA_PIXEL.TIF", quality, 1)
    saturation = np.zeros((size, size), "uint16")
    saturation[SATURATED] = 1 << 4  # band 5
    _write(root / f"{NAME}_QA_RADSAT.TIF", saturation, None)
    _write(root / f"{NAME}_ST_B10.TIF", np.full((size, size), 44000, "uint16"), 0)
    groups = metadata()
    (root / f"{NAME}_MTL.{'txt' if text else 'json'}").write_text(_odl(groups) if text else json.dumps({"LANDSAT_METADATA_FILE": groups}))
    return root


def reflectance(band: str, size: int = 40) -> np.ndarray:
    """The truth in the pixels of a band."""
    steps = (np.arange(size) + 0.5) * 30
    x, y = np.meshgrid(CORNER[0] + steps, CORNER[1] - steps)
    return truth.footprint(x, y, [BANDS[band]], 30)[0]


def _write(path: Path, values: np.ndarray, nodata: int | None) -> None:
    """A cloud-optimized GeoTIFF in tiles of 256 pixels, as they are delivered."""
    profile = {"driver": "GTiff", "count": 1, "height": values.shape[0], "width": values.shape[1], "dtype": values.dtype, "nodata": nodata}
    tiles = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "predictor": 2}
    with rasterio.open(path, "w", **profile, **tiles, crs=truth.CRS, transform=Affine(30, 0, CORNER[0], 0, -30, CORNER[1])) as file:
        file.write(values, 1)
        file.update_tags(AREA_OR_POINT="Point")


def metadata() -> dict[str, dict[str, str]]:
    """The groups of the metadata file, in their order, with the keys that say something of the images."""
    numbers = range(1, 8)
    return {
        "PRODUCT_CONTENTS": {
            **{"ORIGIN": "Image courtesy of the U.S. Geological Survey", "LANDSAT_PRODUCT_ID": NAME, "PROCESSING_LEVEL": "L2SP"},
            **{"COLLECTION_NUMBER": "02", "COLLECTION_CATEGORY": "T1", "OUTPUT_FORMAT": "GEOTIFF"},
            **{f"FILE_NAME_BAND_{k}": f"{NAME}_SR_B{k}.TIF" for k in numbers},
            "FILE_NAME_BAND_ST_B10": f"{NAME}_ST_B10.TIF",
            "FILE_NAME_QUALITY_L1_PIXEL": f"{NAME}_QA_PIXEL.TIF",
            "FILE_NAME_QUALITY_L1_RADIOMETRIC_SATURATION": f"{NAME}_QA_RADSAT.TIF",
            **{f"DATA_TYPE_BAND_{k}": "UINT16" for k in numbers},
        },
        "IMAGE_ATTRIBUTES": {
            **{"SPACECRAFT_ID": "LANDSAT_9", "SENSOR_ID": "OLI_TIRS", "WRS_TYPE": "2", "WRS_PATH": "193", "WRS_ROW": "023"},
            **{"DATE_ACQUIRED": "2024-09-04", "SCENE_CENTER_TIME": "10:02:03.0396420Z", "CLOUD_COVER": "4.20"},
        },
        "PROJECTION_ATTRIBUTES": {"MAP_PROJECTION": "UTM", "DATUM": "WGS84", "UTM_ZONE": "33", "GRID_CELL_SIZE_REFLECTIVE": "30.00"},
        "LEVEL2_PROCESSING_RECORD": {"PROCESSING_LEVEL": "L2SP", "ALGORITHM_SOURCE_SURFACE_REFLECTANCE": "LaSRC_1.6.0"},
        "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS": {
            **{f"REFLECTANCE_MULT_BAND_{k}": "2.75e-05" for k in numbers},
            **{f"REFLECTANCE_ADD_BAND_{k}": "-0.2" for k in numbers},
        },
        "LEVEL1_PROCESSING_RECORD": {"PROCESSING_LEVEL": "L1TP"},
        "LEVEL1_RADIOMETRIC_RESCALING": {
            **{f"REFLECTANCE_MULT_BAND_{k}": "2.0000E-05" for k in numbers},
            **{f"REFLECTANCE_ADD_BAND_{k}": "-0.100000" for k in numbers},
        },
    }


def _odl(groups: dict[str, dict[str, str]]) -> str:
    """In groups of lines; words are quoted, dates and numbers are not."""

    def line(key: str, value: str) -> str:
        plain = value.replace(".", "").replace("-", "").replace("e", "").replace("E", "").isdigit()
        return f"    {key} = {value}" if plain else f'    {key} = "{value}"'

    lines = [
        row
        for name, group in groups.items()
        for row in (f"  GROUP = {name}", *(line(*pair) for pair in group.items()), f"  END_GROUP = {name}")
    ]
    return "\n".join(["GROUP = LANDSAT_METADATA_FILE", *lines, "END_GROUP = LANDSAT_METADATA_FILE", "END", ""])
