"""Masked clouds take no part: whatever lies under a mask, the fused image is the same, and it says which pixels are masked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 (the accessor)
import xarray as xr
from affine import Affine
from rasterio.warp import transform_bounds

import geofuse
from geofuse.cli import main
from geofuse.cube.flags import Quality
from geofuse.cube.masks import Mask, attributes
from geofuse.errors import InvalidCube, InvalidInput, InvalidOutput
from geofuse.pipeline.job import Job
from tests.crops import few_cubes, few_files, few_model

FINE, COARSE = (slice(20, 40), slice(20, 40)), (slice(3, 5), slice(3, 5))
FAR = slice(70, None)  # rows
BOTH = Quality.MASKED | Quality.ONE_IMAGE


def flagged(cube: xr.DataArray, place: tuple[slice, slice], flags: int = Mask.CLOUD) -> xr.DataArray:
    mask = np.zeros(cube.shape[1:], np.uint8)
    mask[place] = flags
    return cube.assign_coords(mask=(("y", "x"), mask, attributes()))


def covered(cube: xr.DataArray, place: tuple[slice, slice], level: float = 0.03) -> xr.DataArray:
    """Under a thin cloud, too thin to be found by comparison of the images, and flagged."""
    cloudy = cube.compute().copy(deep=True)
    cloudy.values[(slice(None), *place)] *= 0.9
    cloudy.values[(slice(None), *place)] += level
    return flagged(cloudy, place)


def cubes() -> tuple[xr.DataArray, xr.DataArray]:
    hsi, msi = few_cubes()
    return hsi.compute(), msi.compute()


def fuse(hsi: xr.DataArray, msi: xr.DataArray, **options: Any) -> xr.Dataset:
    options = {"model": few_model(), "quality": True, "progress": False} | options
    return geofuse.fuse(hsi, msi, **options)


def places(fused: xr.Dataset, msi: xr.DataArray, place: tuple[slice, slice]) -> np.ndarray:
    """Pixels of the fused image at a place of the MSI."""
    inside = np.zeros(msi.shape[1:], bool)
    inside[place] = True
    return xr.DataArray(inside, dims=("y", "x"), coords={"y": msi.y, "x": msi.x}).sel(y=fused.y, x=fused.x).values


def under(fused: xr.Dataset, hsi: xr.DataArray, place: tuple[slice, slice]) -> np.ndarray:
    """Pixels of the fused image whose centre lies in pixels of the HSI."""
    inside = np.zeros(hsi.shape[1:], bool)
    inside[place] = True
    return xr.DataArray(inside, dims=("y", "x"), coords={"y": hsi.y, "x": hsi.x}).sel(y=fused.y, x=fused.x, method="nearest").values


@pytest.mark.parametrize("image", ["msi", "hsi"])
def test_the_fit_takes_no_notice_of_a_masked_cloud(image: str) -> None:
    """Against the scene without a cloud, which differs in so far as the masked pixels are known; and of the cloud's own brightness nothing is seen."""
    hsi, msi = cubes()
    calm = geofuse.fuse(hsi, msi, model=few_model(), progress=False)
    options: dict[str, Any] = {"method": "sylvester", "progress": False, "quality": True}
    made = [
        geofuse.fuse(covered(hsi, COARSE, level), msi, **options)
        if image == "hsi"
        else geofuse.fuse(hsi, covered(msi, FINE, level), **options)
        for level in (0.03, 0.6)
    ]
    assert made[0].reflectance.equals(made[1].reflectance), "what lies under a mask was used"
    assert made[0].quality.equals(made[1].quality)
    change = (made[0].reflectance - calm).values[:, FAR]
    assert np.sqrt(np.nanmean(change**2)) < 1e-3
    masked = places(made[0], msi, FINE) if image == "msi" else under(made[0], hsi, COARSE)
    assert np.array_equal(np.isnan(made[0].reflectance.values).all(0), masked)
    assert np.array_equal(made[0].quality.values == Quality.MASKED, masked)


def test_an_unmasked_cloud_is_noticed() -> None:
    """The test above can fail."""
    hsi, msi = cubes()
    bright = [fuse(hsi, covered(msi, FINE, level).drop_vars("mask"), model=None, method="sylvester") for level in (0.02, 0.03)]
    assert not bright[0].reflectance.equals(bright[1].reflectance)


