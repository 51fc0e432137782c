from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geofuse.cube.bands import BandTable, default_good, nm_per_unit, plain_name, to_nm, unique_names
from geofuse.errors import InvalidCube


@pytest.mark.parametrize("units", ["nm", "Nanometers", "nanometre", " NM "])
def test_nanometres_are_recognised(units: str) -> None:
    np.testing.assert_array_equal(to_nm([460.0, 2409.0], units), [460.0, 2409.0])


@pytest.mark.parametrize("units", ["um", "µm", "μm", "Micrometers", "microns"])
def test_micrometres_are_recognised_by_either_mu(units: str) -> None:
    np.testing.assert_array_equal(to_nm([0.4843, 0.8046], units), [484.3, 804.6])


@pytest.mark.parametrize("units", [None, "", "Unknown"])
def test_without_a_unit_the_magnitude_decides(units: str | None) -> None:
    assert nm_per_unit([0.35, 14.0], units) == 1000.0
    assert nm_per_unit([350.0, 14000.0], units) == 1.0


@given(st.lists(st.floats(300, 2600), min_size=1, max_size=50))
def test_micrometres_and_nanometres_of_one_list_agree(nm: list[float]) -> None:
    np.testing.assert_allclose(to_nm(np.array(nm) / 1000), to_nm(nm), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "units", "said"),
    [
        ([-460.0, 500.0], "nm", "positive"),
        ([0.0, 500.0], None, "positive"),
        ([0.46, 0.5], "nm", "not wavelengths of light"),
        ([460.0, 500.0], "um", "not wavelengths of light"),
        ([0.46, 500.0], None, "not wavelengths of light"),
        ([np.inf], "nm", "not wavelengths of light"),
        ([12000.0], "cm-1", "not understood"),
    ],
)
def test_nonsense_is_rejected(values: list[float], units: str | None, said: str) -> None:
    with pytest.raises(InvalidCube, match=said):
        to_nm(values, units)


def test_unknown_wavelengths_stay_unknown() -> None:
    np.testing.assert_array_equal(to_nm([np.nan, 0.5], "um"), [np.nan, 500.0])


def test_water_vapour_is_not_good() -> None:
    wavelength = np.arange(400.0, 2500.0, 10.0)
    bad = wavelength[~default_good(wavelength)]
    assert {1380.0, 1400.0, 1880.0, 1900.0} <= set(bad)  # the band centres of Gao et al.
    assert not {760.0, 940.0, 1130.0, 1650.0, 2200.0} & set(bad)  # weaker absorption and windows stay
    assert bad.min() == 1350.0
    assert bad.max() == 1960.0


def test_nearest_band_prefers_distance_then_quality() -> None:
    table = BandTable.make(["a", "b", "c"], [1300.0, 1400.0, 1500.0])
    assert table.nearest(1395.0) == 1
    assert table.nearest(1395.0, good_only=True) == 0
    all_bad = BandTable.make(["a", "b"], [1380.0, 1400.0])
    assert all_bad.nearest(1395.0, good_only=True) == 1
    with pytest.raises(InvalidCube, match="no band has a wavelength"):
        BandTable.make(["a"]).nearest(500)


def test_rgb_bands_of_the_scene_and_without_wavelengths() -> None:
    hyperspectral = BandTable.make([str(i) for i in range(200)], np.linspace(400, 2400, 200))
    red, green, blue = (float(hyperspectral.wavelength[i]) for i in hyperspectral.rgb())
    np.testing.assert_allclose([red, green, blue], [665, 560, 490], atol=6)
    assert BandTable.make(["b", "g", "r", "nir"]).rgb() == (2, 1, 0)
    assert BandTable.make(["pan"]).rgb() == (0, 0, 0)


def test_columns_of_different_lengths_are_rejected() -> None:
    with pytest.raises(InvalidCube, match="one length"):
        BandTable.make(["a", "b"], [500.0])


@given(st.lists(st.text("ab (2)", max_size=5), min_size=1, max_size=30))
def test_names_become_unique_and_then_stay(names: list[str]) -> None:
    unique = unique_names(names)
    assert len(set(unique)) == len(names)
    assert all(unique)
    assert unique_names(unique) == unique


def test_only_gdal_suffixes_are_taken_off() -> None:
    assert plain_name("band 8 (0.460000 Micrometers)") == "band 8"
    assert plain_name("red (2)") == "red (2)"
    assert plain_name("484.30 nm") == "484.30 nm"
