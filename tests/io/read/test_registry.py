from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from geofuse import open_hsi, open_msi
from geofuse.cube.bands import BandTable
from geofuse.errors import InvalidCube
from geofuse.io.read import registry
from geofuse.io.read.base import BandHints, Description, Part, Parts, Request
from geofuse.io.read.open import files_of
from geofuse.io.read.registry import PlugIn, find_reader, reader_names, reader_of
from geofuse.io.write.zarr import write_zarr
from tests.io.read.test_open import UTM, numbers, write_envi, write_tif
from tests.io.write.test_cog import scene


class Plane:
    """An array in memory: what a reader hands over."""

    ndim, dtype = 3, np.dtype(np.float32)

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape = values, values.shape

    def take(self, bands: Any) -> Plane:
        return Plane(self.values[bands])

    def __getitem__(self, key: Any) -> np.ndarray:
        return self.values[key]


class Marked:
    """Recognises files whose first bytes are MARK."""

    name = "marked"

    def __init__(self, **changes: Any) -> None:
        self.changes = changes

    def recognises(self, source: str) -> bool:
        path = Path(source)
        return path.is_file() and path.read_bytes()[:4] == b"MARK"

    def describe(self, source: str, request: Request) -> Description:
        table = BandTable.make(["a", "b"], [500.0, 600.0])
        values = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 100
        return Description(
            **{"place": source, "array": Plane(values), "table": table, "transform": UTM, "crs": 32633, "block": (3, 4)} | self.changes
        )


