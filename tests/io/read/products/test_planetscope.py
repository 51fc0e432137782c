"""PlanetScope SuperDove scenes, against the truth in the place of each pixel."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import geofuse
from geofuse.cube.masks import Mask
from geofuse.errors import InvalidCube
from geofuse.io.read.open import files_of
from geofuse.simulate.products import planetscope
from geofuse.viewing.describe import facts


@pytest.mark.parametrize(("xml", "clip"), [(False, "_clip"), (True, "_clip"), (False, ""), (True, "")])
def test_bands_mask_and_date(xml: bool, clip: str, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    root = planetscope.write(tmp_path, xml=xml, clip=clip)
    for path in (root, *root.iterdir()):
        cube = geofuse.open_msi(path)
        said = facts(cube)
        assert (said["sensor"], said["masks"], said["datetime"]) == ("PlanetScope SuperDove", ["UDM2"], "2024-09-04T10:11:12Z")
    assert not recwarn.list
    assert cube.band.values.tolist() == list(planetscope.BANDS)
    assert cube.wavelength.values.tolist() == pytest.approx(list(planetscope.BANDS.values()))
    assert np.isnan(cube.values[:, :5]).all()
    assert np.abs(cube.values - planetscope.reflectance())[:, 5:].max() < 0.5e-4 + 1e-6
    expected = np.zeros((100, 100), np.uint8)
    for (_, rows, cols), flag in zip(planetscope.PLACES, (Mask.SHADOW, Mask.HAZE, Mask.CLOUD), strict=True):
        expected[rows, cols] = flag
    expected[:5] = Mask.DEFECT
    assert np.array_equal(cube.mask.values, expected)
    assert geofuse.open_msi(root, bands="red,860-870nm").band.values.tolist() == ["red", "nir"]
    assert len(files_of(str(root))) == 4


def test_other_files_in_such_a_folder(tmp_path: Path) -> None:
    root = planetscope.write(tmp_path)
    image, mask, metadata = (next(root.glob(f"*{name}*")) for name in ("SR_8b", "udm2", "metadata"))
    other = root / "other.tif"
    shutil.copy(image, other)
    with pytest.warns(UserWarning, match="declares no scale"):
        assert geofuse.open_msi(other).encoding["reader"] == "GeoTIFF"
    mask.unlink()
    assert "mask" not in geofuse.open_msi(root).coords
    shutil.copy(image, root / f"{planetscope.NAME}_3B_AnalyticMS_SR_8b_clip.tif")
    with pytest.raises(InvalidCube, match="holds 2 files of surface reflectance"):
        geofuse.open_msi(root)
    assert geofuse.open_msi(image).shape == (8, 100, 100), "the one that is given is meant"
    metadata.write_text(metadata.read_text().replace("PSB.SD", "PS2"))
    with pytest.raises(InvalidCube, match="this is a folder"):
        geofuse.open_msi(root)
