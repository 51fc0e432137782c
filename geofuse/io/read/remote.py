"""Rasters that a catalog names on a server, through `geofuse.io.read.http`: GDAL, which follows redirects wherever they lead, sees no address.

Bytes are fetched by ranges (RFC 9110, section 14), as GDAL asks for them, each once at most: a temporary file holds them. It has no name
where the system allows that, so that nothing is left of it, however the run ends.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from urllib.parse import urlsplit

from geofuse.errors import InvalidCube
from geofuse.io.read.access import Access, current_access
from geofuse.io.read.http import open_url, patience_s, reading
from geofuse.redact import redact

BLOCK = 2**17
"""Bytes that are fetched at least."""
_AHEAD = 2**23  # bytes at once, of what is read in order
_ATTEMPTS = 4
_SLOWEST = 100  # bytes per second
_MOST_FILES = 64
_COPIES = ".fetched"
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class RemoteFile:
    """A file of a server, of which no byte is fetched twice.

    Parameters
    ----------
    url : str
        As its item names it: it is signed for each request.
    access : Access
        What the catalog may lead to; ``cache`` is where the bytes are kept.

    Raises
    ------
    InvalidCube
        No answer, or not the bytes that were asked for.
    """

    def __init__(self, url: str, access: Access) -> None:
        self.url, self.access = url, access
        self.size, self._etag = 0, None
        self.lock = threading.RLock()
        self._held = TemporaryFile(dir=access.cache)  # noqa: SIM115 (closed with the object)
        self._blocks: set[int] = set()
        self._next, self._ahead = 0, BLOCK
        self._fetch(0, BLOCK)

    def read(self, start: int, stop: int) -> bytes:
        """Bytes of the file; fewer at its end."""
        stop = min(stop, self.size)
        if start >= stop:
            return b""
        with self.lock:
            for first, last in _runs(set(range(start // BLOCK, -(-stop // BLOCK))) - self._blocks):
                self._fetch(first * BLOCK, self._extended(first * BLOCK, last * BLOCK))
            self._held.seek(start)
            return self._held.read(stop - start)

    def fetch_all(self) -> Iterator[bytes]:
        """All of the file, from its beginning."""
        for start in range(0, self.size, _AHEAD):
            yield self.read(start, start + _AHEAD)

    def sum(self, algorithm: str) -> bytes:
        """Checksum of the whole file."""
        made = hashlib.new(algorithm)
        for piece in self.fetch_all():
            made.update(piece)
        return made.digest()

    def _extended(self, start: int, stop: int) -> int:
        """Where to stop: what is read in order is fetched in ever longer pieces, up to what is held."""
        self._ahead = min(2 * self._ahead, _AHEAD) if start == self._next else BLOCK
        blocks = range(stop // BLOCK, (start + self._ahead) // BLOCK)
        end = next((block for block in blocks if block in self._blocks), max(blocks.start, blocks.stop))
        self._next = next(block for block in count(end) if block not in self._blocks) * BLOCK
        return end * BLOCK

    def _fetch(self, first: int, stop: int) -> None:
        """Fetch from the beginning of a block. What breaks is asked for again from where it broke, a few times for each block at most."""
        start, failed, since = first, 0, first
        while start < stop:
            try:
                for place, piece in self._pieces(start, stop):
                    self._keep(place, piece)
                    start = place + len(piece)
                    self._blocks.update(range(min(first, place) // BLOCK, -(-start // BLOCK) if start == self.size else start // BLOCK))
                stop = min(stop, self.size)
            except _Broken:
                failed = failed + 1 if start - since < BLOCK else 1
                if failed == _ATTEMPTS:
                    raise
                since = start
                time.sleep(0.25 * 2**failed)

    def _keep(self, place: int, piece: bytes) -> None:
        try:
            self._held.seek(place)
            self._held.write(piece)
            self._held.flush()
        except OSError as error:
            where = self.access.cache or "the folder for temporary files (TMPDIR)"
            raise InvalidCube(f"{self.url}: what was fetched cannot be kept in {where} ({error.strerror}); make space there") from None

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """What a server sends of a range, and where it belongs."""
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        with closing(open_url(self.access.patched(self.url), self.access, headers=headers)) as response:
            place, end = self._told(response, start)
            since, got, patience = time.monotonic(), 0, patience_s()
            while place < end:
                try:
                    with reading(self.url):
                        piece = response.read1(min(2**18, end - place))  # type: ignore[attr-defined]
                except InvalidCube as error:
                    raise _Broken(str(error)) from None
                if not piece:
                    raise _Broken(f"{self.url}: the server sent {place - start} of {end - start} bytes of a range; try again later")
                yield place, piece
                place, got = place + len(piece), got + len(piece)
                if (passed := time.monotonic() - since) > patience:
                    if got < _SLOWEST * passed:
                        raise InvalidCube(f"{self.url}: {got} bytes in {passed:.0f} s; the server is too slow, try again later")
                    since, got = time.monotonic(), 0

    def _told(self, response: Any, start: int) -> tuple[int, int]:
        """First and last place of what is sent, checked against what is known of the file."""
        if response.status == 206:
            found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            place, end, size = (int(number) for number in found.groups()) if found else (-1, 0, 0)
            end += 1
            if place != start or end > size:
                raise InvalidCube(f"{self.url}: the server sent another range than was asked for; fetch the file, and give its path")
        else:  # all of it: a server that knows no ranges
            place = 0
            end = size = int(length) if (length := response.headers.get("Content-Length", "")).isdecimal() else -1
            if size < 0:
                raise InvalidCube(f"{self.url}: the server says no size; fetch the file, and give its path")
        etag = response.headers.get("ETag")
        if self.size and (size, etag) != (self.size, self._etag):
            raise InvalidCube(f"{self.url} was replaced or changed while it was in use; run again once the inputs stay as they are")
        self.size, self._etag = size, etag
        return place, end


class _Broken(InvalidCube):
    """Another attempt may do."""


def _runs(blocks: set[int]) -> Iterator[tuple[int, int]]:
    """Neighbours joined: first, and one beyond the last."""
    first = last = None
    for block in sorted(blocks):
        if first is None or last is None or block != last:
            if first is not None and last is not None:
                yield first, last
            first = block
        last = block + 1
    if first is not None and last is not None:
        yield first, last


class Handle(io.RawIOBase):
    """A place in a remote file, as GDAL wants one; what goes wrong is kept in ``problems``, since GDAL knows only that too little came."""

    def __init__(self, remote: RemoteFile, problems: list[str]) -> None:
        self.remote, self.problems, self.place = remote, problems, 0

    def read(self, size: int = -1) -> bytes:
        """Up to so many bytes."""
        try:
            found = self.remote.read(self.place, self.remote.size if size < 0 else self.place + size)
        except (InvalidCube, OSError) as error:
            self.problems.append(redact(str(error)))
            return b""
        self.place += len(found)
        return found

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        self.place = offset + (0, self.place, self.remote.size)[whence]
        return self.place

    def tell(self) -> int:
        """The place."""
        return self.place

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True


_files: OrderedDict[tuple[int, str, str, Path | None], RemoteFile] = OrderedDict()
_lock = threading.Lock()


def is_remote(place: str) -> bool:
    """Whether a catalog names the place, and it is one of http or https."""
    return current_access() is not None and place.lower().startswith(("http://", "https://"))


def remote_file(url: str) -> RemoteFile:
    """The file of an address, as `geofuse.io.read.access.accessing` lets it be read; opened once for all who read it."""
    access = current_access()
    assert access is not None
    key = os.getpid(), url, access.place, access.cache
    with _lock:
        found = _files.get(key)
    if found is None:
        found = RemoteFile(url, access)
    with _lock:
        found = _files.setdefault(key, found)
        _files.move_to_end(key)
        while len(_files) > _MOST_FILES:  # those that were not asked for the longest
            _files.popitem(last=False)
    return found


def is_hdf5(remote: RemoteFile) -> bool:
    """Whether a file starts as HDF5 does, and with it NetCDF-4 (HDF5 File Format Specification, version 3.0, section II.A)."""
    return remote.read(0, 8) == b"\x89HDF\r\n\x1a\n"


def local_copy(url: str) -> Path | None:
    """A copy of a remote file, whole, for readers that read only what lies here; None where the catalog's access keeps none."""
    access = current_access()
    if access is None or access.cache is None:
        return None
    folder = access.cache / _COPIES / hashlib.sha256(url.encode()).hexdigest()[:8]
    path, part, remote = folder / file_name(url), folder / ".part", remote_file(url)
    with remote.lock:
        if not path.exists():
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with part.open("wb") as file:
                    file.writelines(remote.fetch_all())
                os.replace(part, path)
            except OSError as error:
                raise InvalidCube(f"{url} cannot be copied to {folder} ({error.strerror}); make space there") from None
    return path


def forget(cache: Path) -> None:
    """Let go of all that is kept in a folder, and remove the copies in it."""
    with _lock:
        for key in [key for key in _files if key[3] == cache]:
            del _files[key]
    shutil.rmtree(cache / _COPIES, ignore_errors=True)


def file_name(url: str) -> str:
    """A name for a file, with the ending of its address."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", urlsplit(url).path.rpartition("/")[2])[-80:] or "raster"
