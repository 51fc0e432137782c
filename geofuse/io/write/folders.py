"""The folder of a batch: one of this machine, or a prefix of object storage (``s3://bucket/folder``); the batch need not know which.

What belongs to a pair is made by its job and goes where `Folder.place` says (`geofuse.io.write.destinations`). Small documents (states, the log,
the collection) are written here, each complete or not at all.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from geofuse.errors import InvalidOutput
from geofuse.io.write import remote
from geofuse.io.write.lease import leased

LOCK = ".lock"
_LOG_S = 10.0  # between two uploads of a log that grows
_REQUESTS = 16  # at once

Check = Callable[[], None]


class Folder(Protocol):
    """Where a batch writes; names are relative to it, with ``/`` between their parts. It can be sent to other processes."""

    def place(self, name: str) -> tuple[Path, str | None]:
        """Where a file is made on this machine, and the address that it goes to from there; None where it stays."""

    def exists(self) -> bool:
        """Whether anything is in it."""

    def names(self) -> list[str]:
        """Files in the folders of its pairs, ``ID/FILE``, sorted; hidden ones left out."""

    def read(self, names: Iterable[str]) -> Iterator[bytes | None]:
        """Contents of files, in this order; None for one that is not there."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file.

        Raises
        ------
        OSError
        """

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    def send(self, made: Path, name: str) -> None:
        """Let a file that was made on this machine become the one of that name.

        Raises
        ------
        OSError
        """

    def local(self, names: Sequence[str]) -> AbstractContextManager[Path]:
        """A folder of this machine that holds some of its files, under the same names."""

    def locked(self) -> AbstractContextManager[Check]:
        """Exclude other runs; yields what raises `geofuse.errors.RunError` once another run has taken over.

        Raises
        ------
        InvalidOutput
            Another run works in it, or it cannot be written to.
        """

    def appending(self, name: str) -> AbstractContextManager[Callable[[str], None]]:
        """Append lines to a file."""


@dataclass(frozen=True)
class LocalFolder:
    """A folder of this machine."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def place(self, name: str) -> tuple[Path, str | None]:
        """The place itself."""
        return self.path / name, None

    def exists(self) -> bool:
        """Whether it is a folder."""
        return self.path.is_dir()

    def names(self) -> list[str]:
        """See `Folder.names`."""
        inner = (path for path in self.path.iterdir() if path.is_dir() and not path.name.startswith("."))
        return sorted(f"{path.name}/{file.name}" for path in inner for file in path.iterdir() if not file.name.startswith("."))

    def read(self, names: Iterable[str]) -> Iterator[bytes | None]:
        """See `Folder.read`."""
        for name in names:
            try:
                yield (self.path / name).read_bytes()
            except OSError:
                yield None

    def write(self, name: str, content: bytes) -> None:
        """By one rename."""
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(content)
        os.replace(part, path)

    def remove(self, name: str) -> None:
        """See `Folder.remove`."""
        (self.path / name).unlink(missing_ok=True)

    def send(self, made: Path, name: str) -> None:
        """By a rename."""
        os.replace(made, self.path / name)

    @contextmanager
    def local(self, names: Sequence[str]) -> Iterator[Path]:
        """The folder itself."""
        yield self.path

    @contextmanager
    def locked(self) -> Iterator[Check]:
        """By a lock of the system, which ends with the process."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / LOCK, timeout=0)
            lock.acquire()
        except Timeout:
            raise InvalidOutput(f"Another batch works in {self.path}; wait for it, stop it, or give another folder.") from None
        except OSError as error:
            raise InvalidOutput(
                f"The batch folder {self.path} cannot be made or written to ({error.strerror}); choose another one."
            ) from None
        try:
            yield lambda: None
        finally:
            lock.release()

    @contextmanager
    def appending(self, name: str) -> Iterator[Callable[[str], None]]:
        """Each line is on the disk at once."""
        with (self.path / name).open("a", encoding="utf-8") as file:

            def append(line: str) -> None:
                file.write(line + "\n")
                file.flush()

            yield append


@dataclass(frozen=True)
class S3Folder:
    """Objects whose keys begin alike.

    Parameters
    ----------
    address : str
        ``s3://bucket/folder``.
    """

    address: str

    def __str__(self) -> str:
        return self.address

    def __reduce__(self) -> tuple[Any, ...]:
        return S3Folder, (self.address,)  # without the client

    @cached_property
    def _client(self) -> Any:
        return remote.s3_client()

    @cached_property
    def _place(self) -> tuple[str, str]:
        return remote.split(self.address)

    def _object(self, name: str) -> dict[str, str]:
        return {"Bucket": self._place[0], "Key": f"{self._place[1]}/{name}"}

    def place(self, name: str) -> tuple[Path, str | None]:
        """See `geofuse.io.write.remote.local_place`."""
        address = f"{self.address}/{name}"
        return remote.local_place(address), address

    def exists(self) -> bool:
        """Whether there is an object."""
        with self._asked():
            return bool(self._client.list_objects_v2(Bucket=self._place[0], Prefix=f"{self._place[1]}/", MaxKeys=1).get("Contents"))

    def names(self) -> list[str]:
        """See `Folder.names`; keys that are no such names are left out, since whoever may write here may give them."""
        with self._asked():
            found = [key.removeprefix(f"{self._place[1]}/") for key in remote.listed(self._client, self._place[0], f"{self._place[1]}/")]
        parts = [(name, name.split("/")) for name in found]
        return sorted(name for name, each in parts if len(each) == 2 and not any(not p or p.startswith(".") or "\\" in p for p in each))

    def read(self, names: Iterable[str]) -> Iterator[bytes | None]:
        """See `Folder.read`; several at once."""
        self._client  # noqa: B018 (made before the threads)
        with ThreadPoolExecutor(_REQUESTS) as pool:
            yield from pool.map(self._read, names)

    def _read(self, name: str) -> bytes | None:
        try:
            content: bytes = self._client.get_object(**self._object(name))["Body"].read()
            return content
        except remote.failures() as error:
            if remote.status(error) == 404:
                return None
            raise self._failed(error) from error

    def write(self, name: str, content: bytes) -> None:
        """By one request."""
        with self._written(name):
            self._client.put_object(**self._object(name), Body=content, ContentType=_type(name), ChecksumAlgorithm="SHA256")

    def remove(self, name: str) -> None:
        """See `Folder.remove`."""
        with self._written(name):
            self._client.delete_object(**self._object(name))

    def send(self, made: Path, name: str) -> None:
        """See `geofuse.io.write.remote.upload`."""
        remote.upload(made, f"{self.address}/{name}")

    @contextmanager
    def local(self, names: Sequence[str]) -> Iterator[Path]:
        """Copies, in a temporary folder."""
        with tempfile.TemporaryDirectory(prefix="geofuse-") as folder:
            root = Path(folder)
            for name, content in zip(names, self.read(names), strict=True):
                if content is not None:
                    (root / name).parent.mkdir(exist_ok=True)
                    (root / name).write_bytes(content)
            yield root

    @contextmanager
    def locked(self) -> Iterator[Check]:
        """By a lease; see `geofuse.io.write.lease`."""
        with leased(self._client, **self._object(LOCK)) as check:
            yield check

    @contextmanager
    def appending(self, name: str) -> Iterator[Callable[[str], None]]:
        """Objects cannot grow: the whole is written anew every ten seconds at most, and at the end."""
        content, sent = bytearray(self._read(name) or b""), time.monotonic()

        def append(line: str) -> None:
            nonlocal sent
            content.extend(f"{line}\n".encode())
            if time.monotonic() - sent > _LOG_S:
                with suppress(OSError):  # the next one has it
                    self.write(name, bytes(content))
                sent = time.monotonic()

        try:
            yield append
        finally:
            self.write(name, bytes(content))

    @contextmanager
    def _asked(self) -> Iterator[None]:
        try:
            yield
        except remote.failures() as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> InvalidOutput:
        return InvalidOutput(f"{self.address} cannot be read: {error}. Check bucket, credentials and endpoint (AWS_ENDPOINT_URL).")

    @contextmanager
    def _written(self, name: str) -> Iterator[None]:
        try:
            yield
        except remote.failures() as error:
            raise OSError(f"{self.address}/{name} cannot be written: {error}") from error


def _type(name: str) -> str:
    return "application/json" if name.endswith(".json") else "application/octet-stream"


def folder_at(place: str | os.PathLike[str]) -> Folder:
    """The folder that a path or address means.

    Raises
    ------
    InvalidOutput
        The address names a bucket and no folder in it.

    Examples
    --------
    >>> str(folder_at("s3://bucket/fused/")), type(folder_at("fused")).__name__
    ('s3://bucket/fused', 'LocalFolder')
    """
    if not remote.is_remote(place):
        return LocalFolder(Path(place).expanduser().absolute())
    address = str(place).rstrip("/")
    if not address.removeprefix("s3://").partition("/")[2]:
        raise InvalidOutput(f"{place} is no address of a folder; expected s3://bucket/folder.")
    return S3Folder(address)
