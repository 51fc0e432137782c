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
_HEADER_BYTES = 16 * 2**20
# Bytes of a number of each data type of ENVI, and bytes that DEFLATE makes of one at most.
_ITEMSIZES = {1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 6: 8, 9: 16, 12: 2, 13: 4, 14: 8, 15: 8}
_MOST_PACKED = 1040


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


def is_envi(path: Path) -> bool:
    """Whether a file is an ENVI header, or a data file that one lies beside: a header starts with the word ENVI."""
    for file in [path] if path.suffix.lower() == ".hdr" else headers(path):
        with file.open("rb") as content:
            if content.read(4) == b"ENVI":
                return True
    return False


def headers(path: Path) -> list[Path]:
    """Headers that GDAL may take for that of a data file: its name with the suffix replaced, or with one more.

    Only files whose name is that of no other format's have one.
    """
    if path.suffix.lower() in (".tif", ".tiff", ".jp2", ".hdr"):
        return []
    names = [name for suffix in (".hdr", ".HDR") for name in (path.with_suffix(suffix), path.with_name(path.name + suffix))]
    return [name for name in dict.fromkeys(names) if name.is_file()]


def header(path: Path) -> dict[str, str]:
    """The fields of the header of a data file, spelt as GDAL spells them; in Latin-1 where it is not UTF-8, as older software writes it.

    GDAL hands text over that is not UTF-8, and rasterio leaves such fields out; so this is for those alone.
    """
    for file in headers(path):
        if file.stat().st_size > _HEADER_BYTES:
            raise InvalidCube(f"its ENVI header has {file.stat().st_size / 1e6:.0f} MB; it is damaged")
        raw = file.read_bytes()
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            text = raw.decode("latin-1")
        return _fields(text)
    return {}


def fields_of(source: rasterio.DatasetReader) -> dict[str, str]:
    """The fields of the header of an open file, and those that a file of another format took over from one."""
    local = Path(source.name)
    own = header(local) if source.driver == "ENVI" and local.is_file() else {}
    return own | source.tags(ns="ENVI")


def _fields(text: str) -> dict[str, str]:
    """Lines ``key = value``; a value in braces extends to the brace that closes it."""
    fields: dict[str, str] = {}
    lines = iter(text.splitlines())
    for line in lines:
        key, equals, value = line.partition("=")
        if not equals:
            continue
        parts = [value.strip()]
        if parts[0].startswith("{"):
            while not parts[-1].rstrip().endswith("}") and (more := next(lines, None)) is not None:
                parts.append(more.strip())
        fields.setdefault(key.strip().lower().replace(" ", "_"), " ".join(parts))
    return fields


def check_size(path: Path) -> None:
    """Reject a data file that cannot hold the pixels that its header claims, before GDAL allocates a row of them.

    Raises
    ------
    InvalidCube
    """
    found = header(path)
    try:
        samples, lines, bands = (int(found.get(key, "0")) for key in ("samples", "lines", "bands"))
        kind, packed = int(found.get("data_type", "1")), found.get("file_compression", "0").strip() == "1"
    except ValueError:
        return  # GDAL says what is wrong with it
    claimed, size = max(samples, 0) * max(lines, 0) * max(bands, 0) * _ITEMSIZES.get(kind, 1), path.stat().st_size
    if claimed > size * (_MOST_PACKED if packed else 1) and claimed > size:
        raise InvalidCube(
            f"its header claims {claimed:.3g} bytes of pixels, and the file has {size}; it is truncated, or the header is wrong"
        )


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
    return source.driver == "ENVI" and fields_of(source).get("file_compression", "0").strip() == "1"


def check_complete(path: Path, source: rasterio.DatasetReader) -> None:
    """Reject a data file that is shorter than its header says; GDAL would fill the rest with zeros.

    Raises
    ------
    InvalidCube
        Pixels are missing, or the gzip stream is damaged.
    """
    given = fields_of(source).get("header_offset", "0")
    try:
        offset = int(given)
    except ValueError:
        offset = -1
    if offset < 0:
        raise InvalidCube(f"the ENVI header gives a header offset of {given[:80]!r}; expected a number of bytes, correct the header")
    needed = offset + source.count * source.height * source.width * np.dtype(source.dtypes[0]).itemsize
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
