"""What the commands of the command line share: types of options, and how their values are read and written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from geofuse.errors import InvalidInput

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Same seed, same device, same result.")]
TrainSeconds = Annotated[
    float | None,
    typer.Option(help="Bound of the training of a network (mossfuse, mossfuse-paper); by default 60, or 20 for mossfuse on a GPU."),
]
TrustInput = Annotated[
    bool, typer.Option("--trust-input", help="Open whatever GDAL knows, with all that it names: VRT, netCDF, HDF5, WMS, ….")
]
Device = Annotated[str, typer.Option(help="auto, cpu, or a GPU such as cuda:0.")]
BANDS = (
    "Bands to take, in this order, separated by commas: names; numbers from 1 and ranges of them (1-50,60); ranges of wavelengths "
    "(450-900nm, 0.45-0.9um); for a STAC item also keys and common names of its assets (B02,red)."
)
Bands = Annotated[str | None, typer.Option(help=BANDS)]
Resolution = Annotated[
    float | None,
    typer.Option(
        help="Pixel size, in units of the CRS, onto which to bring the assets of a STAC item that differ in it; all of them by default."
    ),
]
MaskFile = Annotated[
    str | None, typer.Option("--mask", help="Raster of what to leave out of both images, on any grid; all but 0 and nodata is masked.")
]
Register = Annotated[
    str, typer.Option(help="global: one shift. local: a smooth displacement from place to place too. none: the georeference as it is.")
]
Masked = Annotated[
    str, typer.Option(help="Where one image is masked, by --mask or its product: nodata, or one-image (what the other alone says).")
]
SCHEDULERS = (
    "threads; processes; synchronous; distributed (a dask cluster on this machine, a process a core, which survives dead workers); "
    "cuda (the same, a process a GPU); or the address of a dask scheduler (tcp://…)."
)


def path_of(text: str | Path) -> Path:
    """The file that is meant, also where no shell has seen its ``~``."""
    from geofuse.io.read.fingerprint import local_name

    address = str(text)
    if re.match(r"[A-Za-z0-9+.-]{2,}:/", address) and not address.startswith("file://"):  # one slash is left of the two in a Path
        raise InvalidInput(f"Nothing can be written to {address}; expected a path, or for the image s3://bucket/key.tif.")
    return Path(local_name(address)).expanduser()


def tile_of(text: str) -> int | str:
    """A size of tiles, or ``auto``."""
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise InvalidInput(f"The tile size is {text!r}; expected a number of pixels, or auto.") from None


def bytes_of(text: str) -> int:
    """A size such as ``4GB`` in bytes."""
    from dask.utils import parse_bytes

    try:
        size = int(parse_bytes(text))
    except (ValueError, OverflowError):
        size = 0
    if size <= 0:
        raise InvalidInput(f"The memory limit is {text!r}; expected a size such as 4GB.")
    return size


def checked_json(path: Path | None) -> Path | None:
    """Reject a place that cannot be written to before the work, not after it."""
    from geofuse.io.write.output import check_output

    return path if path is None or is_stdout(path) else check_output(path_of(path), overwrite=True)


def is_stdout(path: Path) -> bool:
    """Whether ``-`` was given for a file."""
    return str(path) == "-"


def write_json(values: Any, path: Path) -> None:
    """Write plain values as JSON, to a file or to standard output."""
    import json

    text = json.dumps(values, indent=1, allow_nan=False)
    if is_stdout(path):
        print(text)
    else:
        path.write_text(text + "\n", encoding="utf-8")
