from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import rasterio.vrt

from geofuse import open_hsi
from geofuse.cube.masks import Mask
from geofuse.cube.schema import geobox
from geofuse.errors import InvalidCube, RunError
from geofuse.io.read.open import files_of
from geofuse.io.read.products import delivery
from geofuse.simulate.products import enmap, truth
from geofuse.viewing.describe import facts

ROWS, COLS = 40, 36


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return enmap.write(tmp_path_factory.mktemp("enmap"))


def part(folder: Path, name: str) -> Path:
    return folder / f"{enmap.BASE}-{name}"


class TestPixels:
    def test_the_truth_at_its_place_and_wavelength(self, delivered: Path) -> None:
        cube = open_hsi(delivered)
        expected = truth.footprint(*np.meshgrid(cube.x.values, cube.y.values), cube.wavelength.values, enmap.GSD)
        seen = enmap.seen(ROWS, COLS) & ~enmap.defects(ROWS, COLS).any(0).astype(bool)
        np.testing.assert_allclose(cube.values[:, seen], expected[:, seen], atol=5.1e-5)
        assert np.isnan(cube.values[:, ~enmap.seen(ROWS, COLS)]).all()
        assert geobox(cube).affine == enmap.transform(ROWS, COLS)
        assert geobox(cube).crs.epsg == 32633

    def test_as_rasterio_reads_it(self, delivered: Path) -> None:
        cube = open_hsi(delivered, chunks={"y": 11, "x": 13})
        order = np.argsort(enmap.WAVELENGTHS, kind="stable")
        with rasterio.open(part(delivered, "SPECTRAL_IMAGE.TIF")) as image, rasterio.open(part(delivered, "QL_PIXELMASK.TIF")) as mask:
            raw, bad = image.read()[order], mask.read()[order] == 1
        np.testing.assert_allclose(cube.values, np.where((raw == -32768) | bad, np.nan, raw * 1e-4), rtol=1e-6)

    def test_gain_and_offset_of_each_band(self, tmp_path: Path) -> None:
        old = '<GainOfBand>0.0001</GainOfBand><OffsetOfBand>0</OffsetOfBand></bandID>\n<bandID number="3">'
        new = '<GainOfBand>0.0002</GainOfBand><OffsetOfBand>-0.1</OffsetOfBand></bandID>\n<bandID number="3">'
        folder = enmap.write(tmp_path, metadata={old: new})
        with rasterio.open(part(folder, "SPECTRAL_IMAGE.TIF")) as image:
            raw = image.read(2)
        kept = (raw != -32768) & (enmap.defects(ROWS, COLS)[1] == 0)
        np.testing.assert_allclose(open_hsi(folder, bands=[2]).values[0][kept], raw[kept] * 2e-4 - 0.1, rtol=1e-5, atol=1e-7)

    def test_picklable(self, delivered: Path) -> None:
        cube = open_hsi(delivered, bands=[1, 5])
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(cube)).values, cube.values)

    def test_also_in_bsq(self, delivered: Path, tmp_path: Path) -> None:
        np.testing.assert_array_equal(open_hsi(enmap.write(tmp_path, driver="ENVI")).values, open_hsi(delivered).values)


class TestBands:
    def test_both_detectors_in_order_of_wavelength(self, delivered: Path) -> None:
        cube = open_hsi(delivered)
        assert cube.shape[0] == 224
        np.testing.assert_allclose(cube.wavelength, np.sort(enmap.WAVELENGTHS), atol=5e-4)
        assert (np.diff(cube.wavelength) > 0).all()
        overlap = [str(name) for name in cube.band.values if 902 < float(name.split()[1]) < 994]
        assert {name.split()[0] for name in overlap} == {"VNIR", "SWIR"}
        assert cube.good.sel(band=overlap).all()
        order = np.argsort(enmap.WAVELENGTHS, kind="stable")
        np.testing.assert_allclose(cube.fwhm, enmap.FWHM[order], atol=1e-5)

    def test_water_vapour_is_not_good(self, delivered: Path) -> None:
        cube = open_hsi(delivered)
        absorbed = ((cube.wavelength > 1350) & (cube.wavelength < 1430)) | ((cube.wavelength > 1800) & (cube.wavelength < 1960))
        np.testing.assert_array_equal(cube.good, ~absorbed)


class TestMask:
    @pytest.mark.parametrize(
        ("flag", "layer", "values"),
        [
            (Mask.CLOUD, "CLOUD", (1,)),
            (Mask.CIRRUS, "CIRRUS", (1, 2, 3)),
            (Mask.SHADOW, "CLOUDSHADOW", (1,)),
            (Mask.SNOW, "SNOW", (1,)),
            (Mask.HAZE, "HAZE", (1,)),
            (Mask.WATER, "CLASSES", (2,)),
            (Mask.SATURATED, "TESTFLAGS", (0b010000, 0b100000)),
        ],
    )
    def test_flags(self, delivered: Path, flag: Mask, layer: str, values: tuple[int, ...]) -> None:
        expected = np.isin(enmap.layers(ROWS, COLS)[layer], values)
        assert expected.any()
        for chunks in ("auto", {"y": 9, "x": 7}, None):
            np.testing.assert_array_equal((open_hsi(delivered, chunks=chunks).mask.values & flag) > 0, expected)

    def test_defects_are_nodata_and_a_flag_where_they_are_most_of_a_pixel(self, delivered: Path) -> None:
        cube = open_hsi(delivered)
        defect = (cube.mask.values & Mask.DEFECT) > 0
        assert np.argwhere(defect).tolist() == [[16, 16]]
        assert np.isnan(cube.values[:, 15, 15]).sum() == 1
        assert np.isnan(cube.values[:, 16, 16]).sum() == 150

    def test_a_layer_that_is_missing_or_damaged(self, tmp_path: Path) -> None:
        folder = enmap.write(tmp_path)
        part(folder, "QL_QUALITY_SNOW.TIF").unlink()
        haze = part(folder, "QL_QUALITY_HAZE.TIF")
        haze.write_bytes(haze.read_bytes()[:-20])
        with pytest.warns(UserWarning, match=r"QL_QUALITY_HAZE\.TIF is left out, and nothing is masked by it: truncated"):
            cube = open_hsi(folder)
        assert cube.encoding["masks"] == ["cloud", "cirrus", "shadow", "saturated", "defect", "water"]


