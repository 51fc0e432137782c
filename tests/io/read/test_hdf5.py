from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from geofuse import open_hsi
from geofuse.errors import InvalidCube
from geofuse.io.read import hdf5
from geofuse.io.read.gdal import trusting
from geofuse.io.read.hdf5 import attribute, dataset, granules, holds, is_hdf5, listed, numbers, numeric, one_of, open_hdf5, texts
from geofuse.simulate.products import tanager


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "a.h5"
    with h5py.File(place, "w") as file:
        file["group/cube"] = np.zeros((3, 4, 5), np.float32)
        file["list"] = np.arange(3.0)
        file["names"] = np.array(["one", "two"], dtype=h5py.string_dtype())
        file["fixed"] = np.array([b"one\0\0", b"two"])
        file.attrs["text"], file.attrs["number"], file.attrs["numbers"] = np.bytes_("a"), np.array([2.5]), [1, 2]
        file.attrs["bytes"] = np.bytes_("b ")
    return place


def test_what_it_reads(path: Path) -> None:
    with open_hdf5(path) as file:
        assert dataset(file, "group/cube", 3).shape == (3, 4, 5)
        assert numbers(file, "list").tolist() == [0, 1, 2]
        assert texts(file, "names") == texts(file, "fixed") == ["one", "two"]
        assert [attribute(file, name) for name in ("text", "bytes", "absent", "number")] == ["a", "b", None, 2.5]
        assert numeric(file, "number") == 2.5
        assert listed(file, "numbers").tolist() == [1, 2]
        assert listed(file, "number").tolist() == [2.5]


