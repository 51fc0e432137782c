from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geofuse.cube.values import StoredType, declared_scale, decode, integer_scale
from geofuse.errors import InvalidCube

INT16 = StoredType.named("int16")


def test_every_int16_survives_decoding_and_encoding() -> None:
    numbers = np.arange(-32767, 32768, dtype=np.int16).reshape(1, 1, -1)
    stored, valid, clipped = INT16.encode(decode(numbers, 1e-4, 0.0, -32768.0)[0])
    np.testing.assert_array_equal(stored, numbers[0])
    assert valid.all()
    assert clipped == 0


@given(st.floats(-3.25, 3.25, width=32))
def test_encoding_is_within_half_a_quantum(reflectance: float) -> None:
    stored, _, _ = INT16.encode(np.array([[reflectance]], dtype=np.float32))
    assert abs(int(stored[0, 0]) * 1e-4 - reflectance) <= 0.5e-4 * (1 + 1e-9)


def test_no_data_and_only_no_data_becomes_nodata() -> None:
    plane = np.array([[np.nan, -5.0, -3.2768, 9.0, np.inf, 0.0]], dtype=np.float32)
    stored, valid, clipped = INT16.encode(plane)
    np.testing.assert_array_equal(stored, [[-32768, -32767, -32767, 32767, -32768, 0]])
    np.testing.assert_array_equal(valid, [[False, True, True, True, False, True]])
    assert clipped == 4


def test_float_keeps_values_and_drops_infinity() -> None:
    stored, valid, clipped = StoredType.named("float32").encode(np.array([[1.25, np.inf, np.nan]], dtype=np.float32))
    np.testing.assert_array_equal(stored, np.array([[1.25, np.nan, np.nan]], dtype=np.float32))
    np.testing.assert_array_equal(valid, [[True, False, False]])
    assert clipped == 1


def test_decoding_rounds_to_the_nearest_float32() -> None:
    numbers = np.arange(0, 10001, dtype=np.uint16).reshape(1, 1, -1)
    expected = np.array([float(f"{n / 10000:.4f}") for n in range(10001)], dtype=np.float64).astype(np.float32)
    np.testing.assert_array_equal(decode(numbers, 1e-4, 0.0, np.nan)[0, 0], expected)


@pytest.mark.parametrize(
    ("stored", "nodata"),
    [
        (np.float32(-3.4028234663852886e38), -3.40282e38),  # text in a header that is not the float32 in the pixels
        (np.float32(np.inf), np.nan),
        (np.float32(-9999), -9999.0),
        (np.float32(np.nan), -9999.0),
        (np.float32(0.1), 0.1),
    ],
)
def test_float_nodata_is_found(stored: np.float32, nodata: float) -> None:
    decoded = decode(np.array([[[stored, 0.5]]], dtype=np.float32), 1.0, 0.0, nodata)
    np.testing.assert_array_equal(decoded, np.array([[[np.nan, 0.5]]], dtype=np.float32))


def test_nodata_outside_the_type_marks_nothing() -> None:
    assert np.isfinite(decode(np.arange(256, dtype=np.uint8).reshape(1, 16, 16), 1.0, 0.0, -9999.0)).all()


def test_bands_have_their_own_scale_offset_and_nodata() -> None:
    raw = np.full((2, 1, 2), 7, dtype=np.int16)
    decoded = decode(raw, [0.1, 0.5], [0.0, -1.0], [7.0, np.nan])
    np.testing.assert_array_equal(decoded, np.array([[[np.nan, np.nan]], [[2.5, 2.5]]], dtype=np.float32))


@pytest.mark.parametrize(
    ("metadata", "scale"),
    [
        ({"reflectance_scale": "10000"}, 1e-4),
        ({"reflectance scale factor": "255"}, 1 / 255),
        ({"description": "{EnMAP02: subset, scaled between 0 and 10000, noData specified}"}, 1e-4),
        ({"z_plot_titles": "wavelength [!7l!3m]!N, reflectance [* 10000]"}, 1e-4),
        ({"note": "scaled between 0 and 1000", "reflectance_scale": "10000"}, 1e-4),
        ({"description": "radiance"}, None),
    ],
)
def test_scales_declared_in_words(metadata: dict[str, str], scale: float | None) -> None:
    assert declared_scale(metadata) == scale


@pytest.mark.parametrize("value", ["0", "-1", "nan", "lots", "inf"])
def test_a_declared_scale_must_be_a_number(value: str) -> None:
    with pytest.raises(InvalidCube, match="reflectance_scale"):
        declared_scale({"reflectance_scale": value})


def test_integers_without_a_scale_warn_and_say_what_to_do() -> None:
    with pytest.warns(UserWarning, match=r"0\.0001.*DataArray"):
        assert integer_scale({}, "x.tif") == 1e-4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert integer_scale({"reflectance_scale": "1000"}, "x.tif") == 1e-3


def test_other_types_are_not_offered() -> None:
    with pytest.raises(ValueError, match="int16"):
        StoredType.named("uint8")
