"""The truths: what is in the files, by numpy and rasterio alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from geofuse.simulate import RESPONSES, SCENES, load, simulate


def test_berlin_is_the_embedded_raster(berlin: tuple[Path, Path], tmp_path: Path) -> None:
    truth, wavelength = load("berlin", tmp_path)
    with rasterio.open(berlin[0]) as file:
        values = file.read()[:, :, :56] / 1e4
        assert wavelength.tolist() == [float(file.tags(band)["wavelength"]) for band in file.indexes]
    assert np.allclose(truth, np.minimum(values / np.percentile(values, 99.9), 1), atol=1e-12)


@pytest.mark.parametrize("empty", [(), (0, 5)], ids=["all bands hold data", "two are empty"])
def test_bands_that_are_empty_where_the_truth_is_are_left_out(empty: tuple[int, ...], tmp_path: Path) -> None:
    """Beyond the truth they may hold what they like."""
    cube = np.random.default_rng(0).uniform(100, 4000, (8, 90, 90)).astype("int16")
    cube[list(empty), :88, :88] = 0
    cube[list(empty), 3, 4] = -12
    wavelength = np.linspace(400, 1100, 8)
    np.savez(tmp_path / "santa_barbara_aviris.npz", cube=cube, wavelength_nm=wavelength)
    truth, kept = load("sb", tmp_path)
    left = [band for band in range(8) if band not in empty]
    assert kept.tolist() == wavelength[left].tolist()
    assert truth.shape == (len(left), 88, 88)
    assert truth.max() == 1


@pytest.mark.parametrize(
    ("name", "shape"),
    {
        "jasper": (198, 96, 96),
        "la": (205, 96, 176),
        "ip": (200, 144, 144),
        "sb": (181, 88, 88),
        "paris": (128, 72, 72),
        "berlin": (177, 80, 56),
    }.items(),
)
def test_every_scene_makes_pairs(name: str, shape: tuple[int, ...], shared_data: Path) -> None:
    assert name in SCENES
    truth, wavelength = load(name, shared_data)
    assert truth.shape == shape
    assert len(wavelength) == shape[0]
    assert (truth.min() >= 0, truth.max()) == (True, 1)
    assert truth.any((1, 2)).all()
    for kind, bands in zip(RESPONSES, (4, 10), strict=True):
        pair = simulate(name, 8, kind, shared_data)
        assert pair.hsi.shape == (shape[0], shape[1] // 8, shape[2] // 8)
        assert pair.msi.shape == (bands, *shape[1:])
