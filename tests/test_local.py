"""``register="local"`` from the call to the file: model, tiles, report."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import geofuse
from geofuse.errors import InvalidInput
from geofuse.pair.prepare import REGISTRATIONS
from geofuse.simulate import Simulation, cubes, distorted, simulate_pair, smooth_displacement
from tests.pairs import made_up_scene, psnr

SIDE, RATIO, BANDS = 176, 4, 12


@cache
def case() -> tuple[Simulation, xr.DataArray, xr.DataArray]:
    """A scene that is larger than two halos of a tile, distorted by up to one and a half coarse pixels."""
    plain = simulate_pair(made_up_scene(BANDS, SIDE, SIDE, grain=1.2), np.linspace(400, 1000, BANDS), RATIO, "qb4")
    made = distorted(plain, smooth_displacement((SIDE, SIDE), 1.5 * RATIO))
    return made, *cubes(made)


@cache
def model(register: str = "local") -> geofuse.Model:
    _, hsi, msi = case()
    return geofuse.fit(hsi, msi, method="sylvester", register=register, progress=False)


def fused(found: geofuse.Model, **options: object) -> xr.DataArray:
    _, hsi, msi = case()
    image: xr.DataArray = geofuse.fuse(hsi, msi, model=found, progress=False, **options)  # type: ignore[arg-type]
    return image


@pytest.mark.slow
def test_what_a_field_is_worth() -> None:
    made, _, _ = case()
    images = [fused(model(register)).values for register in ("local", "global")]
    filled = np.isfinite(images[0]).all(0)
    scores = [psnr(made.truth[:, filled][:, None], image[:, filled][:, None]) for image in images]
    print(f"PSNR with the field {scores[0]:.2f} dB, with the shift alone {scores[1]:.2f} dB")
    assert scores[0] > scores[1] + 3


@pytest.mark.slow
def test_tiles_of_a_saved_model_equal_the_whole(tmp_path: Path) -> None:
    again = geofuse.Model.load(model().save(tmp_path / "model.safetensors"))
    whole, tiled = fused(model(), tile=1000).values, fused(again, tile=44).values
    assert np.array_equal(np.isnan(whole), np.isnan(tiled))
    assert np.nanmax(np.abs(whole - tiled)) < 1e-4


def test_the_report_shows_the_field() -> None:
    report = fused(model()).mossfuse.report()
    local = report.to_dict()["geometry"]["local"]
    assert 0 < local["rms_px"] < local["max_px"] == pytest.approx(1.5 * RATIO, rel=0.2)
    assert 0.5 < local["explained"] <= 1
    row, col, down, right = np.array(local["arrows"]).T
    expected = smooth_displacement((SIDE, SIDE), 1.5 * RATIO)(row, col)
    shift = np.array(report.to_dict()["geometry"]["shift_px"])[:, None]
    assert np.median(np.hypot(*(np.stack([down, right]) + shift - expected))) < 0.1 * RATIO
    assert any("Local displacement" in ax.get_title(loc="left") for ax in report.plot().axes)
    assert "distorted by up to" in report.to_html()


def test_a_field_is_that_of_its_scene() -> None:
    _, hsi, msi = case()
    with pytest.raises(InvalidInput, match=r"displacement field of 176 x 176 fine pixels; found an overlap of .*register='global'"):
        geofuse.fuse(hsi, msi.isel(y=slice(0, 100)), model=model(), progress=False)


def test_the_georeference_as_it_is() -> None:
    found = model("none").geometry
    assert found.shift == (0, 0)
    assert found.local is None
    assert found.sigma[0] > 1


def test_other_words_are_rejected_before_a_pixel_is_read() -> None:
    _, hsi, msi = case()
    for call in (geofuse.plan, geofuse.fit, geofuse.fuse, geofuse.evaluate):
        with pytest.raises(InvalidInput, match=f"registration is 'affine'; expected one of {', '.join(REGISTRATIONS)}"):
            call(hsi, msi, register="affine", progress=False)
