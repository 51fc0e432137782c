from __future__ import annotations

import shutil
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr

import geofuse
from geofuse.cube import flags
from geofuse.errors import InvalidCube, InvalidInput, InvalidPair
from geofuse.viewing.server.layers import FileLayer
from geofuse.viewing.server.scene import open_scene
from tests.viewing.server.conftest import NM, Files, cube


def test_layers_beside_the_image_are_taken(files: Files) -> None:
    scene = open_scene(files.fused, files.hsi, files.msi)
    assert all(isinstance(layer, FileLayer) for layer in scene.layers())
    assert len(scene.layers()) == 5
    assert scene.quality is not None
    assert scene.quality.spectrum(105, 110).tolist() == [16.0]  # flags, not reflectance


def test_without_them_there_are_none(files: Files, tmp_path: Path) -> None:
    shutil.copy(files.fused, tmp_path / "alone.tif")
    scene = open_scene(tmp_path / "alone.tif")
    assert scene.layers() == [scene.fused]
    assert open_scene(tmp_path / "alone.tif", uncertainty=files.uncertainty).uncertainty is not None


def test_a_dataset_brings_its_layers() -> None:
    image = cube(np.full((len(NM), 6, 5), 0.2))
    plane = xr.DataArray(flags.plane_of(np.ones((6, 5), bool), far=np.eye(6, 5, dtype=bool)), image.isel(band=0, drop=True).coords)
    scene = open_scene(xr.Dataset({"reflectance": image, "uncertainty": 0.1 * image, "quality": plane}))
    assert scene.uncertainty is not None
    assert scene.quality is not None
    assert [scene.quality.spectrum(row, 1).item() for row in (0, 1)] == [1.0, 16.0]


def test_layers_of_the_whole_image_do_not_fit_a_part_of_it(files: Files) -> None:
    part = geofuse.open_hsi(files.fused).isel(x=slice(100, None))
    with pytest.warns(UserWarning, match="the layer (quality|uncertainty) is left out"):
        scene = open_scene(part)
    assert scene.layers() == [scene.fused]


def test_zarr_is_read_by_windows(files: Files, tmp_path: Path) -> None:
    image = geofuse.open_hsi(files.fused).isel(y=slice(64), x=slice(64)).compute()
    geofuse.to_zarr(image, tmp_path / "fused.zarr", progress=False)
    scene = open_scene(tmp_path / "fused.zarr")
    np.testing.assert_allclose(scene.fused.spectrum(40, 30), image.values[:, 40, 30], atol=1e-6)


def test_an_image_that_is_not_computed_is_rejected_with_the_way_out() -> None:
    image = cube(da.zeros((len(NM), 6, 5), chunks=-1))
    with pytest.raises(InvalidInput, match=r"not computed yet.*to_cog"):
        open_scene(image)


def test_what_lies_elsewhere_is_rejected(files: Files) -> None:
    away = cube(np.full((len(NM), 6, 5), 0.2), west=900_000.0)
    with pytest.raises(InvalidPair, match="HSI: it does not lie where the fused image does"):
        open_scene(files.fused, away)


def test_deviations_of_another_image_are_rejected(files: Files) -> None:
    with pytest.raises(InvalidInput, match=r"uncertainty: 4 bands.*expected 11"):
        open_scene(files.fused, uncertainty=files.msi)


def test_what_is_no_raster_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "fused.tif").write_text("no image")
    with pytest.raises(InvalidCube):
        open_scene(tmp_path / "fused.tif")
