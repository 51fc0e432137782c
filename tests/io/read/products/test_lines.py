"""AVIRIS lines and Hyperion scenes in ENVI format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geofuse import open_hsi
from geofuse.errors import InvalidCube
from geofuse.io.read.open import files_of
from geofuse.simulate.products import aviris, truth
from geofuse.viewing.describe import facts

pytestmark = pytest.mark.filterwarnings("ignore:.*declares no scale")


@pytest.mark.parametrize("name", [aviris.NG, aviris.CLASSIC])
def test_the_truth_at_the_true_centres(name: str, tmp_path: Path) -> None:
    path = aviris.write_envi(tmp_path, name)
    cube = open_hsi(f"{path}.hdr")
    shown = np.isfinite(cube.centre_x.values)
    expected = truth.footprint(cube.centre_x.values[shown], cube.centre_y.values[shown], cube.wavelength.values, aviris.GSD, samples=3)
    values = cube.values[:, shown]
    known = np.isfinite(values)
    assert known.mean() > 0.9
    np.testing.assert_allclose(values[known], expected[known], atol=6e-5)


def test_overlapping_spectrometers_and_bad_bands(tmp_path: Path) -> None:
    cube = open_hsi(aviris.write_envi(tmp_path))
    np.testing.assert_allclose(cube.wavelength, np.sort(aviris.spectrometers()))
    good = cube.good.values
    assert not good[(cube.wavelength >= 1300) & (cube.wavelength <= 1400)].any(), "bbl of the header"
    assert good[cube.wavelength < 1290].all()


@pytest.mark.parametrize(
    ("name", "field", "sensor", "when"),
    [
        (aviris.NG, "", "AVIRIS-NG L2A", "2016-08-31T20:10:02Z"),
        (aviris.CLASSIC, "sensor type = AVIRIS", "AVIRIS Classic L2A", "2013-05-03T00:00:00Z"),
        ("f970620t01p02r03_rfl_c", "", "AVIRIS Classic L2A", "1997-06-20T00:00:00Z"),
        ("AV320231008t151049_000_L2A_OE_RFL_ORT", "", "AVIRIS-3 L2A", "2023-10-08T15:10:49Z"),
        ("line", "sensor type = AVIRIS-NG", "AVIRIS-NG", None),
        ("line", "description = {AVIRIS scene}", "AVIRIS", None),
        (
            "EO1H1930232009232_reflectance.dat",
            "sensor type = Hyperion\nacquisition time = 2009-08-20T09:53:10Z",
            "Hyperion L2A",
            "2009-08-20T09:53:10Z",
        ),
        ("line", "sensor type = HyMap", None, None),
    ],
)
def test_instrument_and_date_by_header_and_name(name: str, field: str, sensor: str | None, when: str | None, tmp_path: Path) -> None:
    path = aviris.write_envi(tmp_path, name)
    header = path.with_suffix(".hdr")
    lines = header.read_text().split("\n")
    kept = lines if not field.startswith("description") else [lines[0], *lines[3:]]
    header.write_text("\n".join([*kept, field, ""]))
    found = facts(open_hsi(path))
    assert (found["sensor"], found["datetime"]) == (sensor, when)


def test_radiance_is_rejected_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidCube, match="radiance, by its name; expected surface reflectance"):
        open_hsi(aviris.write_envi(tmp_path, "ang20160831t201002_rdn_v1n2_img"))


def test_its_files(tmp_path: Path) -> None:
    path = aviris.write_envi(tmp_path)
    assert {Path(file) for file in files_of(str(path))} == {path, path.with_suffix(".hdr")}
