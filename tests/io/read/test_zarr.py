"""Zarr stores from elsewhere: understood where they can be, rejected before anything is allocated, unpickled or followed."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.errors import UnstableSpecificationWarning

import geofuse
from geofuse.errors import InvalidCube, RunError
from geofuse.io.read.fingerprint import fingerprint
from geofuse.io.read.zarr import StoreArray, describe_store, is_store
from geofuse.io.write.zarr import write_zarr
from geofuse.simulate.products import emit
from tests.io.write.test_cog import scene


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "a.zarr"
    write_zarr(scene(3, 200, 180), path, progress=False, block=64)
    return path


@pytest.fixture
def store(written: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(written, tmp_path / "a.zarr"))


def edit(node: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    file = node / "zarr.json"
    metadata = json.loads(file.read_text())
    change(metadata)
    file.write_text(json.dumps(metadata))


class TestReading:
    def test_windows_bands_and_levels(self, written: Path) -> None:
        whole = geofuse.open_hsi(written).values
        assert whole.shape == (3, 200, 180)
        chosen = geofuse.open_msi(written, bands=[3, 1])
        np.testing.assert_array_equal(chosen.values, whole[[2, 0]])
        np.testing.assert_array_equal(chosen[:, 50:131, 7:70].values, whole[[2, 0], 50:131, 7:70])
        assert geofuse.open_hsi(written / "1").shape == (3, 100, 90)
        np.testing.assert_array_equal(geofuse.open_hsi(written, chunks=None).values, whole)

    def test_opening_reads_a_pixel_and_a_block(self, written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        read, genuine = [], StoreArray._read
        monkeypatch.setattr(StoreArray, "_read", lambda *given: read.append(genuine(*given)) or read[-1])
        lazy = geofuse.open_hsi(written)
        assert [part.shape for part in read] == [(1, 1, 1), (1, 200, 180)]
        lazy[1, 30:40, 50:55].compute()
        assert read[-1].shape == (1, 10, 5)

    def test_it_travels(self, written: Path) -> None:
        """To another process: what is pickled holds nothing open."""
        store = describe_store(written)
        again = pickle.loads(pickle.dumps(store.array))
        np.testing.assert_array_equal(again[1:, 50:60, 7], store.array[1:, 50:60, 7])

    def test_what_xarray_writes(self, tmp_path: Path) -> None:
        """Rows that run north, text of fixed length, no sharding: another person's store."""
        cube = scene(3, 60, 50)
        theirs = cube.isel(y=slice(None, None, -1)).assign_coords(spatial_ref=cube.spatial_ref.drop_attrs())
        theirs.spatial_ref.attrs = {"crs_wkt": cube.spatial_ref.attrs["crs_wkt"]}
        with pytest.warns(UnstableSpecificationWarning):
            theirs.to_dataset(name="radiance").to_zarr(tmp_path / "b.zarr", zarr_format=3, consolidated=False)
        ours = geofuse.open_hsi(tmp_path / "b.zarr")
        np.testing.assert_array_equal(ours.values, cube.values)
        np.testing.assert_allclose(ours.y.values, cube.y.values)
        assert list(ours.band.values) == list(cube.band.values)

    def test_a_changed_shard_is_another_input(self, store: Path) -> None:
        before, name = fingerprint(store), geofuse.open_hsi(store).data.name
        assert geofuse.open_hsi(store).data.name == name
        array = zarr.open_array(store, path="reflectance", mode="r+")
        array[0, 150, 150] = 7
        assert fingerprint(store) != before
        assert geofuse.open_hsi(store).data.name != name


def image(store: Path) -> Path:
    return store / "reflectance"


def sharding(metadata: dict[str, Any]) -> dict[str, Any]:
    return metadata["codecs"][0]["configuration"]


def grid(metadata: dict[str, Any]) -> dict[str, Any]:
    return metadata["chunk_grid"]["configuration"]


def layout(metadata: dict[str, Any]) -> dict[str, Any]:
    return metadata["attributes"]["multiscales"]["layout"][0]


