"""Translations of products' layers into flags, by the tables of their specifications."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from affine import Affine

from geofuse.cube.masks import UNUSABLE, Mask, attributes, flags_of, is_flags
from geofuse.cube.schema import as_cube, wrap


@pytest.mark.parametrize(
    ("value", "flags"),
    [(0, 32), (1, 48), (2, 0), (3, 4), (4, 0), (5, 0), (6, 64), (7, 0), (8, 1), (9, 1), (10, 2), (11, 8)],
)
def test_classes_of_sentinel_2(value: int, flags: int) -> None:
    """The twelve classes of the scene classification."""
    assert flags_of("SCL", np.array([[[value]]], "uint8")) == [[flags]]


@pytest.mark.parametrize(
    ("value", "flags"),
    [
        # LSDS-1619, table of QA_PIXEL values: fill; clear; water; cloud; dilated cloud; cloud shadow; snow; cirrus
        *((1, Mask.DEFECT), (21824, 0), (21952, Mask.WATER), (22280, Mask.CLOUD), (21826, Mask.CLOUD), (23888, Mask.SHADOW)),
        *((30048, Mask.SNOW), (54596, Mask.CIRRUS), (55052, Mask.CLOUD | Mask.CIRRUS)),
    ],
)
def test_bits_of_landsat(value: int, flags: int) -> None:
    assert flags_of("qa_pixel", np.array([[[value]]], "uint16")) == [[flags]]


def test_saturation_of_landsat() -> None:
    """Band 1 and band 7 saturated; band 9 (cirrus), which is none of surface reflectance; terrain occlusion."""
    found = flags_of("QA_RADSAT", np.array([[[0, 1, 1 << 6, 1 << 8, 1 << 11]]], "uint16"))
    assert found.tolist() == [[0, Mask.SATURATED, Mask.SATURATED, 0, Mask.DEFECT]]


def test_usable_data_mask_of_planet() -> None:
    """One pixel a band: clear, snow, shadow, light and heavy haze, cloud, confidence; then blackfill, the old cloud bit, a suspect band."""
    layers = np.zeros((8, 1, 10), "uint8")
    layers[np.arange(7), 0, np.arange(7)] = 1
    layers[7, 0, 7:] = 1, 2, 4
    defect = Mask.DEFECT
    assert flags_of("udm2", layers).tolist() == [[0, Mask.SNOW, Mask.SHADOW, Mask.HAZE, Mask.HAZE, Mask.CLOUD, 0, defect, 0, defect]]


def test_what_was_read_as_floats() -> None:
    assert flags_of("SCL", np.array([[[np.nan, 9.0]]], "float32")).tolist() == [[Mask.DEFECT, Mask.CLOUD]]


def test_snow_water_and_haze_are_ground() -> None:
    assert [flag for flag in Mask if flag & UNUSABLE] == [Mask.CLOUD, Mask.CIRRUS, Mask.SHADOW, Mask.SATURATED, Mask.DEFECT]


def cube() -> xr.DataArray:
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    return wrap(np.zeros((2, 3, 4)), transform=Affine(10, 0, 5e5, 0, -10, 6e6), crs=32633, names=["a", "b"], mask=mask)


def test_the_mask_goes_with_the_cube() -> None:
    part = as_cube(cube()[:, 1:, ::-1])
    assert part.mask.dims == ("y", "x")
    assert part.mask.values.tolist() == [[4, 5, 6, 7], [8, 9, 10, 11]]
    assert part.mask.attrs == attributes()
    assert as_cube(cube().transpose("x", "y", "band")[:, ::-1]).mask.values.tolist() == np.arange(12).reshape(3, 4).tolist()


def test_masks_of_other_meaning_are_no_flags() -> None:
    odd = cube().assign_coords(mask=(("y", "x"), np.ones((3, 4), np.uint8)))
    assert "mask" not in as_cube(odd).coords
    assert not is_flags(np.dtype(bool), attributes())
