"""Copy a raster with its overviews into the order of a COG, in a process of its own.

GDAL's copy of a large scene takes minutes and hears no signal, so it runs where it can be ended: a child process, which also ends when its
parent does. This file is run by its path and imports nothing of geofuse, so that it starts in a fraction of a second.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

# GDAL's cache of blocks: a staging raster is read once, so a large one would hold what nobody asks for again.
CACHE_BYTES = 64 * 2**20
_FAILED = 1


def translate(source: Path, target: Path, options: dict[str, str]) -> None:
    """Run the copy, and wait for it; what interrupts the waiting ends the copy.

    Parameters
    ----------
    source, target : pathlib.Path
    options : dict
        Creation options of GDAL's GTiff driver.

    Raises
    ------
    OSError
        The copy failed, in GDAL's words.
    """
    command = [sys.executable, "-P", __file__, str(source), str(target), json.dumps(options)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        try:
            said = child.stderr.read()  # to its end; `communicate` would close the pipe by which the child knows that we live
        except BaseException:
            child.kill()
            raise
    if child.returncode != 0:
        reason = " ".join(said.split()) or f"the copying process ended with status {child.returncode}"
        raise OSError(f"copying the staging raster failed: {reason[-500:]}")


def copy_here(source: str, target: str, options: dict[str, str]) -> None:
    """Copy in this process."""
    import rasterio
    from rasterio.shutil import copy

    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
        copy(source, target, driver="GTiff", **options)


def _end_with_parent() -> None:
    """Wait until the parent closes its end of the pipe, which its death does too."""
    sys.stdin.buffer.read()
    os._exit(_FAILED)


def _main() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    source, target, options = sys.argv[1:]
    try:
        copy_here(source, target, json.loads(options))
    except Exception as error:
        print(error, file=sys.stderr)
        os._exit(_FAILED)
    os._exit(0)


if __name__ == "__main__":
    _main()
