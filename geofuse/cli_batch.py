"""The commands ``geofuse batch …``: from a STAC catalog to a STAC catalog."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from geofuse.cli_options import Debug, checked_json, is_stdout, write_json

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
            print(f"{_line(pair.id):40s} {_line(pair.msi.id):40s} {pair.reason}")
        for name, reason in found.left:
            print(f"{_line(name):40s} {'left':40s} {_line(reason)}")
        print(f"{len(found.pairs)} pairs, {len(found.left)} left")
    if json is not None:
        made = [{"id": p.id, "hsi": p.hsi.id, "msi": [p.msi.id], "reason": p.reason} for p in found.pairs]
        write_json({"pairs": made, "left": [{"hsi": name, "reason": reason} for name, reason in found.left]}, json)


def _line(text: Any) -> str:
    """What stands in a cell: names from elsewhere may hold what moves a terminal's cursor."""
    return "".join(c if c.isprintable() else "?" for c in str(text))