class Named(Marked):
    """Says of which files its pixels are."""

    def files(self, source: str, request: Request) -> list[str]:
        return [source, source + ".side"]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Installs readers, by what their entry points load."""

    def install(**readers: Any) -> None:
        class Entry:
            def __init__(self, name: str, made: Any) -> None:
                self.name, self.value, self.made = name, f"package:{name}", made

            def load(self) -> Any:
                if isinstance(self.made, Exception):
                    raise self.made
                return self.made

        monkeypatch.setattr(registry, "entry_points", lambda group: [Entry(*one) for one in readers.items()])
        registry._plug_ins.cache_clear()

    yield install
    monkeypatch.undo()
    registry._plug_ins.cache_clear()


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    path = tmp_path / "scene.tif"
    path.write_bytes(b"MARK of something else than a TIFF")
    return path


def jpeg2000(path: Path) -> Path:
    profile = {"driver": "JP2OpenJPEG", "count": 1, "height": 64, "width": 64, "dtype": "uint8", "crs": 32633, "transform": UTM}
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.full((1, 64, 64), 42, "uint8"))
    return path


class TestOwn:
    def test_each_is_recognised_by_its_content_whatever_its_name(self, tmp_path: Path) -> None:
        made = {
            "GeoTIFF": write_tif(tmp_path / "a.dat", numbers()),
            "JPEG 2000": jpeg2000(tmp_path / "b.jp2").rename(tmp_path / "b.bin"),
            "ENVI": write_envi(tmp_path / "c.img", numbers()),
            "Zarr": tmp_path / "store",
            "STAC": tmp_path / "item.json",
            "GDAL": tmp_path / "text.tif",
        }
        write_zarr(scene(2, 20, 20), tmp_path / "d.zarr")
        (tmp_path / "d.zarr").rename(made["Zarr"])
        made["STAC"].write_text("{}")
        made["GDAL"].write_text("no raster at all")
        assert {name: reader_of(str(path)).name for name, path in made.items()} == {name: name for name in made}
        assert reader_of(str(tmp_path / "c.hdr")).name == "ENVI"

    @pytest.mark.parametrize(
        ("address", "name"),
        [
            ("https://example.com/a.tif?key=1", "GeoTIFF"),
            ("/vsizip/a.zip/a.jp2", "JPEG 2000"),
            ("s3://bucket/a.zarr", "Zarr"),
            ("https://example.com/a", "GDAL"),
            ('NETCDF:"a.nc":v', "GDAL"),
            ("https://example.com/collections/c/items/1", "STAC"),
        ],
    )
    def test_of_an_address_the_ending_counts(self, address: str, name: str) -> None:
        assert reader_of(address).name == name

    def test_what_is_not_there_is_nobodys(self, tmp_path: Path) -> None:
        assert find_reader(str(tmp_path / "a.tif")) is None
        assert find_reader("http://[") is None
        with pytest.raises(InvalidCube, match=r"this is a folder.*STAC, Zarr, GeoTIFF, JPEG 2000, ENVI;"):
            reader_of(str(tmp_path))

    def test_json_under_the_name_of_a_raster_is_no_item(self, tmp_path: Path) -> None:
        """It would let a file name others."""
        path = tmp_path / "a.tif"
        path.write_text(json.dumps({"type": "Feature", "stac_version": "1.0.0", "assets": {}}))
        with pytest.raises(InvalidCube, match=r"GDAL cannot read it as a raster .*GeoTIFF, JPEG 2000, ENVI;"):
            open_msi(path)


class TestPlugIns:
    def test_they_are_asked_first(self, installed: Callable[..., None], marked: Path, tmp_path: Path) -> None:
        installed(one=Marked)
        assert reader_names()[0] == "marked"
        assert reader_names()[-5:] == ("STAC", "Zarr", "GeoTIFF", "JPEG 2000", "ENVI")
        cube = open_hsi(marked)
        assert cube.encoding["reader"] == "marked"
        assert "sensor" not in cube.encoding
        np.testing.assert_array_equal(cube.values.ravel(), np.arange(24, dtype=np.float32) / 100)
        assert open_msi(write_tif(tmp_path / "b.tif", numbers())).encoding["reader"] == "GeoTIFF"

    def test_a_name_is_given_once(self, installed: Callable[..., None]) -> None:
        taken = Marked()
        taken.name = "GeoTIFF"
        installed(first=Marked(), second=Marked(), third=taken)
        with pytest.warns(UserWarning, match="is left out") as said:
            assert reader_names().count("marked") == 1
        assert [str(one.message).split("'")[1] for one in said] == ["second", "third"]

    @pytest.mark.parametrize("broken", [ImportError("no module named x"), object(), 7, type("Half", (), {"name": "half"})])
    def test_a_broken_one_is_named_and_left_out(self, installed: Callable[..., None], marked: Path, broken: Any) -> None:
        installed(bad=broken, good=Marked)
        with pytest.warns(UserWarning, match=r"the reader 'bad' of package:bad is left out: (ImportError|TypeError)"):
            assert open_hsi(marked).shape == (2, 3, 4)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # it is said once
            open_hsi(marked)

    def test_one_that_fails_to_recognise_is_passed_over(self, installed: Callable[..., None], tmp_path: Path) -> None:
        class Failing(Marked):
            name = "failing"

            def recognises(self, source: str) -> bool:
                raise KeyError("header")

        installed(failing=Failing)
        with pytest.warns(UserWarning, match=r"the reader 'failing' of package:failing failed to recognise .*KeyError: 'header'"):
            assert open_msi(write_tif(tmp_path / "a.tif", numbers())).encoding["reader"] == "GeoTIFF"

    @pytest.mark.parametrize(
        ("found", "said"),
        [
            (ZeroDivisionError("by zero"), "failed: ZeroDivisionError: by zero"),
            (None, "returned NoneType"),
            (InvalidCube("no good"), "no good"),
        ],
    )
    def test_one_that_fails_to_describe_is_named(self, installed: Callable[..., None], marked: Path, found: Any, said: str) -> None:
        class Failing(Marked):
            def describe(self, source: str, request: Request) -> Any:
                if isinstance(found, Exception):
                    raise found
                return found

        installed(failing=Failing)
        with pytest.raises(InvalidCube, match=rf"scene\.tif: .*{said}"):
            open_hsi(marked)

    def test_its_files(self, installed: Callable[..., None], marked: Path) -> None:
        installed(one=Marked)
        assert files_of(str(marked)) == [str(marked)]
        installed(one=Named)
        assert files_of(str(marked)) == [str(marked), f"{marked}.side"]
        assert files_of("nowhere.tif") == ["nowhere.tif"]

    def test_objects_are_not_shown_to_it(self, installed: Callable[..., None]) -> None:
        class Curious(Marked):
            def recognises(self, source: Any) -> bool:
                raise AssertionError(source)

        installed(one=Curious)
        assert find_reader(object()) is None

    def test_entry_points_are_those_of_the_environment(self) -> None:
        assert registry._plug_ins() == ()
        assert PlugIn("a", Marked(), EntryPoint("a", "b:c", registry.GROUP).value).recognises("nowhere") is False


class TestParts:
    """A source that names files."""

    @staticmethod
    def product(*parts: Part, names: tuple[str, ...] = (), **more: Any) -> type[Marked]:
        class Product(Marked):
            name = "product"

            def describe(self, source: str, request: Request) -> Any:
                return Parts(parts, names, **more)

        return Product

    def test_files_are_joined_and_say_whose_they_are(self, installed: Callable[..., None], marked: Path, tmp_path: Path) -> None:
        coarse = UTM @ Affine.scale(2)
        first = write_tif(tmp_path / "1.tif", numbers(2, 4, 4))
        second = write_tif(tmp_path / "2.tif", numbers(1, 2, 2), transform=coarse)
        parts = Part(str(first), indexes=(2,)), Part(str(second), BandHints(wavelength_um=[0.7]))
        about = {"href": "scene", "datetime": "2022-07-04T10:00:00Z", "id": "S"}
        installed(one=self.product(*parts, names=("B1", "B2"), sensor="Camera L2", about=about))
        with pytest.raises(InvalidCube, match="not on one grid"):
            open_msi(marked)
        cube = open_msi(marked, resolution=10)
        assert cube.band.values.tolist() == ["B1", "B2"]
        assert cube.wavelength.values[1] == 700
        assert cube.encoding["reader"] == "product"
        assert cube.encoding["sensor"] == "Camera L2"
        assert str(cube.time.values)[:16] == "2022-07-04T10:00"
        np.testing.assert_allclose(cube.values[0], numbers(2, 4, 4)[1] * 1e-4, rtol=1e-6)
        np.testing.assert_allclose(cube.values[1], np.kron(numbers(1, 2, 2)[0], np.ones((2, 2))) * 1e-4, rtol=1e-6)

    def test_the_sensor_of_the_only_file_counts(self, installed: Callable[..., None], marked: Path, tmp_path: Path) -> None:
        inner = tmp_path / "inner"
        inner.write_bytes(marked.read_bytes())
        marked.write_bytes(b"PRODUCT")
        product = self.product(Part(str(inner)))
        product.recognises = lambda self, source: source.endswith(".tif")  # type: ignore[method-assign]
        installed(one=product, two=Marked(sensor="Camera"))
        cube = open_msi(marked, bands="b")
        assert (cube.encoding["reader"], cube.encoding["sensor"]) == ("product", "Camera")
        assert cube.band.values.tolist() == ["b"]

    def test_what_names_itself_is_not_followed(self, installed: Callable[..., None], marked: Path) -> None:
        installed(one=self.product(Part(str(marked))))
        with pytest.raises(InvalidCube, match="only names others; expected a raster"):
            open_msi(marked)