def test_nodata_by_default() -> None:
    hsi, msi = cubes()
    calm, fused = fuse(hsi, msi), fuse(hsi, covered(msi, FINE))
    masked = places(fused, msi, FINE)
    assert masked.sum() == 400
    assert np.array_equal(np.isnan(fused.reflectance.values), np.broadcast_to(masked, fused.reflectance.shape))
    assert (fused.quality.values[masked] == Quality.MASKED).all()
    assert (fused.quality.values[~masked] & BOTH == 0).all()
    change = np.where(masked, 0, (fused - calm).reflectance.values)
    assert np.sqrt((change[:, FAR] ** 2).mean()) < 1e-4, "the model is the same, so that only the neighbourhood of the mask changes"


@pytest.mark.parametrize("image", ["msi", "hsi"])
def test_what_the_other_image_says(image: str) -> None:
    hsi, msi = cubes()
    calm = fuse(hsi, msi)
    pair = (hsi, covered(msi, FINE)) if image == "msi" else (covered(hsi, COARSE), msi)
    fused = fuse(*pair, masked="one-image")
    masked = places(fused, msi, FINE) if image == "msi" else under(fused, hsi, COARSE)
    assert np.isfinite(fused.reflectance.values).all()
    assert (fused.quality.values[masked] & BOTH == BOTH).all()
    assert (fused.quality.values[~masked] & BOTH == 0).all()
    error = np.sqrt(((fused - calm).reflectance.values[:, masked] ** 2).mean())
    spread = float(calm.reflectance.values[:, masked].std())
    # the HSI alone shows no detail, the MSI alone nearly all of it
    assert error < (0.9 if image == "msi" else 0.2) * spread


def test_masked_in_both_is_nodata_all_the_same() -> None:
    hsi, msi = cubes()
    fused = fuse(covered(hsi, COARSE), covered(msi, FINE), masked="one-image")
    expected = places(fused, msi, FINE) & under(fused, hsi, COARSE)
    assert 0 < expected.sum() < 400
    assert np.array_equal(np.isnan(fused.reflectance.values).all(0), expected)
    assert (fused.quality.values[expected] == Quality.MASKED).all()


def test_methods_that_cannot_say_it() -> None:
    hsi, msi = cubes()
    fused = fuse(hsi, covered(msi, FINE), model=None, method="regression", masked="one-image")
    assert np.isnan(fused.reflectance.values[:, places(fused, msi, FINE)]).all()


def test_snow_water_and_haze_take_part() -> None:
    hsi, msi = cubes()
    harmless = Mask.SNOW | Mask.WATER | Mask.HAZE
    assert fuse(flagged(hsi, COARSE, harmless), flagged(msi, FINE, harmless)).equals(fuse(hsi, msi))
    for flag in (Mask.CIRRUS, Mask.SHADOW, Mask.SATURATED, Mask.DEFECT):
        assert np.isnan(fuse(hsi, flagged(msi, FINE, flag | Mask.SNOW)).reflectance.values).any()


@pytest.mark.parametrize("masked", ["nodata", "one-image"])
def test_tiles_are_the_whole(masked: str) -> None:
    hsi, msi = covered(cubes()[0], COARSE), covered(cubes()[1], (slice(60, 90), slice(40, 75)))
    whole = fuse(hsi, msi, masked=masked)
    lazy = fuse(hsi.chunk(x=5), msi.chunk(y=50), masked=masked, tile=48)
    assert dask.is_dask_collection(lazy.reflectance.data)
    for scheduler in ("threads", "processes") if masked == "nodata" else ("threads",):
        with dask.config.set(scheduler=scheduler):
            made = lazy.compute()
        assert np.array_equal(made.quality.values & BOTH, whole.quality.values & BOTH)
        assert np.array_equal(np.isnan(made.reflectance.values), np.isnan(whole.reflectance.values))
        assert np.nanmax(np.abs((made - whole).reflectance.values)) < 1e-4


def written(path: Path, values: np.ndarray, transform: Affine, crs: str, nodata: float | None = None) -> Path:
    profile = {"driver": "GTiff", "count": 1, "height": values.shape[0], "width": values.shape[1], "dtype": values.dtype, "nodata": nodata}
    with rasterio.open(path, "w", **profile, crs=crs, transform=transform) as file:
        file.write(values, 1)
    return path


