"""An append-only journal: what a run has finished, so that the next one need not do it again.

One JSON object a line. The first line is the key: all that decides about the result. Records are written with one system call each,
after what they record is on file, so that whatever the moment of death, the journal never promises too much. A torn last line is dropped.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from geofuse.errors import InvalidOutput

Record = dict[str, Any]


class Journal:
    """Named records, the last one of a name counts. Only their places in the file are held in memory.

    Parameters
    ----------
    path : pathlib.Path
        The file; it is made where there is none.
    key : dict
        Plain JSON values that must be the same for a run to resume from here.

    Raises
    ------
    InvalidOutput
        The journal is that of another run; says what differs.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "journal.jsonl"
    >>> with Journal(path, {"seed": 1}) as journal:
    ...     journal.append("tile 0 0", crc=[7])
    >>> with Journal(path, {"seed": 1}) as journal:
    ...     journal.get("tile 0 0")
    {'crc': [7]}
    >>> Journal(path, {"seed": 2})
    Traceback (most recent call last):
    ...
    geofuse.errors.InvalidOutput: seed was 1 and is 2
    """

    def __init__(self, path: Path, key: Record) -> None:
        self._places: dict[str, tuple[int, int]] = {}  # first byte and bytes
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            found, end = self._load()
            os.ftruncate(self._file, end)
            if found is None:
                self._write(key)
            elif found != json.loads(json.dumps(key)):
                raise InvalidOutput("; ".join(differences(found, json.loads(json.dumps(key)))))
        except BaseException:
            self.close()
            raise

    def _load(self) -> tuple[Record | None, int]:
        """Return the key and the place where the last whole line ends, and note where each record begins."""
        key, place = None, 0
        with os.fdopen(os.dup(self._file), "rb") as lines:
            for line in lines:
                try:
                    record = json.loads(line)
                except ValueError:
                    break
                if not line.endswith(b"\n") or not isinstance(record, dict):
                    break
                if place == 0:
                    key = record
                else:
                    self._note(record, place, len(line))
                place += len(line)
        return key, place

    def _note(self, record: Record, place: int, length: int) -> None:
        if record.get("dropped"):
            self._places.pop(record["name"], None)
        else:
            self._places[record["name"]] = (place, length)

    def _write(self, record: Record) -> int:
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        if os.write(self._file, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return len(line)

    def append(self, name: str, **values: Any) -> None:
        """Add a record."""
        self._add({"name": name, **values})

    def drop(self, name: str) -> None:
        """Forget a record: what it says turned out not to be there."""
        self._add({"name": name, "dropped": True})

    def _add(self, record: Record) -> None:
        place = os.fstat(self._file).st_size
        self._note(record, place, self._write(record))

    def get(self, name: str) -> Record | None:
        """Return the values of a record, or None where there is none of that name."""
        if name not in self._places:
            return None
        place, length = self._places[name]
        record: Record = json.loads(os.pread(self._file, length, place))
        del record["name"]
        return record

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._places))

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def peek(path: Path, name: str) -> Record | None:
    """The record of a name in the journal at a path, whosesoever it is; None where there is no such thing."""
    found = None
    with suppress(OSError, ValueError), path.open("rb") as lines:
        next(lines, None)  # the key
        for line in lines:
            record = json.loads(line)
            if record.get("name") == name:
                found = None if record.get("dropped") else dict(record)
    return found


def differences(was: Any, now: Any, name: str = "") -> list[str]:
    """Say in words in what two plain JSON values differ.

    Examples
    --------
    >>> differences({"msi": {"bytes": 5, "path": "m.tif"}}, {"msi": {"bytes": 6, "path": "m.tif"}})
    ['msi bytes was 5 and is 6']
    """
    if isinstance(was, dict) and isinstance(now, dict):
        keys = dict.fromkeys((*was, *now))
        return [text for key in keys for text in differences(was.get(key), now.get(key), f"{name} {key}".strip())]
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now) == 1:
        return differences(was[0], now[0], name)
    return [] if was == now else [f"{name} was {_short(was)} and is {_short(now)}"]


def _short(value: Any) -> str:
    text = "not given" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
