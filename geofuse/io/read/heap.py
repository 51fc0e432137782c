"""Texts of variable length in an HDF5 file, read without the HDF5 library, which never returns from some damaged heaps (2.0.0 tried).

HDF5 File Format Specification, version 3.0: a text is a length, the address of a global heap collection and the number of an object in it
(sections III.E and IV.A.2).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

from geofuse.errors import InvalidCube

_SIGNATURE = b"GCOL"
_REFERENCE, _HEAD, _OBJECT = struct.Struct("<IQI"), struct.Struct("<4sB3xQ"), struct.Struct("<HH4xQ")
_LARGEST = 2**24


def heap_texts(found: Any) -> list[str]:
    """The texts of a dataset of one axis.

    Parameters
    ----------
    found : h5py.Dataset
        Of texts of variable length, stored without compression, as NetCDF-4 stores them.

    Raises
    ------
    InvalidCube
        It is stored otherwise, or damaged.
    """
    count, path = found.shape[0], Path(found.file.filename)
    place = found.id.get_offset() if found.chunks is None else None
    if place is None and found.chunks is not None and found.chunks[0] >= count and found.id.get_num_chunks() == 1:
        place = found.id.get_chunk_info(0).byte_offset if found.id.get_create_plist().get_nfilters() == 0 else None
    if place is None:
        raise InvalidCube(f"{found.name} is stored in an odd way; expected texts without compression")
    heaps: dict[int, dict[int, bytes]] = {}
    texts = []
    with path.open("rb") as file:
        for length, address, number in _REFERENCE.iter_unpack(_bytes(file, place, count * _REFERENCE.size)):
            if address not in heaps:
                heaps[address] = _objects(file, address)
            if number not in heaps[address]:
                raise InvalidCube(f"{found.name} names a text that is not there; the product is damaged")
            texts.append(heaps[address][number][:length].decode("utf-8", "replace"))
    return texts


def _objects(file: BinaryIO, address: int) -> dict[int, bytes]:
    """The objects of a global heap collection, by their number."""
    signature, _, size = _HEAD.unpack(_bytes(file, address, _HEAD.size))
    if signature != _SIGNATURE or not _HEAD.size <= size <= _LARGEST:
        raise InvalidCube("a heap of texts is damaged; fetch the product again")
    raw, place = _bytes(file, address, size), _HEAD.size
    found = {}
    while place + _OBJECT.size <= size:
        number, _, length = _OBJECT.unpack_from(raw, place)
        if number == 0:  # the rest is free
            break
        place += _OBJECT.size
        found[number] = raw[place : place + length]
        place += -(-length // 8) * 8
    return found


def _bytes(file: BinaryIO, place: int, length: int) -> bytes:
    if length > _LARGEST or place > 2**62:
        raise InvalidCube("a heap of texts is damaged; fetch the product again")
    file.seek(place)
    raw = file.read(length)
    if len(raw) != length:
        raise InvalidCube("a heap of texts lies beyond the end of the file; fetch the product again")
    return raw
