"""A small scene whose pixels are known by a formula: fused (two levels of tiles), the images it came from, quality, standard deviations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine

from geofuse.cube.schema import wrap

NM = np.array([450.0, 490, 560, 620, 665, 705, 842, 865, 1375, 1610, 2190])
WEST, NORTH, PIXEL = 400_000.0, 5_800_000.0, 10.0
ROWS, COLUMNS, RATIO = 560, 520, 10


def reflectance(band: int, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """What the fused image holds, to the last of its stored digits."""
    return 0.02 * (band + 1) + 1e-4 * (np.asarray(row) // 8) + 2e-4 * (np.asarray(column) // 8)


def cube(values: np.ndarray, nm: np.ndarray = NM, pixel: float = PIXEL, crs: str = "EPSG:32633", west: float = WEST) -> xr.DataArray:
    names = [f"{w:g} nm" for w in nm]
    return wrap(
        values, transform=Affine(pixel, 0, west, 0, -pixel, NORTH), crs=crs, names=names, wavelength=nm, fwhm=np.full(len(nm), 20.0)
    )


def write(path: Path, stored: np.ndarray, nm: np.ndarray | None, pixel: float) -> None:
    """A tiled GeoTIFF with overviews, int16 reflectance × 10000; without wavelengths flags, bytes as they are."""
    kind = {"dtype": "uint8", "nodata": 0} if nm is None else {"dtype": "int16", "nodata": -32768}
    bands, rows, columns = stored.shape
    place = {"crs": "EPSG:32633", "transform": Affine(pixel, 0, WEST, 0, -pixel, NORTH), "count": bands, "height": rows, "width": columns}
    options = {"tiled": True, "blockxsize": 128, "blockysize": 128, "interleave": "band", "compress": "deflate"}
    with rasterio.open(path, "w", driver="GTiff", **kind, **place, **options) as file:
        file.write(stored.astype(kind["dtype"]))
        if nm is not None:
            file.scales = (1e-4,) * bands
            for number, wavelength in enumerate(nm, start=1):
                file.set_band_description(number, f"{wavelength:g} nm")
                file.update_tags(number, wavelength=f"{wavelength:g}", fwhm="20", wavelength_units="nm")
        file.build_overviews([2, 4, 8], rasterio.enums.Resampling.nearest if nm is None else rasterio.enums.Resampling.average)


@dataclass(frozen=True)
class Files:
    """Paths of the scene."""

    fused: Path
    hsi: Path
    msi: Path
    uncertainty: Path
    quality: Path


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("view")
    made = Files(*(folder / name for name in ("fused.tif", "hsi.tif", "msi.tif", "fused_uncertainty.tif", "fused_quality.tif")))
    row, column = np.mgrid[:ROWS, :COLUMNS]
    fused = np.stack([reflectance(band, row, column) for band in range(len(NM))])
    fused[:, :16, :16] = np.nan
    coarse = fused.reshape(len(NM), ROWS // RATIO, RATIO, COLUMNS // RATIO, RATIO).mean((2, 4))
    fine = [1, 2, 4, 6]
    for values, nm, pixel, path in (
        (fused, NM, PIXEL, made.fused),
        (coarse, NM, PIXEL * RATIO, made.hsi),
        (fused[fine], NM[fine], PIXEL, made.msi),
        (np.where(np.isnan(fused), np.nan, 0.01), NM, PIXEL, made.uncertainty),
    ):
        write(path, np.where(np.isnan(values), -32768, np.rint(values * 1e4)), nm, pixel)
    flags = np.where(np.isnan(fused[0]), 0, 1).astype(np.uint8)
    flags[100:120, 100:120], flags[200:220, 200:220] = 16, 2 | 4
    write(made.quality, flags[None], None, PIXEL)
    return made
