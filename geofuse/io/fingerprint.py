"""Tell whether an input file is still the one it was, without reading all of it."""

from __future__ import annotations

import os
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

_PIECE, _PIECES = 64 * 2**10, 16


def fingerprint(source: str | os.PathLike[str]) -> dict[str, Any]:
    """Plain values that change when a file does: path, size, time of change, and a checksum of its beginning, its end and pieces between.

    Of what is no local file only the name is known.

    Examples
    --------
    >>> fingerprint("https://example.com/a.tif")
    {'path': 'https://example.com/a.tif'}
    """
    path = Path(os.fspath(source).removeprefix("file://")).expanduser()
    if not path.is_file():
        return {"path": os.fspath(source)}
    found = path.stat()
    known = {"path": str(path.absolute()), "bytes": found.st_size, "modified": found.st_mtime_ns, "content": _sampled(path, found.st_size)}
    header = path.with_suffix(".hdr")  # of an ENVI file
    return known | ({"header": file_sha256(header)} if header.is_file() and header != path else {})


def file_sha256(path: Path) -> str:
    """SHA-256 of a whole file, lower-case hex."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _sampled(path: Path, size: int) -> str:
    digest = sha256()
    with path.open("rb") as file:
        for place in (*range(0, size, max(_PIECE, size // _PIECES)), max(size - _PIECE, 0)):
            file.seek(place)
            digest.update(file.read(_PIECE))
    return digest.hexdigest()[:32]
