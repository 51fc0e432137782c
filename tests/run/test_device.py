"""What a GPU asks for, on a processor: turns, precision, and tensors that all lie where they were asked for."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from geofuse.methods.gem.filters import ComplementaryFilters
from geofuse.methods.gem.method import FittedGem
from geofuse.model import Model
from geofuse.pair.patch import make_patch
from geofuse.pair.scene import Scene
from geofuse.run.device import full_precision, out_of_memory, to_host, turn
from geofuse.run.graph import lazy_mosaic, windows_of
from tests.crops import small_cubes, small_model


def most_at_once(device: str) -> int:
    """How many of four threads are in their turn at the same time."""
    inside, most, guard = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal inside, most
        with turn(device):
            with guard:
                inside += 1
                most = max(most, inside)
            time.sleep(0.05)
            with guard:
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return most


def test_one_at_a_time_on_a_gpu_and_all_on_a_processor() -> None:
    assert most_at_once("cuda") == 1
    assert most_at_once("cpu") == 4


def test_a_turn_ends_with_what_fails_in_it() -> None:
    for _ in range(2):
        with pytest.raises(KeyError), turn("cuda:7"):
            raise KeyError("inside")


def test_precision_is_full_and_put_back() -> None:
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, convolution.allow_tf32
    assert before[1], "else this tests nothing"
    with turn("cuda"):
        assert (matmul.allow_tf32, convolution.allow_tf32) == (False, False)
    assert (matmul.allow_tf32, convolution.allow_tf32) == before
    with pytest.raises(KeyError), full_precision():
        raise KeyError("inside")
    assert (matmul.allow_tf32, convolution.allow_tf32) == before


def test_devices_say_in_several_ways_that_they_are_full() -> None:
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert out_of_memory(RuntimeError("CUDA error: out of memory"))
    assert out_of_memory(RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"))
    assert not out_of_memory(RuntimeError("The size of tensor a (3) must match"))
    assert not out_of_memory(MemoryError())  # of the machine, which smaller tiles on the device do not help


@pytest.mark.parametrize(
    ("kind", "complete"),
    [
        ("sylvester", True),
        pytest.param("gem with filters", False, marks=pytest.mark.slow),
        *(pytest.param(kind, kind != "sylvester", marks=pytest.mark.slow) for kind in ("sylvester", "gem", "gem with filters")),
    ],
)
def test_every_tensor_lies_on_the_device(kind: str, complete: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the device that holds no numbers, which minds as a GPU does when one operand lies elsewhere.

    Decisions that depend on numbers are made for it: whether there are gaps, that the solver has not converged, that all of a lattice is used.
    """
    scene, model = Scene.of(*small_cubes()), small_model(kind.partition(" ")[0])
    if kind == "gem with filters":
        fitted = model.fitted
        assert isinstance(fitted, FittedGem)
        rank, scale = fitted.gem.coordinates.rank, fitted.gem.guide.scale
        filters = ComplementaryFilters(np.ones((rank, 4 * (rank + len(scale)))), scale)
        model = replace(model, fitted=replace(fitted, filters=filters))
    fine, coarse = windows_of(model, scene.pair, scene.pair.output)
    sample = scene.read([(fine, coarse)])[0]
    genuine = torch.Tensor.__bool__
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda self: complete if self.is_meta else genuine(self))
    monkeypatch.setattr(torch.Tensor, "__float__", lambda self: 1.0)
    monkeypatch.setattr("geofuse.methods.gem.lattice._extent", lambda flags: slice(0, len(flags)))
    with torch.inference_mode():
        patch = make_patch(sample.hsi, sample.msi, model.builder(scene.pair), fine, coarse, torch.zeros(1, device="meta"))
        fused = model.fuse_patch(patch)
    assert fused.is_meta
    assert fused.shape == (177, *fine.shape)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestOnAGpu:
    def test_numbers_are_those_of_the_processor(self) -> None:
        scene, model = Scene.of(*small_cubes()), small_model()
        here, there = (lazy_mosaic(scene, model, 70, device).compute() for device in ("cpu", "cuda"))
        assert float(np.nanmax(np.abs(here - there))) < 1e-4

    def test_a_fit_runs_there(self) -> None:
        import geofuse

        here, there = (geofuse.fit(*small_cubes(), method="gem", device=device, progress=False) for device in ("cpu", "cuda"))
        assert there.report["residuals"]["hsi_rel_rmse"] == pytest.approx(here.report["residuals"]["hsi_rel_rmse"], rel=0.01)

    def test_a_full_gpu_is_met_by_halves(self) -> None:
        scene, model = Scene.of(*small_cubes()), small_model()
        whole = lazy_mosaic(scene, model, 500, "cuda").compute()
        torch.cuda.reset_peak_memory_stats()
        model.apply(*tile_of(scene, model), "cuda")
        needed = torch.cuda.max_memory_allocated()
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(0.8 * needed / torch.cuda.mem_get_info()[1])
        try:
            parts = lazy_mosaic(scene, model, 500, "cuda").compute()
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        assert float(np.nanmax(np.abs(whole - parts))) < 1e-4

    def test_pinned_copies_are_copies(self) -> None:
        made = torch.arange(10.0, device="cuda")
        copied = to_host(made)
        made += 1
        assert copied.tolist() == list(range(10))


def tile_of(scene: Scene, model: Model) -> Any:
    """What `Model.apply` takes, for the whole scene."""
    fine, coarse = windows_of(model, scene.pair, scene.pair.output)
    sample = scene.read([(fine, coarse)])[0]
    return sample.hsi, sample.msi, scene.pair, fine, coarse
