"""The learned guided step: untrained it is GEM, frozen it is local, fitted it keeps its word."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from geofuse.network.fit_guide import fit_guide
from geofuse.network.guide import WINDOW, GuideNetwork, _attend
from geofuse.network.statistics import freeze, recording, statistics
from geofuse.solve.gem import Gem, fit_gem
from tests.pairs import Pair, bell_responses, made_up_scene, on_grids, psnr, simulated
from tests.scenes import simulate


@cache
def scene() -> Pair:
    return simulated(made_up_scene(24, 48, 48), bell_responses(24, 4), (12, 12), 4.0)


@cache
def fitted() -> Gem:
    return gem_of(scene())


@torch.no_grad()
def gem_of(pair: Pair) -> Gem:
    return fit_gem([pair.patch()], pair.srf, np.zeros(len(pair.srf)), 4.0)


def network_of(gem: Gem, width: int = 8) -> GuideNetwork:
    torch.manual_seed(0)
    return GuideNetwork(gem.coordinates.rank, len(gem.features(gem.observe(scene().patch()))), width)


def shaken(network: GuideNetwork) -> GuideNetwork:
    """Every parameter changed, so that nothing hides behind an initial zero."""
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return network.eval()


@pytest.mark.parametrize("frozen", [False, True])
def test_untrained_it_is_gem_to_the_bit(frozen: bool) -> None:
    gem, patch = fitted(), scene().patch()
    network = network_of(gem)
    if frozen:
        with recording(network):
            gem.apply(patch, network)
        freeze(network)
    with torch.no_grad():
        assert torch.equal(gem.apply(patch, network), gem.apply(patch))


def test_a_trained_one_is_not() -> None:
    gem, patch = fitted(), scene().patch()
    network = shaken(network_of(gem))
    with torch.no_grad():
        assert float((gem.apply(patch, network) - gem.apply(patch)).abs().max()) > 0.1


def test_reach_by_impulse() -> None:
    """Frozen and shaken: a changed pixel is felt as far as the reach, and no further."""
    torch.manual_seed(0)
    network = shaken(GuideNetwork(5, 3, 8)).double()
    size = 2 * network.reach + 15
    base, estimate, guide = (torch.randn(c, size, size, dtype=torch.float64) for c in (5, 5, 3))
    with recording(network):
        network(base, estimate, guide)
    freeze(network)
    centre, farthest = size // 2, 0
    with torch.no_grad():
        before = network(base, estimate, guide)
        for changed in range(3):
            inputs = [x.clone() for x in (base, estimate, guide)]
            inputs[changed][:, centre, centre] += 1
            moved = ((network(*inputs) - before).abs().amax(0) > 0).nonzero() - centre
            farthest = max(farthest, int(moved.abs().max()))
    assert farthest == network.reach


def test_every_branch_sees_its_own_image() -> None:
    """The spatial branch the MSI, the spectral one the estimate; shared ones for both."""
    network = shaken(GuideNetwork(5, 3, 8))
    estimate, guide = torch.randn(1, 5, 16, 16), torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        before = network.encode(estimate, guide)
        other_guide, other_estimate = network.encode(estimate, guide.flip(-1)), network.encode(estimate.flip(-1), guide)
    for name, sees_msi in {"shared_msi": True, "spatial": True, "shared_hsi": False, "spectral": False}.items():
        assert torch.equal(getattr(before, name), getattr(other_guide, name)) != sees_msi, name
        assert torch.equal(getattr(before, name), getattr(other_estimate, name)) == sees_msi, name
    assert not torch.equal(before.shared_msi, before.spatial)
    assert not torch.equal(before.shared_hsi, before.spectral)


def test_attention_by_loops() -> None:
    rng = np.random.default_rng(0)
    half = WINDOW // 2
    image, weight = rng.normal(size=(2, 9, 11)), rng.random((WINDOW**2 - 1, 9, 11))
    padded = np.pad(image, ((0, 0), (half, half), (half, half)), mode="edge")
    expected = np.zeros_like(image)
    offsets = [(dy, dx) for dy in range(WINDOW) for dx in range(WINDOW) if (dy, dx) != (half, half)]
    for r, c in np.ndindex(9, 11):
        for k, (dy, dx) in enumerate(offsets):
            expected[:, r, c] += weight[k, r, c] * padded[:, r + dy, c + dx]
    found = _attend(torch.as_tensor(image)[None], torch.as_tensor(weight)[None])[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_open_gates_pass_on_an_average_of_the_neighbours() -> None:
    """With gates wide open the pixel's own value takes no part, a constant stays, and values stay among those around."""
    network = GuideNetwork(2, 3, 8).eval()
    torch.nn.init.constant_(network.gate.bias, 20.0)  # type: ignore[arg-type]
    guide, base = torch.randn(3, 20, 20), torch.randn(2, 20, 20)
    with torch.no_grad():
        torch.testing.assert_close(network(base, torch.full((2, 20, 20), 3.0), guide), torch.full((2, 20, 20), 3.0))
        features = network.encode(base[None], guide[None])
        spike = torch.zeros(1, 2, 20, 20)
        spike[..., 10, 10] = 1
        drawn = network.redraw(base[None], spike, features)[0]
    assert float(drawn[:, 10, 10].abs().max()) < 1e-6
    assert float(drawn.min()) >= -1e-6
    around = drawn[0, 7:14, 7:14].clone()
    assert float(around.max()) > 0.01
    drawn[:, 7:14, 7:14] = 0
    assert float(drawn.abs().max()) < 1e-6