SPOILED: dict[str, tuple[str, Callable[[dict[str, Any]], Any], str]] = {
    "a codec that unpickles": ("reflectance", lambda m: m.update(codecs=[{"name": "numcodecs.pickle"}]), "codec 'numcodecs.pickle'"),
    "one within the shards": ("reflectance", lambda m: sharding(m)["codecs"].append({"name": "pickle"}), "codec 'pickle'"),
    "one in the index": ("reflectance", lambda m: sharding(m).update(index_codecs=[{"name": "pickle"}]), "codec 'pickle'"),
    "no codecs": ("x", lambda m: m.pop("codecs"), "codec None"),
    "objects": ("band", lambda m: m.update(data_type="object"), "holds 'object'"),
    "text of a gigabyte": (
        "band",
        lambda m: m.update(data_type={"name": "fixed_length_utf32", "configuration": {"length_bytes": 2**30}}),
        "expected numbers or text",
    ),
    "a coordinate of a trillion": ("x", lambda m: m.update(shape=[10**12]), "claims a shape"),
    "a petabyte": ("reflectance", lambda m: m.update(shape=[3000, 4 * 10**6, 4 * 10**6]), "which its files cannot hold"),
    "a chunk of a terabyte": (
        "reflectance",
        lambda m: (sharding(m).update(chunk_shape=[10**4] * 3), grid(m).update(chunk_shape=[10**4] * 3)),
        "has chunks of",
    ),
    "shards of too many chunks": ("reflectance", lambda m: grid(m).update(chunk_shape=[3, 10**6, 10**6]), "too many"),
    "a shape of text": ("reflectance", lambda m: m.update(shape="many"), "positive whole numbers"),
    "a negative shape": ("reflectance", lambda m: m.update(shape=[3, -1, 180]), "positive whole numbers"),
    "a way out": ("", lambda m: layout(m).update(asset="../b.zarr/0"), "no place in the store"),
    "an absolute way out": ("", lambda m: layout(m).update(asset="/etc"), "no place in the store"),
    "a level that is not there": ("", lambda m: layout(m).update(asset="9"), "not there"),
    "version 2": ("", lambda m: m.update(zarr_format=2), "version 3"),
    "storage transformers": ("reflectance", lambda m: m.update(storage_transformers=[{"name": "x"}]), "storage transformers"),
    "coordinates of no grid": ("y", lambda m: m.update(shape=[7]), "cannot open"),
    "no CRS": ("spatial_ref", lambda m: m.update(attributes={}), "no CRS"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_rejected(what: str, store: Path) -> None:
    node, change, said = SPOILED[what]
    edit(store / node, change)
    with pytest.raises(InvalidCube, match=said) as rejected:
        geofuse.open_hsi(store)
    assert str(store) in str(rejected.value)


def test_links_are_not_followed(store: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    (store / "reflectance" / "c" / "0" / "0" / "0").rename(secret)
    (store / "reflectance" / "c" / "0" / "0" / "0").symlink_to(secret)
    with pytest.raises(InvalidCube, match="is a link"):
        geofuse.open_hsi(store)


def test_damage(store: Path) -> None:
    for shard in (store / "reflectance" / "c").rglob("*"):
        if shard.is_file():
            shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(InvalidCube, match="truncated or damaged"):
        geofuse.open_hsi(store)
    (store / "zarr.json").write_text("{" * 10**5)
    with pytest.raises(InvalidCube, match="no JSON"):
        geofuse.open_hsi(store)


@pytest.fixture(scope="module")
def swath(tmp_path_factory: pytest.TempPathFactory) -> tuple[xr.DataArray, Path]:
    folder = tmp_path_factory.mktemp("swath")
    cube = geofuse.open_hsi(emit.write(folder, rows=60, cols=70, bands=6))
    write_zarr(cube, folder / "swath.zarr", progress=False, block=64)
    return cube, folder / "swath.zarr"


class TestLayers:
    """True centres and mask of a swath."""

    def test_they_come_back_bit_for_bit(self, swath: tuple[xr.DataArray, Path]) -> None:
        cube, path = swath
        for opened in (geofuse.open_hsi(path), geofuse.open_hsi(path, chunks=None), geofuse.open_hsi(xr.open_zarr(path))):
            for name in ("centre_y", "centre_x", "mask"):
                np.testing.assert_array_equal(opened[name].values, cube[name].values)
        lazy = geofuse.open_hsi(path)
        assert lazy.centre_y.chunks is not None
        np.testing.assert_array_equal(lazy.centre_x[5:40, 3:60].values, cube.centre_x[5:40, 3:60].values)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(lazy)).mask.values, cube.mask.values)

    def test_overviews_have_none(self, swath: tuple[xr.DataArray, Path]) -> None:
        assert not {"centre_y", "mask"} & set(geofuse.open_hsi(swath[1] / "1").coords)

    def test_layers_of_another_kind_are_no_such_layers(self, swath: tuple[xr.DataArray, Path], tmp_path: Path) -> None:
        spoilt = Path(shutil.copytree(swath[1], tmp_path / "a.zarr"))
        edit(spoilt / "centre_x", lambda metadata: metadata.update(data_type="float32", fill_value=0.0))
        edit(spoilt / "mask", lambda metadata: metadata.update(data_type="int16"))
        assert not {"centre_y", "centre_x", "mask"} & set(geofuse.open_hsi(spoilt).coords)

    def test_damaged_ones_fail_when_they_are_read(self, swath: tuple[xr.DataArray, Path], tmp_path: Path) -> None:
        spoilt = Path(shutil.copytree(swath[1], tmp_path / "a.zarr"))
        for chunk in (path for path in (spoilt / "centre_x" / "c").rglob("*") if path.is_file()):
            chunk.write_bytes(b"spoilt")
        cube = geofuse.open_hsi(spoilt)
        with pytest.raises(RunError, match="the store is damaged"):
            cube.centre_x.values  # noqa: B018


def test_without_data(store: Path) -> None:
    shutil.rmtree(store / "reflectance" / "c")
    with pytest.raises(InvalidCube, match="no data"):
        geofuse.open_hsi(store)


def test_what_is_no_store(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_store(tmp_path)
    with pytest.raises(InvalidCube, match="this is a folder"):
        geofuse.open_hsi(tmp_path)
    with pytest.raises(InvalidCube, match="an array of a store"):
        geofuse.open_hsi(image(written))
    with pytest.raises(InvalidCube, match="local folder only"):
        geofuse.open_hsi("https://example.com/a.zarr")
    (tmp_path / ".zgroup").write_text("{}")
    with pytest.raises(InvalidCube, match="version 2"):
        geofuse.open_hsi(tmp_path)
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(InvalidCube, match=r"pip install 'geofuse\[zarr\]'"):
        geofuse.open_hsi(written)


def test_several_images_are_left_to_xarray(store: Path) -> None:
    shutil.copytree(image(store), store / "radiance")
    with pytest.raises(InvalidCube, match="pass the DataArray"):
        geofuse.open_hsi(store)
    with xr.open_zarr(store, consolidated=False) as dataset:
        assert geofuse.open_hsi(dataset.radiance).shape == (3, 200, 180)
