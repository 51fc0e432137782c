"""Metadata from anywhere: whatever stands in it, a message of geofuse's own, in seconds, with bounded memory; and valid oddities open."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest

import geofuse
from benchmarks import fuzz, fuzz_cases
from geofuse import open_hsi, open_msi
from geofuse.cube.values import declared_scale
from geofuse.errors import InvalidCube, InvalidInput
from geofuse.model import Model
from tests.crops import small_cubes, small_model
from tests.io.read.test_open import WAVELENGTHS, numbers, write_envi, write_tif


class TestEnvi:
    def test_band_names_in_latin_1(self, tmp_path: Path) -> None:
        """As older software wrote them, on whose machines everything was Latin-1."""
        path = write_envi(tmp_path / "a.bsq", numbers(), reflectance_scale_factor="10000", band_names="{blau, grün, rot}")
        header = path.with_suffix(".hdr")
        header.write_bytes(header.read_text().encode("latin-1"))
        cube = open_msi(path)
        assert cube.band.values.tolist() == ["blau", "grün", "rot"]
        np.testing.assert_allclose(cube.values, numbers() / 1e4, rtol=1e-6)

    def test_wavelengths_beside_a_name_in_latin_1(self, tmp_path: Path) -> None:
        path = write_envi(
            tmp_path / "a.bsq", numbers(), reflectance_scale_factor="10000", description="{Grünfläche}", wavelength="{490,\n560,\n665}"
        )
        header = path.with_suffix(".hdr")
        header.write_bytes(header.read_text().encode("latin-1"))
        cube = open_hsi(path)
        assert cube.wavelength.values.tolist() == [490, 560, 665]
        assert cube.attrs["description"] == "Grünfläche"

    @pytest.mark.parametrize("offset", ["x", "-8", "1e3", "9" * 5000, ""])
    def test_odd_header_offset(self, offset: str, tmp_path: Path) -> None:
        with pytest.raises(InvalidCube, match=r"header offset|GDAL cannot read|truncated"):
            open_msi(write_envi(tmp_path / "a.bsq", numbers(), header_offset=offset, reflectance_scale_factor="10000"))

    @pytest.mark.parametrize("side", ["samples", "lines", "bands"])
    def test_a_header_that_claims_much(self, side: str, tmp_path: Path) -> None:
        with pytest.raises(InvalidCube, match=r"claims .* bytes of pixels, and the file has 288"):
            open_msi(write_envi(tmp_path / "a.bsq", numbers(), **{side: "2000000000"}))


class TestTiff:
    @pytest.mark.parametrize("size", [(2 * 10**9, 2 * 10**9), (2 * 10**9, 1), (1, 2 * 10**9), (10**6, 4000)])
    @pytest.mark.parametrize("tiled", [False, True])
    def test_few_bytes_that_claim_much(self, tiled: bool, size: tuple[int, int], tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        path.write_bytes(fuzz_cases.claiming_tiff(tiled, *size))
        if tiled and size == (10**6, 4000):
            return  # may be true: a raster without any tile yet
        with pytest.raises(InvalidCube, match=r"GiB each|along a side|zero number of tiles"):
            open_msi(path)

    def test_directories_that_share_their_tables(self, tmp_path: Path) -> None:
        """A thousand directories of a thousand tags in one megabyte, each of which points at the whole file."""
        count = 4000
        entry = struct.pack("<HHII", 273, 4, 200_000, 8)
        body = bytearray(b"II*\0" + struct.pack("<I", 8) + b"\0" * 10**6)
        for number in range(1000):
            place = 8 + 2 * number
            body[place : place + 2] = struct.pack("<H", count)
        body[10 : 10 + 12 * count] = entry * count
        (tmp_path / "a.tif").write_bytes(body)
        begin = time.process_time()
        with pytest.raises(InvalidCube):
            open_msi(tmp_path / "a.tif")
        assert time.process_time() - begin < 5

    def test_a_crs_that_is_none(self, tmp_path: Path) -> None:
        path = write_tif(tmp_path / "a.tif", numbers(), crs=None, band_tags=WAVELENGTHS)
        (tmp_path / "a.tif.aux.xml").write_text("<PAMDataset><SRS>ENGCRS[nonsense]</SRS></PAMDataset>")
        with pytest.raises(InvalidCube, match="CRS"):
            open_msi(path)


@pytest.mark.parametrize(
    "text", ["reflectance" + " " * 200_000, "scaled" + " " * 200_000, "reflectance [" * 15_000, "scaled between" * 15_000]
)
def test_long_tags_take_no_time(text: str) -> None:
    begin = time.process_time()
    assert declared_scale({"description": text}) is None
    geofuse.cube.bands.plain_name(text)
    assert time.process_time() - begin < 1


GOOD = tuple({"name": name, "eo:center_wavelength": 0.5 + i / 10, "raster:scale": 1e-4} for i, name in enumerate("abc"))


class TestItems:
    @pytest.mark.parametrize("key", ["bands", "eo:bands", "raster:bands"])
    @pytest.mark.parametrize("listed", ["red", 7, {"name": "red"}, ["red"], [None], [[]], True])
    def test_bands_that_are_no_list_of_objects(self, key: str, listed: Any, tmp_path: Path) -> None:
        path = str(write_tif(tmp_path / "a.tif", numbers()))
        with pytest.raises(InvalidCube, match=f"{key} of the STAC asset .* no list of objects"):
            open_msi(pystac.Asset(path, roles=["data"], extra_fields={key: listed}))

    @pytest.mark.parametrize("key", ["eo:center_wavelength", "eo:full_width_half_max", "raster:scale", "raster:offset"])
    @pytest.mark.parametrize("value", ["0.5", [], {}, float("nan"), True, 10**400])
    def test_numbers_that_are_none(self, key: str, value: Any, tmp_path: Path) -> None:
        path = str(write_tif(tmp_path / "a.tif", numbers()))
        with pytest.raises(InvalidCube, match=f"{key.partition(':')[2]} of a band of the STAC asset"):
            open_msi(pystac.Asset(path, roles=["data"], extra_fields={"bands": [*GOOD[:2], {**GOOD[2], key: value}]}))

    @pytest.mark.parametrize("value", [None, 7, ["a"], {"a": 1}])
    def test_odd_names_and_roles_are_passed_over(self, value: Any, tmp_path: Path) -> None:
        path = str(write_tif(tmp_path / "a.tif", numbers()))
        item = pystac.Item("a", None, None, None, {"datetime": "2024-01-01T00:00:00Z", "start_datetime": "", "end_datetime": ""})
        bands = [{**band, "name": value, "common_name": value} for band in GOOD]
        item.assets = {
            "one": pystac.Asset(path, roles=["data"], extra_fields={"bands": bands}),
            "two": pystac.Asset(path, roles=value, media_type=value),
        }
        assert open_msi(item).shape == (3, 8, 6)


@pytest.mark.parametrize("codec", [["bytes"], {}, None, 7, {"name": ["bytes"]}, {"name": {"bytes": 1}}])
def test_codecs_that_are_no_names(codec: Any, tmp_path: Path) -> None:
    store = Path(geofuse.to_zarr(small_cubes()[1], tmp_path / "a.zarr", progress=False))
    file = store / "reflectance" / "zarr.json"
    metadata = json.loads(file.read_text())
    metadata["codecs"] = [codec]
    file.write_text(json.dumps(metadata))
    with pytest.raises(InvalidCube, match="stored with the codec"):
        open_hsi(store)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model("sylvester").save(tmp_path_factory.mktemp("m") / "m.safetensors")


class TestModels:
    def changed(self, saved: Path, path: Path, header: Any = None, **tensors: Any) -> Path:
        from safetensors import safe_open
        from safetensors.numpy import load_file, save_file

        with safe_open(saved, framework="numpy") as file:
            metadata = dict(file.metadata())
        save_file(load_file(saved) | tensors, path, metadata=metadata | ({} if header is None else {"model": header}))
        return path

    @pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
    def test_numbers_that_are_none(self, odd: float, saved: Path, tmp_path: Path) -> None:
        matrix = Model.load(saved).response.matrix.copy()
        matrix[0, 0] = odd
        with pytest.raises(InvalidInput, match=r"response\.matrix holds what is no finite number"):
            Model.load(self.changed(saved, tmp_path / "a.safetensors", **{"response.matrix": matrix}))

    @pytest.mark.parametrize("header", [fuzz_cases.deep_json(), "[]", "7", '{"method": ["gem"]}', "{", ""])
    def test_json_that_is_none_of_a_model(self, header: str, saved: Path, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match="cannot be read as a geofuse model"):
            Model.load(self.changed(saved, tmp_path / "a.safetensors", header))

    def test_parts_of_other_sizes(self, saved: Path, tmp_path: Path) -> None:
        offset = np.zeros(9)
        with pytest.raises(InvalidInput, match=r"response\.offset has shape \(9,\); expected \(4,\)"):
            Model.load(self.changed(saved, tmp_path / "a.safetensors", **{"response.offset": offset}))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured as Linux does")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # rasterio logs what GDAL says in no UTF-8
def test_damaged_files_are_opened_or_rejected(tmp_path: Path) -> None:
    """Some of the cases of ``benchmarks/fuzz.py``, in this process."""
    fuzz_cases.make_bases(tmp_path, small_cubes()[0], small_model("sylvester"))
    bases, found = fuzz_cases.Bases(tmp_path, "http://127.0.0.1:9"), {}
    for kind in fuzz_cases.FORMATS:
        for number in range(25):
            found[kind, number] = fuzz.run_case(bases, kind, number)
    assert {case: said for case, said in found.items() if said[0] not in ("opened", "rejected")} == {}
    assert {kind for kind, _ in found if found[kind, _][0] == "opened"} == set(fuzz_cases.FORMATS) - {"disguised", "Hyperion"}
