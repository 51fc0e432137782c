"""`mossfuse` as a method: `gem` to the bit where the network is not confirmed or says nothing; else tiled, stored and reported with it."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import geofuse
from geofuse.methods.gem.estimator import Gem
from geofuse.methods.gem.filters import ComplementaryFilters
from geofuse.methods.gem.method import GEM, FittedGem
from geofuse.methods.mossfuse import method as module
from geofuse.methods.mossfuse.method import MOSSFUSE, FittedMossFuse
from geofuse.methods.mossfuse.scene_network import Scaling, SceneNetwork, make_network
from geofuse.methods.mossfuse.statistics import freeze, recording
from geofuse.methods.mossfuse.train import Outcome
from geofuse.pair.grid import Window
from geofuse.pair.patch import Patch, part_of
from geofuse.pair.prepare import PreparedPair, Settings
from geofuse.pair.registration import Registration
from geofuse.pair.response import EffectiveResponse
from geofuse.pipeline.job import Job
from tests.crops import small_cubes
from tests.methods.mossfuse.scenes import shaken
from tests.pairs import Pair, bell_responses, made_up_scene, simulated

BANDS = 24
TILE_REQUIREMENT = 1e-4  # reflectance


@cache
def pair(ratio: float = 4.0, side: int = 24) -> Pair:
    size = round(side * ratio)
    return simulated(made_up_scene(BANDS, size, size), bell_responses(BANDS, 4), (side, side), ratio)


@cache
@torch.no_grad()
def plain(ratio: float = 4.0, side: int = 24) -> FittedGem:
    """`gem` with random filters, so that the last stage is solved once more."""
    fitted = GEM.fit(prepared(pair(ratio, side)), Settings(progress=False), lambda step: None)
    rank = fitted.gem.coordinates.rank
    weight = np.random.default_rng(0).normal(scale=0.02, size=(rank, 4 * (rank + 4)))
    return replace(fitted, filters=ComplementaryFilters(weight, fitted.gem.guide.scale))


def prepared(made: Pair) -> PreparedPair:
    """The pair as prepared, its operators known."""
    response = EffectiveResponse(made.srf, np.zeros(4), np.zeros(4), "known")
    return PreparedPair(made.grids, [made.sample], [made.patch()], Registration(made.sigma, made.shift, 0.0), response, 0.0, [])


@torch.no_grad()
def some_network(gem: Gem, patch: Patch, zero: bool = False) -> SceneNetwork:
    """A network with random weights, or one as it is before it is trained."""
    rank, seen = gem.coordinates.rank, gem.observe(patch)
    scaling = Scaling(np.full(rank, 10.0), gem.guide.scale, 3 * np.eye(rank))
    network = make_network(rank, len(scaling.m)) if zero else shaken(make_network(rank, len(scaling.m)))
    with recording(network):
        network(*scaling.inputs(gem.run(seen), seen.m))
    freeze(network)
    return SceneNetwork(network, scaling)


@cache
def with_network(ratio: float = 4.0, side: int = 24, zero: bool = False) -> FittedMossFuse:
    fitted = plain(ratio, side)
    return FittedMossFuse(**vars(fitted), network=some_network(fitted.gem, pair(ratio, side).patch(), zero))


@torch.no_grad()
def applied(fitted: FittedGem, patch: Patch) -> np.ndarray:
    return np.asarray(fitted.apply(patch).numpy())


def test_before_it_is_trained_it_is_gem_to_the_bit() -> None:
    patch = pair().patch()
    assert np.array_equal(applied(with_network(zero=True), patch), applied(plain(), patch))
    without_filters = replace(with_network(zero=True), filters=None), replace(plain(), filters=None)
    one, other = (applied(f, patch) for f in without_filters)
    assert np.abs(one - other).max() < 1e-5, "solved once more, from the solution"
    assert np.abs(applied(with_network(), patch) - applied(plain(), patch)).max() > 0.01


def test_where_it_is_not_confirmed_it_is_gem_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit_network(*_: object, **options: object) -> Outcome:
        assert options["seconds"] == 7
        return Outcome(None, np.array([1.0, 0.9]), 2, 3.0, -0.001, 0.002, 0.1, 200)

    monkeypatch.setattr(module, "fit_network", fit_network)
    settings = Settings(progress=False, train_seconds=7)
    with torch.no_grad():
        fitted, gem = (m.fit(prepared(pair()), settings, lambda step: None) for m in (MOSSFUSE, GEM))
    assert isinstance(fitted, FittedMossFuse)
    patch = pair().patch()
    assert np.array_equal(applied(fitted, patch), applied(gem, patch))
    assert fitted.halo == gem.halo
    (warning,) = (w for w in fitted.warnings(prepared(pair()), ()) if w["code"].startswith("network"))
    assert warning["code"] == "network-not-confirmed"
    assert "-0.10 ± 0.20 %" in warning["message"]
    assert fitted.describe()["network"] | {"loss": []} == {
        "used": False, "held_out_gain": -0.001, "held_out_gain_error": 0.002, "held_out_pixels": 200, "amplitude": 0.1, "steps": 2,
        "planned_steps": 2, "seconds": 3.0, "loss": [],
    }  # fmt: skip


def test_what_the_report_warns_of() -> None:
    network = with_network().network
    done, cut, few = Outcome(network, np.ones(5), 5), Outcome(network, np.ones(4), 5), Outcome(None, pixels=3)
    codes = [[w["code"] for w in module._network_warnings(o)] for o in (done, cut, few, None)]
    assert codes == [[], ["training-cut-short"], ["network-not-confirmed"], []]
    assert "too few coarse pixels" in module._network_warnings(few)[0]["message"]


@pytest.mark.parametrize(("ratio", "side"), [(4.0, 48), (25 / 3, 24)])
def test_tiles_equal_the_whole(ratio: float, side: int) -> None:
    """In the middle and at an edge, around a gap, with weights that change the image a lot."""
    fitted, made = with_network(ratio, side), pair(ratio, side)
    patch, size = made.patch(), made.grids.fine.shape[0]
    patch.msi_valid[size // 2 - 3 : size // 2, 60:80] = False
    patch.msi[:, ~patch.msi_valid] = 0
    whole = applied(fitted, patch)
    assert np.abs(whole - applied(plain(ratio, side), patch)).max() > 100 * TILE_REQUIREMENT
    for core in (Window(size // 2 - 8, size // 2 + 8, size // 2 - 10, size // 2 + 5), Window(0, 12, 20, 40)):
        fine = core.grown(fitted.halo, made.windows[0])
        assert fine.shape[0] < size, "or the tile would be the whole"
        rows, cols = core.offset(-fine.top, -fine.left).slices
        tile = applied(fitted, part_of(patch, fine))[:, rows, cols]
        assert np.abs(tile - whole[(slice(None), *core.slices)]).max() < TILE_REQUIREMENT


def test_the_halo_is_what_the_plan_counts_with() -> None:
    for ratio in (2.0, 25 / 3, 30.0):
        assert MOSSFUSE.cost(ratio).halo == replace(with_network(), ratio=ratio).halo
        assert replace(with_network(), network=None, ratio=ratio).halo == GEM.cost(ratio).halo


@pytest.mark.parametrize("confirmed", [True, False])
def test_stored_and_restored_it_gives_the_same_numbers(confirmed: bool) -> None:
    known = MOSSFUSE.with_deviation(with_network(), prepared(pair()), None, Settings(progress=False))
    assert isinstance(known, FittedMossFuse)
    known = known if confirmed else replace(known, network=None)
    again = MOSSFUSE.restore(*known.state())
    assert (again.network is None) != confirmed
    assert again.outcome is None
    assert "network" not in again.describe()
    patch, inner = pair().patch(), (slice(10, 30), slice(0, 50))
    with torch.no_grad():
        for made in ("apply", "deviation", "far"):
            one, other = (getattr(f, made)(patch, inner) for f in (known, again))
            assert torch.equal(one, other), made


def test_a_network_for_other_images_is_rejected() -> None:
    arrays, values = with_network().state()
    other = SceneNetwork(make_network(7, 4), Scaling(np.ones(7), np.ones(4), np.eye(7))).arrays()
    with pytest.raises(ValueError, match=r"for \(7, 4\) coefficients and MSI bands"):
        MOSSFUSE.restore(dict(arrays) | {f"mossfuse.{name}": a for name, a in other.items()}, values)


def test_from_files_to_a_report() -> None:
    """At 8.33 fine pixels to a coarse one; the shortest training there is."""
    model = geofuse.fit(*small_cubes(), method="mossfuse", progress=False, train_seconds=1e-3)
    assert model.method == "mossfuse"
    found = json.loads(json.dumps(model.report))["network"]
    assert len(found["loss"]) == found["steps"] == 1
    assert any(warning["code"] == "network-not-confirmed" for warning in model.report["warnings"])


@pytest.mark.slow
def test_a_confirmed_network_goes_to_a_file_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit_network(gem: Gem, filters: object, patches: list[Patch], **_: object) -> Outcome:
        return Outcome(some_network(gem, patches[0]), np.ones(3), 3, 1.0, 0.02, 0.001, 1.0, 200)

    monkeypatch.setattr(module, "fit_network", fit_network)
    hsi, msi = small_cubes()
    model = geofuse.fit(hsi, msi, method="mossfuse", progress=False)
    assert model.report["network"]["used"]
    again = geofuse.Model.load(model.save(tmp_path / "m.safetensors"))
    whole, other, tiled = (geofuse.fuse(hsi, msi, model=m, tile=t, progress=False) for m, t in ((model, 200), (again, 200), (again, 50)))
    assert np.array_equal(whole, other, equal_nan=True)
    assert float(abs(whole - tiled).max()) < TILE_REQUIREMENT
    without = geofuse.fuse(hsi, msi, model=replace(model, fitted=replace(model.fitted, network=None)), tile=200, progress=False)  # type: ignore[type-var]
    assert float(abs(whole - without).max()) > 0.005


def test_the_seconds_of_training_decide_about_the_result(berlin: tuple[Path, Path]) -> None:
    """What was made with others is not taken for this."""
    job = Job(*map(str, berlin), Path("c.tif"), method="mossfuse")
    runs = {job._run(replace(job, train_seconds=s)._command()) for s in (None, 10.0, 20.0)}
    assert len(runs) == 3


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "long"])
def test_seconds_of_training_that_are_none_are_rejected(seconds: float) -> None:
    hsi, msi = small_cubes()
    with pytest.raises(geofuse.errors.InvalidInput, match="seconds of training"):
        geofuse.plan(hsi, msi, method="mossfuse", train_seconds=seconds)
