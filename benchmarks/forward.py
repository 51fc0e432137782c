"""Applying a fitted model against one forward pass of the network as published, per pixel, on one core, in one run.

Run from the repository root: ``python -m benchmarks.forward [--bands 102]``; prints Markdown. The network sees 256 x 256 pixels at once, first with the memory
allocator as it is and then set to keep what is freed, as the command line sets it (`geofuse.run.allocator`): large arrays then cost half. The models are
applied to a tile of 1024 x 1024 with its halo, as the command line chooses (embedded scene, repeated; ratio 8.33), and given the same; the halo's work is in
the figure.
Processor seconds, the least of three passes. Filters of a fixed kind stand in where the scene teaches none: they cost the same.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from functools import partial
from pathlib import Path

import torch

from benchmarks.cost_constants import cpu_of, with_filters
from benchmarks.cost_model import METHODS
from benchmarks.scale import scene
from geofuse import api, open_hsi, open_msi
from geofuse.methods.mossfuse.network import MossFuse
from geofuse.pair.grid import Window
from geofuse.run.allocator import keep_freed_memory
from geofuse.run.graph import windows_of
from geofuse.run.threads import torch_threads

NETWORK_SIDE, PASSES = 256, 3
SIDE, CORE = 1280, 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bands", type=int, default=102)
    bands = parser.parse_args().bands
    warnings.simplefilter("ignore")  # the repeated scene contradicts itself a little, and says so
    with tempfile.TemporaryDirectory() as folder, torch_threads(1), torch.inference_mode():
        plain = forward(bands)
        keep_freed_memory()
        kept = forward(bands)
        print("| | µs a pixel | times faster than the network | and than the network, memory kept |\n|---|---|---|---|")
        print(f"| forward pass of the published network, {bands} bands | {1e6 * plain:.1f} | 1 | |")
        print(f"| the same, freed memory kept | {1e6 * kept:.1f} | {plain / kept:.1f} | 1 |")
        for method, seconds in applied(Path(folder), bands).items():
            print(f"| `{method}`, applied | {1e6 * seconds:.2f} | {plain / seconds:.1f} | {kept / seconds:.1f} |")


def forward(bands: int, msi_bands: int = 4) -> float:
    """Processor seconds a pixel of the published network."""
    network = MossFuse(bands, msi_bands).eval()
    hsi, msi = (torch.rand(1, count, NETWORK_SIDE, NETWORK_SIDE) for count in (bands, msi_bands))
    return cpu_of(partial(network, hsi, msi), PASSES) / NETWORK_SIDE**2


def applied(folder: Path, bands: int) -> dict[str, float]:
    """Processor seconds a pixel of the fused tile, for each method."""
    hsi, msi = scene(folder, SIDE, bands)
    cubes = open_hsi(hsi), open_msi(msi)
    paired = api.pair(*cubes)
    start = (SIDE - CORE) // 2
    core = Window(start, start + CORE, start, start + CORE)
    found = {}
    for method in METHODS:
        model = api.fit(*cubes, method=method, progress=False)
        model = with_filters(model) if method == "gem" else model
        fine, coarse = windows_of(model, paired.pair, core)
        read = paired.read([(fine, coarse)])[0]
        found[method] = cpu_of(partial(model.apply, read.hsi, read.msi, paired.pair, fine, coarse, "cpu", core), PASSES) / CORE**2
    return found


if __name__ == "__main__":
    main()