@pytest.fixture
def mask_file(tmp_path: Path) -> Path:
    """In degrees, of pixels of about 3 m: the middle of the scene, and 255 for nodata in the west."""
    _, msi = few_cubes()
    left, bottom, right, top = transform_bounds(msi.rio.crs, "EPSG:4326", *msi.rio.bounds())
    values = np.zeros((200, 200), "uint8")
    values[80:120, 80:120] = 7
    values[:, :20] = 255
    return written(tmp_path / "mask.tif", values, Affine((right - left) / 200, 0, left, 0, (bottom - top) / 200, top), "EPSG:4326", 255)


def expected_mask(fused: xr.Dataset, file: Path) -> np.ndarray:
    """Pixels whose centre lies in the mask, by pyproj through rasterio alone."""
    from rasterio.warp import transform

    y, x = np.meshgrid(fused.y, fused.x, indexing="ij")
    lon, lat = (np.reshape(v, y.shape) for v in transform(fused.rio.crs, "EPSG:4326", x.ravel(), y.ravel()))
    with rasterio.open(file) as mask:
        col, row = ~mask.transform * (lon, lat)
        values = mask.read(1)
    inside = values[np.clip(row.astype(int), 0, 199), np.clip(col.astype(int), 0, 199)]
    return (inside != 0) & (inside != 255)


def test_a_mask_of_the_users_on_any_grid(mask_file: Path) -> None:
    hsi, msi = cubes()
    fused = fuse(hsi, msi, mask=mask_file)
    masked = (fused.quality.values & Quality.MASKED) > 0
    assert np.array_equal(np.isnan(fused.reflectance.values).all(0), masked)
    expected = expected_mask(fused, mask_file)
    assert (masked & expected).sum() > 0.98 * expected.sum()
    # beyond it lie coarse pixels that are masked for the most part
    from scipy.ndimage import binary_dilation

    assert not (masked & ~binary_dilation(expected, iterations=9)).any()
    corner = fuse(hsi, msi, mask=mask_file, masked="one-image")
    assert np.isnan(corner.reflectance.values).any(), "in the middle of the mask neither image counts"
    with rasterio.open(mask_file) as file:
        array = xr.DataArray(file.read(1) == 7, dims=("lat", "lon"))
        array = array.assign_coords(lat=file.transform.f + file.transform.e * (np.arange(200) + 0.5))
        array = array.assign_coords(lon=file.transform.c + file.transform.a * (np.arange(200) + 0.5)).rio.write_crs("EPSG:4326")
    for given in (array, array[::-1], array.chunk(lat=64), array.astype("float32").where(array)):
        assert np.array_equal(fuse(hsi, msi, mask=given).quality, fused.quality)
    lazy = fuse(*few_cubes(), mask=mask_file, tile=64)
    assert np.array_equal(lazy.quality.values, fused.quality.values)


def test_a_mask_on_the_grid_of_the_msi() -> None:
    hsi, msi = cubes()
    fused = fuse(hsi, msi, mask=msi[0] > 0.12)
    shown = (msi[0] > 0.12).sel(y=fused.y, x=fused.x).values
    assert (((fused.quality.values & Quality.MASKED) > 0) >= shown).all()
    assert 0.01 < shown.mean() < 0.5


def test_masks_that_cannot_be_used(mask_file: Path, tmp_path: Path) -> None:
    hsi, msi = cubes()
    with pytest.raises(InvalidCube, match=r"mask .*no\.tif: no such file"):
        geofuse.plan(hsi, msi, mask=tmp_path / "no.tif")
    with pytest.raises(InvalidCube, match=r"mask .*: \d+ bands; expected one"):
        geofuse.plan(hsi, msi, mask=few_files()[1])
    with pytest.raises(InvalidCube, match="mask: the array has no CRS"):
        geofuse.plan(hsi, msi, mask=xr.DataArray(np.ones((4, 4)), dims=("y", "x"), coords={"y": [4, 3, 2, 1], "x": [1, 2, 3, 4]}))
    away = written(tmp_path / "away.tif", np.ones((4, 4), "uint8"), Affine(1, 0, 100, 0, -1, 40), "EPSG:4326")
    with pytest.raises(InvalidCube, match="does not overlap the images"):
        geofuse.plan(hsi, msi, mask=away)
    with pytest.raises(InvalidCube, match="expected a path or a DataArray, found int"):
        geofuse.plan(hsi, msi, mask=3)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="'all'; expected 'nodata' or 'one-image'"):
        geofuse.plan(hsi, msi, masked="all")  # type: ignore[arg-type]


