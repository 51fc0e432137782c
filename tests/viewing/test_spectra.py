"""Spectra of pixels and of other sensors, from plain numbers."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from geofuse.cube.schema import wrap
from geofuse.errors import InvalidInput
from geofuse.viewing.spectra import plot_spectrum, resample_spectral


def cube(values: np.ndarray, wavelength: list[float] | None = None) -> xr.DataArray:
    names = [str(k) for k in range(len(values))]
    return wrap(values, transform=Affine(10, 0, 390_000, 0, -10, 5_818_000), crs="EPSG:32633", names=names, wavelength=wavelength)


@given(seed=st.integers(0, 1000), rows=st.integers(1, 4), bands=st.integers(1, 7), lazy=st.booleans())
def test_resampling_is_the_normalised_product(seed: int, rows: int, bands: int, lazy: bool) -> None:
    rng = np.random.default_rng(seed)
    srf = rng.random((rows, bands)) * (rng.random((rows, bands)) < 0.7)
    srf[:, 0] += 0.1
    values = rng.random((bands, 3, 4))
    spectra = cube(values, list(500 + 10.0 * np.arange(bands)))
    seen = resample_spectral(spectra.chunk(x=2) if lazy else spectra, srf)
    expected = np.einsum("mb,byx->myx", srf, values) / srf.sum(1)[:, None, None]
    assert (seen.chunks is not None) == lazy
    assert seen.values == pytest.approx(expected, abs=1e-6)
    assert seen.wavelength.values == pytest.approx(srf @ spectra.wavelength.values / srf.sum(1))
    assert seen.y.equals(spectra.y)
    assert seen.x.equals(spectra.x)


def test_a_scale_of_the_response_changes_nothing() -> None:
    """A constant spectrum stays that constant, whatever the rows sum to."""
    assert resample_spectral(cube(np.full((5, 2, 2), 0.3)), [[1, 5, 2, 0, 0], [0, 0, 100, 3, 1]]).values == pytest.approx(0.3)


def test_unknown_wavelengths_stay_unknown() -> None:
    assert np.isnan(resample_spectral(cube(np.ones((3, 2, 2))), np.eye(3)).wavelength).all()


def test_one_row_is_one_band() -> None:
    assert resample_spectral(cube(np.ones((3, 2, 2))), [1, 1, 1]).shape == (1, 2, 2)


def test_bad_bands_are_gaps_in_the_graph() -> None:
    """1400 nm lies in water vapour; the others are drawn in the order of their wavelengths."""
    line = plot_spectrum(cube(np.arange(4.0)[:, None, None] * np.ones((4, 2, 2)), [800, 1400, 700, 2200]), 390_001, 5_817_999).lines[0]
    assert np.array_equal(line.get_xdata(), [700, 800, 1400, 2200])
    assert np.array_equal(line.get_ydata(), [2, 0, np.nan, 3], equal_nan=True)


def test_without_wavelengths_bands_are_counted() -> None:
    ax = plot_spectrum(cube(np.ones((4, 2, 2))), 390_001, 5_817_999)
    assert np.array_equal(ax.lines[0].get_xdata(), [1, 2, 3, 4])
    assert ax.get_xlabel() == "band"


@pytest.mark.parametrize(("x", "y", "row", "col"), [(0.1, -0.1, 0, 0), (9.9, -9.9, 0, 0), (10.1, -10.1, 1, 1), (29.9, -19.9, 1, 2)])
def test_the_pixel_is_the_one_that_the_place_lies_in(x: float, y: float, row: int, col: int) -> None:
    values = np.arange(6.0).reshape(1, 2, 3)
    line = plot_spectrum(cube(values), 390_000 + x, 5_818_000 + y).lines[0]
    assert line.get_ydata()[0] == values[0, row, col]


@pytest.mark.parametrize(("x", "y"), [(-0.1, -5), (30.1, -5), (5, 0.1), (5, -20.1)])
def test_outside_is_rejected(x: float, y: float) -> None:
    with pytest.raises(InvalidInput, match="outside the cube's extent"):
        plot_spectrum(cube(np.ones((1, 2, 3))), 390_000 + x, 5_818_000 + y)
