from __future__ import annotations

import numpy as np
import pytest

from geofuse.errors import InvalidCube
from geofuse.io.read.products.spectra import ordered


def test_bands_of_two_detectors_in_order_of_wavelength() -> None:
    order, table = ordered([500, 1000, 900, 1100], [7, 8, 10, 11], detector=["VNIR", "VNIR", "SWIR", "SWIR"])
    assert order.tolist() == [0, 2, 1, 3]
    assert table.names == ("VNIR 500.00 nm", "SWIR 900.00 nm", "VNIR 1000.00 nm", "SWIR 1100.00 nm")
    assert table.fwhm.tolist() == [7, 10, 8, 11]
    assert table.good.all()


def test_those_not_acquired_are_left_out_with_a_word() -> None:
    with pytest.warns(UserWarning, match="2 of 4 bands have a wavelength of 0"):
        order, table = ordered([0, 500, 400, 0], [0, 7, 7, 0])
    assert order.tolist() == [2, 1]
    assert len(table) == 2


def test_what_the_product_calls_unusable_is_not_good_nor_is_water_vapour() -> None:
    assert ordered([500, 600, 1400], [7, 7, 7], good=[True, False, True])[1].good.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("wavelength", "fwhm", "said"),
    [
        ([500, 600], [7], "2 wavelengths, 1 FWHM"),
        ([0, 0], [7, 7], "no band has a wavelength"),
        ([500, np.nan], [7, 7], "no finite number"),
        ([500, -600], [7, 7], "positive"),
        ([500, 600], [7, 0], "FWHM"),
        ([500, 600], [7, np.nan], "FWHM"),
        ([0.5, 600], [7, 7], "not wavelengths of light"),
    ],
)
def test_rejected(wavelength: list[float], fwhm: list[float], said: str) -> None:
    with pytest.raises(InvalidCube, match=said):
        ordered(wavelength, fwhm)
