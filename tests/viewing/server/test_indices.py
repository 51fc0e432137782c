from __future__ import annotations

import numpy as np

from geofuse.cube.bands import BandTable
from geofuse.viewing.server.indices import catalogue

NM = np.arange(400.0, 2500.0, 10.0)
TABLE = BandTable.make([f"{w:g}" for w in NM], NM)


def test_bands_lie_in_the_ranges_of_the_catalogue_and_are_usable() -> None:
    found = catalogue()["NBR"].bands(TABLE)
    assert found is not None
    assert 760 <= NM[found["N"]] <= 900
    assert 2080 <= NM[found["S2"]] <= 2350
    assert catalogue()["NDVI"].bands(BandTable.make(["r", "n"], [665, 842], good=[True, False])) is None
    assert catalogue()["NDVI"].bands(BandTable.make(["r", "n"])) is None


def test_a_spectrometer_has_most_indices_and_they_are_computed() -> None:
    rng = np.random.default_rng(0)
    found = {name: index.bands(TABLE) for name, index in catalogue().items()}
    possible = {name: at for name, at in found.items() if at is not None}
    assert len(possible) > 200
    assert not {"DpRVIVV", "kNDVI"} & possible.keys()  # radar; a kernel that nobody named
    for name, at in list(possible.items())[::8]:  # spyndex reads its whole catalogue for each
        values = {letter: rng.uniform(0.05, 0.5, (3, 4)).astype(np.float32) for letter in at}
        index = catalogue()[name].compute(values, TABLE)
        assert index.shape == (3, 4), name


def test_wavelengths_in_a_formula_are_those_of_the_bands() -> None:
    """FAI: how far the near infrared lies above the line from red to short-wave infrared (Hu 2009, doi:10.1016/j.rse.2009.05.012)."""
    index = catalogue()["FAI"]
    at = index.bands(TABLE)
    assert at is not None
    red, infrared, short = (NM[at[letter]] for letter in ("R", "N", "S1"))
    line = 0.1 + (0.2 - 0.1) * (infrared - red) / (short - red)
    values = {"R": np.array([[0.1]], np.float32), "N": np.array([[0.4]], np.float32), "S1": np.array([[0.2]], np.float32)}
    np.testing.assert_allclose(index.compute(values, TABLE), 0.4 - line, rtol=1e-5)


def test_what_is_not_defined_is_nan() -> None:
    zero = np.zeros((1, 1), np.float32)
    assert np.isnan(catalogue()["NDVI"].compute({"N": zero, "R": zero}, TABLE)).all()