def test_a_mask_that_leaves_nothing() -> None:
    hsi, msi = cubes()
    everything = (slice(None), slice(None))
    for pair, share in (
        ((flagged(hsi, everything), msi), "100 % of the HSI and 0 %"),
        ((hsi, flagged(msi, everything)), "0 % of the HSI and 100 %"),
    ):
        with pytest.raises(InvalidCube, match=f"The masks leave nothing to fuse: {share}"):
            geofuse.fit(*pair, method="sylvester", progress=False)
        with pytest.raises(InvalidCube, match="The masks leave nothing to fuse"):
            geofuse.evaluate(*pair, methods="bicubic", progress=False)


def test_models_remember_what_they_fill(tmp_path: Path) -> None:
    from dataclasses import replace

    model = replace(few_model(), fills_masked=True)
    assert geofuse.Model.load(model.save(tmp_path / "m.safetensors")).fills_masked
    assert dask.base.tokenize(model) != dask.base.tokenize(few_model())


class TestJob:
    def job(self, folder: Path, mask: Path, **options: Any) -> Job:
        hsi, msi = few_files()
        return Job(str(hsi), str(msi), folder / "out.tif", method="sylvester", progress=False, mask=str(mask), **options)

    def test_from_files_to_files(self, mask_file: Path, tmp_path: Path) -> None:
        report = tmp_path / "r.json"
        job = self.job(tmp_path, mask_file, masked="one-image", reports=(report,))
        job.run()
        with rasterio.open(tmp_path / "out_quality.tif") as file, rasterio.open(tmp_path / "out.tif") as image:
            quality, valid = file.read(1), image.read_masks(1) > 0
        assert ((quality & BOTH) == BOTH).any()
        assert (quality == Quality.MASKED).any()
        assert np.array_equal(valid, (quality != 0) & (quality != Quality.MASKED))
        share = json.loads(report.read_text())["quality"]["masked"]
        assert share == pytest.approx(((quality & Quality.MASKED) > 0).mean(), abs=1e-6)
        assert job.is_done()
        assert not self.job(tmp_path, mask_file, reports=(report,)).is_done(), "another choice is another command"

    def test_another_mask_is_another_run(self, mask_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Interrupted after the fit: the same command resumes with the model; with another content of the mask it begins anew."""
        fits: list[int] = []
        fit = geofuse.pipeline.fit.fit_scene
        monkeypatch.setattr("geofuse.pipeline.fit.fit_scene", lambda *a: fits.append(1) or fit(*a))

        def interrupt(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("geofuse.pipeline.job.stage_tiles", interrupt)
            with pytest.raises(KeyboardInterrupt):
                self.job(tmp_path, mask_file).run()
            with pytest.raises(KeyboardInterrupt):
                self.job(tmp_path, mask_file).run()
            assert len(fits) == 1
        with rasterio.open(mask_file, "r+") as file:
            file.write(np.zeros((200, 200), "uint8"), 1)
        with pytest.raises(InvalidOutput, match="this run is another one: mask modified was"):
            self.job(tmp_path, mask_file).run()
        self.job(tmp_path, mask_file, resume=False).run()
        assert len(fits) == 2
        with rasterio.open(tmp_path / "out_quality.tif") as file:
            assert not (file.read(1) & Quality.MASKED).any()

    def test_the_command_line(self, mask_file: Path, tmp_path: Path) -> None:
        hsi, msi = map(str, few_files())
        options = ["-o", str(tmp_path / "out.tif"), "--method", "sylvester", "--mask", str(mask_file), "--masked", "one-image", "-q"]
        with pytest.raises(SystemExit) as end:
            main(["fuse", hsi, msi, *options])
        assert end.value.code == 0
        with rasterio.open(tmp_path / "out_quality.tif") as file:
            assert ((file.read(1) & BOTH) == BOTH).any()
        with pytest.raises(SystemExit) as end:
            main(["fuse", hsi, msi, *options, "--masked", "none", "--overwrite"])
        assert end.value.code == 2
