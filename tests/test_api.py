"""The public verbs on cubes in memory and on disk: lazy, repeatable, and sound on pairs that are not as they should be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr
from affine import Affine
from pyproj import Transformer

import geofuse
from geofuse.errors import InvalidCube, InvalidInput, InvalidPair
from tests.crops import NODATA, Raster, few_cubes, small_cubes, small_model, small_pair
from tests.pipeline.test_job import psf_error

SEAM = 1e-4  # reflectance: half of what int16 can show
Pair = tuple[xr.DataArray, xr.DataArray]


def opened(folder: Path, hsi: Raster | None = None, msi: Raster | None = None) -> Pair:
    """The small pair as cubes, one or both of them replaced."""
    coarse, fine = small_pair()
    return geofuse.open_hsi((hsi or coarse).write(folder / "h.tif")), geofuse.open_msi((msi or fine).write(folder / "m.tif"))


def some_bands() -> Raster:
    """Every sixth band of the small HSI."""
    hsi = small_pair()[0]
    return hsi.bands(*range(0, len(hsi.names), 6))


def fused_by(model: Any, *, tile: Any = "auto", chunks: Any = "auto") -> xr.DataArray:
    return geofuse.fuse(*small_cubes(chunks=chunks), model=model, tile=tile, progress=False)


# --- lazy in, lazy out ---------------------------------------------------------------------------------------------------------


def test_lazy_in_lazy_out_and_eager_in_eager_out() -> None:
    lazy, eager = fused_by(small_model()), fused_by(small_model(), chunks=None)
    assert isinstance(lazy.data, da.Array)
    assert isinstance(eager.data, np.ndarray)
    assert np.array_equal(lazy.values, eager.values, equal_nan=True)
    hsi, msi = small_cubes()
    assert isinstance(geofuse.fuse(hsi.compute(), msi, model=small_model(), progress=False).data, da.Array)


def test_a_slice_is_computed_without_fitting_again(monkeypatch: pytest.MonkeyPatch) -> None:
    fused = geofuse.fuse(*small_cubes(), method="sylvester", tile=64, progress=False)
    monkeypatch.setattr("geofuse.pipeline.fit.fit_scene", lambda *_: pytest.fail("fitted again"))
    tiles: list[Any] = []
    genuine = geofuse.Model.apply

    def counted(model: Any, *arguments: Any, **options: Any) -> np.ndarray:
        tiles.append(arguments[3])
        return genuine(model, *arguments, **options)

    monkeypatch.setattr(geofuse.Model, "apply", counted)
    corner = fused[:, :20, :20].compute()
    assert len(tiles) == 1, "one tile, and no other, is worked on"
    assert np.array_equal(corner.values, fused.compute().values[:, :20, :20])
    assert len(tiles) == 1 + fused.data.npartitions


def test_fitting_reads_a_bounded_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a scene of 4000 x 4000 fine pixels, less than a tenth."""
    read: list[int] = []

    def block(block_info: Any) -> np.ndarray:
        (top, bottom), (left, right) = block_info[None]["array-location"][1:]
        read.append((bottom - top) * (right - left))
        rng = np.random.default_rng(top * 5000 + left)
        return rng.random((3, bottom - top, right - left), dtype=np.float32)

    from geofuse.pipeline.fit import SAMPLE_PIXELS, SURVEY_PIXELS, read_windows
    from geofuse.run.tiles import sample_windows

    fine = da.map_blocks(block, chunks=((3,), (100,) * 40, (100,) * 40), dtype=np.float32, meta=np.empty((0, 0, 0), np.float32))
    coarse = da.ones((8, 500, 500), chunks=(8, 50, 50), dtype=np.float32)
    grid: dict[str, Any] = {"crs": "EPSG:32633"}
    msi = geofuse.cube.schema.wrap(fine, transform=Affine(1, 0, 5e5, 0, -1, 5.8e6), names=list("abc"), **grid)
    hsi = geofuse.cube.schema.wrap(coarse, transform=Affine(8, 0, 5e5, 0, -8, 5.8e6), names=list("abcdefgh"), **grid)
    scene = geofuse.api.pair(hsi, msi)
    for budget in (SAMPLE_PIXELS, SURVEY_PIXELS):
        read.clear()
        read_windows(scene, sample_windows(scene.pair, budget))
        assert 0.5 * budget < sum(read) < 3 * budget  # blocks of the file are read whole
    assert sum(read) < 0.2 * 4000**2


