"""GEM and the closed form as methods: fitted, described, stored, with standard deviations where they were asked for."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from geofuse.methods.base import CalibratesErrors, Describes, FillsGaps, FlagsPixels, KnowsErrors, KnowsNoise, PerBand
from geofuse.methods.gem.method import GEM, BayesianMethod, FittedGem
from geofuse.methods.sylvester import SYLVESTER
from geofuse.pair.prepare import PreparedPair, Settings
from geofuse.pair.registration import Registration
from geofuse.pair.response import EffectiveResponse
from tests.pairs import Pair, bell_responses, made_up_scene, simulated

BANDS = 24
METHODS = [GEM, SYLVESTER]


@cache
def pair() -> Pair:
    return simulated(made_up_scene(BANDS, 96, 96), bell_responses(BANDS, 4), (24, 24), 4.0)


@cache
def prepared() -> PreparedPair:
    """The pair as prepared, its operators known."""
    nothing = np.zeros(4)
    response = EffectiveResponse(pair().srf, nothing, nothing, "known")
    return PreparedPair(pair().grids, [pair().sample], [pair().patch()], Registration(pair().sigma, pair().shift, 0.0), response, 0.0, [])


@cache
def fitted(method: BayesianMethod) -> FittedGem:
    with torch.no_grad():
        made = method.fit(prepared(), Settings(progress=False), lambda step: None)  # type: ignore[attr-defined]
    assert isinstance(made, FittedGem)
    return made


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_stored_and_restored_it_gives_the_same_numbers(method: BayesianMethod) -> None:
    known = method.with_deviation(fitted(method), prepared(), None, Settings(progress=False))
    again = method.restore(*known.state())
    assert again.learned is None
    assert again.halo == known.halo
    inner = slice(10, 30), slice(0, 50)
    with torch.no_grad():
        for made in ("apply", "deviation", "far"):
            one, other = (getattr(f, made)(prepared().patches[0], inner) for f in (known, again))
            assert one.shape[-2:] == (20, 50)
            assert torch.equal(one, other), made


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_it_says_what_it_can(method: BayesianMethod) -> None:
    plain = fitted(method)
    assert isinstance(method, CalibratesErrors)
    assert all(isinstance(plain, protocol) for protocol in (KnowsErrors, KnowsNoise, FlagsPixels, FillsGaps, Describes))
    assert not plain.knows_errors
    assert method.with_deviation(plain, prepared(), None, Settings(progress=False)).knows_errors
    assert np.median(plain.noise / pair().hsi_noise) == pytest.approx(1, rel=0.3)


def test_gem_learns_and_the_closed_form_does_not() -> None:
    learned = fitted(GEM).learned
    assert learned is not None
    assert learned.coarse_pixels == 24 * 24
    assert (fitted(GEM).filters is None) == (learned.held_out <= 0)
    assert fitted(SYLVESTER).learned is None
    assert fitted(SYLVESTER).filters is None
    assert "learned" not in fitted(SYLVESTER).describe()
    report = fitted(GEM).describe()["learned"]
    assert report["coarse_pixels"] == 24 * 24
    assert (report["weights"] > 0) == (fitted(GEM).filters is not None)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_the_report_has_one_value_a_band(method: BayesianMethod) -> None:
    noise = fitted(method).describe()["noise"]
    for key, image, count in (("hsi_sigma", "hsi", BANDS), ("msi_sigma", "msi", 4)):
        assert isinstance(noise[key], PerBand)
        assert noise[key].image == image
        assert noise[key].values.shape == (count,)
    for shares in fitted(method).describe()["prior_weights"].values():
        assert sum(shares) == pytest.approx(1, abs=2e-3)


def test_a_reduced_scene_calibrates_the_deviation() -> None:
    """A truth that is 0.05 away everywhere asks for a factor that covers it; one that the estimate hits asks for a small one."""
    settings = Settings(progress=False)
    with torch.no_grad():
        plain = fitted(SYLVESTER)
        fused = plain.apply(prepared().patches[0]).numpy()
        close, far = (
            SYLVESTER.with_deviation(plain, prepared(), (prepared(), fused + error), settings).uncertainty for error in (1e-5, 0.05)
        )
    assert close is not None
    assert far is not None
    assert far.factor > 3 * close.factor
    unchecked = SYLVESTER.with_deviation(plain, prepared(), None, settings).uncertainty
    assert unchecked is not None
    assert unchecked.factor > 1 > close.factor  # wider where no reduced scene confirms it


@pytest.mark.parametrize("name", ["gem.coordinates.sigma", "gem.coordinates.msi_sigma", "gem.coordinates.srf"])
def test_parts_that_do_not_fit_are_rejected(name: str) -> None:
    arrays, values = fitted(SYLVESTER).state()
    spoilt = dict(arrays) | {name: arrays[name][:-1]}
    with pytest.raises(ValueError, match="has shape"):
        SYLVESTER.restore(spoilt, values)


def test_the_state_is_plain() -> None:
    """The state holds arrays and plain values only: it may be packed, hashed and stored."""
    arrays, values = replace(fitted(GEM), learned=None).state()
    assert all(isinstance(a, np.ndarray) for a in arrays.values())
    assert values == {"ratio": pytest.approx(4.0)}
