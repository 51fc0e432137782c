"""Warnings: where they are due, and where not."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import geofuse
from geofuse.errors import Warned
from geofuse.methods.gem import diagnostics as gem_diagnostics
from geofuse.pair import diagnostics
from geofuse.pair.diagnostics import pair_warnings
from geofuse.pair.prepare import PreparedPair, Settings, colocated, prepare_pair
from geofuse.pair.response import EffectiveResponse, scaled_table
from geofuse.pipeline.fit import read_sample
from tests.crops import small_cubes


@pytest.fixture(scope="module")
def prepared() -> PreparedPair:
    scene = geofuse.api.pair(*small_cubes())
    sample = read_sample(scene)
    return prepare_pair(scene.pair, sample, sample, Settings(progress=False), lambda step: None, scene.bands.good)


def codes(found: Iterable[Warned]) -> set[str]:
    return {w["code"] for w in found}


def with_response(prepared: PreparedPair, bands: int) -> PreparedPair:
    response = EffectiveResponse(np.ones((bands, 177)) / 177, np.zeros(bands), np.zeros(bands))
    return replace(prepared, response=response)


def warned(prepared: PreparedPair) -> set[str]:
    return codes(pair_warnings(prepared, [str(k) for k in range(177)]))


def test_warnings(prepared: PreparedPair) -> None:
    assert not warned(prepared) & {"geometry-at-limit", "few-msi-bands"}
    assert "geometry-at-limit" in warned(replace(prepared, geometry=replace(prepared.geometry, at_limit=True)))
    assert "few-msi-bands" in warned(with_response(prepared, 2))
    assert "few-msi-bands" not in warned(with_response(prepared, 3))


def test_a_response_elsewhere_than_the_files_say_is_warned(prepared: PreparedPair) -> None:
    def with_moved(*moved: float) -> PreparedPair:
        return replace(prepared, response=replace(prepared.response, prior="centre and FWHM", moved=np.array(moved)))

    assert "response-elsewhere" in warned(with_moved(0.1, 0.6, np.nan, 0.1))
    assert "response-elsewhere" not in warned(with_moved(0.1, 0.4, np.nan, 0.1))
    assert "response-elsewhere" not in warned(prepared)


def test_every_code_is_a_word_for_programs() -> None:
    """Lower case and hyphens, one kind of warning each, and no warning without a code."""
    source = "".join(Path(module.__file__).read_text() for module in (diagnostics, gem_diagnostics))
    found = re.findall(r'warned\(\s*f?"([^"]*)"', source)
    assert len(found) == source.count("warned(") >= 11
    assert len(set(found)) == len(found)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code.replace("{name.lower()}", "hsi")) for code in found)


def test_values_that_are_no_reflectance_are_warned() -> None:
    """An array of counts, which no file declares a scale of: as (rioxarray.open_rasterio(…) * 1.0) is."""
    hsi, msi = small_cubes()
    found = {}
    for name, factors in {"neither": (1, 1), "hsi": (1e4, 1), "msi": (1, 1e2)}.items():
        model = geofuse.fit(hsi * factors[0], msi * factors[1], method="sylvester", progress=False)
        found[name] = codes(model.report["warnings"]) & {"hsi-not-reflectance", "msi-not-reflectance"}
    assert found == {"neither": set(), "hsi": {"hsi-not-reflectance"}, "msi": {"msi-not-reflectance"}}


def test_few_coarse_pixels_are_warned_of() -> None:
    hsi, msi = small_cubes()
    model = geofuse.fit(hsi[:, :8, :8], msi, method="sylvester", progress=False)
    assert "few-coarse-pixels" in codes(model.report["warnings"])


def test_gain_and_offset_of_a_known_response(prepared: PreparedPair) -> None:
    """One band calibrated 20 % brighter is listed, those that fit are not; one that the response does not explain is named apart."""
    hsi, msi = colocated(prepared.patches)
    table = np.linalg.lstsq(hsi.T, msi.T, rcond=None)[0].T
    table /= table.sum(1, keepdims=True)
    seen = table @ hsi

    def found(seen: np.ndarray) -> dict[str, str]:
        given = replace(prepared, response=scaled_table(table, hsi, seen, "a table"))
        return {w["code"]: w["message"] for w in pair_warnings(given, ())}

    assert not {"gain-or-offset", "response-unlike"} & set(found(seen))
    brighter = found(seen * np.array([1.2, 1.0, 1.0, 1.0])[:, None])
    assert "(a table)" in brighter["gain-or-offset"]
    assert "1 (gain 1.20" in brighter["gain-or-offset"]
    assert "2 (" not in brighter["gain-or-offset"]
    swapped = found(np.stack([*seen[:3], seen[3][::-1]]))
    assert "MSI bands 4." in swapped["response-unlike"]
