"""Pairs on grids of any kind: each fine pixel gets the spectrum of its place, wherever on the globe and in whatever coordinates.

The HSI is made of the truth by sums of Gaussian weights around where pyproj says that each of its pixels lies.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

import geofuse
from geofuse.cube.schema import wrap
from geofuse.pair.grid import pair_grids
from geofuse.pair.prepare import Settings
from geofuse.pair.registration import Registration
from geofuse.pipeline.fit import fit_scene
from geofuse.pipeline.pair import pair
from geofuse.simulate import observed_at
from geofuse.stac.footprint import footprint
from tests.pairs import bell_responses, made_up_scene, psnr

BANDS, SIDE, RATIO = 12, 120, 4
METRE = 1 / 111_320  # degrees of latitude


def around(lon: float, lat: float, crs: str, pixel: tuple[float, float], shape: tuple[int, int]) -> GeoBox:
    """A grid centred on a place; pixel sizes along y and x, in units of the CRS."""
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, lat)
    (down, right), (rows, cols) = pixel, shape
    return GeoBox(shape, Affine(right, 0, x - right * cols / 2, 0, -down, y + down * rows / 2), crs)


def turned(box: GeoBox, degrees: float) -> GeoBox:
    """The same places, their longitudes given otherwise."""
    return GeoBox(box.shape, Affine.translation(degrees, 0) @ box.affine, box.crs)


def images(coarse: GeoBox, fine: GeoBox) -> tuple[np.ndarray, xr.DataArray, xr.DataArray]:
    """Truth on the fine grid, and both images, the HSI NaN where its pixels lie beyond the truth."""
    truth = made_up_scene(BANDS, *fine.shape, grain=1.2)
    row, col = np.mgrid[: coarse.shape[0], : coarse.shape[1]] + 0.5
    lon, lat = Transformer.from_crs(str(coarse.crs), "EPSG:4326", always_xy=True).transform(*(coarse.affine @ (col.ravel(), row.ravel())))
    x, y = Transformer.from_crs("EPSG:4326", str(fine.crs), always_xy=True).transform(lon, lat)
    if fine.crs.geographic:  # type: ignore[union-attr]
        x = np.mod(x - fine.affine.c + 180, 360) - 180 + fine.affine.c
    at_col, at_row = (~fine.affine) @ (np.asarray(x), np.asarray(y))
    inside = (at_row > 0) & (at_row < fine.shape[0]) & (at_col > 0) & (at_col < fine.shape[1])
    spectra = np.full((BANDS, inside.size), np.nan)
    spectra[:, inside] = observed_at(truth, at_row[inside] - 0.5, at_col[inside] - 0.5, RATIO / 2)
    rng = np.random.default_rng(0)
    hsi = spectra.reshape(BANDS, *coarse.shape) + 0.003 * rng.normal(size=(BANDS, *coarse.shape))
    msi = np.tensordot(bell_responses(BANDS, 4), truth, 1)
    msi = msi + 0.002 * rng.normal(size=msi.shape)
    named: dict[str, Any] = {"names": [f"b{k}" for k in range(BANDS)], "wavelength": np.linspace(450, 900, BANDS)}
    return (
        truth,
        wrap(hsi, transform=coarse.affine, crs=coarse.crs, **named),
        wrap(msi, transform=fine.affine, crs=fine.crs, names=list("bgrn")),
    )


FINE = (SIDE, SIDE)
COARSE = (SIDE // RATIO + 4, SIDE // RATIO + 4)
CASES = {
    "polar stereographic, both": (around(40, 82, "EPSG:3413", (40, 40), COARSE), around(40, 82, "EPSG:3413", (10, 10), FINE)),
    "polar stereographic with UTM": (around(14, 80, "EPSG:3413", (40, 40), COARSE), around(14, 80, "EPSG:32633", (10, 10), FINE)),
    "at the South Pole": (around(0, -90, "EPSG:3031", (40, 40), COARSE), around(0, -90, "EPSG:3031", (10, 10), FINE)),
    "the neighbouring UTM zone": (around(12, 52, "EPSG:32632", (40, 40), COARSE), around(12, 52, "EPSG:32633", (10, 10), FINE)),
    "degrees with UTM": (
        around(13, 52, "EPSG:4326", (40 * METRE, 40 * METRE / np.cos(np.radians(52))), COARSE),
        around(13, 52, "EPSG:32633", (10, 10), FINE),
    ),
    "square degrees with UTM": (
        around(13, 45, "EPSG:4326", (40 * METRE, 40 * METRE), (34, 46)),
        around(13, 45, "EPSG:32633", (10, 10), FINE),
    ),
    "UTM zones 60 and 1": (around(180, -17, "EPSG:32760", (40, 40), COARSE), around(180, -17, "EPSG:32701", (10, 10), FINE)),
    "UTM with degrees across 180°": (
        around(180, -17, "EPSG:32760", (40, 40), COARSE),
        around(-180, -17, "EPSG:4326", (10 * METRE, 10 * METRE / np.cos(np.radians(17))), FINE),
    ),
    "degrees across 180° with UTM": (
        around(-180, -17, "EPSG:4326", (40 * METRE, 40 * METRE / np.cos(np.radians(17))), COARSE),
        around(180, -17, "EPSG:32701", (10, 10), FINE),
    ),
    "degrees east and west of 180°": (
        turned(around(-180, -17, "EPSG:4326", (40 * METRE, 40 * METRE), COARSE), 360),
        around(-180, -17, "EPSG:4326", (10 * METRE, 10 * METRE), FINE),
    ),
    "polar with degrees across 180°": (
        around(180, 75, "EPSG:3413", (40, 40), COARSE),
        around(180, 75, "EPSG:4326", (10 * METRE, 10 * METRE / np.cos(np.radians(75))), FINE),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_place_gets_its_own_spectrum(case: str) -> None:
    coarse, fine = CASES[case]
    truth, hsi, msi = images(coarse, fine)
    scene = pair(hsi, msi)
    # The true PSF is given: what is estimated would make up for a displacement.
    known = Settings("sylvester", geometry=Registration((RATIO / 2, RATIO / 2), (0.0, 0.0), 0.0), progress=False)
    fused = geofuse.fuse(hsi, msi, model=fit_scene(scene, known), progress=False)
    assert np.isin(fused.x, msi.x).all()
    rows, cols = (np.searchsorted(order, fused[dim]) for dim, order in (("y", msi.y[::-1]), ("x", msi.x)))
    filled = np.isfinite(fused.values).all(0)
    assert filled.sum() > 0.85 * SIDE**2
    score = psnr(truth[:, ::-1][:, rows][:, :, cols][:, filled][:, None], fused.values[:, filled][:, None])
    print(f"{case}: {score:.2f} dB")
    assert score > 40
    geometry, bbox = footprint(scene.pair.output_geobox)
    crosses = "180°" in case or "zones 60 and 1" in case
    assert (geometry["type"], bbox[0] > bbox[2]) == (("MultiPolygon", True) if crosses else ("Polygon", False))


def test_degrees_given_from_0_to_360() -> None:
    """A place at 170° west, which one image puts at 190° and the other at -170°: the same windows as where both say the same."""
    coarse = around(-170, 20, "EPSG:4326", (40 * METRE, 40 * METRE), COARSE)
    fine = around(-170, 20, "EPSG:4326", (10 * METRE, 10 * METRE), FINE)
    plain, other = pair_grids(coarse, fine), pair_grids(turned(coarse, 360), fine)
    assert other.aligned
    assert (other.output, other.coarse_window, other.fine_window) == (plain.output, plain.coarse_window, plain.fine_window)
    assert other.axes[1].first == pytest.approx(plain.axes[1].first, abs=1e-6)


def test_pixels_that_are_points(tmp_path: Path) -> None:
    """A GeoTIFF with PixelIsPoint ties the centre of its first pixel and not the corner; both say where the same pixels lie."""
    values, corner = np.linspace(0.1, 0.4, 3 * 6 * 5).reshape(3, 6, 5).astype("float32"), Affine(10, 0, 500_000, 0, -10, 6_000_000)
    cubes = []
    for kind in ("Area", "Point"):
        path = tmp_path / f"{kind}.tif"
        profile = {"driver": "GTiff", "count": 3, "height": 6, "width": 5, "dtype": "float32", "crs": "EPSG:32633", "transform": corner}
        with rasterio.open(path, "w", **profile) as file:
            file.update_tags(AREA_OR_POINT=kind)
            file.write(values)
        cubes.append(geofuse.open_msi(path))
    # ModelTiepointTag of the files themselves: half a pixel apart, with GTRasterTypeGeoKey 1 and 2 (OGC GeoTIFF 1.1, 7.1.2)
    ties = [np.frombuffer((tmp_path / f"{kind}.tif").read_bytes(), np.uint8).tobytes() for kind in ("Area", "Point")]
    assert np.array([500_000.0, 6_000_000.0]).tobytes() in ties[0]
    assert np.array([500_005.0, 5_999_995.0]).tobytes() in ties[1]
    for cube in cubes:
        assert (float(cube.x[0]), float(cube.y[0])) == (500_005, 5_999_995)


def test_a_strip_a_hundred_times_as_large_is_read_where_the_other_lies() -> None:
    """3,400 rows of which the MSI covers 34: no other chunk is computed, and the result is that of the crop."""
    coarse, fine = around(13, 52, "EPSG:32633", (40, 40), COARSE), around(13, 52, "EPSG:32633", (10, 10), FINE)
    _, crop, msi = images(coarse, fine)
    above, rows = 1700, 3400
    lon_lat = coarse.affine @ Affine.translation(0, -above)

    def block(block_info: Any = None) -> np.ndarray:
        (_, (top, bottom), (left, right)) = block_info[None]["array-location"]
        assert bottom > above - 60
        assert top < above + COARSE[0] + 60
        out = np.full((BANDS, bottom - top, right - left), np.nan, "float32")
        first, last = max(top, above), min(bottom, above + COARSE[0])
        if first < last:
            out[:, first - top : last - top] = crop.values[:, first - above : last - above, left:right]
        return out

    data = da.map_blocks(block, chunks=((BANDS,), (50,) * (rows // 50), (COARSE[1],)), dtype="float32", meta=np.empty((0, 0, 0), "float32"))
    strip = wrap(data, transform=lon_lat, crs=coarse.crs, names=crop.band.values.tolist(), wavelength=crop.wavelength.values)
    scene = pair(strip, msi)
    assert scene.pair.coarse.shape[0] <= COARSE[0]
    model = geofuse.fit(strip, msi, method="sylvester", progress=False)
    one, other = (geofuse.fuse(hsi, msi, model=model, progress=False) for hsi in (strip, crop))
    np.testing.assert_array_equal(one.values, other.values)
