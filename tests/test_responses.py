"""Responses of sensors from the shell to the report: by name, from a table of the user's, and from the centre and width of the bands."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from pyrsr import RSR
from scipy.ndimage import uniform_filter

import geofuse
from geofuse.cube.schema import wrap
from geofuse.pipeline.job import Job
from tests.pairs import made_up_scene

NM = np.arange(400.0, 1001.0, 2.0)  # of the light
CENTRES, FWHM, RATIO, SIDE = np.arange(410.0, 991.0, 10.0), 12.0, 4, 96
SENTINEL = {"2": 493.0, "3": 560.0, "4": 665.0, "8A": 865.0}
GAIN = 1.07  # of the third band


def response() -> np.ndarray:
    """Sentinel-2A's, band by band, at the wavelengths of the light."""
    table = RSR(satellite="Sentinel-2A", sensor="MSI", no_thermal=True)
    weight = np.stack([np.interp(NM, table.rsrs_wvl, np.clip(table[band], 0, None), 0, 0) for band in SENTINEL])
    return np.asarray(weight / weight.sum(1, keepdims=True))


@cache
def cubes() -> tuple[xr.DataArray, xr.DataArray]:
    """What both sensors make of the light: Gaussian bands of the HSI, seen through a box; and the table's curves, one band too bright."""
    light = made_up_scene(len(NM), SIDE, SIDE)
    bands = np.exp(-4 * np.log(2) * ((NM - CENTRES[:, None]) / FWHM) ** 2)
    fine = np.tensordot(bands / bands.sum(1, keepdims=True), light, 1)
    coarse = uniform_filter(fine, (0, RATIO, RATIO), origin=(0, -1, -1))[:, 1::RATIO, 1::RATIO][:, : SIDE // RATIO, : SIDE // RATIO]
    msi = np.tensordot(response(), light, 1) * np.array([1.0, 1.0, GAIN, 1.0])[:, None, None]
    rng = np.random.default_rng(0)
    hsi, msi = (image + 0.001 * rng.normal(size=image.shape) for image in (coarse, msi))
    transform = Affine(10, 0, 500_000, 0, -10, 6_000_000)
    return (
        wrap(
            hsi,
            transform=transform * Affine.scale(RATIO),
            crs=32633,
            names=[""] * len(CENTRES),
            wavelength=CENTRES,
            fwhm=np.full(len(CENTRES), FWHM),
        ),
        wrap(msi, transform=transform, crs=32633, names=list(SENTINEL), wavelength=list(SENTINEL.values()), fwhm=[66.0, 36.0, 31.0, 21.0]),
    )


@pytest.mark.parametrize("srf", ["Sentinel-2A", "own.csv", "auto"])
def test_the_response_and_the_gain_are_reported(srf: str, tmp_path: Path) -> None:
    hsi, msi = (
        geofuse.to_cog(cube, tmp_path / f"{name}.tif", dtype="float32", progress=False)
        for name, cube in zip(("hsi", "msi"), cubes(), strict=True)
    )
    if srf == "own.csv":
        rows = ["nm,blue,green,red,nir", *(",".join(f"{v:.9g}" for v in row) for row in np.column_stack([NM, response().T]))]
        (tmp_path / srf).write_text("\n".join(rows))
        srf = str(tmp_path / srf)
    report = tmp_path / "report.json"
    Job(str(hsi), str(msi), tmp_path / "out.tif", "sylvester", srf=srf, progress=False, reports=(report,)).run()
    found = json.loads(report.read_text())
    radiometry = found["radiometry"]
    assert radiometry["against"] == {"auto": "centre and FWHM"}.get(srf, Path(srf).name)
    assert radiometry["gain"][2] == pytest.approx(GAIN, abs=0.01)
    assert radiometry["applied"][2]
    assert radiometry["gain"] == pytest.approx([1, 1, GAIN, 1], abs=0.02)
    if srf != "auto":  # of an estimated one the shape is undetermined; a table lies where it lies
        matrix = np.array(found["response"]["matrix"])
        assert matrix @ CENTRES / matrix.sum(1) == pytest.approx(response() @ NM, abs=2.0)
