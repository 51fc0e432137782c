from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

from geofuse import open_hsi
from geofuse.cube.masks import Mask
from geofuse.cube.schema import geobox
from geofuse.errors import InvalidCube, RunError
from geofuse.simulate.products import prisma, truth
from geofuse.viewing.describe import facts

ROWS, COLS = 36, 32
LEFT_OUT = "7 of 239 bands have a wavelength of 0, so they were not acquired; they are left out"
pytestmark = pytest.mark.filterwarnings(f"ignore:{LEFT_OUT}")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prisma.write(tmp_path_factory.mktemp("prisma"))


def independent(path: Path) -> xr.DataArray:
    """Both cubes, scaled, sorted and without errors, by plain arithmetic on whole arrays."""
    with h5py.File(path) as source:
        cubes, wavelengths = [], []
        for name in ("Vnir", "Swir"):
            low, high = (float(source.attrs[f"L2Scale{name}{end}"]) for end in ("Min", "Max"))
            group = source[prisma.FIELDS.format("L2D")]
            numbers = group[f"{name.upper()}_Cube"][:].astype(float)
            values = np.where(numbers == 0, np.nan, low + numbers * (high - low) / 65535)
            values[group[f"{name.upper()}_PIXEL_L2_ERR_MATRIX"][:] == 1] = np.nan
            cubes.append(values.transpose(1, 0, 2))
            wavelengths.append(source.attrs[f"List_Cw_{name}"][:])
        nm = np.concatenate(wavelengths).astype(float)
    array = xr.DataArray(np.concatenate(cubes), dims=("nm", "y", "x"), coords={"nm": nm})
    return array.isel(nm=nm > 0).sortby("nm")


class TestPixels:
    def test_as_an_independent_reading(self, file: Path) -> None:
        for chunks in ("auto", {"y": 7, "x": 9, "band": 50}, None):
            np.testing.assert_allclose(open_hsi(file, chunks=chunks).values, independent(file).values, rtol=1e-6)

    def test_the_truth_at_its_place_and_wavelength(self, file: Path) -> None:
        cube = open_hsi(file)
        expected = truth.footprint(*np.meshgrid(cube.x.values, cube.y.values), cube.wavelength.values, prisma.GSD)
        known = np.isfinite(cube.values)
        np.testing.assert_allclose(cube.values[known], expected[known], atol=1e-5)
        np.testing.assert_array_equal(known[50][~prisma.seen(ROWS, COLS)], False)
        assert known[:, prisma.seen(ROWS, COLS)].mean() > 0.99

    def test_corners_are_centres_of_pixels(self, file: Path) -> None:
        cube, (x, y) = open_hsi(file), prisma.places(ROWS, COLS)
        np.testing.assert_array_equal(cube.x, x[0])
        np.testing.assert_array_equal(cube.y, y[:, 0])
        assert tuple(geobox(cube).affine)[:6] == (30, 0, x[0, 0] - 15, 0, -30, y[0, 0] + 15)
        assert geobox(cube).crs.epsg == 32633

    def test_bands_across_both_cubes(self, file: Path) -> None:
        whole = open_hsi(file)
        some = open_hsi(file, bands=["600-700nm", "1000-1100nm", 1])
        np.testing.assert_array_equal(some.values, whole.sel(band=some.band.values).values)

    def test_picklable(self, file: Path) -> None:
        cube = open_hsi(file, bands=[3, 200])
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(cube)).values, cube.values)


class TestBands:
    def test_sorted_and_those_not_acquired_left_out_with_a_word(self, file: Path) -> None:
        with pytest.warns(UserWarning, match=LEFT_OUT):
            cube = open_hsi(file)
        nm = np.concatenate([prisma.VNIR, prisma.SWIR])
        np.testing.assert_allclose(cube.wavelength, np.sort(nm[nm > 0]), rtol=1e-6)
        overlap = cube.band[(cube.wavelength > 943) & (cube.wavelength < 973)].values
        assert {str(name).split()[0] for name in overlap} == {"VNIR", "SWIR"}
        assert cube.good.sel(band=overlap).all()

    def test_flagged_bands_are_not_good(self, tmp_path: Path) -> None:
        flags = (prisma.VNIR > 0).astype(np.uint8)
        flags[10] = 0
        cube = open_hsi(prisma.write(tmp_path, List_Cw_Vnir_Flags=flags))
        assert not cube.good[np.argmin(np.abs(cube.wavelength.values - prisma.VNIR[10]))]


