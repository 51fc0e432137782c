"""The commands ``geofuse batch …``: from a STAC catalog to a STAC catalog."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geofuse.cli_options import (
    Bands,
    Debug,
    Device,
    Masked,
    MaskFile,
    Quiet,
    Register,
    Resolution,
    Seed,
    TrainSeconds,
    TrustInput,
    bytes_of,
    checked_json,
    is_stdout,
    path_of,
    tile_of,
    write_json,
)
from geofuse.errors import InvalidInput

if TYPE_CHECKING:
    from geofuse.io.write.folders import Folder

batch = typer.Typer(no_args_is_help=True, help="From a STAC catalog to a STAC catalog.")

Source = Annotated[
    str,
    typer.Argument(
        help="Address of a STAC API; a catalog.json, a collection.json or an ItemCollection (.json, .geojson); an items.parquet."
    ),
]
Hsi = Annotated[str, typer.Option(help="Collection of the hyperspectral items.")]
Msi = Annotated[str, typer.Option(help="Collection of the multispectral items.")]
Box = Annotated[str | None, typer.Option(help="west,south,east,north in degrees, which the HSI touches.")]
When = Annotated[str | None, typer.Option(help="When the HSI was acquired: a day, month or year, or start/end; ISO 8601.")]
Gap = Annotated[str, typer.Option(help="Time between both at most, such as 5d or 36h.")]
Cloud = Annotated[float, typer.Option(help="Cloud cover of either at most, percent; an item that does not say is not left out.")]
Overlap = Annotated[float, typer.Option(help="Share of the HSI's footprint that the MSI covers at least, from 0 to 1.")]
Hosts = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host", help="Host of this machine or its network that a catalog from elsewhere may name (file: files); repeat it."
    ),
]


@batch.command()
def pairs(
    source: Source,
    hsi: Hsi,
    msi: Msi,
    bbox: Box = None,
    datetime: When = None,
    max_gap: Gap = "5d",
    max_cloud: Cloud = 20.0,
    min_overlap: Overlap = 0.5,
    allow_host: Hosts = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write the pairs, and what is left, as JSON; - for standard output.")] = None,
    debug: Debug = False,
) -> None:
    """Which items of a catalog make pairs, and why; metadata only are read."""
    from geofuse.stac.pairs import Wanted, find_pairs

    json = checked_json(json)
    found = find_pairs(source, Wanted.of(hsi, msi, bbox, datetime, max_gap, max_cloud, min_overlap), allow_host or ())
    if json is None or not is_stdout(json):
        for pair in found.pairs:
            print(f"{_line(pair.id):40s} {_line(', '.join(item.id for item in pair.msi)):40s} {pair.reason}")
        for name, reason in found.left:
            print(f"{_line(name):40s} {'left':40s} {_line(reason)}")
        print(f"{len(found.pairs)} pairs, {len(found.left)} left")
    if json is not None:
        made = [{"id": p.id, "hsi": p.hsi.id, "msi": [item.id for item in p.msi], "reason": p.reason} for p in found.pairs]
        write_json({"pairs": made, "left": [{"hsi": name, "reason": reason} for name, reason in found.left]}, json)


def _line(text: Any) -> str:
    """What stands in a cell: names from elsewhere may hold what moves a terminal's cursor."""
    return "".join(c if c.isprintable() else "?" for c in str(text))


def _folder(place: str) -> Folder:
    from geofuse.io.write.folders import folder_at
    from geofuse.io.write.remote import is_remote

    return folder_at(place if is_remote(place) else path_of(place))


