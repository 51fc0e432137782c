"""The per-pixel network: what it can learn, that it repeats itself, and that it leaves the caller's world alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from geofuse.evaluation.metrics import score
from geofuse.methods.baselines import mlp as module
from geofuse.methods.baselines.mlp import BATCH, FIRST_RATE, LAST_RATE, PEAK_RATE, SpectralNetwork, Standard, learn, mlp, rate
from tests.methods.baselines.pairs import case, random_pair


def spectra_of(msi: torch.Tensor) -> torch.Tensor:
    """A curved map from three bands to six that no linear map comes close to."""
    a, b, c = msi
    return torch.stack([a * b, (a - 0.5) ** 2, c, torch.sin(4 * c), b**2 + 0.1, (a * c).sqrt()])


def training_pairs(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.rand(3, count, generator=torch.Generator().manual_seed(seed))
    return inputs.T.contiguous(), spectra_of(inputs).T.contiguous()


def test_it_learns_a_curved_map_of_unseen_pixels() -> None:
    inputs, targets = training_pairs(600)
    new, expected = training_pairs(300, seed=1)
    x, y = Standard.of(inputs, by_channel=True), Standard.of(targets, by_channel=False)
    network = learn(x.values, y.values, torch.zeros(3), steps=600)
    error = (y.undo(network(x.do(new))).detach() - expected).square().mean()
    ones = torch.ones(len(inputs), 1)
    linear = torch.linalg.lstsq(torch.hstack([inputs, ones]), targets).solution
    assert float(error) < 0.05 * float((torch.hstack([new, ones[: len(new)]]) @ linear - expected).square().mean())


def test_noise_in_the_inputs_holds_back_directions_that_noise_would_drown() -> None:
    """Two bands that differ by a hair, and a target that is their difference: without noise the network magnifies it."""
    generator = torch.Generator().manual_seed(0)
    common, hair = torch.randn(500, 1, generator=generator), torch.randn(500, 1, generator=generator)
    inputs, targets = torch.hstack([common + 0.05 * hair, common - 0.05 * hair]), torch.hstack([common, hair])
    gains = []
    for noise in (0.0, 0.3):
        network = learn(inputs, targets, torch.full((2,), noise), steps=300)
        step = torch.tensor([[0.1, -0.1]])
        with torch.no_grad():
            gains.append(float((network(inputs[:50] + step) - network(inputs[:50]))[:, 1].mean()))
    assert gains[0] > 0.5  # a linear map would give 2.0
    assert abs(gains[1]) < 0.3 * gains[0]


def test_the_noise_is_new_in_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    original = SpectralNetwork.forward
    monkeypatch.setattr(SpectralNetwork, "forward", lambda self, pixels: (seen.append(pixels), original(self, pixels))[1])
    inputs, targets = training_pairs(2000)
    learn(inputs, targets, torch.tensor([0.1, 0.2, 0.0]), steps=2)
    change = (seen[1] - seen[0]).std(0)
    torch.testing.assert_close(change, 2**0.5 * torch.tensor([0.1, 0.2, 0.0]), rtol=0.1, atol=1e-6)


def test_the_network_has_the_layers_and_skips_of_the_paper() -> None:
    torch.manual_seed(0)
    network = SpectralNetwork(4, 50)
    assert sum(p.numel() for p in network.parameters()) == (4 * 64 + 64) + 5 * (64 * 64 + 64) + (64 * 50 + 50)
    with torch.no_grad():
        for layer in network.hidden[1:]:
            layer.weight.zero_()  # only the skips are left
            layer.bias.zero_()
        pixels = torch.rand(7, 4)
        first = network.hidden[0](pixels)
        bent = torch.where(first > 0, first, 0.3 * first)
        torch.testing.assert_close(network(pixels), network.output(bent))


def test_same_seed_same_result_and_the_callers_random_numbers_untouched() -> None:
    hsi, msi, operator, _ = random_pair()
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, second, third = (mlp(hsi, msi, operator, steps=20, seed=seed) for seed in (1, 1, 2))
    torch.testing.assert_close(torch.rand(3), expected)
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    start, other = (learn(*training_pairs(50), torch.zeros(3), steps=0, seed=seed).output.weight for seed in (1, 2))
    assert not torch.equal(start, other)


def test_it_learns_inside_inference_mode() -> None:
    hsi, msi, operator, _ = random_pair()
    expected = mlp(hsi, msi, operator, steps=20)
    with torch.inference_mode():
        torch.testing.assert_close(mlp(hsi.clone(), msi.clone(), operator, steps=20), expected)


def test_large_scenes_are_learned_from_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    original = module.F.l1_loss
    monkeypatch.setattr(module.F, "l1_loss", lambda a, b: (sizes.append(len(a)), original(a, b))[1])
    inputs, targets = training_pairs(3 * BATCH)
    learn(inputs, targets, torch.zeros(3), steps=3)
    assert max(sizes) == BATCH


def test_it_stops_where_nothing_more_is_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    monkeypatch.setattr(module, "rate", lambda done: rates.append(done) or 0.0)  # nothing moves, so the first check is the best
    inputs, targets = training_pairs(50)
    learn(inputs, targets, torch.zeros(3), steps=1500)
    assert len(rates) == module.CHECK_EVERY + module.PATIENCE


def test_the_kept_weights_are_the_best_on_pixels_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets that are pure noise: whatever is learned after the first steps is wrong, and is thrown away."""
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(60, 3, generator=generator), torch.randn(60, 4, generator=generator)
    zero = float(targets.abs().mean())
    kept = learn(inputs, targets, torch.zeros(3), steps=600)
    monkeypatch.setattr(module, "HELD_OUT", 0.0)
    fitted = learn(inputs, targets, torch.zeros(3), steps=600)
    new, wrong = torch.randn(500, 3, generator=generator), torch.randn(500, 4, generator=generator)
    with torch.no_grad():
        assert float((kept(new) - wrong).abs().mean()) < 1.1 * zero < float((fitted(new) - wrong).abs().mean())


def test_the_learning_rate_rises_and_falls() -> None:
    shares = np.linspace(0, 1, 101)
    rates = [rate(float(s)) for s in shares]
    assert (rates[0], max(rates), rates[-1]) == pytest.approx((FIRST_RATE, PEAK_RATE, LAST_RATE))
    assert shares[int(np.argmax(rates))] == pytest.approx(0.3)


def linear_map_psnr(name: str, kind: str, folder: Path) -> float:
    """The best a map without bends can do from the same pixels: least squares with a constant."""
    scene, hsi, msi, operator = case(name, kind, folder)
    low = np.vstack([operator.forward(msi).flatten(1).numpy(), np.ones(hsi[0].numel())])
    weights = np.linalg.lstsq(low.T, hsi.flatten(1).numpy().T, rcond=None)[0].T
    fine = np.vstack([msi.flatten(1).numpy(), np.ones(msi[0].numel())])
    return float(score(scene.truth, (weights @ fine).reshape(scene.truth.shape).clip(0, 1), 4)["psnr_db"])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind", "psnr", "sam"), [("jasper", "qb4", 32.6, 4.8), ("la", "qb4", 43.0, 2.5), ("ip", "s2", 45.0, 1.9)])
def test_quality(name: str, kind: str, psnr: float, sam: float, shared_data: Path) -> None:
    scene, hsi, msi, operator = case(name, kind, shared_data)
    found = score(scene.truth, mlp(hsi, msi, operator).clip(0, 1).numpy(), 4)
    assert found["psnr_db"] > psnr
    assert found["sam_deg"] < sam
    assert found["psnr_db"] > linear_map_psnr(name, kind, shared_data) + 0.5
