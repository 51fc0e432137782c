"""ENVI: the header as GDAL reads it, and whether the data file holds the pixels that the header promises."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import rasterio

from geofuse.errors import InvalidCube

_DATA_SUFFIXES = ("", ".bsq", ".bil", ".bip", ".img", ".dat", ".raw")


def data_file(path: Path) -> Path:
    """Return the data file of an ENVI header, or the path itself where it is no header.

    Raises
    ------
    InvalidCube
        A header without a data file beside it.
    """
    if path.suffix.lower() != ".hdr":
        return path
    bare = path.with_suffix("")
    for suffix in _DATA_SUFFIXES:
        candidate = bare.with_name(bare.name + suffix)
        if candidate.is_file():
            return candidate
    suffixes = ", ".join(_DATA_SUFFIXES[1:])
    raise InvalidCube(f"no data file beside the ENVI header; expected {bare.name} without suffix or with one of {suffixes}")


def header_list(header: Mapping[str, str], key: str, bands: int) -> list[str] | None:
    """Return the values of a header field with one value a band, or None where the header has no such field.

    Parameters
    ----------
    header : mapping
        GDAL's metadata domain ``ENVI``.
    key : str
        Name of the field as GDAL spells it, with underscores.
    bands : int
        Number of bands of the raster.

    Raises
    ------
    InvalidCube
        The field has another number of values.

    Examples
    --------
    >>> header_list({"fwhm": "{ 0.006, 0.007}"}, "fwhm", 2)
    ['0.006', '0.007']
    """
    text = header.get(key)
    if text is None:
        return None
    values = [value.strip() for value in text.strip().removeprefix("{").removesuffix("}").split(",")]
    if len(values) != bands:
        raise InvalidCube(f"the ENVI header gives {len(values)} values of {key.replace('_', ' ')!r} for {bands} bands; correct the header")
    return values


def is_compressed(source: rasterio.DatasetReader) -> bool:
    """Whether the data file is compressed as a whole (``file compression = 1``: gzip)."""
    return source.driver == "ENVI" and source.tags(ns="ENVI").get("file_compression", "0").strip() == "1"


def check_complete(path: Path, source: rasterio.DatasetReader) -> None:
    """Refuse a data file that is shorter than its header says; GDAL would fill the rest with zeros.

    Raises
    ------
    InvalidCube
        Pixels are missing, or the gzip stream is damaged.
    """
    header = source.tags(ns="ENVI")
    itemsize = np.dtype(source.dtypes[0]).itemsize
    needed = int(header.get("header_offset", "0")) + source.count * source.height * source.width * itemsize
    size = path.stat().st_size
    found = _unpacked_size(path, needed) if is_compressed(source) else size
    if found < needed:
        raise InvalidCube(f"truncated: {found} bytes of the {needed} that its ENVI header describes; fetch it again or correct the header")


def _unpacked_size(path: Path, needed: int) -> int:
    """Bytes in a gzip file, counted no further than ``needed``."""
    with path.open("rb") as file:
        file.seek(-4, 2)
        # The last four bytes hold the unpacked size modulo 2**32 (RFC 1952). The end of a truncated file is no such number.
        if int.from_bytes(file.read(4), "little") == needed % 2**32:
            return needed
    found = 0
    try:
        with gzip.open(path) as stream:
            while found < needed and (part := stream.read(2**16)):
                found += len(part)
    except (EOFError, OSError, zlib.error):
        pass  # what could be unpacked is counted
    return found
