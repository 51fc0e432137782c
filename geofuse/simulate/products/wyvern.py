"""A Wyvern delivery of the known scene: image, usable data mask and STAC item under the names of the Wyvern Data Product Guide, version 2.0-beta."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from geofuse.simulate.products import truth

GSD, NODATA = 5.0, 65535
NAME = "wyvern_dragonette-003_20250508T092313_a60915a4_{}"
ORDER = "a60915a4-0c2e-4f0a-9e4f-2f2f7d1b6a11_{}"
TAKEN = "2025-05-08T09:23:13Z"
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
# Extended VNIR, 31 bands: nominal centres (nm), in the file's order; widths grow with the wavelength.
WAVELENGTHS = np.round(np.linspace(445, 869, 31))
FWHM = np.round(WAVELENGTHS * 0.04, 1)
UNITS = {"L2A": "", "L1B": "W / (m2 * sr * µm)"}


def transform(rows: int, cols: int) -> Affine:
    """The grid around the centre of the scene."""
    return Affine(GSD, 0, truth.CENTRE[0] - cols // 2 * GSD, 0, -GSD, truth.CENTRE[1] + rows // 2 * GSD)


def mask(rows: int, cols: int) -> NDArray[np.uint8]:
    """The usable data mask: clear, cloud, haze and cloud shadow, 255 where the turned strip has no data."""
    made = np.zeros((4, rows, cols), np.uint8)
    made[1, 6:10, 8:14] = made[2, 12:14, 4:20] = made[3, 10:13, 8:14] = 1
    made[0] = made[1:].max(0) == 0
    made[:, empty(rows, cols)] = 255
    return made


def empty(rows: int, cols: int) -> NDArray[np.bool_]:
    """What the turned strip does not cover."""
    return np.asarray(np.add.outer(np.arange(rows), np.arange(cols)) < 8)


def write(folder: Path, *, rows: int = 30, cols: int = 28, level: str = "L2A", **changes: Any) -> Path:
    """Write a delivery and return its folder; ``changes`` are properties of the item to replace."""
    name, root = NAME.format(level.lower()), folder / ORDER.format(level.lower())
    place = root / name
    place.mkdir(parents=True)
    t = transform(rows, cols)
    y, x = np.mgrid[:rows, :cols] + 0.5
    values = truth.footprint(t.c + x * GSD, t.f - y * GSD, WAVELENGTHS, GSD, samples=3)
    profile = {"driver": "GTiff", "width": cols, "height": rows, "crs": truth.CRS, "transform": t, "compress": "lzw"}
    numbers = np.round(values * 1e4).astype("uint16") if level == "L2A" else (values * 120).astype("float32")
    nodata = NODATA if level == "L2A" else -9999
    numbers[:, empty(rows, cols)] = nodata
    with rasterio.open(place / f"{name}.tiff", "w", count=31, dtype=numbers.dtype, nodata=nodata, **profile) as file:
        file.write(numbers)
        file.descriptions = [f"Band_{nm:.0f}" for nm in WAVELENGTHS]
        for band, (nm, width) in enumerate(zip(WAVELENGTHS, FWHM, strict=True), start=1):
            file.update_tags(band, Wavelength=f"{nm:g}", FWHM=f"{width:g}", Wavelength_Units="nm")
    for kind, layers in (("data_mask", mask(rows, cols)), ("pixel_quality_mask", np.zeros((31, rows, cols), np.uint8))):
        with rasterio.open(place / f"{name}_{kind}.tiff", "w", count=len(layers), dtype="uint8", nodata=255, **profile) as file:
            file.write(layers)
    (place / f"{name}.json").write_text(json.dumps(_item(name, level, nodata, changes)))
    link = {"rel": "item", "href": f"./{name}/{name}.json", "type": "application/json"}
    catalog = {"type": "Catalog", "stac_version": "1.0.0", "id": root.name, "description": "one item", "links": [link]}
    (root / "catalog.json").write_text(json.dumps(catalog))
    return root


def _item(name: str, level: str, nodata: int, changes: dict[str, Any]) -> dict[str, Any]:
    stored = {"nodata": nodata, "sampling": "area", "data_type": "uint16" if level == "L2A" else "float32", "unit": UNITS[level]}
    stored |= {"scale": 0.0001, "offset": 0} if level == "L2A" else {}
    bands = [
        {
            "name": f"Band_{nm:.0f}",
            "center_wavelength": nm / 1e3,
            "full_width_half_max": round(width / 1e3, 5),
            "solar_illumination": 1500.0,
        }
        for nm, width in zip(WAVELENGTHS, FWHM, strict=True)
    ]
    flags = [{"name": f"QA_{kind}_MASK"} for kind in ("CLEAR", "CLOUD", "HAZE", "CLOUD_SHADOW")]
    layer = {"nodata": 255, "sampling": "area", "data_type": "uint8"}
    assets: dict[str, Any] = {
        "Cloud optimized GeoTiff": {"href": f"./{name}.tiff", "eo:bands": bands, "raster:bands": [stored] * 31, "roles": ["data"]},
        "Data Mask": {"href": f"./{name}_data_mask.tiff", "eo:bands": flags, "raster:bands": [layer] * 4, "roles": ["data-mask", "clear"]},
        "Pixel Quality Mask": {"href": f"./{name}_pixel_quality_mask.tiff", "raster:bands": [layer] * 31, "roles": ["data"]},
    }
    properties = {"datetime": TAKEN, "platform": "Dragonette-003", "constellation": "Dragonette", "processing:level": level, "gsd": 5.3}
    box = [13.37, 52.51, 13.39, 52.53]
    ring = [[box[0], box[1]], [box[2], box[1]], [box[2], box[3]], [box[0], box[3]], [box[0], box[1]]]
    return {
        **{"type": "Feature", "stac_version": "1.0.0", "stac_extensions": [], "id": name, "links": [], "bbox": box},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": properties | {"product_type": "hyperspectral", "proj:epsg": 32633} | changes,
        "assets": {key: {"type": COG, "title": key, **asset} for key, asset in assets.items()},
    }