def test_the_attention_starts_as_a_gaussian() -> None:
    """Of 1.2 pixels: what it draws of an impulse, before it has learned anything of the guide."""
    network = GuideNetwork(1, 3, 8).eval()
    torch.nn.init.zeros_(network.attention.weight)
    torch.nn.init.constant_(network.gate.bias, 20.0)  # type: ignore[arg-type]
    spike = torch.zeros(1, 21, 21)
    spike[:, 10, 10] = 1
    with torch.no_grad():
        drawn = network(torch.zeros_like(spike), spike, torch.randn(3, 21, 21))[0, 7:14, 7:14].numpy()
    offset = np.arange(-3, 4)
    expected = np.exp(-(offset[:, None] ** 2 + offset[None] ** 2) / (2 * 1.2**2))
    expected[3, 3] = 0
    np.testing.assert_allclose(drawn, expected / expected.sum(), atol=1e-6)


def test_restored_it_is_the_same() -> None:
    gem, patch = fitted(), scene().patch()
    network = shaken(network_of(gem))
    with recording(network):
        gem.apply(patch, network)
    freeze(network)
    again = GuideNetwork.restore(network.settings, {k: v.numpy() for k, v in network.state_dict().items()})
    with torch.no_grad():
        assert torch.equal(gem.apply(patch, again), gem.apply(patch, network))
    assert again.reach == network.reach


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> int:
    """Steps between two looks at the held-out error, few enough for a test."""
    monkeypatch.setattr("geofuse.network.fit_guide.CHECK_EVERY", 8)
    return 8


def test_fitting(often: int) -> None:
    """It learns something of what it is hidden from, is frozen, and says what it did."""
    gem = fitted()
    told: list[tuple[int, float]] = []

    def tick(step: int, score: float) -> None:
        told.append((step, score))

    found = fit_guide(gem, [scene().patch()], seconds=60, steps=3 * often, width=8, tick=tick)
    assert found.best < 1
    assert found.best == min(score for _, score in found.curve)
    assert found.steps == 3 * often
    assert [step for step, _ in found.curve] == [0, often, 2 * often, 3 * often]
    assert told == found.curve[1:]
    assert {s.mode for s in statistics(found.network)} == {"frozen"}
    assert not any(p.requires_grad for p in found.network.parameters())
    assert found.gem.stages[:-1] == gem.stages[:-1]
    with torch.no_grad():
        fused = found.gem.apply(scene().patch(), found.network)
    assert torch.isfinite(fused).all()


def test_fitting_is_reproducible(often: int) -> None:
    one, same, other = (fit_guide(fitted(), [scene().patch()], seconds=60, steps=often, width=8, seed=seed) for seed in (0, 0, 1))
    assert one.curve == same.curve
    assert all(torch.equal(a, b) for a, b in zip(one.network.parameters(), same.network.parameters(), strict=True))
    assert one.curve != other.curve


def test_without_training_gem_is_left_as_it_is() -> None:
    gem = fitted()
    found = fit_guide(gem, [scene().patch()], steps=0, width=8)
    assert found.gem is gem
    assert (found.best, found.steps) == (1.0, 0)
    patch = scene().patch()
    with torch.no_grad():
        assert torch.equal(found.gem.apply(patch, found.network), gem.apply(patch))


def test_the_budget_of_time_holds() -> None:
    found = fit_guide(fitted(), [scene().patch()], seconds=0.0, steps=10_000, width=8)
    assert found.steps == 1


def test_control_c_keeps_the_best_so_far(often: int) -> None:
    def stop(step: int, score: float) -> None:
        raise KeyboardInterrupt

    found = fit_guide(fitted(), [scene().patch()], seconds=60, steps=10 * often, width=8, tick=stop)
    assert found.steps == often
    assert {s.mode for s in statistics(found.network)} == {"frozen"}


def test_gaps_are_survived(often: int) -> None:
    """Clouds in the MSI and lines missing in the HSI."""
    pair = scene()
    hsi, msi = pair.hsi.copy(), pair.msi.copy()
    hsi[:, 4] = np.nan
    msi[:, 20:36, 10:24] = np.nan
    holed = replace(pair, hsi=hsi, msi=msi)
    found = fit_guide(gem_of(holed), [holed.patch()], seconds=60, steps=often, width=8)
    with torch.no_grad():
        assert torch.isfinite(found.gem.apply(holed.patch(), found.network)).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["qb4", "s2"])
def test_on_jasper_it_does_no_harm(shared_data: Path, kind: str) -> None:
    pair = on_grids(simulate("jasper", 4, kind, shared_data))
    gem, patch = gem_of(pair), pair.patch()
    found = fit_guide(gem, [patch], seconds=40)
    with torch.no_grad():
        plain, learned = (g.coordinates.decode(g.apply(patch, n)).numpy() for g, n in ((gem, None), (found.gem, found.network)))
    assert found.best < 1
    assert psnr(pair.truth, learned) > psnr(pair.truth, plain) - 0.05
