"""Every hyperspectral product with every multispectral one: fused, written, read again, and compared with the scene that both show."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import xarray as xr

import geofuse
from geofuse.cube.flags import Quality
from geofuse.cube.masks import UNUSABLE
from geofuse.errors import InvalidInput
from geofuse.pipeline.job import Job
from geofuse.simulate.products import aviris, catalogs, desis, emit, enmap, landsat, planetscope, prisma, sentinel2, tanager, truth, wyvern

Make = Callable[[Path], Path]
HSI: dict[str, Make] = {
    "EMIT": lambda folder: emit.write(folder, rows=22, cols=22),
    "EnMAP": lambda folder: enmap.write(folder),
    "PRISMA": lambda folder: prisma.write(folder),
    "DESIS": lambda folder: desis.write(folder),
    "AVIRIS": lambda folder: aviris.write(folder),
    "Tanager": lambda folder: tanager.write(folder),
    "Wyvern": lambda folder: wyvern.write(folder, rows=40, cols=36),
}
# Wavelengths and FWHM (nm) that the makers gave the bands, in any order; 0 for bands that were not acquired.
SPECTRA: dict[str, tuple[np.ndarray, Any]] = {
    "EMIT": (emit.WAVELENGTHS, 8.5),
    "EnMAP": (enmap.WAVELENGTHS, enmap.FWHM),
    "PRISMA": (np.concatenate([prisma.VNIR, prisma.SWIR]), np.concatenate([prisma.FWHM["Vnir"], prisma.FWHM["Swir"]])),
    "DESIS": (desis.WAVELENGTHS, 3.5),
    "AVIRIS": (aviris.WAVELENGTHS, 8.2),
    "Tanager": (tanager.WAVELENGTHS, 5.5),
    "Wyvern": (wyvern.WAVELENGTHS, wyvern.FWHM),
}
# Each with the pixel size onto which its bands are brought.
MSI: dict[str, tuple[Make, float | None]] = {
    "Sentinel-2, 10 m": (sentinel2.write, None),
    "Sentinel-2, 10 and 20 m": (sentinel2.write, 10),
    "Sentinel-2, Earth Search": (lambda folder: catalogs.earth_search(folder, applied=True), 10),
    "Landsat 8/9": (landsat.write, None),
    "SuperDove": (lambda folder: planetscope.write(folder, size=300), None),
}
BANDS = 40  # of each HSI: every so many, so that a pair takes seconds
NODATA = -32768


@dataclass(frozen=True)
class Fused:
    """What became of a pair.

    Attributes
    ----------
    rejected : str
        Why; empty if it was fused.
    ratio : float
        Coarse over fine pixel size.
    psnr : dict of float
        By method, dB, peak 1.0: mean of the good bands, over the valid pixels.
    wrong : list of str
        What was not as it should be in the files.
    warnings : list of str
    """

    rejected: str = ""
    ratio: float = 0.0
    psnr: dict[str, float] = field(default_factory=dict)
    valid: float = 0.0
    masked: float = 0.0
    wrong: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def spectrum(product: str, count: int) -> np.ndarray:
    """Wavelengths and FWHM (2, band) of every so many of the bands that a product has, in order of wavelength."""
    made = np.stack(np.broadcast_arrays(*SPECTRA[product])).astype(float)
    made = made[:, np.argsort(made[0], kind="stable")][:, np.count_nonzero(made[0] == 0) :]
    return made[:, :: _step(made.shape[1], count)]


def _step(bands: int, count: int) -> int:
    return max(1, bands // count)


def fuse(product: str, hsi: Path, msi: Path, resolution: float | None, folder: Path, methods: tuple[str, ...], count: int = BANDS) -> Fused:
    """Fuse two products with each method, and look at what was written; about ``count`` bands of the HSI."""
    spectra = spectrum(product, count)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        names = geofuse.open_hsi(hsi).band.values.tolist()
        bands = names[:: _step(len(names), count)]
        images: dict[str, xr.DataArray] = {}
        report: dict[str, Any] = {}
        for method in methods:
            out = folder / f"{method}.tif"
            job = Job(
                str(hsi), str(msi), out, method, hsi_bands=",".join(bands), msi_resolution=resolution, progress=False,
                reports=(out.with_suffix(".report.json"), out.with_suffix(".html")),
            )  # fmt: skip
            try:
                job.run()
            except InvalidInput as error:
                return Fused(rejected=str(error))
            images[method] = geofuse.open_hsi(out)
            report = report or json.loads(job.reports[0].read_text())
        inputs = geofuse.open_hsi(hsi, bands=bands), geofuse.open_msi(msi, resolution=resolution)
    first = folder / f"{methods[0]}.tif"
    known = _known(images[methods[0]], spectra[0])
    valid = np.logical_and.reduce([np.isfinite(image.values[image.good.values]).all(0) for image in images.values()])
    flags = _flags(first)
    return Fused(
        ratio=report["geometry"]["ratio"],
        psnr={method: _psnr(image, known, valid) for method, image in images.items()},
        valid=float(valid.mean()),
        masked=float(((flags & Quality.MASKED) > 0).mean()),
        wrong=wrong(first, spectra, *inputs),
        warnings=sorted({str(each.message) for each in caught if each.category is not PendingDeprecationWarning})
        + [f"{each['code']}: {each['message']}" for each in report["warnings"]],
    )


def wrong(path: Path, spectra: np.ndarray, hsi: xr.DataArray, msi: xr.DataArray) -> list[str]:
    """What an independent reader, geofuse and the STAC item say otherwise than the makers (wavelengths, FWHM) and the inputs."""
    found: dict[str, bool] = {}
    with rasterio.open(path) as file:
        found["CRS"] = file.crs == rasterio.crs.CRS.from_user_input(truth.CRS)
        found["pixel size"] = file.res == tuple(abs(float(msi[axis][1] - msi[axis][0])) for axis in ("x", "y"))
        found["nodata"] = file.nodata == NODATA
        for name, tag, made in zip(("wavelengths", "FWHM"), ("wavelength", "fwhm"), spectra, strict=True):
            found[name] = file.count == made.size and np.allclose([float(file.tags(k)[tag]) for k in file.indexes], made, atol=0.01)
        good = np.flatnonzero(hsi.good.values) + 1
        missing = (file.read([int(k) for k in good]) == NODATA).all(0)
    cube = geofuse.open_hsi(path)
    found["grid"] = bool(np.isin(cube.x.values, msi.x.values).all() and np.isin(cube.y.values, msi.y.values).all())
    found["good bands"] = bool((cube.good.values <= hsi.good.values).all())
    flags, masked = _flags(path), _masked(msi, cube)
    found["mask of the MSI"] = bool(
        (msi.mask.values & UNUSABLE).any() and missing[masked].all() and (flags[masked & (flags > 0)] == Quality.MASKED).all()
    )
    found["quality of nodata"] = bool((flags[missing] & ~np.uint8(Quality.MASKED) == 0).all() and (flags[~missing] > 0).all())
    item = json.loads(path.with_suffix(".json").read_text())
    dates = [item["properties"].get(key) for key in ("start_datetime", "end_datetime")]
    taken = sorted(np.datetime_as_string(image.time.values, unit="s") for image in (hsi, msi))
    found["dates"] = [str(date)[:19] for date in dates] == taken
    return [what for what, right in found.items() if not right]


def _flags(path: Path) -> np.ndarray:
    with rasterio.open(path.with_name(f"{path.stem}_quality.tif")) as file:
        return np.asarray(file.read(1))


def _masked(msi: xr.DataArray, fused: xr.DataArray) -> np.ndarray:
    """Pixels of the fused image that the MSI's product calls unusable."""
    return np.asarray((msi.mask.sel(y=fused.y, x=fused.x) & np.uint8(UNUSABLE)).values > 0)


def _known(fused: xr.DataArray, wavelengths: np.ndarray) -> np.ndarray:
    x, y = np.meshgrid(fused.x, fused.y)
    return truth.footprint(x, y, wavelengths, float(fused.x[1] - fused.x[0]), samples=3)


def _psnr(fused: xr.DataArray, known: np.ndarray, valid: np.ndarray) -> float:
    error = (fused.values - known)[fused.good.values][:, valid]
    return float(np.mean(-10 * np.log10((error**2).mean(1))))
