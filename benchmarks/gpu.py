"""Tiles on a GPU: how many a second, what share of the device's peak, copies against computing, memory, and error. ``python -m benchmarks.gpu``.

The peak is that of a matrix product in float32 (no TF32) on the same device in the same run; operations are those of products and convolutions,
as torch counts them, so the share is a lower bound. ``--device cpu`` runs the same on the processor, to see the script work.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import geofuse
from benchmarks.scale import scene as scene_files
from geofuse import api
from geofuse.methods.registry import get_method
from geofuse.model import Model
from geofuse.pair.grid import Window
from geofuse.pair.scene import Scene
from geofuse.run.device import full_precision, to_host
from geofuse.run.graph import windows_of
from geofuse.run.plan import make_plan

HEAD = "| tile | tiles a second | µs a pixel | share of peak | copies, share of time | memory MB | planned MB | largest error |"


def seconds(work: Callable[[], Any], device: str, times: int = 5) -> float:
    """Median time of a piece of work, after one that does not count."""
    taken = []
    for _ in range(times + 1):
        begin = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - begin)
    return float(np.median(taken[1:]))


def peak(device: str, side: int) -> float:
    """Operations a second of a float32 matrix product."""
    one, other = (torch.rand(side, side, device=device) for _ in range(2))
    with full_precision():
        return 2 * side**3 / seconds(lambda: one @ other, device)


def tile_row(scene: Scene, model: Model, side: int, device: str, best: float) -> str:
    """Measure one tile in the middle of the scene; a line of the table."""
    height, width = scene.pair.output.shape
    top, left = (height - side) // 2, (width - side) // 2
    core = Window(top, top + side, left, left + side).offset(scene.pair.output.top, scene.pair.output.left)
    fine, coarse = windows_of(model, scene.pair, core)
    sample = scene.read([(fine, coarse)])[0]

    def work(where: str) -> np.ndarray:
        return model.apply(sample.hsi, sample.msi, scene.pair, fine, coarse, where, core)

    def copies() -> None:
        for image in (sample.hsi, sample.msi):
            torch.as_tensor(image, device=device)
        to_host(made)

    with full_precision():
        with FlopCounterMode(display=False) as counted:
            error = float(np.nanmax(np.abs(work(device) - work("cpu"))))
        made = torch.zeros(len(scene.bands), side, side, device=device)
        if device != "cpu":
            torch.cuda.reset_peak_memory_stats(device)
        whole, copying = seconds(lambda: work(device), device), seconds(copies, device)
    held = 0 if device == "cpu" else torch.cuda.max_memory_allocated(device)
    endless = 2**62
    needs = get_method(model.method).cost(scene.pair.ratio)
    planned = make_plan(scene, needs, tile=side, device=device, device_memory=endless, memory=endless).device_memory
    share = counted.get_total_flops() / 2 / whole / best  # counted on both devices
    cells = (side, f"{1 / whole:.3g}", f"{1e6 * whole / side**2:.3g}", f"{share:.1%}", f"{copying / whole:.1%}")
    return "| " + " | ".join(map(str, (*cells, round(held / 1e6), round(planned / 1e6), f"{error:.1e}"))) + " |"


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiles", default="512,1024,2048", help="fine pixels along each side of a tile, separated by commas")
    parser.add_argument("--bands", type=int, default=64)
    parser.add_argument("--method", default="gem")
    parser.add_argument("--device", default="cuda")
    given = parser.parse_args(arguments)
    if given.device != "cpu" and not torch.cuda.is_available():
        raise SystemExit("no GPU: torch finds no CUDA device here; --device cpu shows what would be measured")
    sides = [int(side) for side in given.tiles.split(",")]
    with tempfile.TemporaryDirectory() as made:
        files = scene_files(Path(made), max(sides) + 256, given.bands)
        scene = api.pair(geofuse.open_hsi(files[0]), geofuse.open_msi(files[1]))
        model = geofuse.fit(scene.hsi, scene.msi, method=given.method, device="cpu", progress=False)
        best = peak(given.device, 1024 if given.device == "cpu" else 8192)
        name = "cpu" if given.device == "cpu" else torch.cuda.get_device_name(given.device)
        print(f"{name}, torch {torch.__version__}, {given.method}, {given.bands} bands, peak {best / 1e12:.3g} TFLOP/s in float32\n")
        print(HEAD + "\n|" + "---|" * HEAD.count(" | ") + "---|")
        for side in sides:
            print(tile_row(scene, model, side, given.device, best))


if __name__ == "__main__":
    main()
