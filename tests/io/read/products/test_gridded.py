"""AVIRIS and Tanager: cubes in HDF5 that lie on a map grid."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from geofuse import open_hsi
from geofuse.cube.masks import Mask
from geofuse.cube.schema import geobox
from geofuse.errors import InvalidCube
from geofuse.io.read.products import gridded
from geofuse.io.read.windows import of_runs
from geofuse.simulate.products import aviris, tanager, truth
from geofuse.viewing.describe import facts


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return aviris.write(tmp_path_factory.mktemp("aviris"))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tanager.write(tmp_path_factory.mktemp("tanager"))


@pytest.mark.parametrize(("product", "samples"), [("line", 3), ("scene", 5)])
def test_the_truth_at_its_place_and_wavelength(product: str, samples: int, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(product)
    for chunks in ("auto", {"y": 9, "x": 7, "band": 20}, None):
        cube = open_hsi(path, chunks=chunks)
        size = geobox(cube).affine.a
        expected = truth.footprint(*np.meshgrid(cube.x.values, cube.y.values), cube.wavelength.values, size, samples)
        known = np.isfinite(cube.values)
        np.testing.assert_allclose(cube.values[known], expected[known], atol=2e-6)
        assert (known == known[0]).all()
        assert 0.5 < known.mean() < 0.98
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(cube)).values, cube.values)
    np.testing.assert_array_equal(open_hsi(path, bands=[40, 2]).values, cube.values[[39, 1]])


def test_aviris(line: Path) -> None:
    cube = open_hsi(line.parent)
    known = facts(cube)
    assert known["sensor"] == "AVIRIS-5 L2A"
    assert known["crs"] == "EPSG:32633"
    assert known["datetime"] == "2025-05-08T17:35:11Z"
    assert known["gsd_m"] == pytest.approx(6.4)
    np.testing.assert_allclose(cube.wavelength, aviris.WAVELENGTHS, rtol=1e-6)
    with h5py.File(line) as file:
        np.testing.assert_allclose(cube.x, file["easting"][:], rtol=1e-12)
        np.testing.assert_allclose(cube.y, file["northing"][:], rtol=1e-12)


def test_tanager(scene: Path) -> None:
    cube = open_hsi(scene)
    known = facts(cube)
    assert known["sensor"] == "Tanager L2A"
    assert known["datetime"] == "2025-01-23T18:55:18Z"
    assert known["masks"] == ["cloud", "cirrus"]
    assert known["transform"] == [30, 0, truth.CENTRE[0] - 450, 0, -30, truth.CENTRE[1] + 510]
    np.testing.assert_array_equal(np.isnan(cube.values[0]), tanager.empty(34, 30) == 1)
    assert (~cube.good.values >= ~tanager.GOOD).all()
    with h5py.File(scene) as file:
        for name, flag in (("beta_cloud_mask", Mask.CLOUD), ("beta_cirrus_mask", Mask.CIRRUS)):
            np.testing.assert_array_equal((cube.mask.values & flag) > 0, file[f"HDFEOS/GRIDS/HYP/Data Fields/{name}"][:] == 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"GeoTransform": "1 2 x"}, "expected six numbers"), ({"crs_wkt": "nonsense"}, "CRS"), ({"crs_wkt": ""}, "no CRS")],
)
def test_rejected_aviris(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidCube, match=said):
        open_hsi(aviris.write(tmp_path, **changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"structure": "GROUP=GridStructure"}, "no corners of a grid"),
        ({"wavelengths": np.zeros(80)}, "no band has a wavelength"),
        ({"fwhm": np.zeros(80)}, "FWHM"),
        (
            {"wavelengths": np.linspace(400, 2400, 90), "fwhm": np.full(90, 5.0), "good_wavelengths": np.ones(90, np.uint8)},
            "90 wavelengths",
        ),
        (
            {"wavelengths": np.linspace(400, 2400, 70), "fwhm": np.full(70, 5.0), "good_wavelengths": np.ones(70, np.uint8)},
            "70 wavelengths",
        ),
    ],
)
def test_rejected_tanager(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidCube, match=said):
        open_hsi(tanager.write(tmp_path, **changes))


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_structure_in_another_file_or_of_variable_length_is_not_read(tmp_path: Path, elsewhere: bool) -> None:
    path = tanager.write(tmp_path)
    with h5py.File(path, "r+") as file:
        name = "HDFEOS INFORMATION/StructMetadata.0"
        text = file[name][()]
        del file[name]
        if elsewhere:
            (tmp_path / "other.txt").write_bytes(text)
            file.create_dataset(name, (1,), dtype=f"S{len(text)}", external=[(str(tmp_path / "other.txt"), 0, len(text))])
        else:
            file[name] = text.decode()
    with pytest.raises(InvalidCube, match="lies in another file" if elsewhere else "no text of fixed length"):
        open_hsi(path)


def test_bands_far_apart_are_read_without_those_between(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    monkeypatch.setattr(
        gridded, "of_runs", lambda bands, read: of_runs(bands, lambda run: counts.append(run.stop - run.start) or read(run))
    )
    two = open_hsi(scene, bands=[1, 80], chunks=None)
    assert set(counts) == {1}
    np.testing.assert_array_equal(two.values, open_hsi(scene, chunks=None).values[[0, 79]])
