"""How long products take to open, and how much memory.

    python -m benchmarks.opening S2A_MSIL2A_….SAFE PRS_L2D_….he5 --resolution 10

Each is opened in a new process, with the libraries loaded before time is taken.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
import warnings
from pathlib import Path
from typing import Any


def opened(source: str, resolution: float | None) -> dict[str, Any]:
    """Open a source here: seconds, seconds of CPU, MB of this process at its largest, shape, what the reader says that it is."""
    import dask.array  # noqa: F401 (with the readers' libraries)
    import h5py  # noqa: F401

    import geofuse

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        geofuse.open_msi(geofuse.demo_data().msi)
        wall, cpu = time.perf_counter(), time.process_time()
        cube = geofuse.open_msi(source, resolution=resolution)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"sensor": cube.encoding.get("sensor"), "shape": cube.shape, "seconds": wall, "cpu": cpu, "peak_mb": peak}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--resolution", type=float, help="pixel size onto which the bands of a multispectral product are brought")
    options = parser.parse_args()
    print("| product | bands, rows, columns | s | s of CPU | peak MB |\n|---|---|---|---|---|")
    for source in options.sources:
        with multiprocessing.get_context("spawn").Pool(1) as one:
            found = one.apply(opened, (source, options.resolution))
        name = found["sensor"] or Path(source).name
        print(f"| {name} | {found['shape']} | {found['seconds']:.2f} | {found['cpu']:.2f} | {found['peak_mb']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
