"""What a run costs, before it is run: ``python -m benchmarks.cost_model --side 10980 --bands 224 --ratio 6 --workers 8``.

    seconds = start + fit + graph
            + max( sum over tiles of [read + solve + decode + store] / workers + tiles x schedule,  bytes of the staging raster / disk )
            + max( compress / cores, bytes of the output / disk ) + verify / min(cores, 4) + hash

Tiles, halos, groups and memory are those of `geofuse.run.plan` and `geofuse.run.tiles`; the other numbers are processor seconds, measured by
``python -m benchmarks.cost_model --measure``, which writes docs/benchmarks/constants.json and takes some minutes. ``--docs`` writes the
tables of docs/research/cost.md from them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cost_run import Run, planned, values_read
from benchmarks.environment import OUT
from geofuse.errors import InvalidInput
from geofuse.run.allocator import keep_freed_memory
from geofuse.run.plan import Plan

CONSTANTS = OUT / "constants.json"
METHODS = ("sylvester", "gem")
VERIFIERS = 4  # threads that read the output back, at most
FIT_BANDS = 64  # of the scene that the fit was measured on
OVERVIEWS = 4 / 3  # pixels of the image and its overviews, over those of the image
ITEM = 2  # bytes of a stored number

# Name: unit, what it is, how it is measured (by `benchmarks.cost_constants`). All seconds are of one core.
MEANING = {
    "start": ("s", "interpreter, libraries, opening", "`geofuse fuse --plan`"),
    **{f"fit_{m}": ("s", f"fit of `{m}`, 64 bands", "`fit` on 2048²: a sample of blocks, as of any larger scene") for m in METHODS},
    "fit_band": ("s/band", "more for each further band", "`fit` of `sylvester` at 64 and 177 bands"),
    "read_hsi": ("s/value", "read and decode the HSI", "the whole file, tiled DEFLATE"),
    "read_msi": ("s/value", "read and decode the MSI", "the whole file, tiled DEFLATE"),
    **{f"solve_{m}": ("s/pixel", f"`{m}`, each pixel that a tile sees", "a tile of 512² and its halo, less `decode`") for m in METHODS},
    "decode": ("s/value", "coefficients to bands", "a tile of 512², 64 bands"),
    "store": ("s/value", "round, checksum, statistics, overviews, write", "staging raster of 2048², 64 bands"),
    "compress": ("s/value", "DEFLATE level 1 into the COG", "the same, in the child process"),
    "verify": ("s/value", "read the COG back, compare checksums", "the same"),
    "hash": ("s/byte", "SHA-256 of the COG", "the same"),
    "stored": ("bytes/value", "size of the COG, overviews included", "the same; fused embedded scene, int16"),
    "graph": ("s/tile", "build, optimise and order the graph", "`benchmarks.simulate`, 64 × 64 tiles that take no time"),
    "schedule": ("s/tile", "dask's threads, journal, merging what it holds", "the same"),
    "graph_cluster": ("s/tile", "graph, packed and sent to dask.distributed", "32 × 32 tiles; client, scheduler, workers in one process"),
    "schedule_cluster": ("s/tile", "scheduler, workers' overhead, journal", "the same"),
    "graph_memory": ("bytes/tile", "the graph in memory, at the peak", "64 × 64 tiles"),
    "disk": ("bytes/s", "sequential writing, forced to disk", "1 GB"),
}


@dataclass(frozen=True)
class Cost:
    """What a run takes: processor seconds and wall-clock seconds by stage, bytes, and the plan behind them."""

    cpu: dict[str, float]
    wall: dict[str, float]
    read: float
    staging: float
    output: float
    seen: float
    """Pixels that tiles see with their halos, over pixels of the output."""
    overhead: float
    """Seconds that graph and scheduling add, over seconds of the whole."""
    plan: Plan

    @property
    def cpu_seconds(self) -> float:
        """All cores together."""
        return sum(self.cpu.values())

    @property
    def seconds(self) -> float:
        """From start to end."""
        return sum(self.wall.values())


def load(path: Path = CONSTANTS) -> dict[str, float]:
    """Values of the constants.

    Raises
    ------
    InvalidInput
        They were not measured, or some are missing.
    """
    found: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))["values"] if path.exists() else {}
    missing = [name for name in MEANING if name not in found]
    if missing:
        raise InvalidInput(f"{path} lacks {', '.join(missing)}; expected all constants. Run python -m benchmarks.cost_model --measure.")
    return found


def predict(run: Run, constants: dict[str, float]) -> Cost:
    """What a run takes."""
    plan, seen = planned(run)
    k, (bands, height, width) = constants, plan.shape
    values = float(bands * height * width)
    read_msi, read_hsi = (values_read(run, plan, ratio) for ratio in (1.0, plan.ratio))
    cpu = {
        "start": k["start"],
        "fit": k[f"fit_{run.method}"] + k["fit_band"] * (bands - FIT_BANDS),
        "graph": k["graph_cluster" if run.cluster else "graph"] * plan.tiles,
        "schedule": k["schedule_cluster" if run.cluster else "schedule"] * plan.tiles,
        "read": read_msi * k["read_msi"] + read_hsi * k["read_hsi"],
        "solve": seen * k[f"solve_{run.method}"],
        "decode": values * k["decode"],
        "store": values * k["store"],
        "compress": values * k["compress"],
        "verify": values * k["verify"],
        "hash": values * k["stored"] * k["hash"],
    }
    staging, output = OVERVIEWS * ITEM * values, k["stored"] * values
    cores, disk = run.cores or run.workers, k["disk"]
    tiles = cpu["read"] + cpu["solve"] + cpu["decode"] + cpu["store"]
    unscheduled = max(tiles / run.workers, staging / disk)
    wall = {stage: cpu[stage] for stage in ("start", "fit", "graph")} | {
        "tiles": max(tiles / run.workers + cpu["schedule"], staging / disk),
        "compress": max(cpu["compress"] / cores, output / disk),
        "verify": cpu["verify"] / min(cores, VERIFIERS),
        "hash": cpu["hash"],
    }
    overhead = (wall["graph"] + wall["tiles"] - unscheduled) / sum(wall.values())
    return Cost(cpu, wall, ITEM * (read_msi + read_hsi), staging, output, seen / (height * width), overhead, plan)


def page(run: Run, cost: Cost) -> str:
    """A page for people."""
    cpu, wall = (", ".join(f"{stage} {seconds:.3g}" for stage, seconds in d.items()) for d in (cost.cpu, cost.wall))
    return "\n".join(
        (
            str(cost.plan),
            f"method   {run.method}, rank 20",
            f"seen     {cost.seen:.2f} pixels for one of the output",
            f"cpu      {cost.cpu_seconds:.0f} s = {cost.cpu_seconds / 3600:.2f} core hours: {cpu}",
            f"wall     {cost.seconds:.0f} s = {cost.seconds / 3600:.2f} hours with {run.workers} workers: {wall}",
            f"overhead {100 * cost.overhead:.1f} % for graph and scheduling",
            f"bytes    {cost.read / 1e9:.1f} GB read as int16, whole blocks of the files, {cost.staging / 1e9:.1f} GB staging, {cost.output / 1e9:.1f} GB of output",
        )
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; the exit status is 0 or 2 (rejected)."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost_model", description=(__doc__ or "").splitlines()[0])
    default = Run()
    for name in ("side", "bands", "ratio", "workers", "msi-bands", "memory", "cores", "block"):
        value = getattr(default, name.replace("-", "_"))
        parser.add_argument(f"--{name}", type=type(value), default=value)
    parser.add_argument("--tile", type=lambda text: text if text == "auto" else int(text), default="auto")
    parser.add_argument("--cluster", action="store_true", help="dask.distributed schedules")
    parser.add_argument("--method", choices=METHODS, default=default.method)
    parser.add_argument("--measure", action="store_true", help="measure the constants on this machine, and write them down")
    parser.add_argument("--docs", action="store_true", help="write the tables of docs/research/cost.md")
    given = vars(parser.parse_args(arguments))
    measure, docs = given.pop("measure"), given.pop("docs")
    keep_freed_memory()  # as the command line does
    try:
        if measure:
            from benchmarks.cost_constants import write_constants

            write_constants(CONSTANTS)
        if docs:
            from benchmarks.cost_tables import write_docs

            write_docs()
        if not (measure or docs):
            run = Run(**given)
            print(page(run, predict(run, load())))
    except InvalidInput as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
