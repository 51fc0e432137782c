from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from pyproj import Transformer

from geofuse.viewing.server.places import as_csv, describe_place, plain
from geofuse.viewing.server.scene import NotThere, Scene, open_scene
from tests.viewing.server.conftest import NM, NORTH, PIXEL, WEST, Files, cube, reflectance


@pytest.fixture(scope="module")
def scene(files: Files) -> Scene:
    return open_scene(files.fused, files.hsi, files.msi)


def centre(row: int, column: int) -> tuple[float, float]:
    return WEST + (column + 0.5) * PIXEL, NORTH - (row + 0.5) * PIXEL


def test_all_images_are_asked_at_the_place(scene: Scene) -> None:
    found = describe_place(scene, *centre(105, 110))
    assert (found["row"], found["column"]) == (105, 110)
    np.testing.assert_allclose(found["spectra"]["fused"], [reflectance(band, 105, 110) for band in range(len(NM))], atol=1e-6)
    np.testing.assert_allclose(found["spectra"]["msi"], [reflectance(band, 105, 110) for band in (1, 2, 4, 6)], atol=1e-6)
    row, column = np.mgrid[100:110, 110:120]  # the coarse pixel around it
    np.testing.assert_allclose(found["spectra"]["hsi"], [reflectance(band, row, column).mean() for band in range(len(NM))], atol=6e-5)
    np.testing.assert_allclose(found["deviation"], 0.01, atol=1e-6)
    lon, lat = Transformer.from_crs(32633, 4326, always_xy=True).transform(*centre(105, 110))
    assert (found["lon"], found["lat"]) == (pytest.approx(lon, abs=1e-7), pytest.approx(lat, abs=1e-7))


def test_quality_is_said_in_words(scene: Scene) -> None:
    assert describe_place(scene, *centre(50, 50))["quality"]["value"] == 1
    both = describe_place(scene, *centre(210, 210))["quality"]
    assert both["value"] == 6
    assert [text.split()[0] for text in both["words"]] == ["only", "masked"]
    nothing = describe_place(scene, *centre(3, 3))
    assert nothing["quality"] == {"value": 0, "words": ["no data"]}
    assert set(nothing["spectra"]["fused"]) == {None}


def test_outside_there_is_no_place(scene: Scene) -> None:
    with pytest.raises(NotThere, match="outside"):
        describe_place(scene, WEST - 1, NORTH - 100)


def test_the_table_is_read_by_pandas(scene: Scene) -> None:
    text = as_csv(scene, *centre(105, 110))
    table = pd.read_csv(io.StringIO(text), comment="#")
    assert table.groupby("image", sort=False).size().to_dict() == {"hsi": 11, "msi": 4, "fused": 11}
    fused = table[table.image == "fused"]
    np.testing.assert_allclose(fused.reflectance, [reflectance(band, 105, 110) for band in range(len(NM))], atol=1e-6)
    np.testing.assert_allclose(fused.wavelength_nm, NM)
    assert fused.usable.tolist() == [1] * 8 + [0] + [1] * 2  # 1375 nm: water vapour
    np.testing.assert_allclose(fused.standard_deviation, 0.01)
    assert text.splitlines()[0] == "# fused.tif"


def test_a_name_from_a_file_is_no_formula() -> None:
    image = cube(np.full((2, 4, 4), 0.2), np.array([500.0, 600.0])).assign_coords(band=["=HYPERLINK(1)", "plain"])
    table = pd.read_csv(io.StringIO(as_csv(open_scene(image), *centre(1, 1))), comment="#")
    assert table.name.tolist() == ["'=HYPERLINK(1)", "plain"]


def test_numbers_are_json() -> None:
    assert plain([0.1, np.nan, np.inf]) == [0.1, None, None]