@batch.command()
def run(
    source: Source,
    hsi: Hsi,
    msi: Msi,
    output: Annotated[
        str, typer.Option("-o", "--output", help="Batch folder, a path or s3://bucket/folder: a collection, and a folder for each pair.")
    ],
    bbox: Box = None,
    datetime: When = None,
    max_gap: Gap = "5d",
    max_cloud: Cloud = 20.0,
    min_overlap: Overlap = 0.5,
    allow_host: Hosts = None,
    jobs: Annotated[int, typer.Option(min=1, help="Pairs at once, each in a process of its own where there are several.")] = 1,
    scheduler: Annotated[
        str, typer.Option(help="threads, or the address of a dask scheduler (tcp://…), whose workers make one pair each.")
    ] = "threads",
    method: Annotated[
        str, typer.Option(help="auto (the best estimator for each scene), or one of those that `geofuse methods` lists.")
    ] = "auto",
    hsi_bands: Bands = None,
    msi_bands: Bands = None,
    msi_resolution: Resolution = None,
    srf: Annotated[str, typer.Option(help="auto (estimated), a sensor such as Sentinel-2A, or a CSV file.")] = "auto",
    mask: MaskFile = None,
    masked: Masked = "nodata",
    register: Register = "global",
    tile: Annotated[str, typer.Option(help="Fine pixels along each side of a tile, or auto.")] = "auto",
    device: Device = "auto",
    memory_limit: Annotated[
        str, typer.Option(help="Memory that all pairs at once may use (at an address: each worker); decides the tiles.")
    ] = "8GB",
    dtype: Annotated[str, typer.Option(help="int16 (scale 0.0001) or float32.")] = "int16",
    uncertainty: Annotated[bool, typer.Option("--uncertainty", help="Write standard deviations too.")] = False,
    report: Annotated[
        list[str] | None,
        typer.Option(help="Kinds of report beside each image: json, which is always written, and html; may be given twice."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make every pair again, also what is done.")] = False,
    model: Annotated[Path | None, typer.Option(help="Apply this model to every pair instead of fitting one.")] = None,
    seed: Seed = 0,
    train_seconds: TrainSeconds = None,
    trust_input: TrustInput = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Fuse every pair of a catalog into a STAC collection; run again, it makes what is missing, failed or changed."""
    from geofuse.pipeline.batch import checked_options, run_batch
    from geofuse.run.allocator import keep_freed_memory
    from geofuse.stac.pairs import Wanted, find_pairs

    options = {
        "method": method, "srf": srf, "model": model and path_of(model), "tile": tile_of(tile), "device": device, "memory": bytes_of(memory_limit),
        "dtype": dtype, "hsi_bands": hsi_bands, "msi_bands": msi_bands, "msi_resolution": msi_resolution, "uncertainty": uncertainty, "seed": seed,
        "train_seconds": train_seconds, "trust_input": trust_input, "mask": mask, "masked": masked, "register": register,
        "report": report or (),
    }  # fmt: skip
    checked_options(options, jobs, scheduler)
    folder = _folder(output)
    found = find_pairs(source, Wanted.of(hsi, msi, bbox, datetime, max_gap, max_cloud, min_overlap), allow_host or ())
    keep_freed_memory()
    states = run_batch(found.pairs, folder, options, again=overwrite, jobs=jobs, scheduler=scheduler, progress=not quiet, left=found.left)
    failed = [state for state in states if state.state != "done"]
    for state in failed:
        print(f"failed {_line(state.id)}: {_line(state.reason)}", file=sys.stderr)
    seconds = sum(state.seconds or 0.0 for state in states)
    print(
        f"{len(states) - len(failed)} done, {len(failed)} failed, {len(found.left)} hyperspectral items left without partner; {seconds:.0f} s"
    )
    if failed:
        raise typer.Exit(1)


@batch.command()
def status(
    folder: Annotated[str, typer.Argument(help="Batch folder, a path or s3://bucket/folder.")],
    json: Annotated[Path | None, typer.Option("--json", help="Write the table as JSON; - for standard output.")] = None,
    debug: Debug = False,
) -> None:
    """How far the pairs of a batch folder are: done, failed with a reason, or waiting."""
    from geofuse.pipeline.states import read_states

    json, place = checked_json(json), _folder(folder)
    if not place.exists():
        raise InvalidInput(f"There is no folder {place}; expected what `geofuse batch run -o` wrote into.")
    states = list(read_states(place))
    if json is not None:
        write_json([state.row for state in states], json)
    if json is None or not is_stdout(json):
        for state in states:
            print(
                f"{state.state:8s} {_line(state.id):40s} {'' if state.seconds is None else f'{state.seconds:.1f} s':>9s}  {_line(state.reason)}"
            )
