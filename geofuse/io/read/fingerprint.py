"""Check whether an input file is still the one it was, without reading all of it."""

from __future__ import annotations

import os
from functools import lru_cache
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from geofuse.errors import InvalidCube
from geofuse.io.read import envi
from geofuse.redact import redact

_PIECE, _PIECES = 64 * 2**10, 16
# GDAL's ways into a file that holds others
_ARCHIVES = ("/vsizip/", "/vsitar/", "/vsigzip/")


def local_name(source: str | os.PathLike[str]) -> str:
    """The path that a ``file://`` address stands for; anything else as it is.

    Examples
    --------
    >>> local_name("file:///data/my%20scene.tif"), local_name("https://example.com/a%20b.tif")
    ('/data/my scene.tif', 'https://example.com/a%20b.tif')
    """
    name = os.fspath(source)
    if not name.startswith("file://"):
        return name
    bare = name.removeprefix("file://")
    return bare if Path(bare).exists() else unquote(bare)


def fingerprint(source: str | os.PathLike[str]) -> dict[str, Any]:
    """Plain values that change when a file does: path, size, time of change, and a checksum of its beginning, its end and pieces between.

    Of a folder: sizes and times of change of all files in it. Of what is nothing local only the name is known; a checksum keeps addresses
    apart that differ in their credentials alone.

    Examples
    --------
    >>> fingerprint("https://example.com/a.tif")["path"]
    'https://example.com/a.tif'
    """
    path = _local_file(source)
    if path.is_dir():
        return _listed(path)
    if not path.is_file():
        name = os.fspath(source)
        return {"path": redact(name), "address": sha256(name.encode()).hexdigest()[:32]}
    found = path.stat()
    known = {"path": str(path.absolute()), "bytes": found.st_size, "modified": found.st_mtime_ns, "content": _sampled(path, found.st_size)}
    return known | {beside.suffix.lower().lstrip("."): file_sha256(beside) for beside in _beside(path)}


def content_stamp(source: str | os.PathLike[str]) -> str | None:
    """A checksum that changes when the content of a file or of its header does; None for what is no file here.

    The pieces that `fingerprint` looks at are read once for each size and time of change; a copy of the file has the same stamp.
    """
    path = _local_file(source)
    if not path.is_file():
        return None
    states = [(file, file.stat()) for file in (path, *_beside(path))]
    return _stamp(tuple((file, status.st_size, status.st_mtime_ns, status.st_ino) for file, status in states))


@lru_cache(maxsize=256)
def _stamp(states: tuple[tuple[Path, int, int, int], ...]) -> str:
    return " ".join(f"{size} {_sampled(file, size)}" for file, size, *_ in states)


def _local_file(source: str | os.PathLike[str]) -> Path:
    """The file that a name leads to: that of an ENVI header is the data file, that of a member of an archive the archive."""
    name = local_name(source)
    for archive in _ARCHIVES:
        if name.startswith(archive):
            inside = Path("/" + name.removeprefix(archive).lstrip("/"))
            return next((path for path in (inside, *inside.parents) if path.is_file()), Path(name))
    path = Path(name).expanduser()
    try:
        return envi.data_file(path)
    except InvalidCube:
        return path


def _beside(path: Path) -> list[Path]:
    """Files that decide with it about the pixels: the header of an ENVI file, and a mask."""
    return [file for file in (*envi.headers(path), path.with_name(path.name + ".msk")) if file.is_file()]


def file_sha256(path: Path) -> str:
    """SHA-256 of a whole file, lower-case hex."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def content_size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return path.stat().st_size if path.is_file() else sum(file.stat().st_size for file in _files(path))


def content_sha256(path: Path) -> str:
    """SHA-256 of a file, or of the list of those of all files in a folder, lower-case hex.

    For a folder it is what ``find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum`` says in it.
    """
    if path.is_file():
        return file_sha256(path)
    lines = sorted((file.relative_to(path).as_posix(), file) for file in _files(path))
    return sha256("".join(f"{file_sha256(file)}  {name}\n" for name, file in lines).encode()).hexdigest()


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _listed(folder: Path) -> dict[str, Any]:
    found = sorted((path.relative_to(folder).as_posix(), path.stat()) for path in _files(folder))
    listing = "".join(f"{name} {status.st_size} {status.st_mtime_ns}\n" for name, status in found)
    size = sum(status.st_size for _, status in found)
    return {"path": str(folder.absolute()), "bytes": size, "files": len(found), "content": sha256(listing.encode()).hexdigest()[:32]}


def _sampled(path: Path, size: int) -> str:
    digest = sha256()
    with path.open("rb") as file:
        for place in (*range(0, size, max(_PIECE, size // _PIECES)), max(size - _PIECE, 0)):
            file.seek(place)
            digest.update(file.read(_PIECE))
    return digest.hexdigest()[:32]