@pytest.mark.parametrize("progress", [True, False])
def test_the_progress_bar_counts_tiles(progress: bool, capsys: pytest.CaptureFixture[str]) -> None:
    geofuse.fuse(*small_cubes(chunks=None), model=small_model(), tile=50, progress=progress)
    err = capsys.readouterr().err
    assert ("fusing" in err) == progress
    assert ("9/9" in err) == progress


# --- same numbers --------------------------------------------------------------------------------------------------------------


def test_same_seed_same_numbers_to_the_bit() -> None:
    one, two = (geofuse.fuse(*few_cubes(), method="gem", seed=3, progress=False).values for _ in range(2))
    assert np.array_equal(one, two, equal_nan=True)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gem", "sylvester"])
def test_berlin_has_no_seams(method: str, berlin: tuple[Path, Path]) -> None:
    """Large enough that a tile of 100 does not see the whole scene through its halo."""
    hsi, msi = geofuse.open_hsi(berlin[0]), geofuse.open_msi(berlin[1])
    model = geofuse.fit(hsi, msi, method=method, progress=False)
    whole, tiled = (geofuse.fuse(hsi, msi, model=model, tile=tile, progress=False).values for tile in (1000, 100))
    print(f"{method}: largest difference between tiles of 100 and 1000: {np.nanmax(np.abs(whole - tiled)):.2e}")
    assert np.array_equal(np.isnan(whole), np.isnan(tiled))
    assert np.nanmax(np.abs(whole - tiled)) < SEAM


def test_model_from_disk_gives_the_same_numbers(tmp_path: Path) -> None:
    back = geofuse.Model.load(small_model().save(tmp_path / "m.safetensors"))
    assert np.array_equal(fused_by(back).values, fused_by(small_model()).values, equal_nan=True)
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_model_of_another_pair_is_rejected(tmp_path: Path) -> None:
    hsi, msi = opened(tmp_path, msi=small_pair()[1].warped("EPSG:32633", 4.5))
    with pytest.raises(InvalidInput, match=r"ratio of 8\.333; found 6\.667"):
        geofuse.fuse(hsi, msi, model=small_model())


# --- what comes out ------------------------------------------------------------------------------------------------------------


def test_the_result_is_a_cube_like_its_sources() -> None:
    hsi, msi = small_cubes()
    fused = fused_by(small_model())
    geofuse.cube.schema.check_cube(fused, "fused")
    assert fused.dims == ("band", "y", "x")
    assert fused.dtype == np.float32
    assert fused.attrs["units"] == "1"
    for key in ("band", "wavelength", "fwhm", "good"):
        assert np.array_equal(fused[key].values, hsi[key].values)
    assert fused.rio.crs == msi.rio.crs
    assert fused.rio.resolution() == (3.6, -3.6)
    assert np.isin(fused.x.values, msi.x.values).all()
    assert np.isin(fused.y.values, msi.y.values).all()


def test_report_of_a_fused_image() -> None:
    report = geofuse.report(fused_by(small_model()))
    assert report.to_dict()["method"] == "gem"
    assert report.to_dict()["plan"]["tiles"] == 1
    assert report.sentences()[0].startswith("Fused with gem")
    with pytest.raises(InvalidCube, match="carries no geofuse report"):
        geofuse.report(small_cubes()[0])


