"""Tiles that do not fit a device: the same numbers in halves, down to a size that makes no sense, and then a word to the user."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geofuse.errors import RunInterrupted
from geofuse.model import Model
from geofuse.pair.grid import Window
from geofuse.pair.scene import Scene
from geofuse.run.graph import lazy_mosaic
from geofuse.run.split import SMALLEST, halves, make_on
from tests.crops import small_cubes, small_model

FULL = "CUDA out of memory. Tried to allocate 2.00 GiB.\nmore about it"


def places(window: Window) -> np.ndarray:
    return np.stack(np.mgrid[window.slices]).astype(np.float32)


def roomy_for(pixels: int, seen: list[Window]) -> Callable[[Window], np.ndarray]:
    """A device that holds tiles of so many pixels."""

    def make(window: Window) -> np.ndarray:
        seen.append(window)
        if np.prod(window.shape) > pixels:
            raise torch.OutOfMemoryError(FULL)
        return places(window)

    return make


@given(rows=st.integers(1, 700), cols=st.integers(1, 700), top=st.integers(0, 50), share=st.floats(0.0, 1.1))
def test_halves_are_the_whole(rows: int, cols: int, top: int, share: float) -> None:
    core, seen = Window(top, top + rows, 3, 3 + cols), []
    made = make_on("cpu", roomy_for(max(int(share * rows * cols), (2 * SMALLEST) ** 2), seen), core)
    assert np.array_equal(made, places(core))
    assert min(max(w.shape) for w in seen) >= min(SMALLEST, rows, cols)


@given(rows=st.integers(2, 300), cols=st.integers(1, 300))
def test_halves_are_cut_across_the_longer_side(rows: int, cols: int) -> None:
    one, two = halves(Window(0, rows, 0, cols))
    assert np.prod(one.shape) + np.prod(two.shape) == rows * cols
    assert max(max(one.shape), max(two.shape)) < max(rows, cols) or rows == cols
    assert abs(int(np.prod(one.shape)) - int(np.prod(two.shape))) <= min(rows, cols)


def test_the_smallest_tile_that_does_not_fit_ends_the_run() -> None:
    seen: list[Window] = []
    with pytest.raises(
        RunInterrupted, match=r"memory of cpu does not hold a tile of 64 x 64 pixels .*Tried to allocate 2.00 GiB\.\).*--device cpu"
    ):
        make_on("cpu", roomy_for(0, seen), Window(0, 256, 0, 256))
    assert [w.shape for w in seen] == [(256, 256), (128, 256), (128, 128), (64, 128), (64, 64)]


def test_a_tile_that_depends_on_all_of_itself_is_not_cut() -> None:
    with pytest.raises(RunInterrupted, match="256 x 256"):
        make_on("cpu", roomy_for(0, []), Window(0, 256, 0, 256), divisible=False)


def test_other_errors_pass() -> None:
    def make(window: Window) -> Any:
        raise RuntimeError("The size of tensor a (3) must match")

    with pytest.raises(RuntimeError, match="size of tensor"):
        make_on("cpu", make, Window(0, 256, 0, 256))


@pytest.mark.parametrize("group", [1, 2])
def test_an_image_made_in_halves_is_the_image(group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, model = Scene.of(*small_cubes()), small_model()
    whole = lazy_mosaic(scene, model, 140, group=group).compute(scheduler="synchronous")
    genuine, attempts = Model.apply, []

    def narrow(self: Model, *given: Any) -> np.ndarray:
        core = given[-1]
        attempts.append(core.shape)
        if np.prod(core.shape) > 100 * 140 / 2:
            raise torch.OutOfMemoryError(FULL)
        return genuine(self, *given)

    monkeypatch.setattr(Model, "apply", narrow)
    monkeypatch.setattr("geofuse.run.split.SMALLEST", 30)  # the whole image is not much larger
    with dask.config.set(scheduler="synchronous"):
        made = lazy_mosaic(scene, model, 140, group=group).compute()
    assert len(attempts) > 2
    assert np.array_equal(np.isnan(made), np.isnan(whole))
    assert float(np.nanmax(np.abs(made - whole))) < 1e-4