class TestMask:
    def test_error_matrices(self, file: Path) -> None:
        for chunks in ("auto", {"y": 5, "x": 6}):
            mask = open_hsi(file, chunks=chunks).mask.values
            assert np.argwhere(mask & Mask.SATURATED).tolist() == [[13, 15]]
            assert np.argwhere(mask & Mask.DEFECT).tolist() == [[11, 13]]
        cube = open_hsi(file)
        assert np.isnan(cube.values[:, 10, 12]).sum() == 1
        assert np.isnan(cube.values[:, 11, 13]).all()
        assert np.isfinite(cube.values[:, 12, 14]).all()  # negative values are values

    def test_none_without_them(self, tmp_path: Path) -> None:
        cube = open_hsi(prisma.write(tmp_path, matrices=False))
        assert "mask" not in cube.coords


class TestRecognised:
    def test_by_content_or_folder(self, file: Path, tmp_path: Path) -> None:
        (tmp_path / "a.bin").write_bytes(file.read_bytes())
        for source in (file.parent, tmp_path / "a.bin"):
            assert open_hsi(source, bands=[1]).encoding["sensor"] == "PRISMA L2D"

    def test_what_info_shows(self, file: Path) -> None:
        known = facts(open_hsi(file))
        assert known["datetime"] == "2022-07-15T10:15:37Z"
        assert known["masks"] == ["saturated", "defect"]
        assert known["shape"] == [232, ROWS, COLS]


class TestRejected:
    @pytest.mark.parametrize("level", ["L1", "L2B", "L2C"])
    def test_other_levels(self, tmp_path: Path, level: str) -> None:
        with pytest.raises(InvalidCube, match=f"PRISMA {level}; expected L2D"):
            open_hsi(prisma.write(tmp_path, level=level))

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"List_Cw_Vnir": prisma.VNIR[:20]}, "lists of wavelengths"),
            ({"List_Cw_Vnir": prisma.VNIR * 0, "List_Cw_Swir": prisma.SWIR * 0}, "no band has a wavelength"),
            ({"List_Fwhm_Swir": prisma.SWIR * np.nan}, "FWHM"),
            ({"L2ScaleVnirMax": np.float32(0)}, "L2Scale"),
            ({"L2ScaleVnirMax": np.float32(np.nan)}, "L2ScaleVnirMax is 'nan'; expected a number"),
            ({"Epsg_Code": np.bytes_("x")}, "Epsg_Code"),
            ({"Product_ULcorner_easting": 390_000.0 - 17 * 30}, r"apart; expected 930 x 1050 m, between the centres of 32 x 36 pixels"),
        ],
    )
    def test_metadata(self, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
        with pytest.raises(InvalidCube, match=said):
            open_hsi(prisma.write(tmp_path, **changes))

    def test_cubes_of_different_size(self, tmp_path: Path) -> None:
        path = prisma.write(tmp_path)
        with h5py.File(path, "r+") as source:
            name = f"{prisma.FIELDS.format('L2D')}/SWIR_Cube"
            del source[name]
            source[name] = np.ones((20, 173, 32), np.uint16)
        with pytest.raises(InvalidCube, match="VNIR and SWIR cubes have the shapes"):
            open_hsi(path)

    def test_a_claim_that_the_file_cannot_hold(self, tmp_path: Path) -> None:
        path = prisma.write(tmp_path)
        with h5py.File(path, "r+") as source:
            fields = source[prisma.FIELDS.format("L2D")]
            for name, bands in (("VNIR_Cube", 66), ("SWIR_Cube", 173)):
                del fields[name]
                fields.create_dataset(name, (4_000_000, bands, 4_000_000), np.uint16, chunks=(1, 1, 1000))
        with pytest.raises(InvalidCube, match=r"claims .* TB, which the file cannot hold"):
            open_hsi(path)

    def test_changed_while_in_use(self, tmp_path: Path) -> None:
        cube = open_hsi(prisma.write(tmp_path))
        prisma.write(tmp_path, L2ScaleVnirMax=np.float32(0.5))
        with pytest.raises(RunError, match="replaced or changed"):
            cube.load()