class TestTextsOfVariableLength:
    def test_attributes_are_read_from_trusted_files_only(self, path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file.attrs.create("long", b"gr\xfcn", dtype=h5py.string_dtype())
        with open_hdf5(path) as file:
            with pytest.warns(UserWarning, match="long is a text of variable length and was left out"):
                assert attribute(file, "long") is None
            with trusting(True):
                assert attribute(file, "long") == "gr\N{REPLACEMENT CHARACTER}n"

    @pytest.mark.parametrize("chunks", [None, (40,)])
    def test_a_dataset_is_read_without_the_library(self, path: Path, chunks: tuple[int] | None) -> None:
        written = [f"flag {'x' * number}." for number in range(40)]
        with h5py.File(path, "r+") as file:
            file.create_dataset("many", data=np.array(written, dtype=object), dtype=h5py.string_dtype(), chunks=chunks)
        with open_hdf5(path) as file:
            assert texts(file, "many") == written

    def test_a_damaged_heap(self, path: Path) -> None:
        raw = bytearray(path.read_bytes())
        place = raw.index(b"GCOL") + 16
        for damage in (b"\0" * 16, b"\x09" + b"\0" * 7 + b"\xff" * 8):
            path.write_bytes(raw[:place] + damage + raw[place + 16 :])
            with open_hdf5(path) as file, pytest.raises(InvalidCube, match="not there; the product is damaged"):
                texts(file, "names")
        path.write_bytes(raw.replace(b"GCOL", b"XXXX"))
        with open_hdf5(path) as file, pytest.raises(InvalidCube, match="a heap of texts is damaged"):
            texts(file, "names")


@pytest.mark.parametrize("locking", [None, True, False])
def test_a_file_that_is_open_already(path: Path, locking: bool | None) -> None:
    with h5py.File(path, "r", locking=locking), open_hdf5(path) as file:
        assert "list" in file


def test_granules(path: Path, tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no HDF5")
    assert is_hdf5(path)
    assert holds(path, "group/cube", "list")
    assert not holds(path, "group/absent")
    assert not holds(tmp_path / "text.h5", "list")
    assert granules(tmp_path, "list") == granules(path, "list") == [path]
    with pytest.raises(InvalidCube, match=r"2 such granules: a\.h5, a\.h5; pass the file of one"):
        one_of([path, path], "such")


class TestOtherFiles:
    """What a file names outside of itself is not followed."""

    @pytest.mark.parametrize("kind", ["external link", "soft link", "virtual", "external storage"])
    def test_rejected(self, path: Path, tmp_path: Path, kind: str) -> None:
        secret = tmp_path / "secret.h5"
        with h5py.File(secret, "w") as file:
            file["x"] = np.arange(4.0)
        (tmp_path / "raw").write_bytes(b"s" * 32)
        with h5py.File(path, "r+") as file:
            if kind == "external link":
                file["x"] = h5py.ExternalLink(str(secret), "x")
            elif kind == "soft link":
                file["x"] = h5py.SoftLink("/list")
            elif kind == "virtual":
                layout = h5py.VirtualLayout((4,), "f8")
                layout[:] = h5py.VirtualSource(str(secret), "x", (4,))
                file.create_virtual_dataset("x", layout)
            else:
                file.create_dataset("x", (4,), "f8", external=[(str(tmp_path / "raw"), 0, 32)])
        with open_hdf5(path) as file, pytest.raises(InvalidCube, match=r"no dataset x|lies in another file"):
            numbers(file, "x")
        assert not holds(path, "x") or kind in ("virtual", "external storage")


class TestSizes:
    @pytest.mark.parametrize(
        ("shape", "chunks", "said"),
        [
            ((2**22, 2**22), (1, 1000), "claims .* TB, which the file cannot hold"),
            ((2**20, 2**20), (2**13, 2**13), "chunks of 0.5 GiB"),
            ((2**23, 10), (1, 10), "along a side"),
        ],
    )
    def test_claims(self, path: Path, shape: tuple[int, int], chunks: tuple[int, int], said: str) -> None:
        with h5py.File(path, "r+") as file:
            file.create_dataset("x", shape, "f8", chunks=chunks)
        with open_hdf5(path) as file, pytest.raises(InvalidCube, match=said):
            dataset(file, "x", 2)

    def test_a_long_list(self, path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file.create_dataset("x", (2**21,), "f8", chunks=(1000,))
        with open_hdf5(path) as file, pytest.raises(InvalidCube, match="claims 2097152 numbers"):
            numbers(file, "x")


@pytest.mark.parametrize(("name", "ndim"), [("list", 2), ("names", 1), ("group", 1), ("absent", 1)])
def test_what_is_something_else(path: Path, name: str, ndim: int) -> None:
    with open_hdf5(path) as file, pytest.raises(InvalidCube, match=r"expected numbers|has no dataset"):
        dataset(file, name, ndim)


@pytest.mark.parametrize("name", ["text", "numbers", "absent"])
def test_what_is_no_number(path: Path, name: str) -> None:
    with open_hdf5(path) as file, pytest.raises(InvalidCube, match="expected a number"):
        numeric(file, name)


def test_damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InvalidCube, match="cannot be read as HDF5"), open_hdf5(path) as file:
        numbers(file, "list")


def test_a_product_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers that look into it, its description and the pixels that are looked at share one opening, which ends with the call."""
    path, opened = tanager.write(tmp_path, rows=16, cols=16), []
    once = hdf5._opened

    def counted(*given: Any) -> Any:
        opened.append(once(*given))
        return opened[-1]

    monkeypatch.setattr(hdf5, "_opened", counted)
    cube = open_hsi(path)
    assert len(opened) == 1
    assert not opened[0], "closed"
    assert np.isfinite(cube.values).any(), "lazy pixels open it themselves"


def test_a_file_that_changes_while_files_are_shared_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with hdf5.sharing():
        for value in (1.0, 2.0):
            path.unlink(missing_ok=True)
            with h5py.File(path, "w") as file:
                file["a"] = [value]
            with hdf5.open_hdf5(path) as file:
                assert hdf5.numbers(file, "a").tolist() == [value]
