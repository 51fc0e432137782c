"""Frozen statistics make a network local; live ones do not, which is why they are frozen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from geofuse.errors import RunError
from geofuse.methods.mossfuse.blocks import (
    LargeKernelBlock,
    SpatialAggregation,
    SpectralAggregation,
    TransposedAttentionBlock,
)
from geofuse.methods.mossfuse.network import MossFuse
from geofuse.methods.mossfuse.statistics import PixelMean, freeze, reach, recording, statistics, thaw

WIDTH, HEADS, SIZE = 8, 2, 40
Build = Callable[[], nn.Module]


def shaken(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter and running mean a random value, so that nothing is hidden behind an initial zero."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean += 0.1 * torch.randn(part.num_features, generator=generator)
            part.running_var *= 1 + torch.rand(part.num_features, generator=generator)
    return module.eval()


MODULES: dict[str, tuple[Build, tuple[int, ...], int]] = {
    # constructor, channels of its inputs, reach by hand
    "attention": (lambda: TransposedAttentionBlock(WIDTH, HEADS), (WIDTH,), 2),
    "large kernel": (lambda: LargeKernelBlock(WIDTH, 7), (WIDTH,), 3),
    "kernel 0": (lambda: LargeKernelBlock(WIDTH, 0), (WIDTH,), 0),
    "spatial": (lambda: SpatialAggregation(WIDTH, HEADS), (WIDTH, WIDTH), 2),
    "spectral": (lambda: SpectralAggregation(WIDTH, HEADS), (WIDTH, WIDTH), 2),
    # embed 1, block 2, large kernel 3, block 2; two aggregations 2 + 2, block 2, two 3×3
    "network": (lambda: MossFuse(5, 3, WIDTH, 1, HEADS), (5, 3), 16),
}


def images(channels: tuple[int, ...], rows: int = SIZE, cols: int = SIZE, seed: int = 1) -> list[Tensor]:
    """Images whose left and right halves differ, so that statistics of a part are not those of the whole."""
    generator = torch.Generator().manual_seed(seed)
    ramp = torch.linspace(0.2, 2.0, cols)
    return [ramp * torch.rand(1, c, rows, cols, generator=generator) + ramp for c in channels]


@pytest.fixture(params=MODULES)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, list[Tensor], int]:
    build, channels, expected = MODULES[request.param]
    return shaken(build()), images(channels), expected


def tile_error(module: nn.Module, inputs: list[Tensor], halo: int) -> float:
    """Largest difference between a tile with a halo and the whole, relative to the spread of the whole."""
    core = slice(18, 22)
    seen = slice(18 - halo, 22 + halo)
    with torch.no_grad():
        whole = module(*inputs)
        tile = module(*(x[..., seen, seen] for x in inputs))
    inner = slice(halo, halo + 4)
    return float((whole[..., core, core] - tile[..., inner, inner]).abs().max() / whole.std())


def test_frozen_tile_equals_the_whole(case: tuple[nn.Module, list[Tensor], int]) -> None:
    module, inputs, halo = case
    live = tile_error(module, inputs, halo)
    with recording(module):
        module(*inputs)
    freeze(module)
    assert tile_error(module, inputs, halo) <= 1e-5
    assert live > 1e-3, "live statistics of a tile equal those of the whole: this test proves nothing"


def test_frozen_equals_live_on_the_recorded_image(case: tuple[nn.Module, list[Tensor], int]) -> None:
    module, inputs, _ = case
    with torch.no_grad():
        live = module(*inputs)
    with recording(module):
        module(*inputs)
    freeze(module)
    with torch.no_grad():
        frozen = module(*inputs)
    torch.testing.assert_close(frozen, live, rtol=1e-5, atol=1e-5)


def test_reach_is_exact(case: tuple[nn.Module, list[Tensor], int]) -> None:
    """One changed pixel moves pixels at the reach, and none beyond it."""
    module, inputs, expected = case
    assert reach(module) == expected
    module, inputs = module.double(), [x.double() for x in inputs]
    with recording(module):
        module(*inputs)
    freeze(module)
    changed = [x.clone() for x in inputs]
    for x in changed:
        x[..., 20, 20] += 1
    with torch.no_grad():
        moved = (module(*changed) - module(*inputs)).abs().amax((0, 1)).nonzero() - 20
    assert int(moved.abs().max()) == expected


@settings(max_examples=25, deadline=None)
@given(top=st.integers(0, 30), left=st.integers(0, 30), rows=st.integers(1, 9), cols=st.integers(1, 9))
def test_any_tile_anywhere_equals_the_whole(top: int, left: int, rows: int, cols: int) -> None:
    """At the edges of the scene too, where the halo is cut."""
    inputs = images((5, 3), 33, 35)
    module, whole = _frozen_network()
    halo = reach(module)
    up, low = max(top - halo, 0), max(left - halo, 0)
    bottom, right = min(top + rows, 33), min(left + cols, 35)
    with torch.no_grad():
        tile = module(*(x[..., up : bottom + halo, low : right + halo] for x in inputs))
    inner = tile[..., top - up : bottom - up, left - low : right - low]
    torch.testing.assert_close(inner, whole[..., top:bottom, left:right], rtol=0, atol=1e-5 * float(whole.std()))


_CACHE: list[tuple[nn.Module, Tensor]] = []


def _frozen_network() -> tuple[nn.Module, Tensor]:
    if not _CACHE:
        module, inputs = shaken(MossFuse(5, 3, WIDTH, 1, HEADS)), images((5, 3), 33, 35)
        with recording(module):
            module(*inputs)
        freeze(module)
        with torch.no_grad():
            _CACHE.append((module, module(*inputs)))
    return _CACHE[0]


def test_recording_weighs_pixels_not_calls() -> None:
    mean = PixelMean(2)
    parts = [torch.rand(1, 2, 3, 4), torch.rand(2, 2, 5, 6)]
    with recording(mean):
        for x in parts:
            mean(lambda x=x: x.sum((-2, -1)), x.shape[-2] * x.shape[-1])
    freeze(mean)
    everything = torch.cat([x.movedim(1, 0).flatten(1) for x in parts], 1)
    torch.testing.assert_close(mean(lambda: pytest.fail("computed although frozen"), 1)[0], everything.mean(1))


def test_recording_starts_afresh() -> None:
    mean = PixelMean(1)
    for value in (5.0, 2.0):
        with recording(mean):
            mean(lambda value=value: torch.full((1, 1), 10 * value), 10)
    assert float(mean.value) == 2.0


def test_unrecorded_parts_refuse_to_work_when_frozen() -> None:
    network = MossFuse(4, 2, WIDTH, 1, HEADS)
    inputs = images((4, 2), 9, 9)
    with recording(network):
        network(*inputs)  # the training-only decoders see nothing
    freeze(network)
    with torch.no_grad():
        network(*inputs)
        with pytest.raises(RunError, match="never recorded"):
            network.reconstruct(network.encode(*inputs))


def test_thawed_statistics_are_live_again() -> None:
    block = shaken(TransposedAttentionBlock(WIDTH, HEADS))
    inputs = images((WIDTH,))
    with recording(block):
        block(*inputs)
    freeze(block)
    thaw(block)
    assert {s.mode for s in statistics(block)} == {"live"}
    assert tile_error(block, inputs, 2) > 1e-3


def test_statistics_travel_in_the_state() -> None:
    block, copy = (shaken(TransposedAttentionBlock(WIDTH, HEADS), seed) for seed in (0, 1))
    inputs = images((WIDTH,))
    with recording(block):
        block(*inputs)
    copy.load_state_dict(block.state_dict())
    freeze(block)
    freeze(copy)
    with torch.no_grad():
        assert torch.equal(block(*inputs), copy(*inputs))