def test_cog_and_item_of_a_fused_image(tmp_path: Path) -> None:
    fused = fused_by(small_model())[:5]
    path = geofuse.to_cog(fused, tmp_path / "f.tif", progress=False)
    item = geofuse.to_stac(fused, path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.json", "f.tif"]
    assert item.properties["geofuse:method"] == "gem"
    back = geofuse.open_hsi(path)
    assert np.allclose(back.values, fused.values, atol=0.5e-4 + 1e-7, equal_nan=True)


# --- pairs that are not as they should be --------------------------------------------------------------------------------------


def reproject_error(fused: xr.DataArray, hsi: Raster) -> tuple[float, int]:
    """Relative error of P(Z) against the HSI, whose CRS is another one: positions by pyproj, weights by the reported Gaussian."""
    geometry = geofuse.report(fused).to_dict()["geometry"]
    (dy, dx), sigma = geometry["shift_px"], geometry["psf_sigma_px"]
    to_fused = Transformer.from_crs(hsi.crs, fused.rio.crs, always_xy=True)
    values, transform = fused.values, fused.rio.transform()
    rows, cols = np.mgrid[: values.shape[1], : values.shape[2]]
    wrong = whole = count = 0.0
    for i in range(hsi.values.shape[1]):
        for j in range(hsi.values.shape[2]):
            col, row = ~transform * to_fused.transform(*(hsi.transform * (j + 0.5, i + 0.5)))
            weight = np.exp(-((rows - row + 0.5 - dy) ** 2 + (cols - col + 0.5 - dx) ** 2) / (2 * sigma**2))
            near = weight > 1e-3
            inside = min(row, values.shape[1] - row, col, values.shape[2] - col) > 4 * sigma
            if not inside or np.isnan(values[:, near]).any():
                continue
            error = values[:, near] @ weight[near] / weight[near].sum() - hsi.values[:, i, j] / 1e4
            wrong, whole, count = wrong + (error**2).sum(), whole + ((hsi.values[:, i, j] / 1e4) ** 2).sum(), count + 1
    return float(np.sqrt(wrong / whole)), int(count)


@pytest.mark.parametrize("method", ["sylvester", pytest.param("gem", marks=pytest.mark.slow)])
def test_images_in_different_crs(method: str, tmp_path: Path) -> None:
    """The MSI in the neighbouring UTM zone, where its axes are turned by 1.4 degrees."""
    coarse, fine = some_bands(), small_pair()[1]
    warped = fine.warped("EPSG:25832", 3.6)
    assert (warped.values[0] == NODATA).any(), "the turned image leaves corners empty"
    fused = geofuse.fuse(*opened(tmp_path, coarse, warped), method=method, progress=False).compute()
    assert fused.rio.crs.to_epsg() == 25832
    offset = ~warped.transform * (fused.rio.transform().c, fused.rio.transform().f)
    assert offset == pytest.approx(np.round(offset), abs=1e-4)
    error, count = reproject_error(fused, coarse)
    print(f"P(Z) against the HSI across CRS: {100 * error:.2f} % over {count} coarse pixels")
    assert count > 80
    assert error < 0.06
    # Finite where both have data: each pixel's place in the HSI by pyproj.
    x, y = np.meshgrid(fused.x.values, fused.y.values)
    cols, rows = ~coarse.transform * Transformer.from_crs(25832, 32633, always_xy=True).transform(x, y)
    h, w = coarse.values.shape[1:]
    left, top = np.round(offset).astype(int)
    on_msi = warped.values[0, top : top + fused.shape[1], left : left + fused.shape[2]] != NODATA
    expected = (rows > 0) & (rows < h) & (cols > 0) & (cols < w) & on_msi
    assert np.array_equal(np.isfinite(fused.values), np.broadcast_to(expected, fused.shape))


def without_wavelengths(raster: Raster) -> Raster:
    return raster.tagged(lambda tags: {k: v for k, v in tags.items() if k not in ("wavelength", "fwhm", "wavelength_units")})


def test_msi_without_wavelengths(tmp_path: Path) -> None:
    """They are not needed: the response is estimated. Without a width they are no prior of it either."""

    def narrowed(tags: dict[str, str]) -> dict[str, str]:
        return {key: value for key, value in tags.items() if key != "fwhm"}

    images = (without_wavelengths(small_pair()[1]), small_pair()[1].tagged(narrowed))
    plain, known = (geofuse.fuse(*opened(tmp_path, msi=msi), method="sylvester", progress=False).values for msi in images)
    assert np.nanmax(np.abs(plain - known)) < 1e-5


@pytest.mark.parametrize("bands", [(3,), (1, 3)], ids=["one band", "two bands"])
def test_msi_with_few_bands_warns(bands: tuple[int, ...], tmp_path: Path) -> None:
    fused = geofuse.fuse(*opened(tmp_path, some_bands(), small_pair()[1].bands(*bands)), method="gem", progress=False).compute()
    assert any(w["code"] == "few-msi-bands" for w in geofuse.report(fused).warnings())
    assert np.isfinite(fused.values).all()
    assert psf_error(fused.values, fused.rio.transform(), some_bands(), geofuse.report(fused).to_dict()["geometry"]) < 0.06


def test_msi_with_enough_bands_does_not_warn() -> None:
    assert not any(w["code"] == "few-msi-bands" for w in geofuse.report(fused_by(small_model())).warnings())


def test_offset_of_sentinel_2_is_rejected(berlin: tuple[Path, Path]) -> None:
    hsi, msi = geofuse.open_hsi(berlin[0])[::6], geofuse.open_msi(berlin[1])
    with pytest.raises(InvalidPair, match=r"constant \+0\.(09|1)\d+ reflectance.*Sentinel-2.*04\.00"):
        geofuse.fit(hsi, msi + 0.1, method="sylvester", progress=False)


def test_gain_between_the_sensors_is_absorbed(tmp_path: Path) -> None:
    """An HSI 1.3 times as bright gives a fused image 1.3 times as bright, and a response that is as much smaller."""
    hsi, msi = opened(tmp_path, hsi=small_pair()[0].mapped(lambda reflectance: 1.3 * reflectance))
    model = geofuse.fit(hsi, msi, method="sylvester", progress=False)
    plain = small_model("sylvester")
    assert model.response.matrix.sum(1) * 1.3 == pytest.approx(plain.response.matrix.sum(1), rel=0.02)
    bright = geofuse.fuse(hsi, msi, model=model, progress=False).values
    ratio = np.nanmedian(bright / fused_by(plain).values, axis=(1, 2))
    assert ratio == pytest.approx(1.3, rel=0.02)


def test_wavelengths_in_micrometres(tmp_path: Path) -> None:
    def in_um(tags: dict[str, str]) -> dict[str, str]:
        lengths = {k: str(float(tags[k]) / 1000) for k in ("wavelength", "fwhm")}
        return tags | lengths | {"wavelength_units": "Micrometers"}

    hsi, msi = opened(tmp_path, hsi=small_pair()[0].tagged(in_um))
    fused = geofuse.fuse(hsi, msi, model=small_model(), progress=False)
    expected = fused_by(small_model())
    assert fused.wavelength.values == pytest.approx(expected.wavelength.values, abs=1e-6)
    assert fused.fwhm.values == pytest.approx(expected.fwhm.values, abs=1e-6)
    assert np.array_equal(fused.values, expected.values, equal_nan=True)


def test_nodata_does_not_spread(tmp_path: Path) -> None:
    """Far from a hole the result is as without it, and beside it there is data."""
    coarse = small_pair()[0]
    fused = geofuse.fuse(*opened(tmp_path, hsi=coarse.holed((slice(7, 9), slice(6, 8)))), model=small_model(), progress=False).values
    whole = fused_by(small_model()).values
    empty = np.isnan(fused).all(0)
    assert empty.sum() == pytest.approx((2 * 25 / 3) ** 2, rel=0.1)
    assert np.array_equal(np.isnan(fused).any(0), empty)
    assert np.nanmax(np.abs(fused - whole)[:, :20, :20]) < 5e-3
    assert np.nanmin(fused) + 0.02 >= 0


@pytest.mark.parametrize("which", [0, 1])
def test_infinite_values_are_nodata(which: int) -> None:
    """Quotients by zero in the array of a user; the mean of a band that holds one is infinite."""
    cubes = [cube.compute() for cube in few_cubes()]
    cubes[which] = cubes[which].copy()
    cubes[which][(1, 6, 9) if which == 0 else (1, 40, 50)] = np.inf
    with np.errstate(all="raise"):
        spoilt = geofuse.fuse(*cubes, method="sylvester", progress=False)
    cubes[which] = cubes[which].where(np.isfinite(cubes[which]))
    np.testing.assert_array_equal(spoilt.values, geofuse.fuse(*cubes, method="sylvester", progress=False).values)
    assert np.isnan(spoilt.values).any()


@pytest.mark.parametrize("method", ["regression", "gsa", "bicubic", pytest.param("cnmf", marks=pytest.mark.slow)])
def test_baselines_run_on_the_whole_scene(method: str) -> None:
    fused = geofuse.fuse(*small_cubes(), method=method, progress=False)
    assert fused.data.npartitions == 1
    assert np.isfinite(fused.values).all()
    assert geofuse.report(fused).to_dict()["plan"]["tiles"] == 1


# --- evaluation, rejections ------------------------------------------------------------------------------------------------------


def test_evaluate() -> None:
    table = geofuse.evaluate(*few_cubes(), methods=("bicubic", "sylvester", "gem"), progress=False)
    assert set(table["method"]) == {"bicubic", "sylvester", "gem"}
    assert table["psnr_db"].is_monotonic_decreasing
    assert table["method"].iloc[-1] == "bicubic"
    assert {"psnr_db", "sam_deg", "ergas", "ssim", "uqi", "rmse", "seconds"} <= set(table.columns)
    assert table["psnr_db"].between(15, 60).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda h, m: geofuse.fuse(h, m, method="magic"), "no method 'magic'"),
        (lambda h, m: geofuse.fit(h, m, method="magic"), "no method 'magic'"),
        (lambda h, m: geofuse.evaluate(h, m, methods=("magic",)), "no method 'magic'"),
        (lambda h, m: geofuse.evaluate(h, m, methods=()), "no method to compare"),
        (lambda h, m: geofuse.evaluate(h, m, methods=("auto",)), "no method to compare"),
        (lambda h, m: geofuse.fuse(h, m, tile=3), "tile size is 3"),
        (lambda h, m: geofuse.compare(h, h, ratio=0), "ratio is 0; expected"),
        (lambda h, m: geofuse.compare(h, h, ratio=-3.0), "ratio is -3"),
        (lambda h, m: geofuse.fuse(h, m, tile="512"), "tile size is '512'; expected a whole number"),
        (lambda h, m: geofuse.fuse(h, m, tile=512.5), "tile size is 512.5"),
        (lambda h, m: geofuse.fuse(h, m, memory="4GB"), "memory is '4GB'; expected a number of bytes"),
        (lambda h, m: geofuse.fuse(h, m, seed=-1), "seed is -1"),
        (lambda h, m: geofuse.fuse(h, m, seed=0.5), "seed is 0.5"),
        (lambda h, m: geofuse.fuse(h, m, model="m.safetensors"), r"model is 'm.safetensors'; expected .*Model.load"),
        (lambda h, m: geofuse.evaluate(h, m, methods="magic"), "no method 'magic'"),
        (lambda h, m: geofuse.fuse(h, m, srf=None), r"response is a NoneType; expected \(4, 177\)"),
        (lambda h, m: geofuse.fuse(h, m, srf=[[1.0, 0.0]]), r"shape \(1, 2\); expected \(4, 177\)"),
        (lambda h, m: geofuse.fuse(h[:, :0], m), "HSI: no pixel"),
        (lambda h, m: geofuse.to_cog(h, "h.tif", dtype="uint8"), "cannot be stored as 'uint8'"),
        (lambda h, m: geofuse.fuse(h, m, device="abacus"), "'abacus' cannot be used: torch knows no device of that name"),
        (lambda h, m: geofuse.fuse(h, m, srf=np.ones((3, 5))), r"shape \(3, 5\); expected \(4, 177\)"),
        (lambda h, m: geofuse.fuse(h, m, srf="Hubble"), "Hubble"),
        (lambda h, m: geofuse.fuse(h, m, method="gsa", uncertainty=True), "does not estimate its errors"),
        (lambda h, m: geofuse.fuse(m, h), "more bands in the HSI"),
        (lambda h, m: geofuse.fuse(h.values, m), "DataArray"),
        (lambda h, m: geofuse.fuse(h.drop_vars("spatial_ref"), m), "no CRS"),
        (lambda h, m: geofuse.fuse(h[:, :1, :1], m), "overlap|one pixel"),
        (lambda h, m: geofuse.to_cog(h, "no/such/folder/h.tif"), "does not exist"),
    ],
)
def test_refusals(call: Callable[[Any, Any], Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geofuse.pair.prepare.register", lambda *_: pytest.fail("reject before the work"))
    with pytest.raises(InvalidInput, match=message):
        call(*small_cubes())


def test_a_dataset_and_an_array_in_a_user_s_own_shape_are_fused(tmp_path: Path) -> None:
    """Opened with plain rioxarray: integers, a band number for a name, no wavelengths as coordinates."""
    coarse, fine = small_pair()
    files = coarse.write(tmp_path / "h.tif"), fine.write(tmp_path / "m.tif")
    with dask.config.set(scheduler="synchronous"):
        hsi, msi = (rioxarray.open_rasterio(f, chunks={"x": 64}, mask_and_scale=False) for f in files)
        expected = fused_by(small_model()).values
        fused = geofuse.fuse(hsi, msi, model=small_model(), progress=False)
        assert np.allclose(fused.values, expected, atol=1e-6, equal_nan=True)
        dataset = xr.Dataset({"reflectance": hsi})
        again = geofuse.fuse(dataset, xr.Dataset({"reflectance": msi}), model=small_model(), progress=False)
        assert np.allclose(again.values, expected, atol=1e-6, equal_nan=True)


def test_a_band_without_any_data_is_named(tmp_path: Path) -> None:
    coarse = small_pair()[0]
    values = coarse.values.copy()
    values[[10, 20]] = NODATA
    model = geofuse.fit(*opened(tmp_path, hsi=replace(coarse, values=values)), method="sylvester", progress=False)
    names = f"{coarse.names[10]}, {coarse.names[20]}"
    assert any(
        f"Bands of the HSI without any data where the images overlap: 2 (bands {names})" in w["message"] for w in model.report["warnings"]
    )


class TestQuality:
    """What is to be said of each pixel, beside the image."""

    def fuse(self, **options: Any) -> Any:
        with dask.config.set(scheduler="synchronous"):
            return geofuse.fuse(*small_cubes(chunks=options.pop("chunks", "auto")), model=small_model(), progress=False, **options)

    def test_lazy_and_in_memory_are_the_same(self) -> None:
        lazy, eager = self.fuse(quality=True), self.fuse(quality=True, chunks=None)
        assert list(lazy) == list(eager) == ["reflectance", "quality"]
        assert lazy.quality.chunks is not None
        assert (eager.quality.dims, eager.quality.dtype) == (("y", "x"), np.uint8)
        with dask.config.set(scheduler="synchronous"):
            assert np.array_equal(lazy.quality.values, eager.quality.values)
            assert np.allclose(lazy.reflectance.values, eager.reflectance.values, atol=1e-6, equal_nan=True)
            assert np.allclose(self.fuse().values, eager.reflectance.values, atol=1e-6, equal_nan=True)
        assert np.array_equal(eager.quality.values > 0, np.isfinite(eager.reflectance.values).all(0))
        assert eager.quality.attrs["flag_masks"] == [1, 2, 4, 8, 16]
        assert geofuse.report(eager.reflectance).to_dict()["method"] == "gem"

    @pytest.mark.parametrize("suffix", ["tif", "zarr"])
    def test_all_of_a_dataset_is_written(self, suffix: str, tmp_path: Path) -> None:
        made = self.fuse(quality=True, chunks=None)
        to = made.mossfuse.to_cog if suffix == "tif" else made.mossfuse.to_zarr
        to(tmp_path / f"a.{suffix}", progress=False)
        assert sorted(p.name for p in tmp_path.iterdir()) == [f"a.{suffix}", f"a_quality.{suffix}"]
        with pytest.raises(InvalidInput, match="exists"):
            to(tmp_path / f"a.{suffix}", progress=False)
        if suffix == "tif":
            with rasterio.open(tmp_path / "a_quality.tif") as file:
                assert np.array_equal(file.read(1), made.quality.values)
