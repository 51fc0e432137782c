"""Images whose rows do not run along the map: on a grid that is north up, not a pixel changed, and with their true centres."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine

import geofuse
from geofuse.cube.schema import check_cube, geobox
from geofuse.errors import InvalidCube, InvalidPair
from geofuse.io.read.turned import Turn, TurnedArray, TurnedFlags
from geofuse.simulate import cubes, observed_at, simulate_pair
from tests.pairs import made_up_scene, psnr

UTM = Affine.translation(500_000, 6_000_000)
TURNS = {
    "12°": UTM @ Affine.rotation(12) @ Affine.scale(20, -20),
    "80°": UTM @ Affine.rotation(80) @ Affine.scale(20, -20),
    "90°": UTM @ Affine.rotation(90) @ Affine.scale(20, -20),
    "mirrored": UTM @ Affine.scale(-20, -20),
    "sheared, oblong": UTM @ Affine.rotation(30) @ Affine.shear(5) @ Affine.scale(23, -18),
}


def write(path: Path, values: np.ndarray, transform: Affine, driver: str = "GTiff") -> Path:
    profile = {"driver": driver, "count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": "float32"}
    with rasterio.open(path, "w", **profile, crs="EPSG:32633", transform=transform, nodata=-9999) as file:
        file.write(values.astype("float32"))
        for band in file.indexes:
            file.update_tags(band, wavelength=str(400 + 10 * band), wavelength_units="nm")
    return path


def numbered(bands: int = 3, rows: int = 23, cols: int = 17) -> np.ndarray:
    """Every pixel of every band its own number, none above that of a reflectance."""
    return (np.arange(bands * rows * cols).reshape(bands, rows, cols) + 1) / 2000


@pytest.mark.parametrize("turn", TURNS)
def test_every_pixel_is_shown_where_it_lies_and_counts_once(turn: str, tmp_path: Path) -> None:
    """By brute force: the pixel in which each centre of the grid lies, and of the grid pixels that show it the nearest."""
    transform, values = TURNS[turn], numbered()
    cube = geofuse.open_hsi(write(tmp_path / "a.tif", values, transform), chunks=None).compute()
    check_cube(cube, "HSI")
    box = geobox(cube).affine
    assert (box.b, box.d) == (0, 0)
    assert box.a == pytest.approx(-box.e)
    assert box.a**2 == pytest.approx(abs(transform.determinant))
    shown: dict[tuple[int, int], list[tuple[float, tuple[int, int]]]] = {}
    for i, j in np.ndindex(cube.shape[1:]):
        col, row = ~transform @ (float(cube.x[j]), float(cube.y[i]))
        inside = 0 <= row < 23 and 0 <= col < 17
        expected = values[:, int(row), int(col)] if inside else np.full(3, np.nan)
        np.testing.assert_allclose(cube.values[:, i, j], expected, rtol=1e-6)
        if inside:
            x, y = transform @ (int(col) + 0.5, int(row) + 0.5)
            away = float(np.hypot(x - cube.x[j], y - cube.y[i]))
            shown.setdefault((int(row), int(col)), []).append((away, (i, j)))
    known = np.isfinite(cube.centre_y.values)
    assert known.sum() == len(shown) > (0.85 if "oblong" not in turn else 0.7) * 23 * 17
    for (row, col), places in shown.items():
        i, j = next(place for _, place in places if known[place])
        assert [known[place] for _, place in places].count(True) == 1
        assert np.hypot(cube.centre_x[i, j] - cube.x[j], cube.centre_y[i, j] - cube.y[i]) <= min(places)[0] + 1e-6
        assert (float(cube.centre_x[i, j]), float(cube.centre_y[i, j])) == pytest.approx(transform @ (col + 0.5, row + 0.5))


def test_lazy_and_by_any_chunks(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", numbered(2, 60, 300) / 20, TURNS["12°"])
    whole, lazy = geofuse.open_hsi(path, chunks=None), geofuse.open_hsi(path, bands=[2], chunks={"y": 31, "x": 47})
    assert lazy.chunks is not None
    assert lazy.centre_y.chunks is not None
    np.testing.assert_array_equal(lazy.values[0], whole.values[1])
    np.testing.assert_array_equal(lazy.centre_x.values, whole.centre_x.values)
    part = pickle.loads(pickle.dumps(lazy.isel(y=slice(40, 90), x=slice(200, 240))))
    np.testing.assert_array_equal(part.centre_y.values, whole.centre_y.values[40:90, 200:240])
    np.testing.assert_array_equal(part.values[0], whole.values[1, 40:90, 200:240])


def test_the_rotation_of_an_envi_header(tmp_path: Path) -> None:
    """As GDAL reads it, which an airborne line's header asks for."""
    write(tmp_path / "line.img", numbered(), UTM @ Affine.scale(20, -20), "ENVI")
    header = tmp_path / "line.hdr"
    text = header.read_text()
    assert ", North," in text or ", North" in text
    header.write_text(text.replace("WGS-84", "WGS-84,units=Meters, rotation=-30.0", 1))
    with rasterio.open(tmp_path / "line.img") as file:
        transform = file.transform
    assert abs(transform.b) > 5
    cube = geofuse.open_hsi(tmp_path / "line.img")
    known = np.isfinite(cube.centre_y.values)
    numbers = np.rint(cube.values[0][known] * 2000 - 1).astype(int)
    x, y = transform @ (numbers % 17 + 0.5, numbers // 17 + 0.5)
    np.testing.assert_allclose(cube.centre_x.values[known], x, atol=1e-6)
    np.testing.assert_allclose(cube.centre_y.values[known], y, atol=1e-6)


def test_an_msi_is_rejected(tmp_path: Path) -> None:
    """Before a pixel is read: its detail must not be displaced."""
    msi = geofuse.open_msi(write(tmp_path / "a.tif", numbered(), TURNS["12°"]))
    hsi = geofuse.open_hsi(write(tmp_path / "b.tif", numbered(8, 4, 4), UTM @ Affine.scale(80, -80)))
    with pytest.raises(InvalidPair, match=r"do not lie on its grid.*gdalwarp -r cubicspline"):
        geofuse.plan(hsi, msi)


def test_the_grid_of_a_quarter_turn_has_the_same_pixels() -> None:
    turn = Turn.of(TURNS["90°"], (23, 17))
    assert turn.grid_shape == (17, 23)
    rows, cols = np.mgrid[:17, :23]
    centres = turn.centres(rows, cols)
    assert np.isfinite(centres).all()
    np.testing.assert_allclose(centres[1], turn.grid.c + 20 * (cols + 0.5), atol=1e-6)


def test_a_turned_line_is_fused_as_one_on_the_map(tmp_path: Path) -> None:
    """The same scene seen by pixels that are turned by 25°: within a decibel of a map product."""
    made = simulate_pair(made_up_scene(12, 160, 160, grain=1.2), np.linspace(400, 1000, 12), 4, "qb4")
    on_map, msi = cubes(made)
    corner = Affine(4, 0, 500_000, 0, -4, 6_000_000)
    line = corner @ Affine.translation(80, 80) @ Affine.rotation(25) @ Affine.scale(4) @ Affine.translation(-30, -30)
    row, col = np.mgrid[:60, :60] + 0.5
    x, y = ~corner @ (line @ (col.ravel(), row.ravel()))
    inside = (x > 0) & (x < 160) & (y > 0) & (y < 160)
    spectra = np.full((12, 3600), -9999.0)
    spectra[:, inside] = observed_at(made.truth, y[inside] - 0.5, x[inside] - 0.5, 2.0)
    noise = np.random.default_rng(0).normal(size=spectra.shape) * made.hsi_noise[:, None]
    turned = geofuse.open_hsi(write(tmp_path / "line.tif", (spectra + noise * inside).reshape(12, 60, 60), line))

    def fused(hsi: xr.DataArray) -> xr.DataArray:
        return geofuse.fuse(hsi, msi, method="sylvester", progress=False)

    images = fused(on_map), fused(turned)
    truth = msi.isel(band=0, drop=True).expand_dims(band=on_map.band).copy(data=made.truth)
    x_shared, y_shared = images[1].x, images[1].y
    parts = [image.sel(x=x_shared, y=y_shared).values for image in (truth, *images)]
    filled = np.isfinite(parts[2]).all(0)
    assert filled.mean() > 0.9
    scores = [psnr(parts[0][:, filled][:, None], part[:, filled][:, None]) for part in parts[1:]]
    print(f"PSNR on the map {scores[0]:.2f} dB, turned {scores[1]:.2f} dB")
    assert scores[1] > scores[0] - 1


@pytest.mark.parametrize("turn", TURNS)
def test_flags_are_turned_as_pixels_are(turn: str) -> None:
    """Flags made of the pixels' own numbers lie where these lie, in any window."""
    array = TurnedArray(numbered(1).astype(np.float32), Turn.of(TURNS[turn], (23, 17)))  # type: ignore[arg-type]
    flags = TurnedFlags((np.round(numbered(1)[0] * 2000) % 251).astype(np.uint8), array.turn)
    seen = np.nan_to_num(np.round(array[0, :, :] * 2000) % 251).astype(np.uint8)
    assert flags.shape == seen.shape
    assert np.array_equal(flags[:, :], seen)
    assert np.array_equal(flags[3:9, 5:20], seen[3:9, 5:20])


@pytest.mark.parametrize(
    "transform", [Affine(1, 1, 0, 1, 1 + 1e-13, 0), Affine(1, 1e9, 0, 0, -1, 0), Affine(1e308, 1e308, 0, -1e308, 1e308, 0)]
)
def test_a_transform_that_no_image_has(transform: Affine) -> None:
    """Its grid would have more pixels than memory has coordinates."""
    with pytest.raises(InvalidCube, match=r"spans .* pixels of a north-up grid"):
        Turn.of(transform, (1000, 1000))