class TestRecognised:
    @pytest.mark.parametrize("name", [None, "METADATA.XML", "SPECTRAL_IMAGE.TIF", "QL_QUALITY_CLOUD.TIF", "QL_PIXELMASK.TIF"])
    def test_by_its_folder_and_any_of_its_files(self, delivered: Path, name: str | None) -> None:
        source = delivered if name is None else part(delivered, name)
        cube = open_hsi(source, bands=[1])
        assert cube.encoding["sensor"] == cube.encoding["reader"] == "EnMAP L2A"
        assert len(set(files_of(str(source)))) == 10 + (name is None)

    def test_by_content(self, tmp_path: Path) -> None:
        """A file of such a name is no product where its metadata are something else."""
        folder = enmap.write(tmp_path, metadata={"level_X": "level_Y"})
        with pytest.warns(UserWarning, match=r"declares no scale|no wavelengths"):
            assert open_hsi(part(folder, "SPECTRAL_IMAGE.TIF"), bands=[1]).encoding["reader"] == "GeoTIFF"

    def test_what_info_shows(self, delivered: Path) -> None:
        known = facts(open_hsi(delivered))
        assert known["datetime"] == "2022-07-15T10:25:15Z"
        assert known["masks"] == ["cloud", "cirrus", "shadow", "snow", "saturated", "defect", "water", "haze"]
        assert known["gsd_m"] == 30


class TestRejected:
    @pytest.mark.parametrize(
        ("metadata", "said"),
        [
            ({"<level>L2A": "<level>L1C"}, "EnMAP L1C; expected L2A"),
            ({'number="7"': 'number="8"'}, "number the bands"),
            ({"<FWHMOfBand>6.90000": "<FWHMOfBand>x"}, "FWHMOfBand"),
            ({"418.416": "-418.416"}, "positive"),
            ({"<GainOfBand>0.0001": "<GainOfBand>0"}, "gains"),
            ({"<metadata>": '<metadata a="'}, "is no XML"),
        ],
    )
    def test_metadata(self, tmp_path: Path, metadata: dict[str, str], said: str) -> None:
        with pytest.raises(InvalidCube, match=said):
            open_hsi(enmap.write(tmp_path, metadata=metadata))

    def test_no_image(self, tmp_path: Path) -> None:
        folder = enmap.write(tmp_path)
        part(folder, "SPECTRAL_IMAGE.TIF").unlink()
        with pytest.raises(InvalidCube, match=r"holds no raster ENMAP.*fetch the whole delivery"):
            open_hsi(folder)

    def test_a_link_out_of_the_delivery(self, tmp_path: Path) -> None:
        folder = enmap.write(tmp_path)
        image = part(folder, "SPECTRAL_IMAGE.TIF")
        image.rename(tmp_path / "elsewhere.TIF")
        image.symlink_to(tmp_path / "elsewhere.TIF")
        with pytest.raises(InvalidCube, match="a link that leads out of the product"):
            open_hsi(folder)

    def test_entities(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("420")
        folder = enmap.write(
            tmp_path,
            metadata={
                "<level_X ": f'<!DOCTYPE a [<!ENTITY x SYSTEM "{secret.as_uri()}">]><level_X ',
                "<wavelengthCenterOfBand>418.416<": "<wavelengthCenterOfBand>&x;<",
            },
        )
        with pytest.raises(InvalidCube, match="document type"):
            open_hsi(folder)

    def test_a_layer_changed_while_in_use(self, tmp_path: Path) -> None:
        folder = enmap.write(tmp_path)
        cube: Any = open_hsi(folder)
        cloud = part(folder, "QL_QUALITY_CLOUD.TIF")
        cloud.write_bytes(part(folder, "QL_QUALITY_CIRRUS.TIF").read_bytes())
        with pytest.raises(RunError, match="replaced or changed"):
            cube.mask.load()


def test_a_layer_of_a_trusted_delivery_may_name_another_file(tmp_path: Path) -> None:
    place = enmap.write(tmp_path)
    layer = place / f"{enmap.BASE}-QL_QUALITY_CLOUD.TIF"
    elsewhere = tmp_path / "cloud.tif"
    layer.rename(elsewhere)
    with rasterio.open(elsewhere) as file, rasterio.vrt.WarpedVRT(file) as warped:
        rasterio.shutil.copy(warped, layer, driver="VRT")
    cube = open_hsi(place, trust_input=True)
    assert (cube.mask.values & Mask.CLOUD).any()
    with pytest.warns(UserWarning, match="QL_QUALITY_CLOUD.TIF is left out"):
        assert not (open_hsi(place).mask.values & Mask.CLOUD).any()


def test_its_folder_is_listed_once_to_recognise_it_and_once_to_describe_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, listed = enmap.write(tmp_path), []
    monkeypatch.setattr(delivery, "_listed", lambda folder, once=delivery._listed: listed.append(folder) or once(folder))
    open_hsi(place)
    assert len(listed) == 2
