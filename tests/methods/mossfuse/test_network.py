from __future__ import annotations

import pytest
import torch

from geofuse.methods.mossfuse.network import MossFuse, on_device


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_of_the_published_network() -> None:
    assert count(MossFuse(31, 3, width=48, blocks=1, heads=8)) == 585_485


def test_parameters_by_hand() -> None:
    """Where they sit, at 31 and 3 bands and width 48."""
    network = MossFuse(31, 3)
    block = 4 * 48 + 8 + 48 * 144 + 9 * 144 + 48 * 48 + 48 * 192 + 9 * 192 + 96 * 48
    large = 48 * (49 + 25 + 9 + 9) + 5 * 96 + (48 * 12 + 12 + 12 * 48 + 48) + (48 * 192 + 192) + 2 * 192 + 192 * 48 + 96 + 48
    small = large - 48 * (49 + 25 + 9 + 9) - 5 * 96
    assert count(network.encode_msi) == 9 * 3 * 48 + block
    assert count(network.shared_from_hsi) == block + large + 2 * small
    assert count(network.training_decoders["msi"]) == 96 * 48 + block + 9 * 48 * 24 + 24 + 9 * 24 * 3 + 3


@pytest.mark.parametrize(("bands", "msi_bands", "width", "blocks", "heads"), [(177, 4, 16, 2, 4), (16, 10, 12, 1, 3), (1, 1, 4, 1, 1)])
def test_any_number_of_bands_and_any_size(bands: int, msi_bands: int, width: int, blocks: int, heads: int) -> None:
    network = MossFuse(bands, msi_bands, width, blocks, heads)
    hsi, msi = torch.rand(2, bands, 9, 13), torch.rand(2, msi_bands, 9, 13)
    features = network.encode(hsi, msi)
    assert network.fuse(features).shape == hsi.shape
    assert [r.shape[1] for r in network.reconstruct(features)] == [msi_bands, bands, msi_bands]
    assert network.reach == 12 + 4 * blocks


def test_every_parameter_learns() -> None:
    torch.manual_seed(0)
    network = MossFuse(6, 3, 32, 1, 4)  # narrow gates are dead at birth now and then
    hsi, msi = torch.rand(2, 6, 12, 12), torch.rand(2, 3, 12, 12)
    features = network.encode(hsi, msi)
    (network.fuse(features).square().sum() + sum(r.square().sum() for r in network.reconstruct(features))).backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert idle == []


def test_both_images_matter() -> None:
    torch.manual_seed(0)
    network = MossFuse(6, 3, 16, 1, 4).eval()
    hsi, msi = torch.rand(1, 6, 12, 12), torch.rand(1, 3, 12, 12)
    with torch.no_grad():
        fused = network(hsi, msi)
        assert (network(hsi.flip(-1), msi) - fused).abs().max() > 1e-4
        assert (network(hsi, msi.flip(-1)) - fused).abs().max() > 1e-4


def test_another_device_is_given_a_copy() -> None:
    """A process that works on several devices must find the network on each of them."""
    network, copies, elsewhere = MossFuse(6, 3, 8, 1, 2), {}, torch.device("meta")
    there = on_device(network, elsewhere, copies)
    assert {p.device for p in there.parameters()} == {elsewhere}
    assert on_device(network, torch.device("cpu"), copies) is network
    assert {p.device for p in network.parameters()} == {torch.device("cpu")}
    assert on_device(network, elsewhere, copies) is there
