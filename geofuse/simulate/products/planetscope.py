"""PlanetScope SuperDove scenes of surface reflectance with usable data mask: PlanetScope Product Specifications, UDM 2.1.

Names of files and layers, types, fill value and keys of the metadata are those of a scene of 2024, which was cut to a small part.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from geofuse.simulate.products import truth

NAME, TAKEN = "20240904_101112_37_24c8", "2024-09-04T10:11:12.371234Z"
BANDS = {"coastal_blue": 443, "blue": 490, "green_i": 531, "green": 565, "yellow": 610, "red": 665, "rededge": 705, "nir": 865}
CORNER = (389_700.0, 5_820_300.0)
# Bands of the mask, from 1: clear, snow, shadow, light haze, heavy haze, cloud, confidence, unusable.
PLACES = ((3, slice(10, 20), slice(10, 20)), (4, slice(30, 40), slice(10, 20)), (6, slice(50, 60), slice(10, 20)))


def write(folder: Path, size: int = 100, fill_rows: int = 5, xml: bool = False, clip: str = "_clip") -> Path:
    """Write a scene of ``size`` pixels a side, of which the first rows are blackfill; returns its folder.

    With ``xml`` its metadata are the XML beside the image and not the JSON of the item.
    """
    root = folder / "PSScene"
    root.mkdir()
    stored = np.round(reflectance(size) * 10000).astype("uint16")
    stored[:, :fill_rows] = 0
    _write(root / f"{NAME}_3B_AnalyticMS_SR_8b_harmonized{clip}.tif", stored, 0)
    mask = np.zeros((8, size, size), "uint8")
    mask[0] = 1
    for band, rows, cols in PLACES:
        mask[[0, band - 1], rows, cols] = [[[0]], [[1]]]
    mask[:, :fill_rows], mask[7, :fill_rows] = 0, 1
    mask[6, fill_rows:] = 95
    _write(root / f"{NAME}_3B_udm2{clip}.tif", mask, None)
    if xml:
        (root / f"{NAME}_3B_AnalyticMS_8b_metadata{clip}.xml").write_text(METADATA)
    else:
        properties = {
            "acquired": TAKEN,
            "instrument": "PSB.SD",
            "item_type": "PSScene",
            "pixel_resolution": 3,
            "gsd": 3.9,
            "satellite_id": "24c8",
        }
        (root / f"{NAME}_metadata.json").write_text(json.dumps({"id": NAME, "type": "Feature", "properties": properties}))
    return root


def reflectance(size: int = 100) -> np.ndarray:
    """The truth in all bands."""
    steps = (np.arange(size) + 0.5) * 3
    x, y = np.meshgrid(CORNER[0] + steps, CORNER[1] - steps)
    return truth.footprint(x, y, list(BANDS.values()), 3)


def _write(path: Path, values: np.ndarray, nodata: int | None) -> None:
    profile = {"driver": "GTiff", "count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype}
    with rasterio.open(path, "w", **profile, nodata=nodata, crs=truth.CRS, transform=Affine(3, 0, CORNER[0], 0, -3, CORNER[1])) as file:
        file.write(values)


METADATA = f"""<?xml version="1.0" encoding="UTF-8"?>
<ps:EarthObservation xmlns:gml="http://www.opengis.net/gml" xmlns:eop="http://earth.esa.int/eop" version="1.2.1"
    xmlns:ps="http://schemas.planet.com/ps/v1/planet_product_metadata_geocorrected_level" gml:id="ps_1">
  <gml:using><eop:EarthObservationEquipment><eop:acquisitionParameters><ps:Acquisition>
    <ps:acquisitionDateTime>{TAKEN.replace("Z", "+00:00")}</ps:acquisitionDateTime>
  </ps:Acquisition></eop:acquisitionParameters></eop:EarthObservationEquipment></gml:using>
</ps:EarthObservation>
"""
