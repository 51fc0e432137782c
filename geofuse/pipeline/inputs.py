"""What is known of the files that a pair is made of before they are opened: whether they changed, and whether they are what their items say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pystac

from geofuse.errors import InvalidInput
from geofuse.io.read.access import Access
from geofuse.io.read.fingerprint import local_name
from geofuse.io.read.http import stamp
from geofuse.io.read.remote import is_remote, remote_file

LARGEST = 2**30
"""Bytes of a file that is read as a whole at most to check it."""
# Codes of multihash (multiformats.io/multihash), which the file extension of STAC (v2.1.0) prescribes, in the words of hashlib.
_ALGORITHMS = {0x11: "sha1", 0x12: "sha256", 0x13: "sha512", 0x14: "sha3_512", 0x16: "sha3_256", 0x20: "sha384", 0xD5: "md5"}


def server_stamp(files: Iterable[str], access: Access) -> str:
    """A checksum of what the servers of files say of their state: entity tags, sizes and times of change; of other files nothing is said.

    Raises
    ------
    InvalidCube
        A server does not answer, or no longer has the file.
    """
    said = [stamp(file, access) for file in files if file.lower().startswith(("http://", "https://"))]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def check_assets(items: Sequence[pystac.Item], files: Sequence[str]) -> None:
    """Compare files with the sizes and checksums that their items state (``file:size``, ``file:checksum``).

    A checksum takes the whole file, and is compared up to `LARGEST` bytes; one by an algorithm that is not known is passed over. Files in
    object stores (``s3``, ``gs``, ``az``) are not compared.

    Parameters
    ----------
    items : sequence of pystac.Item
    files : sequence of str
        Those that are read, as their items name them.

    Raises
    ------
    InvalidInput
        A file is not the one that its item describes.
    InvalidCube
        A server does not answer.
    """
    wanted = set(files)
    for asset in (asset for item in items for asset in item.assets.values()):
        stated = {key: asset.extra_fields[key] for key in ("file:size", "file:checksum") if key in asset.extra_fields}
        href = asset.get_absolute_href() or asset.href
        if stated and href in wanted:
            _check(href, stated.get("file:size"), stated.get("file:checksum"))


def _check(href: str, size: Any, checksum: Any) -> None:
    local = Path(local_name(href))
    if not is_remote(href) and not local.is_file():
        return
    found = remote_file(href).size if is_remote(href) else local.stat().st_size
    advice = "the file was cut off, damaged or replaced, or its item is old: correct one of them"
    if isinstance(size, int) and size != found:
        raise InvalidInput(f"{href}: {found} bytes, and its item says {size} (file:size); {advice}")
    algorithm, digest = _multihash(checksum)
    if algorithm and found <= LARGEST and (own := _sum(href, local, algorithm)) != digest:
        raise InvalidInput(f"{href}: its checksum ({algorithm}) is {own[:16]}…, and its item says {digest[:16]}… (file:checksum); {advice}")


def _sum(href: str, local: Path, algorithm: str) -> str:
    if is_remote(href):
        return remote_file(href).sum(algorithm).hex()
    with local.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _multihash(text: Any) -> tuple[str, str]:
    """Algorithm and digest (lower-case hex) of a multihash in hex; nothing of what is none, or of an algorithm that is not known."""
    try:
        numbers = bytes.fromhex(text)
        code, rest = _varint(numbers)
        length, digest = _varint(rest)
        algorithm = _ALGORITHMS[code]
        return (algorithm, digest.hex()) if len(digest) == length == hashlib.new(algorithm).digest_size else ("", "")
    except (TypeError, ValueError, KeyError):
        return "", ""


def _varint(numbers: bytes) -> tuple[int, bytes]:
    """An integer in seven bits a byte, lowest first, and what follows it."""
    value = 0
    for place, byte in enumerate(numbers[:4]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, numbers[place + 1 :]
    raise ValueError("no integer")
