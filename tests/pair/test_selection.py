"""Bands that say nothing of the other image are left out before the fusion, and named."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr

import geofuse
from geofuse.api import checked_pair, pair
from geofuse.cube.bands import BandTable
from geofuse.cube.sampling import constant_bands, windows
from geofuse.cube.schema import geobox, wrap
from geofuse.errors import InvalidInput, InvalidPair, NotReflectance
from geofuse.pair.selection import guides
from tests.crops import small_cubes

pytestmark = pytest.mark.filterwarnings("error::UserWarning")


def with_band(msi: xr.DataArray, values: Any, name: str, wavelength: float, fwhm: float = np.nan) -> xr.DataArray:
    """The MSI with one more band at its end."""
    table = BandTable.from_cube(msi)
    plane = np.broadcast_to(np.float32(values), (1, *msi.shape[1:]))
    return wrap(
        da.concatenate([msi.data, da.from_array(plane, chunks=-1)]),
        transform=geobox(msi).affine,
        crs=32633,
        names=[*table.names, name],
        wavelength=[*table.wavelength, wavelength],
        fwhm=[*table.fwhm, fwhm],
    )


def noise(msi: xr.DataArray) -> np.ndarray:
    return 0.3 + 0.05 * np.random.default_rng(0).random((1, *msi.shape[1:]))


def test_a_thermal_band_is_left_out_and_named() -> None:
    hsi, msi = small_cubes()
    thermal = with_band(msi, noise(msi), "lwir11", 10_900.0, 590.0)
    with pytest.warns(UserWarning, match=r"left out of the fusion.*beyond the HSI's 460 to 2409 nm: lwir11$"):
        scene = pair(hsi, thermal)
    assert scene.msi.band.values.tolist() == msi.band.values.tolist()
    assert np.array_equal(scene.msi.values, msi.values, equal_nan=True)
    assert scene.msi.encoding == thermal.encoding


@pytest.mark.parametrize(
    ("wavelength", "fwhm", "beyond"), [(443.0, np.nan, False), (430.0, 5.0, True), (430.0, 30.0, False), (np.nan, np.nan, False)]
)
def test_how_far_beyond(wavelength: float, fwhm: float, beyond: bool) -> None:
    """The first band of the HSI lies at 460 nm; a coastal band beside it sees the same light. One farther off is a guide."""
    hsi, msi = small_cubes()
    more = with_band(msi, noise(msi), "more", wavelength, fwhm)
    with pytest.warns(UserWarning, match="for detail and not for spectra.*: more$") if beyond else nullcontext():
        scene = pair(hsi, more)
    assert guides(scene).tolist() == [False] * 4 + [beyond]
    assert scene.msi.sizes["band"] == 5


@pytest.mark.parametrize("srf", ["auto", "table"])
def test_a_guide_takes_part_in_nothing_that_compares_the_images(srf: str, tmp_path: Path) -> None:
    """Geometry and response are those without the band; it guides the estimator, and the report says so."""
    hsi, msi = small_cubes()
    visible = hsi.isel(band=hsi.wavelength < 760)
    infrared = with_band(msi.isel(band=slice(3)), msi.values[3:], "infrared", 1610.0, 90.0)
    table: Any = "auto" if srf == "auto" else np.ones((4, visible.sizes["band"]))
    without = geofuse.fit(visible, msi.isel(band=slice(3)), method="gem", srf=table[:3] if srf == "table" else "auto", progress=False)
    with pytest.warns(UserWarning, match="for detail and not for spectra.*: infrared$"):
        model = geofuse.fit(visible, infrared, method="gem", srf=table, progress=False)
    assert model.geometry == without.geometry
    assert model.response.matrix[:3] == pytest.approx(without.response.matrix, abs=1e-9)
    assert not model.response.matrix[3].any()
    report = model.report
    assert report["disagreement"]["per_band"][:3] == pytest.approx(without.report["disagreement"]["per_band"])
    assert report["disagreement"]["per_band"][3] is None
    assert report["radiometry"]["gain"][3] is None
    assert "MSI bands beyond the wavelengths of the HSI: 4." in {w["code"]: w["message"] for w in report["warnings"]}["guide-bands"]
    # Its noise is all that it shows: it pulls no spectrum anywhere.
    assert report["noise"]["msi_sigma"][3] == pytest.approx(float(infrared[3].std()), rel=0.25)
    with pytest.warns(UserWarning, match="for detail"):
        fused, again = (
            geofuse.fuse(visible, infrared, model=m, progress=False)
            for m in (model, geofuse.Model.load(model.save(tmp_path / "m.safetensors")))
        )
    assert np.array_equal(fused.values, again.values, equal_nan=True)
    assert not np.array_equal(
        fused.values, geofuse.fuse(visible, msi.isel(band=slice(3)), model=without, progress=False).values, equal_nan=True
    )


def test_no_band_in_common_is_rejected() -> None:
    hsi, msi = small_cubes()
    with pytest.raises(InvalidPair, match=r"all lie beyond those of the HSI \(1007 to"):
        pair(hsi.isel(band=hsi.wavelength > 1000), msi)


def test_a_constant_band_of_the_msi_is_left_out_and_named() -> None:
    hsi, msi = small_cubes()
    with pytest.warns(UserWarning, match=r"one and the same number everywhere: cirrus$"):
        scene = checked_pair(hsi, with_band(msi, 0.0, "cirrus", 1373.0))
    assert scene.msi.band.values.tolist() == msi.band.values.tolist()


def test_the_result_is_that_without_the_band() -> None:
    hsi, msi = small_cubes()
    expected = geofuse.fuse(hsi, msi, method="regression", progress=False)
    with pytest.warns(UserWarning, match="left out") as caught:
        fused = geofuse.fuse(
            hsi, with_band(with_band(msi, 0.0, "zero", 850.0), noise(msi), "lwir11", 10_900.0), method="regression", progress=False
        )
    said = [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
    assert [message.split(": ")[-1] for message in said] == ["lwir11", "zero"], "each once"
    assert np.array_equal(fused.values, expected.values, equal_nan=True)


def test_a_response_of_all_bands_fits_the_bands_that_are_kept(tmp_path: Path) -> None:
    hsi, msi = small_cubes()
    matrix = np.random.default_rng(0).random((5, hsi.sizes["band"]))
    with pytest.warns(UserWarning, match="lwir11"):
        assert geofuse.plan(hsi, with_band(msi, noise(msi), "lwir11", 10_900.0), srf=matrix).shape[0] == hsi.sizes["band"]
    with pytest.warns(UserWarning, match="lwir11"), pytest.raises(InvalidInput, match="one row for each MSI band"):
        geofuse.plan(hsi, with_band(msi, noise(msi), "lwir11", 10_900.0), srf=matrix[:3])


def test_zeros_in_a_band_of_the_hsi_are_nodata() -> None:
    hsi, msi = small_cubes()
    spoilt = hsi.copy(data=da.where(np.isin(np.arange(hsi.sizes["band"]), [3, 9])[:, None, None], np.float32(0), hsi.data))
    with pytest.warns(UserWarning, match=r"HSI bands taken as nodata.*: 475\.00 nm, 503\.00 nm$"):
        scene = checked_pair(spoilt, msi)
    assert np.flatnonzero(np.isnan(scene.hsi.values).all((1, 2))).tolist() == [3, 9]
    assert not scene.hsi.good.values[[3, 9]].any()
    assert scene.hsi.good.values.sum() == hsi.good.values.sum() - 2
    assert scene.hsi.chunks is not None


def test_nothing_is_said_of_constant_bands_that_the_product_calls_unusable(recwarn: pytest.WarningsRecorder) -> None:
    hsi, msi = small_cubes()
    absorbed = np.isin(np.arange(hsi.sizes["band"]), [3, 9])
    written = hsi.copy(data=da.where(absorbed[:, None, None], np.float32(-0.01), hsi.data)).assign_coords(good=("band", ~absorbed))
    scene = checked_pair(written, msi)
    assert np.isnan(scene.hsi.values[absorbed]).all()
    assert not [w for w in recwarn.list if "one and the same" in str(w.message)]


def test_zeros_in_a_corner_are_no_constant_band() -> None:
    values = np.random.default_rng(0).random((2, 300, 300))
    values[0, 1:, :] = 0
    values[1, :200] = 0
    cube = xr.DataArray(values, dims=("band", "y", "x"))
    assert not constant_bands(cube)[1]
    assert not constant_bands(cube * np.nan).any()
    assert not constant_bands(cube * 0).any(), "nothing varies: the scene is uniform"


def test_only_a_few_pixels_are_read() -> None:
    read: list[int] = []

    def count(block: np.ndarray) -> np.ndarray:
        read.append(block.size)
        return block

    values = da.random.default_rng(0).random((2, 4096, 4096), chunks=(2, 64, 64)).map_blocks(count, dtype=float, meta=np.empty((0, 0, 0)))
    cube = xr.DataArray(values, dims=("band", "y", "x"))
    assert sum(block.size for block in windows(cube)) == 16 * 2 * 64 * 64
    read.clear()
    assert not constant_bands(cube).any()
    assert sum(read) <= 4 * 2 * 64 * 64, "one window is enough where every band varies in it"


# --- values that the output cannot hold ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("write", ["to_cog", "to_zarr"])
def test_percent_is_not_written_as_int16(write: str, lazy: bool, tmp_path: Path) -> None:
    cube = small_cubes(chunks="auto" if lazy else None)[0] * 100
    path = tmp_path / ("a.tif" if write == "to_cog" else "a.zarr")
    with pytest.raises(InvalidInput, match=rf"{path.name}: values around [\d.]+ are not reflectance.*int16 holds at most 3\.28.*float32"):
        getattr(cube.mossfuse, write)(path, progress=False)
    assert list(tmp_path.iterdir()) == []
    getattr(cube.mossfuse, write)(path, dtype="float32", progress=False)
    with pytest.warns(NotReflectance):
        assert np.array_equal(geofuse.open_hsi(path).values, cube.values, equal_nan=True)


def test_percent_is_said_when_it_is_fused() -> None:
    hsi, msi = small_cubes()
    with pytest.warns(NotReflectance, match=r"the HSI holds values around [\d.]+, which are not reflectance"):
        fused = geofuse.fuse(hsi * 100, msi, method="regression", progress=False)
    with pytest.raises(InvalidInput, match="not reflectance"):
        fused.mossfuse.to_cog("never.tif", progress=False)
