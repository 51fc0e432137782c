"""Files of a product that lies here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from geofuse.errors import InvalidCube
from geofuse.io.read.gdal import is_address


def leads_to(source: str, find: Callable[[Path], Any]) -> bool:
    """Whether a reader finds what it looks for at a path, as `geofuse.io.read.base.Reader.recognises` asks; of an address it never does."""
    try:
        return not is_address(source) and bool(find(Path(source)))
    except (OSError, ValueError):
        return False


def only_file(folder: Path, pattern: str, what: str) -> Path:
    """The one file of a folder whose name fits a pattern.

    Parameters
    ----------
    folder : pathlib.Path
    pattern : str
        As `pathlib.Path.glob` takes it, without folders.
    what : str
        What it is, for the message.

    Raises
    ------
    InvalidCube
        None or several, or a link that leads out of the folder.
    """
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise InvalidCube(f"{folder.name} holds {len(found)} files of {what} ({pattern}); expected one, fetch the product again")
    return contained(found[0], folder)


def contained(path: Path, folder: Path) -> Path:
    """The path, once it is sure that it lies in the folder.

    Raises
    ------
    InvalidCube
    """
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InvalidCube(f"{path.name} is a link that leads out of the product; copy the product with its content")
    return path
