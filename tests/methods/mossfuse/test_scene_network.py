"""The network of a scene: nothing before it is trained, one-sided, beside what the MSI shows, and local."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from geofuse.methods.gem.evidence import unseen_components
from geofuse.methods.mossfuse.scene_network import TRAINING_ONLY, Scaling, SceneNetwork, make_network, turned
from geofuse.methods.mossfuse.statistics import freeze, recording
from tests.methods.mossfuse.scenes import estimator, shaken

COEFFICIENTS, BANDS = 6, 3


def scaling() -> Scaling:
    rng = np.random.default_rng(0)
    return Scaling(rng.uniform(1, 2, COEFFICIENTS), rng.uniform(1, 2, BANDS), rng.normal(size=(COEFFICIENTS, COEFFICIENTS)))


def images(rows: int = 40, cols: int = 44, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z, m = (torch.randn(n, rows, cols, generator=generator) for n in (COEFFICIENTS, BANDS))
    return z, m


@cache
@torch.no_grad()
def random_network() -> SceneNetwork:
    network, scales = shaken(make_network(COEFFICIENTS, BANDS)), scaling()
    with recording(network):
        network(*scales.inputs(*images(seed=5)))
    freeze(network)
    return SceneNetwork(network, scales)


@torch.no_grad()
def test_it_changes_nothing_before_it_is_trained() -> None:
    scales, network = scaling(), make_network(COEFFICIENTS, BANDS)
    z, m = images()
    assert not scales.outputs(network(*scales.inputs(z, m)), z).any()
    assert float(random_network().change(z, m).abs().mean()) > 0.01


@torch.no_grad()
def test_turned_by_half_a_turn_the_change_is_the_opposite() -> None:
    """So that no blur and no sharpening can be learned, whatever the weights: those are the same both ways."""
    z, m = images()
    change = random_network().change(z, m)
    torch.testing.assert_close(random_network().change(turned(z), turned(m)), -turned(change), rtol=1e-4, atol=1e-5)
    symmetric = (z + turned(z)) / 2, (m + turned(m)) / 2
    torch.testing.assert_close(turned(random_network().change(*symmetric)), -random_network().change(*symmetric), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_pixel_feels_what_lies_within_its_reach_and_no_more() -> None:
    size, network = 2 * random_network().reach + 21, random_network()
    z, m = images(size, size)
    middle, other = size // 2, m.clone()
    other[:, middle, middle] += 3
    felt = ((network.change(z, other) - network.change(z, m)).abs().amax(0) > 1e-7).nonzero() - middle
    assert network.reach - 3 <= int(felt.abs().max()) <= network.reach


def test_the_msi_stays_explained() -> None:
    """Directions that the MSI does not see, as the criterion takes them."""
    gem = estimator()
    components = unseen_components(gem.stages[1].prior, gem.coordinates.mixing)
    change = (components.axes * np.sqrt(components.value)) @ components.axes.T
    seen = gem.coordinates.mixing @ change
    assert np.linalg.norm(seen, 2) < np.linalg.norm(change, 2)


@torch.no_grad()
def test_stored_and_restored_it_changes_the_same() -> None:
    arrays = random_network().arrays()
    assert not any(TRAINING_ONLY in name for name in arrays)
    again = SceneNetwork.from_arrays(arrays)
    z, m = images()
    assert torch.equal(again.change(z, m), random_network().change(z, m))
    assert again.reach == random_network().reach
    other = SceneNetwork.from_arrays({name: np.flip(a, -1) if name.endswith(".value") else a for name, a in arrays.items()})
    assert not torch.equal(other.change(z, m), random_network().change(z, m)), "the frozen statistics are part of it"


@pytest.mark.parametrize(
    "name", ["network.merge.weight", "network.encode_hsi.0.weight", "network.decode.1.2.weight", "scaling.change", "scaling.z"]
)
def test_arrays_that_make_no_network_are_rejected(name: str) -> None:
    """As a file from elsewhere may hold them; nothing is made of their word."""
    arrays = random_network().arrays()
    with pytest.raises(ValueError, match="has shape"):
        SceneNetwork.from_arrays(arrays | {name: arrays[name][:-2]})
    if name != "scaling.z":
        with pytest.raises(LookupError):
            SceneNetwork.from_arrays({n: a for n, a in arrays.items() if n != name})
    with pytest.raises(LookupError):
        SceneNetwork.from_arrays(arrays | {"network.other": arrays[name]})


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_answers_in_the_precision_that_it_is_asked_in(dtype: torch.dtype) -> None:
    z, m = (image.to(dtype) for image in images())
    assert random_network().change(z, m).dtype == dtype
