"""A Hyperion L1T delivery (radiance): a GeoTIFF a band and metadata under the names that the USGS gives them, of a few bands of the known scene.

*Earth Observing-1 (EO-1) User Guide*, version 2.3; groups and keys of the metadata are those that public readers take.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from geofuse.simulate.products import truth

SCENE, GSD = "EO1H1930232009232110KF", 30.0
# Number, centre (nm); radiance is stored times 40 up to band 70, times 80 after it.
BANDS = {8: 426.82, 20: 548.92, 31: 660.85, 50: 854.18, 90: 1043.6, 150: 1648.9, 210: 2254.22}


def write(folder: Path, *, size: int = 24) -> Path:
    """Write a delivery and return its folder."""
    place = folder / SCENE
    place.mkdir()
    t = Affine(GSD, 0, truth.CENTRE[0] - size // 2 * GSD, 0, -GSD, truth.CENTRE[1] + size // 2 * GSD)
    y, x = np.mgrid[:size, :size] + 0.5
    values = truth.footprint(t.c + x * GSD, t.f - y * GSD, list(BANDS.values()), GSD)
    profile = {"driver": "GTiff", "count": 1, "width": size, "height": size, "dtype": "int16", "crs": truth.CRS, "transform": t}
    for number, plane in zip(BANDS, values, strict=True):
        with rasterio.open(place / f"{SCENE}_B{number:03d}_L1T.TIF", "w", **profile) as file:
            file.write(np.round(plane * 150 * (40 if number <= 70 else 80)).astype("int16"), 1)
    (place / f"{SCENE}_MTL_L1T.TXT").write_text(_metadata(size))
    return place


def _metadata(size: int) -> str:
    files = "\n".join(f'    BAND{number}_FILE_NAME = "{SCENE}_B{number:03d}_L1T.TIF"' for number in BANDS)
    return f"""GROUP = L1_METADATA_FILE
  GROUP = PRODUCT_METADATA
    PRODUCT_TYPE = "L1T"
    SPACECRAFT_ID = "EO1"
    SENSOR_ID = "HYPERION"
    ACQUISITION_DATE = 2009-08-20
    START_TIME = "2009 232 09:53:10"
    PRODUCT_SAMPLES = {size}
    PRODUCT_LINES = {size}
{files}
  END_GROUP = PRODUCT_METADATA
  GROUP = RADIANCE_SCALING
    SCALING_FACTOR_VNIR = 40.000000
    SCALING_FACTOR_SWIR = 80.000000
  END_GROUP = RADIANCE_SCALING
END_GROUP = L1_METADATA_FILE
END
"""
