"""What a report shows of a scene, made at the fit: on the fine grid, without another read, small, and true to the numbers."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pytest
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
from affine import Affine

import geofuse
from geofuse.cube.schema import wrap
from geofuse.reporting.pictures import SIDE, decoded, decoded_map
from tests.crops import few_cubes, few_model, small_cubes, small_model


def test_a_fused_image_brings_its_pictures_to_the_page() -> None:
    """Of the middle of the scene, on the fine grid; without another read; and the record grows by less than 100 kB."""
    hsi, msi = small_cubes(chunks=None)
    fused = geofuse.fuse(hsi, msi, model=small_model(), progress=False)
    record = fused.mossfuse.report().to_dict()
    pictures = record["pictures"]
    assert len(json.dumps(pictures)) < 150_000
    images = {key: decoded(pictures[key]) for key in ("hsi", "msi", "fused")}
    west, east, south, north = pictures["extent"]
    for image in images.values():
        assert image is not None
        assert max(image.shape) <= SIDE
        assert image.shape[:2] == (round((north - south) / 3.6), round((east - west) / 3.6))
    left, bottom, right, top = msi.rio.bounds()
    assert left - 1e-6 < west < east < right + 1e-6
    assert bottom - 1e-6 < south < north < top + 1e-6
    # what is fused looks like the fine image, and a block of it on average like the coarse one
    detail = [np.asarray(images[key], float).mean(-1) for key in ("hsi", "msi", "fused")]
    assert np.corrcoef(detail[1].ravel(), detail[2].ravel())[0, 1] > 0.9
    assert np.corrcoef(detail[0].ravel(), detail[2].ravel())[0, 1] > 0.3
    page = fused.mossfuse.report().to_html()
    assert page.index("<img") < page.index("Fused with")
    assert len(page) < 3_000_000


@cache
def known() -> tuple[xr.Dataset, dict[str, Any]]:
    """The crops with few bands, fused with uncertainty, and their record."""
    hsi, msi = few_cubes()
    fused = geofuse.fuse(hsi.compute(), msi.compute(), model=few_model(uncertainty=True), uncertainty=True, progress=False)
    return fused, geofuse.report(fused).to_dict()


def test_spectra_are_those_of_the_images_at_their_places() -> None:
    fused, record = known()
    hsi, msi = few_cubes()
    reasons = [place["why"] for place in record["spectra"]]
    assert reasons[-3:] == ["largest residual of the HSI", "largest residual of the MSI", "largest standard deviation"]
    for place in record["spectra"]:
        at = {"x": place["x"], "y": place["y"], "method": "nearest"}
        np.testing.assert_allclose(place["hsi"], hsi.sel(**at), atol=1e-4)
        np.testing.assert_allclose(place["msi"], msi.sel(**at), atol=1e-4)
        np.testing.assert_allclose(place["fused"], fused.reflectance.sel(**at), atol=2e-3)
        np.testing.assert_allclose(place["sigma"], fused.uncertainty.sel(**at), rtol=0.1, atol=2e-3)


def test_the_largest_residual_of_the_msi_is_where_the_spectra_say() -> None:
    """The residual from the record's own response and spectra: no larger one at the other places."""
    _, record = known()
    matrix, offset = np.array(record["response"]["matrix"]), np.array(record["response"]["offset"])

    def residual(place: dict[str, Any]) -> float:
        return float(np.sqrt(np.mean((matrix @ place["fused"] + offset - place["msi"]) ** 2)))

    worst = next(place for place in record["spectra"] if "residual of the MSI" in place["why"])
    assert residual(worst) == max(map(residual, record["spectra"]))
    top = record["pictures"]["msi_residual"]["top"]
    assert 0.5 * top < residual(worst) < 20 * top


def test_maps_are_those_of_the_numbers() -> None:
    _, record = known()
    pictures = record["pictures"]
    shape = decoded(pictures["fused"]).shape[:2]  # type: ignore[union-attr]
    for key in ("hsi_residual", "msi_residual", "uncertainty"):
        found = decoded_map(pictures[key])
        assert found is not None
        assert found.shape == shape
        assert np.nanmax(found) == pytest.approx(pictures[key]["top"], rel=0.02)
    level = np.sqrt(np.nanmean(decoded_map(pictures["msi_residual"]) ** 2))  # type: ignore[operator]
    overall = record["residuals"]["msi_rel_rmse"]
    assert 0.1 * overall < level / 0.15 < 5 * overall  # a scene of reflectance near 0.15


@pytest.mark.slow
def test_a_lazy_image_says_that_it_was_not_computed() -> None:
    hsi, msi = few_cubes()
    lazy = geofuse.fuse(hsi, msi, model=few_model(), progress=False)
    report = geofuse.report(lazy)
    assert report.to_dict()["computed"] is False
    assert "before the image was computed" in report.to_html()
    made = geofuse.report(lazy.compute())
    assert "computed" not in made.to_dict()
    assert "before the image was computed" not in made.to_html()
    assert decoded(made.to_dict()["scene"]["fused"]) is not None


def test_a_model_of_another_scene_brings_no_pictures_of_it() -> None:
    hsi, msi = few_cubes()
    moved = [cube.compute().assign_coords(x=cube.x + 90_000.0) for cube in (hsi, msi)]
    report = geofuse.report(geofuse.fuse(*moved, model=few_model(), progress=False))
    assert not {"pictures", "spectra"} & set(report.to_dict())
    assert "fitted on another scene" in report.sentences()[0]
    assert "another scene" not in geofuse.report(known()[0]).sentences()[0]


@pytest.mark.slow
def test_the_smallest_scene_and_one_without_good_bands_have_a_report_too() -> None:
    truth = np.random.default_rng(0).random((6, 8, 8)).astype("float32") * 0.3 + 0.1
    for side, good in ((2, True), (4, False)):  # coarse pixels
        size, low = 2 * side, truth[:, : 2 * side, : 2 * side].reshape(6, side, 2, side, 2).mean((2, 4))
        grid = {"crs": 32633, "transform": Affine(20, 0, 5e5, 0, -20, 5e6)}
        hsi = wrap(low, names=list("abcdef"), wavelength=np.linspace(450, 900, 6), good=np.full(6, good), **grid)
        msi = wrap(truth[:3, :size, :size], names=list("abc"), **grid | {"transform": Affine(10, 0, 5e5, 0, -10, 5e6)})
        report = geofuse.report(geofuse.fuse(hsi, msi, method="bicubic", progress=False))
        assert report.to_dict()["spectra"]
        assert "Residuals" in report.to_html()
