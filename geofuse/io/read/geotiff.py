"""Is a TIFF file all there? GDAL opens a truncated TIFF without complaint and fails, or gives zeros, where pixels are missing.

Not by tifffile (2026.3.3 tried): of a file whose last tags are cut off it drops these with a line in a log and reads the rest, as GDAL does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from geofuse.errors import InvalidCube
from geofuse.io.read.gdal import TIFF
from geofuse.io.read.remote import Handle, RemoteFile

# Tags of strips and tiles, and bytes of a value of each type: TIFF 6.0, sections 2, 8 and 15; BigTIFF adds types 16-18.
_OFFSETS, _COUNTS = (273, 324), (279, 325)
_INTEGERS = {3: "u2", 4: "u4", 16: "u8"}
_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_MOST_IFDS, _MOST_ENTRIES = 1024, 4096
# ImageWidth, ImageLength, BitsPerSample, SamplesPerPixel, RowsPerStrip, PlanarConfiguration, TileWidth and TileLength
_LAYOUT = (256, 257, 258, 277, 278, 284, 322, 323)
# A block is decoded as a whole. Few bytes that claim a large one are damaged (DEFLATE makes at most 1032 bytes of one).
_LARGE_BLOCK, _LARGEST_BLOCK, _MOST_COMPRESSED = 2**28, 2**31, 2000
_LARGEST_TABLE = 2**28  # bytes: 32 million strips


def check_complete(path: Path) -> None:
    """Reject a TIFF whose strips, tiles or tags lie beyond the end of the file, or whose blocks would fill the memory.

    Reads the directories only, which give the place and size of every strip and tile of the image, its overviews and masks.
    Tags matter as much: GDAL drops those that it cannot reach, and with them nodata, scale and wavelengths.

    Raises
    ------
    InvalidCube
        The file ends before its directories or its pixels do, or a block is larger than 2 GiB or than what the file can hold.
    """
    with path.open("rb") as file:
        _check(file, path.stat().st_size)


def check_remote(remote: RemoteFile) -> None:
    """As `check_complete`, of a file of a server where it is a TIFF; the directories are fetched.

    Raises
    ------
    InvalidCube
    """
    if remote.read(0, 4) not in TIFF:
        return
    problems: list[str] = []
    try:
        _check(Handle(remote, problems), remote.size)
    except InvalidCube:
        if problems:  # too little came
            raise InvalidCube(problems[-1]) from None
        raise


def _check(file: BinaryIO | Handle, size: int) -> None:
    try:
        needed = max((end for end in _ends(file, size)), default=0)
    except InvalidCube:
        raise
    except (struct.error, ValueError, KeyError, IndexError, OverflowError, MemoryError):
        raise InvalidCube(f"truncated or damaged TIFF: its directory cannot be read in {size} bytes; fetch the file again") from None
    if needed > size:
        raise InvalidCube(f"truncated TIFF: {size} bytes of at least {needed}; fetch the file again")


def _ends(file: BinaryIO | Handle, size: int) -> Iterator[int]:
    """Where the parts of the file end: long tag values, and the pixels of each directory."""
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}[head[:2]]
    big = struct.unpack(order + "H", head[2:4])[0] == 43
    entry, word = (20, "Q") if big else (12, "I")
    place = struct.unpack_from(order + word, head, 8 if big else 4)[0]
    seen: set[int] = set()
    budget = 16 * size + 2**20  # directories may share what they point at, and no file needs to be read this often
    while place and place not in seen and len(seen) < _MOST_IFDS:
        seen.add(place)
        count = struct.unpack(order + ("Q" if big else "H"), _bytes(file, place, 8 if big else 2, size))[0]
        if count > _MOST_ENTRIES:
            raise ValueError("no directory has so many tags")
        body = _bytes(file, place + (8 if big else 2), count * entry + struct.calcsize(word), size)
        arrays, layout = {}, {}
        for at in range(0, count * entry, entry):
            tag, kind, number = struct.unpack_from(order + "HH" + word, body, at)
            inline = body[at + entry - (8 if big else 4) : at + entry]
            if (length := _TYPE_SIZES.get(kind, 0) * number) > len(inline):
                yield _place(inline, order) + length
            if tag in _OFFSETS + _COUNTS:
                budget -= length
                arrays[tag in _OFFSETS] = _numbers(file, inline, order, kind, number, size)
            if tag in _LAYOUT and kind in _INTEGERS and number:
                layout[tag] = int(_numbers(file, inline, order, kind, number, size)[0])
        if budget < 0:
            raise ValueError("its directories point at the same tables again and again")
        _check_block(layout, size)
        if len(arrays) == 2:
            offsets, counts = arrays[True], arrays[False]
            written = (offsets > 0) & (counts > 0)  # a sparse file leaves out tiles without data
            yield int((offsets + counts)[written].max(initial=0))  # float64: no overflow, exact to 2**53 bytes
        place = struct.unpack_from(order + word, body, count * entry)[0]


def _check_block(layout: dict[int, int], size: int) -> None:
    """Reject a strip or tile that is too large to be decoded; one of all bands, where they are interleaved."""
    width, length, bits, samples = (layout.get(tag, default) for tag, default in ((256, 0), (257, 0), (258, 1), (277, 1)))
    across, down = layout.get(322, width), layout.get(323, min(layout.get(278, length), length))
    block = across * down * max(bits, 8) // 8 * (samples if layout.get(284, 1) == 1 else 1)
    if block > _LARGEST_BLOCK or block > max(_LARGE_BLOCK, size * _MOST_COMPRESSED):
        raise InvalidCube(
            f"its strips or tiles take {block / 2**30:.3g} GiB each, in a file of {size} bytes; it is damaged, or must be rewritten in tiles, "
            "e.g. with gdal_translate -co TILED=YES"
        )


def _numbers(file: BinaryIO | Handle, inline: bytes, order: str, kind: int, number: int, size: int) -> NDArray[np.float64]:
    dtype = np.dtype(order + _INTEGERS[kind])
    length = dtype.itemsize * number
    if length <= len(inline):
        return np.frombuffer(inline[:length], dtype).astype(np.float64)
    raw = _bytes(file, _place(inline, order), length, size)
    return np.frombuffer(raw, dtype).astype(np.float64)


def _place(inline: bytes, order: str) -> int:
    return int.from_bytes(inline, "little" if order == "<" else "big")


def _bytes(file: BinaryIO | Handle, start: int, length: int, size: int) -> bytes:
    # the length comes from the file: never allocate more than the file can hold, nor much where a server says how large it is
    if length > _LARGEST_TABLE:
        raise ValueError("no table of strips is so large")
    if start + length > size:
        raise ValueError("beyond the end of the file")
    file.seek(start)
    return file.read(length)
