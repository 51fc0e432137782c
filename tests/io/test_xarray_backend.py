from __future__ import annotations

import pickle
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from geofuse import open_hsi, open_msi
from geofuse.errors import InvalidCube
from geofuse.io.xarray_backend import GeofuseBackend
from geofuse.simulate.products import emit
from tests.io.read.test_open import WAVELENGTHS, numbers, write_tif

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


@pytest.fixture(scope="module")
def granule(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return emit.write(tmp_path_factory.mktemp("emit"), bands=12)


def test_the_entry_point_that_is_declared() -> None:
    declared = tomllib.loads(PYPROJECT.read_text())["project"]["entry-points"]["xarray.backends"]
    assert EntryPoint("geofuse", declared["geofuse"], "xarray.backends").load() is GeofuseBackend


@pytest.mark.skipif("geofuse" not in xr.backends.list_engines(), reason="the installed metadata are older than the entry point")
def test_by_name(granule: Path) -> None:
    assert xr.open_dataset(granule, engine="geofuse").reflectance.encoding["sensor"] == "EMIT L2A"


@pytest.mark.parametrize("chunks", [None, {}, "auto", {"y": 10, "x": 7}])
def test_the_same_as_open_hsi(granule: Path, chunks: object) -> None:
    expected = open_hsi(granule)
    found = xr.open_dataset(granule, engine=GeofuseBackend, chunks=chunks)
    assert list(found.data_vars) == ["reflectance"]
    xr.testing.assert_identical(found.reflectance.load(), expected.load())
    assert found.reflectance.encoding["sensor"] == "EMIT L2A"


def test_lazy(granule: Path) -> None:
    found = xr.open_dataset(granule, engine=GeofuseBackend, chunks={"y": 10, "x": 7})
    assert found.reflectance.data.chunksize == (12, 10, 7)
    assert found.mask.chunks is not None
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(found)).mask.values, open_hsi(granule).mask.values)


def test_options(granule: Path) -> None:
    found = xr.open_dataset(granule, engine=GeofuseBackend, bands=[2, 1], drop_variables=["mask", "absent"])
    assert "mask" not in found.coords
    np.testing.assert_array_equal(found.reflectance.values, open_hsi(granule, bands=[2, 1]).values)
    found.close()


def test_what_it_opens_of_a_raster_is_a_cube(tmp_path: Path) -> None:
    path = write_tif(tmp_path / "a.tif", numbers(), band_tags=WAVELENGTHS)
    found = xr.open_dataset(path, engine=GeofuseBackend)
    xr.testing.assert_identical(open_msi(found), open_msi(path))


def test_what_it_does_not_open(tmp_path: Path) -> None:
    with pytest.raises(InvalidCube, match="no such file"):
        xr.open_dataset(tmp_path / "absent.tif", engine=GeofuseBackend)
    with pytest.raises(InvalidCube, match="got bytes"):
        GeofuseBackend().open_dataset(b"x")
    assert not GeofuseBackend().guess_can_open("a.tif")
