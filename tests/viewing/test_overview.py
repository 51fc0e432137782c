"""The whole scene in a report: every picture on the grid of the output."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import geofuse
from geofuse.pipeline.pair import pair
from geofuse.reporting.pictures import decoded, decoded_map
from geofuse.viewing.overview import overview_of_cube, overview_of_files
from tests.crops import few_cubes, few_model


def test_of_files_all_pictures_lie_on_each_other(tmp_path: Path) -> None:
    hsi, msi = few_cubes()
    fused = geofuse.fuse(hsi, msi, model=few_model(uncertainty=True), uncertainty=True, progress=False).compute()
    raster = Path(geofuse.to_cog(fused, tmp_path / "fused.tif", progress=False))
    scene = overview_of_files(pair(hsi, msi), raster, tmp_path / "fused_uncertainty.tif", fused.quality.values)
    images = {key: np.asarray(decoded(scene[key]), float).mean(-1) for key in ("hsi", "msi", "fused")}
    assert {image.shape for image in images.values()} == {fused.reflectance.shape[1:]}
    assert np.corrcoef(images["msi"].ravel(), images["fused"].ravel())[0, 1] > 0.9
    assert np.corrcoef(images["hsi"].ravel(), images["fused"].ravel())[0, 1] > 0.3
    left, bottom, right, top = fused.reflectance.rio.bounds()
    np.testing.assert_allclose(scene["extent"], [left, right, bottom, top])
    deviation = decoded_map(scene["uncertainty"])
    assert deviation is not None
    assert np.nanmedian(deviation) / float(fused.uncertainty.mean("band").median()) > 0.5
    np.testing.assert_array_equal(decoded(scene["quality"])[..., 0], fused.quality.values)  # type: ignore[index]


def test_of_a_lazy_image_nothing_is_computed() -> None:
    hsi, msi = few_cubes()
    lazy = geofuse.fuse(hsi, msi, model=few_model(), quality=True, progress=False)
    assert overview_of_cube(lazy) == {}
    assert set(overview_of_cube(lazy.compute())) == {"scene", "quality"}
