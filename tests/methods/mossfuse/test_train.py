"""Training: bounded, repeatable, blind in gaps; and what is kept only where pixels that it has not seen confirm it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from geofuse.methods.gem.filters import fit_filters
from geofuse.methods.mossfuse import train
from geofuse.methods.mossfuse.criterion import TRAINING, Criterion, Example, make_examples
from geofuse.methods.mossfuse.method import Together
from geofuse.methods.mossfuse.scene_network import make_network
from geofuse.methods.mossfuse.statistics import statistics
from geofuse.methods.mossfuse.train import MOST_STEPS, Design, Outcome, fit_network
from tests.methods.mossfuse.scenes import estimator, scene, with_gaps
from tests.pairs import psnr


@torch.no_grad()
def fitted(steps: int, seed: int = 0, gaps: bool = False) -> Outcome:
    pair = with_gaps(scene()) if gaps else scene()
    return fit_network(estimator(), None, [pair.patch()], steps=steps, seed=seed)


def test_it_learns_what_filters_cannot_say() -> None:
    """From coarse pixels alone, and confirmed by such that it has not seen; measured +0.59 dB."""
    gem, patch = estimator(), scene().patch()
    with torch.no_grad():
        filters = fit_filters(gem, [patch]).filters
        outcome = fit_network(gem, filters, [patch], steps=10)
    assert len(outcome.losses) == outcome.planned == 10
    assert outcome.losses[-1] < outcome.losses[0] - 0.05
    assert outcome.confirmed
    assert outcome.network is not None
    assert not outcome.cut_short
    together = Together(tuple(part for part in (filters, outcome.network) if part is not None))
    with torch.no_grad():
        with_it, without = (gem.coordinates.decode(gem.apply(patch, f)).numpy() for f in (together, filters))
    gain = psnr(scene().truth[20:], with_it[20:]) - psnr(scene().truth[20:], without[20:])
    print(f"{gain:+.2f} dB")
    assert gain > 0.3


def test_the_same_seed_gives_the_same_bits() -> None:
    one, same, other = fitted(2), fitted(2), fitted(2, seed=1)
    assert np.array_equal(one.losses, same.losses)
    assert (one.gain, one.amplitude) == (same.gain, same.amplitude)
    assert not np.array_equal(one.losses, other.losses)


def test_what_is_learned_from_noise_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The coarse pixels ask for white noise: a network fits some of it, and held-out pixels know nothing of that."""

    def noise(*arguments: object) -> tuple[list[Example], Criterion]:
        examples, criterion = make_examples(*arguments)  # type: ignore[arg-type]
        generator = torch.Generator().manual_seed(0)
        asked = [torch.randn(e.innovation.shape, generator=generator) * 3 * (e.use >= 0) for e in examples]
        return [replace(e, innovation=a) for e, a in zip(examples, asked, strict=True)], criterion

    monkeypatch.setattr(train, "make_examples", noise)
    outcome = fitted(6)
    assert outcome.losses[-1] < outcome.losses[0]
    assert not outcome.confirmed
    assert outcome.network is None


def test_the_clock_ends_what_a_slow_machine_does_not_finish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(train.SPEED, "cpu", 1e12)
    with torch.no_grad():
        outcome = fit_network(estimator(), None, [scene().patch()], seconds=1e-3)
    assert len(outcome.losses) == 1
    assert outcome.planned == MOST_STEPS
    assert outcome.cut_short


@pytest.mark.parametrize(
    ("seconds", "pixels", "steps"), [(60.0, 96 * 96, 41), (30.0, 96 * 96, 20), (1e-6, 96 * 96, 1), (1e6, 96 * 96, MOST_STEPS)]
)
def test_steps_follow_from_the_seconds(seconds: float, pixels: int, steps: int) -> None:
    assert train._steps(seconds, "cpu", pixels) == steps


def test_a_loss_that_is_no_number_costs_the_network_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "decoupling", lambda features: torch.tensor(float("nan"), requires_grad=True))
    outcome = fitted(3)
    assert outcome.network is None
    assert len(outcome.losses) == 1


def test_where_there_is_too_little_to_judge_by_nothing_is_trained() -> None:
    pair = with_gaps(scene())
    hsi = np.full_like(pair.hsi, np.nan)
    hsi[:, :6, :6] = pair.hsi[:, :6, :6]
    with torch.no_grad():
        outcome = fit_network(estimator(), None, [replace(pair, hsi=hsi).patch()], steps=1)
    assert outcome.network is None
    assert outcome.planned == 0


def test_what_is_not_known_is_in_no_loss() -> None:
    pair, gem = with_gaps(scene()), estimator()
    with torch.no_grad():
        (example,), criterion = make_examples(gem, None, [pair.patch()], 0)
    scaling = train._scaling([example], criterion, train.Scaling)
    network = make_network(gem.coordinates.rank, 4)
    loop = train._Loop(network, [example], scaling, criterion, Design(), np.random.default_rng(0))
    seen = example.seen
    assert seen.valid is not None
    assert seen.known is not None
    elsewhere = replace(
        example,
        innovation=example.innovation + 100 * (example.use != TRAINING),
        seen=replace(seen, y=seen.y + 100 * (seen.complete == 0)),
    )
    change = torch.randn(example.z.shape)
    assert torch.equal(loop._consistency(example, change), loop._consistency(elsewhere, change))
    _, m = scaling.inputs(example.z, seen.m)
    with torch.no_grad():
        rebuilt = network.reconstruct(network.encode(*scaling.inputs(example.z, seen.m)))
    one = loop._reconstruction(example, rebuilt, m[0])
    assert torch.equal(one, loop._reconstruction(elsewhere, rebuilt, m[0]))
    msi = rebuilt._replace(msi=rebuilt.msi + 100 * ~seen.valid)
    assert torch.equal(one, loop._reconstruction(example, msi, m[0]))
    assert not torch.equal(one, loop._reconstruction(example, rebuilt._replace(msi=rebuilt.msi + 100 * seen.valid), m[0]))
    outcome = fitted(2, gaps=True)
    assert np.isfinite(outcome.losses).all()


def test_statistics_count_known_pixels_only() -> None:
    pair = with_gaps(scene())
    with torch.no_grad():
        (example,), criterion = make_examples(estimator(), None, [pair.patch()], 0)
        scaling = train._scaling([example], criterion, train.Scaling)
        known = train._known(example)
        assert known is not None
        network = make_network(estimator().coordinates.rank, 4)
        train.freeze_on(network, [example], scaling)
    counted = {float(s.pixels) for s in statistics(network)}
    assert counted == {0.0, float(known.sum())}, "0: what only training needs"
