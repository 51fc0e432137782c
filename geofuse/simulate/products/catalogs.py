"""Items as large public catalogs publish them, their assets cut to a small scene beside the JSON.

Earth Search v1 (Element 84): Sentinel-2 under common names, each band as COG and as JPEG 2000, offset declared also where it has been applied.
Planetary Computer (Microsoft): Sentinel-2 under band names without ``raster:bands``; Landsat under common names with scale and offset.
Keys, properties, band fields and roles are those of items of these catalogs in 2023 and 2024.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

from geofuse.simulate.products import landsat, sentinel2, truth

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
# Key in Earth Search, band, common name, centre and FWHM in micrometres.
SENTINEL2 = (
    ("blue", "B2", "blue", 0.49, 0.098),
    ("green", "B3", "green", 0.56, 0.045),
    ("red", "B4", "red", 0.665, 0.038),
    ("rededge1", "B5", "rededge", 0.704, 0.019),
    ("nir", "B8", "nir", 0.842, 0.145),
    ("swir16", "B11", "swir16", 1.61, 0.143),
)


def earth_search(folder: Path, *, applied: bool, baseline: str = "05.09") -> Path:
    """An item of ``sentinel-2-l2a`` in Earth Search v1; whether the offset is still in the pixels, ``applied`` says."""
    shifted = float(baseline) >= 4 and not applied
    assets: dict[str, Any] = {}
    for key, band, common, centre, fwhm in SENTINEL2:
        resolution = sentinel2.BANDS[band][0]
        _write(folder / f"{sentinel2.file_name(band)}.tif", _counts(band, shifted), resolution, sentinel2.CORNER, 0)
        about = {"name": key, "common_name": common, "description": key, "center_wavelength": centre, "full_width_half_max": fwhm}
        stored = {
            "nodata": 0,
            "data_type": "uint16",
            "bits_per_sample": 15,
            "spatial_resolution": resolution,
            "scale": 1e-4,
            "offset": -0.1,
        }
        fields = {"title": key, "eo:bands": [about], "gsd": resolution, "raster:bands": [stored], "roles": ["data", "reflectance"]}
        assets[key] = {"href": f"./{sentinel2.file_name(band)}.tif", "type": COG, **fields}
        assets[f"{key}-jp2"] = {"href": f"s3://sentinel-s2-l2a/tiles/33/U/UU/2024/9/4/0/{band}.jp2", "type": "image/jp2", **fields}
    for key in ("aot", "wvp"):
        stored = {"nodata": 0, "data_type": "uint16", "bits_per_sample": 15, "spatial_resolution": 20, "scale": 0.001, "offset": 0}
        assets[key] = {"href": f"./{key.upper()}.tif", "type": COG, "raster:bands": [stored], "roles": ["data", "reflectance"]}
    assets["visual"] = {"href": "./TCI.tif", "type": COG, "eo:bands": [{"name": c, "common_name": c} for c in ("red", "green", "blue")]}
    assets["visual"]["roles"] = ["visual"]
    layer = {"nodata": 0, "data_type": "uint8", "spatial_resolution": 20}
    assets["scl"] = {"href": "./SCL.tif", "type": COG, "raster:bands": [layer], "roles": ["data", "reflectance"]}
    assets["scl-jp2"] = {
        "href": "s3://sentinel-s2-l2a/tiles/33/U/UU/2024/9/4/0/SCL.jp2",
        "type": "image/jp2",
        "roles": ["data", "reflectance"],
    }
    _write(folder / "SCL.tif", sentinel2.classification(60), 20, sentinel2.CORNER, 0)
    properties = {"platform": "sentinel-2a", "constellation": "sentinel-2", "instruments": ["msi"], "eo:cloud_cover": 4.2}
    properties |= {"s2:processing_baseline": baseline, "earthsearch:boa_offset_applied": applied}
    return _item(folder, "S2A_33UUU_20240904_0_L2A", "sentinel-2-l2a", properties, assets)


def planetary_computer(folder: Path, *, baseline: str = "05.11") -> Path:
    """An item of ``sentinel-2-l2a`` in Planetary Computer: pixels are those of the product, and neither scale nor offset is declared."""
    assets: dict[str, Any] = {}
    for _, band, common, centre, fwhm in SENTINEL2:
        name, resolution = sentinel2.file_name(band), sentinel2.BANDS[band][0]
        _write(folder / f"{name}.tif", _counts(band, float(baseline) >= 4), resolution, sentinel2.CORNER, None)
        about = {"name": name, "common_name": common, "description": name, "center_wavelength": centre, "full_width_half_max": fwhm}
        assets[name] = {
            "href": f"./{name}.tif",
            "type": COG,
            "title": name,
            "eo:bands": [about],
            "gsd": float(resolution),
            "roles": ["data"],
        }
    for key in ("AOT", "SCL", "WVP"):
        assets[key] = {"href": f"./{key}.tif", "type": COG, "title": key, "gsd": 20.0, "roles": ["data"]}
    bands = [{"name": name, "common_name": c} for name, c in (("B04", "red"), ("B03", "green"), ("B02", "blue"))]
    assets["visual"] = {"href": "./TCI.tif", "type": COG, "title": "True color image", "eo:bands": bands, "roles": ["data"]}
    _write(folder / "SCL.tif", sentinel2.classification(60), 20, sentinel2.CORNER, None)
    properties = {"platform": "Sentinel-2A", "constellation": "Sentinel 2", "instruments": ["msi"], "eo:cloud_cover": 4.2}
    return _item(folder, sentinel2.NAME, "sentinel-2-l2a", properties | {"s2:processing_baseline": baseline}, assets)


def planetary_computer_landsat(folder: Path) -> Path:
    """An item of ``landsat-c2-l2`` in Planetary Computer, which stactools made: with surface temperature and its intermediate results."""
    product = landsat.write(folder)
    assets: dict[str, Any] = {}
    keys = ("coastal", "blue", "green", "red", "nir08", "swir16", "swir22")
    for key, (band, centre) in zip(keys, landsat.BANDS.items(), strict=True):
        about = {
            "name": band.replace("SR_B", "OLI_B"),
            "common_name": key,
            "center_wavelength": round(centre / 1e3, 2),
            "full_width_half_max": 0.06,
        }
        stored = {"nodata": 0, "data_type": "uint16", "spatial_resolution": 30, "scale": 2.75e-05, "offset": -0.2}
        assets[key] = {"href": f"./{product.name}/{landsat.NAME}_{band}.TIF", "type": COG, "eo:bands": [about], "raster:bands": [stored]}
        assets[key]["roles"] = ["data", "reflectance"]
    layer = {"data_type": "uint16", "spatial_resolution": 30, "unit": "bit index"}
    roles = {"qa_pixel": ["cloud", "cloud-shadow", "snow-ice", "water-mask"], "qa_radsat": ["saturation"]}
    for key, meant in roles.items():
        assets[key] = {"href": f"./{product.name}/{landsat.NAME}_{key.upper()}.TIF", "type": COG, "raster:bands": [layer], "roles": meant}
    warm = {"name": "TIRS_B10", "common_name": "lwir11", "center_wavelength": 10.9, "full_width_half_max": 0.59}
    stored = {"nodata": 0, "data_type": "uint16", "spatial_resolution": 30, "unit": "kelvin", "scale": 0.00341802, "offset": 149.0}
    assets["lwir11"] = {"href": f"./{product.name}/{landsat.NAME}_ST_B10.TIF", "type": COG, "eo:bands": [warm], "raster:bands": [stored]}
    assets["lwir11"]["roles"] = ["data", "temperature"]
    for key in ("atran", "cdist", "emis"):
        scaled = {"nodata": -9999, "data_type": "int16", "spatial_resolution": 30, "scale": 0.0001}
        assets[key] = {"href": f"./{landsat.NAME}_ST_{key.upper()}.TIF", "type": COG, "raster:bands": [scaled], "roles": ["data"]}
    assets["mtl.json"] = {"href": f"./{product.name}/{landsat.NAME}_MTL.json", "type": "application/json", "roles": ["metadata"]}
    return _item(folder, landsat.NAME, "landsat-c2-l2", {"platform": "landsat-9", "instruments": ["oli", "tirs"], "gsd": 30}, assets)


def earth_search_landsat(folder: Path) -> Path:
    """An item of ``landsat-c2-l2`` in Earth Search v1, made by the same software: with all layers of quality, which are not cut out here."""
    path = planetary_computer_landsat(folder)
    item = json.loads(path.read_text())
    for key, roles in {"qa_aerosol": ["data-mask", "water-mask"], "qa": ["data"], "emsd": ["data", "emissivity"]}.items():
        stored = {"data_type": "int16", "spatial_resolution": 30}
        item["assets"][key] = {"href": f"./{landsat.NAME}_{key.upper()}.TIF", "type": COG, "raster:bands": [stored], "roles": roles}
    path.write_text(json.dumps(item))
    return path


def _counts(band: str, shifted: bool) -> np.ndarray:
    return (np.round(sentinel2.reflectance(band) * 10000) + 1000 * shifted).astype("uint16")


def _write(path: Path, values: np.ndarray, pixel: float, corner: tuple[float, float], nodata: int | None) -> None:
    profile = {"driver": "GTiff", "count": 1, "height": values.shape[0], "width": values.shape[1], "dtype": values.dtype, "nodata": nodata}
    with rasterio.open(path, "w", **profile, crs=truth.CRS, transform=Affine(pixel, 0, corner[0], 0, -pixel, corner[1])) as file:
        file.write(values, 1)


def _item(folder: Path, name: str, collection: str, properties: dict[str, Any], assets: dict[str, Any]) -> Path:
    box = [13.36, 52.50, 13.39, 52.52]
    ring = [[box[0], box[1]], [box[2], box[1]], [box[2], box[3]], [box[0], box[3]], [box[0], box[1]]]
    item: dict[str, Any] = {"type": "Feature", "stac_version": "1.0.0", "id": name, "collection": collection, "links": [], "bbox": box}
    item |= {"geometry": {"type": "Polygon", "coordinates": [ring]}, "assets": assets}
    item["properties"] = {"datetime": "2024-09-04T10:10:31.024000Z", "proj:epsg": 32633, **properties}
    path = folder / f"{name}.item.json"
    path.write_text(json.dumps(item))
    return path
