"""Do the workers of a cluster see the files that this process sees? Asked before anything is computed.

Tiles are read and written by the workers themselves: sent through this process instead, all pixels of a scene would pass one network card.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from geofuse.errors import InvalidInput, InvalidOutput
from geofuse.io.read.fingerprint import local_name
from geofuse.run.scheduling import active_client

_HELP = "Use a folder that all of them share under the same path, or --scheduler threads"


def check_folder_seen(folder: Path) -> None:
    """Reject a folder that a worker does not see, or sees another one in its place; nothing to ask where tasks run on this machine.

    Raises
    ------
    InvalidOutput
        Names the workers.
    """
    if active_client() is None:
        return
    word = uuid.uuid4().hex
    token = folder / f"token-{word}"
    token.write_text(word)
    try:
        blind = _workers_that_differ(_read, token, word)
    finally:
        token.unlink()
    if blind:
        raise InvalidOutput(
            f"The workers {', '.join(blind)} do not see the output's folder {folder.parent}, into which they write. {_HELP}."
        )


def check_files_seen(files: Iterable[str]) -> None:
    """Reject input files that are here and that a worker does not see under the name that it will be given; addresses are left to the reader.

    Raises
    ------
    InvalidInput
        Names the file and the workers.
    """
    if active_client() is None:
        return
    for path in map(Path, map(local_name, files)):
        blind = _workers_that_differ(_size, path, path.stat().st_size) if path.is_file() else []
        if blind:
            raise InvalidInput(
                f"The workers {', '.join(blind)} do not see the input {path}, which they read. {_HELP}; give the whole path."
            )


def _workers_that_differ(ask: Callable[[str], Any], path: Path, expected: Any) -> list[str]:
    answers = active_client().run(ask, str(path))
    return [worker for worker, answer in sorted(answers.items()) if answer != expected]


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text()
    except OSError:
        return None


def _size(path: str) -> int | None:
    try:
        return Path(path).stat().st_size
    except OSError:
        return None
