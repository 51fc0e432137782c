"""The accessors: on cubes, on Datasets, and on arrays that the user opened with rioxarray."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rioxarray
import xarray as xr
from matplotlib.axes import Axes

import geofuse
from geofuse.cube.schema import check_cube
from geofuse.errors import InvalidCube, InvalidInput, RunError
from geofuse.io.write import cog
from geofuse.reporting.report import Report
from tests.crops import small_cubes, small_files, small_model, small_pair


@pytest.fixture(scope="module")
def fused() -> xr.DataArray:
    return geofuse.fuse(*small_cubes(), model=small_model(), progress=False).compute()


def plain(file: Path) -> xr.DataArray:
    """As a user without geofuse opens it: integers, bands numbered, nodata in attrs."""
    array = rioxarray.open_rasterio(file)
    assert isinstance(array, xr.DataArray)
    return array


# --- .mossfuse -----------------------------------------------------------------------------------------------------------------


def test_every_verb_is_the_function_of_that_name(fused: xr.DataArray, tmp_path: Path) -> None:
    hsi, msi = small_cubes()
    assert np.array_equal(hsi.mossfuse.fuse(msi, model=small_model(), progress=False).values, fused.values, equal_nan=True)
    assert hsi.mossfuse.plan(msi, tile=64) == geofuse.plan(hsi, msi, tile=64)
    assert hsi.mossfuse.fit(msi, method="bicubic", progress=False).method == "bicubic"
    assert list(hsi.mossfuse.evaluate(msi, methods=("bicubic",), progress=False)["method"]) == ["bicubic"]
    assert isinstance(fused.mossfuse.report(), Report)
    path = fused[:4].mossfuse.to_cog(tmp_path / "f.tif", progress=False)
    assert path == tmp_path / "f.tif"
    assert fused[:4].mossfuse.to_stac(path).id == "f"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.json", "f.tif"]


def test_on_a_dataset(fused: xr.DataArray, tmp_path: Path) -> None:
    hsi, msi = (c.to_dataset(name="reflectance") for c in small_cubes())
    assert hsi.mossfuse.plan(msi) == geofuse.plan(*small_cubes())
    assert np.array_equal(hsi.mossfuse.fuse(msi, model=small_model(), progress=False).values, fused.values, equal_nan=True)
    result = fused[:3].to_dataset(name="fused")
    assert result.mossfuse.report().to_dict()["method"] == "gem"
    assert result.mossfuse.to_cog(tmp_path / "f.tif", progress=False).is_file()
    with pytest.raises(InvalidCube, match="expected a Dataset with one"):
        xr.Dataset({"a": fused, "b": fused}).mossfuse.plan(msi)


def test_on_arrays_opened_with_rioxarray(fused: xr.DataArray) -> None:
    """Declared nothing but the integers: read as reflectance x 10000, by the tag of the file and without a warning."""
    hsi, msi = map(plain, small_files())
    assert hsi.dtype == np.int16
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        result = hsi.mossfuse.fuse(msi, model=small_model(), progress=False)
    assert np.allclose(result.values, fused.values, atol=1e-6, equal_nan=True)
    assert result.wavelength.values == pytest.approx(fused.wavelength.values), "found in the file, where rioxarray left them"
    assert result.good.values.tolist() == fused.good.values.tolist()
    assert geofuse.open_hsi(hsi).wavelength.values == pytest.approx(fused.wavelength.values)


def test_on_a_dataset_opened_with_rioxarray(fused: xr.DataArray) -> None:
    hsi, msi = (xr.open_dataset(file, engine="rasterio") for file in small_files())
    result = hsi.mossfuse.fuse(msi, model=small_model(), progress=False)
    assert result.wavelength.values == pytest.approx(fused.wavelength.values)
    assert np.allclose(result.values, fused.values, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("which", ["HSI", "MSI"])
def test_a_refusal_says_which_of_the_two_is_meant(which: str) -> None:
    hsi, msi = (cube.drop_vars("spatial_ref") if role == which else cube for role, cube in zip(("HSI", "MSI"), small_cubes(), strict=True))
    with pytest.raises(InvalidCube, match=f"^{which}: .*no CRS"):
        hsi.mossfuse.plan(msi)


def test_masked_and_scaled_by_rioxarray(fused: xr.DataArray, tmp_path: Path) -> None:
    coarse, fine = small_pair()
    holed = coarse.holed((slice(0, 3), slice(0, 3))).write(tmp_path / "h.tif"), fine.write(tmp_path / "m.tif")
    hsi, msi = (rioxarray.open_rasterio(f, masked=True) / 1e4 for f in holed)
    result = hsi.mossfuse.fuse(msi, model=small_model(), progress=False)
    assert np.isnan(result.values[:, :10, :10]).all()
    assert np.allclose(result.values[:, 80:, 80:], fused.values[:, 80:, 80:], atol=5e-3)


def test_what_cannot_be_a_cube_is_refused_at_the_verb() -> None:
    with pytest.raises(InvalidCube, match=r"no CRS|not \(band, y, x\)"):
        xr.DataArray(np.zeros(3), dims="time").mossfuse.plan(small_cubes()[1])
    with pytest.raises(InvalidCube, match="carries no geofuse report"):
        small_cubes()[0].mossfuse.report()


# --- .hsi ----------------------------------------------------------------------------------------------------------------------


def test_sel_wavelength() -> None:
    hsi = small_cubes()[0]
    for wanted in (400.0, 551.0, 2000.0, 5000.0):
        band = hsi.hsi.sel_wavelength(wanted)
        assert band.dims == ("y", "x")
        assert abs(float(band.wavelength) - wanted) == np.abs(hsi.wavelength.values - wanted).min()
        assert np.array_equal(band.values, hsi.sel(band=band.band.item()).values)


def test_sel_wavelength_needs_wavelengths() -> None:
    unknown = small_cubes()[0].assign_coords(wavelength=("band", np.full(177, np.nan)))
    with pytest.raises(InvalidCube, match="no band has a wavelength"):
        unknown.hsi.sel_wavelength(550)


def test_rgb_is_stretched_between_percentiles() -> None:
    hsi = small_cubes()[0]
    image = hsi.hsi.rgb(percentiles=(0, 100))
    assert image.dims == ("y", "x", "rgb")
    assert list(image.rgb.values) == ["red", "green", "blue"]
    assert (float(image.min()), float(image.max())) == (0, 1)
    # Red is the band nearest to 665 nm: same order of pixels.
    red = hsi.hsi.sel_wavelength(665).values
    expected = (red - red.min()) / (red.max() - red.min())
    assert image.sel(rgb="red").values == pytest.approx(expected, abs=1e-5)
    assert float((hsi.hsi.rgb((40, 60)) == 0).mean()) == pytest.approx(0.4, abs=0.02)


def test_resample_spectral() -> None:
    hsi = small_cubes()[0]
    srf = np.zeros((2, 177))
    srf[0, 10:13] = 2.0
    srf[1, 100] = 0.5
    seen = hsi.hsi.resample_spectral(srf)
    assert seen.dims == ("band", "y", "x")
    assert seen.values[0] == pytest.approx(hsi.values[10:13].mean(0), abs=1e-6)
    assert seen.values[1] == pytest.approx(hsi.values[100], abs=1e-6)
    assert seen.wavelength.values == pytest.approx([hsi.wavelength.values[10:13].mean(), hsi.wavelength.values[100]])
    check_cube(seen, "resampled")
    assert seen.rio.crs == hsi.rio.crs


def test_resample_spectral_to_the_bands_of_a_sensor(tmp_path: Path) -> None:
    """The same kind of matrix as that of `fuse`; what comes out can be written."""
    hsi = small_cubes()[0]
    seen = hsi.hsi.resample_spectral(np.maximum(small_model().response.matrix, 0))
    assert seen.sizes["band"] == 4
    assert seen.mossfuse.to_cog(tmp_path / "s.tif", progress=False).is_file()
    assert geofuse.open_msi(tmp_path / "s.tif").shape == seen.shape


@pytest.mark.parametrize("srf", [np.ones((2, 176)), np.zeros((1, 177)), "Sentinel-2A", [[1.0, 2.0], [3.0]], None], ids=str)
def test_resample_spectral_refuses(srf: object) -> None:
    with pytest.raises(InvalidInput, match=r"expected .*177"):
        small_cubes()[0].hsi.resample_spectral(srf)


def test_resample_spectral_keeps_nodata() -> None:
    hsi = small_cubes()[0].where(small_cubes()[0].x > small_cubes()[0].x[3])
    seen = hsi.hsi.resample_spectral(np.eye(177)[:3])
    assert np.array_equal(np.isnan(seen.values[0]), np.isnan(hsi.values[0]))


def test_resample_spectral_leaves_out_bands_without_weight() -> None:
    """A dead band has nothing to say about the others."""
    hsi = small_cubes()[0].compute()
    hsi[50] = np.nan
    assert np.isfinite(hsi.hsi.resample_spectral(np.eye(177)[:3]).values).all()


def test_plot_spectrum() -> None:
    hsi = small_cubes()[0]
    x, y = float(hsi.x[5]) + 10, float(hsi.y[7]) - 12  # 10 m and 12 m from a centre, within the pixel
    ax = hsi.hsi.plot_spectrum(x, y)
    assert isinstance(ax, Axes)
    drawn = np.asarray(ax.lines[0].get_xydata())
    bands = drawn[np.isfinite(drawn[:, 0])]
    order = np.argsort(hsi.wavelength.values)
    assert np.array_equal(bands[:, 0], hsi.wavelength.values[order])
    assert np.array_equal(bands[:, 1], np.where(hsi.good, hsi.values[:, 7, 5], np.nan)[order], equal_nan=True)
    assert "wavelength (nm)" in ax.get_xlabel()
    again = hsi.hsi.plot_spectrum(x, y, ax=ax)
    assert again is ax
    assert len(ax.lines) == 2


def test_no_line_is_drawn_across_water_vapour() -> None:
    """The bands of the file step from 1323 to 1522 nm and from 1783 to 2044 nm, where the atmosphere is opaque."""
    hsi = small_cubes()[0]
    line = np.asarray(hsi.hsi.plot_spectrum(float(hsi.x[5]), float(hsi.y[7])).lines[0].get_xydata())
    breaks = np.flatnonzero(np.isnan(line[:, 1]))
    around = [(line[k - 1, 0], line[k + 1, 0]) for k in breaks]
    assert any(low < 1400 < high for low, high in around)
    assert any(low < 1900 < high for low, high in around)


def test_plot_spectrum_outside_is_rejected() -> None:
    hsi = small_cubes()[0]
    with pytest.raises(InvalidInput, match=r"outside .*extent"):
        hsi.hsi.plot_spectrum(float(hsi.x[0]) - 1000, float(hsi.y[0]))


def test_looking_whether_there_is_an_accessor_refuses_nothing() -> None:
    array = xr.DataArray(np.zeros(3), dims="time")
    assert hasattr(array, "hsi")
    with pytest.raises(InvalidCube, match=r"not \(band, y, x\)"):
        array.hsi.rgb()


def test_views_of_arrays_opened_with_rioxarray() -> None:
    assert plain(small_files()[0]).hsi.sel_wavelength(551.0).dims == ("y", "x")
    assert plain(small_files()[1]).hsi.rgb().shape == (*small_pair()[1].values.shape[1:], 3)


# --- a Dataset with uncertainty ------------------------------------------------------------------------------------------------


def test_a_dataset_with_uncertainty_is_written_and_reported(fused: xr.DataArray, tmp_path: Path) -> None:
    sigma = (0.01 + 0.02 * fused).astype("float32").assign_attrs(long_name="standard deviation")
    dataset = xr.Dataset({"reflectance": fused, "uncertainty": sigma})[{"band": slice(0, 3)}]
    reports = [image.mossfuse.report().to_dict() for image in (dataset, fused)]
    assert all(report.pop("scene") for report in reports)  # of other bands
    assert reports[0] == reports[1]
    cog = dataset.mossfuse.to_cog(tmp_path / "f.tif", progress=False)
    store = dataset.mossfuse.to_zarr(tmp_path / "f.zarr", progress=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.tif", "f.zarr", "f_uncertainty.tif", "f_uncertainty.zarr"]
    for made in (cog, store):
        for path, written in ((made, fused[:3]), (made.with_name(f"f_uncertainty{made.suffix}"), sigma[:3])):
            assert np.allclose(geofuse.open_hsi(path).values, written.values, atol=5.1e-5, equal_nan=True)
    item = dataset.mossfuse.to_stac(cog)
    assert item.assets["uncertainty"].href == "./f_uncertainty.tif"
    with pytest.raises(InvalidInput, match="exists"):
        dataset.mossfuse.to_cog(cog, progress=False)


def test_a_taken_place_is_refused_before_a_layer_is_written(fused: xr.DataArray, tmp_path: Path) -> None:
    (tmp_path / "f.tif").touch()
    dataset = xr.Dataset({"reflectance": fused, "uncertainty": fused})[{"band": slice(0, 3)}]
    with pytest.raises(InvalidInput, match="exists"):
        dataset.mossfuse.to_cog(tmp_path / "f.tif", progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["f.tif"]


def test_a_layer_does_not_stay_where_the_image_fails(fused: xr.DataArray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = cog.write_cog

    def failing(cube: xr.DataArray, path: str | Path, **options: Any) -> Any:
        if Path(path).name == "f.tif":
            raise RunError("the disk is full")
        return genuine(cube, path, **options)

    monkeypatch.setattr(cog, "write_cog", failing)
    dataset = xr.Dataset({"reflectance": fused, "uncertainty": fused})[{"band": slice(0, 3)}]
    with pytest.raises(RunError, match="full"):
        dataset.mossfuse.to_cog(tmp_path / "f.tif", progress=False)
    assert list(tmp_path.iterdir()) == []
