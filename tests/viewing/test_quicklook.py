"""Pictures show what they say: stretch, places, and one map for cubes of different CRS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from PIL import Image

import geofuse
from geofuse.cube.schema import wrap
from geofuse.viewing.quicklook import comparison, interesting_places, rgb


def cube(values: np.ndarray, wavelength: list[float], pixel: float = 10.0) -> xr.DataArray:
    names = [f"{w:g} nm" for w in wavelength]
    return wrap(values, transform=Affine(pixel, 0, 390_000, 0, -pixel, 5_818_000), crs="EPSG:32633", names=names, wavelength=wavelength)


def test_rgb_picks_colours_by_wavelength_and_stretches_between_percentiles() -> None:
    ramp = np.linspace(0, 1, 10_000).reshape(100, 100)
    picture = rgb(cube(np.stack([0.1 * ramp, 0.2 * ramp, 0.3 * ramp, ramp]), [480, 560, 660, 800]), (2, 98))
    assert picture.dims == ("y", "x", "rgb")
    for colour in range(3):  # each band is the same ramp at another level, so all are stretched alike
        np.testing.assert_allclose(picture[..., colour].values, np.clip((ramp - 0.02) / 0.96, 0, 1), atol=1e-3)


def test_rgb_keeps_nodata() -> None:
    values = np.full((3, 8, 8), 0.2)
    values[:, 2, 3] = np.nan
    picture = rgb(cube(values, [480, 560, 660]))
    assert np.isnan(picture[2, 3]).all()
    assert np.isfinite(picture).sum() == 3 * 63


def test_places_differ_and_hold_data() -> None:
    rng = np.random.default_rng(0)
    values = np.full((4, 120, 120), 0.1)
    values[3, :, :40] += 0.4  # vegetation
    values[:, :, 80:] += 0.3  # roof
    values *= rng.normal(1, 0.01, values.shape)
    values[:, :, 118:] = np.nan
    scene = cube(values, [480, 560, 660, 800])
    places = interesting_places(scene)
    columns = sorted(int((x - 390_000) / 10) // 40 for x, _ in places)
    assert columns == [0, 1, 2]
    assert all(np.isfinite(scene.sel(x=x, y=y, method="nearest")).all() for x, y in places)


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:25832"])
def test_comparison_shows_the_coarse_image_on_the_map_of_the_fused_one(berlin: tuple[Path, Path], tmp_path: Path, crs: str) -> None:
    hsi = geofuse.open_hsi(berlin[0]).isel(y=slice(0, 30), x=slice(0, 30)).compute()
    shown = hsi.rio.reproject(crs, nodata=np.nan) if crs != "EPSG:32633" else hsi
    picture = tmp_path / "picture.png"
    comparison(hsi, shown, shown, picture)
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB")).astype(float)
    height, width = pixels.shape[:2]
    panels = [pixels[height // 8 : height // 2, width * k // 3 + width // 12 : width * (k + 1) // 3 - width // 12] for k in (0, 2)]
    assert all(panel.std() > 20 for panel in panels)  # neither is blank
    assert abs(panels[0].mean() - panels[1].mean()) < 12  # and both show the same place
