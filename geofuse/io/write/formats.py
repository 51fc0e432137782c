"""The formats that an image can be written in: the one list of them, and which one the name of an output means."""

from __future__ import annotations

import os
from pathlib import Path

from geofuse.errors import InvalidOutput
from geofuse.io.write.base import OutputFormat
from geofuse.io.write.cog import COG
from geofuse.io.write.zarr import ZARR

FORMATS: tuple[OutputFormat, ...] = (COG, ZARR)


def format_of(path: str | os.PathLike[str]) -> OutputFormat:
    """Return the format that a path or address names by its ending; a name without one of theirs is a GeoTIFF's.

    Examples
    --------
    >>> format_of("fused.zarr").name, format_of("s3://bucket/fused.tif").name, format_of("fused").name
    ('Zarr store', 'GeoTIFF', 'GeoTIFF')
    """
    name = os.fspath(path).lower()
    return next((found for found in FORMATS if name.endswith(found.suffixes)), COG)


def names_a_format(path: Path) -> bool:
    """Whether a name has the suffix of a format.

    Examples
    --------
    >>> names_a_format(Path("fused.TIFF")), names_a_format(Path("fused.png"))
    (True, False)
    """
    return any(path.suffix.lower() in found.suffixes for found in FORMATS)


def check_suffix(path: str | os.PathLike[str], expected: OutputFormat) -> None:
    """Reject a name that says another format than the one that is to be written.

    Raises
    ------
    InvalidOutput
    """
    found = format_of(path)
    if found is not expected and found is not COG:
        writer, suffix = f"to_{found.suffixes[0].lstrip('.')}", expected.suffixes[0]
        raise InvalidOutput(f"The output {path} would be a {found.name}; write it with {writer}, or let its name end in {suffix}.")


def endings() -> str:
    """The usual endings of names and what they mean, for messages.

    Examples
    --------
    >>> endings()
    '.tif (a GeoTIFF) or .zarr (a Zarr store)'
    """
    return " or ".join(f"{found.suffixes[0]} (a {found.name})" for found in FORMATS)
