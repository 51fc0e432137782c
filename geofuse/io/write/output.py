"""Where an output may be written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from geofuse.errors import InvalidOutput

if TYPE_CHECKING:
    from geofuse.io.write.base import OutputFormat

# Says which run wrote an output: a checksum of the command and its inputs, among the tags of a COG or the attributes of a store.
RUN_TAG = "GEOFUSE_RUN"


def check_output(path: str | os.PathLike[str], output_format: OutputFormat | None = None, *, overwrite: bool = False) -> Path:
    """Reject an output that cannot be written, before anything is computed.

    Parameters
    ----------
    path : str or path
        Where the output shall appear.
    output_format : OutputFormat, optional
        Of a raster; without one it is a plain file.
    overwrite : bool
        Allow an existing output of this format; it stays as it is until the new one is complete.

    Returns
    -------
    pathlib.Path
        The absolute path.

    Raises
    ------
    InvalidOutput
        The file exists, is a folder (or, of a format of folders, something else), or its folder is missing or not writable.
    """
    target = Path(path).expanduser().absolute()
    folder = target.parent
    _check_replaceable(target, output_format)
    check_vacant(target, overwrite=overwrite)
    if not folder.is_dir():
        raise InvalidOutput(f"the folder {folder} does not exist; create it first")
    try:
        # Trying is the only sure test: access rights say nothing about read-only mounts, quotas or user 0. A file without a name, where
        # the system has such, so that nothing is left of it when the process is killed just now.
        tempfile.TemporaryFile(prefix=f".{target.name}.geofuse-", dir=folder).close()
    except OSError as error:
        raise InvalidOutput(f"cannot write into {folder} ({error.strerror}); choose another folder or change its permissions") from None
    return target


def _check_replaceable(target: Path, output_format: OutputFormat | None) -> None:
    """Reject a place with something that could not be replaced: a folder by a file, a folder of other things by a store."""
    if not target.exists():
        return
    if target.is_dir() and not (output_format and output_format.folder):
        raise InvalidOutput(f"{target} is a folder; give the name of a file")
    if output_format and not output_format.recognises(target):
        raise InvalidOutput(f"{target} exists and is no {output_format.name}; give another name, or remove it first")


def check_vacant(target: Path, *, overwrite: bool = False) -> None:
    """Reject a place that is taken.

    Raises
    ------
    InvalidOutput
    """
    if target.exists() and not overwrite:
        raise InvalidOutput(f"{target} exists; give another name, or allow to replace it (overwrite=True, --overwrite)")
