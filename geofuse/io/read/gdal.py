"""Open a raster file with GDAL: the one place that does.

GDAL recognises a file by its content, whatever its name, and some of its formats are no rasters but name others: a VRT any file of the
machine or an address, WMS, STACIT and tile indexes a service, HDF5 and ERS a file with the pixels. So what comes from elsewhere is
opened by drivers whose pixels lie in the file that was named, and by no other; `trusting` lets all of them in.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import rasterio
from rasterio.errors import RasterioError, RasterioIOError

from geofuse.errors import InvalidCube
from geofuse.io.read.buckets import bucket_place
from geofuse.io.read.remote import Handle, RemoteFile, file_name, is_remote, remote_file

# Formats that hold their own pixels. ENVI names none: its data file and its header differ by the suffix alone.
DRIVERS = ("GTiff", "JP2OpenJPEG", "ENVI")
# Beside a raster GDAL looks for a mask and for overviews, and opens them with any driver, by their content.
_SIDE_FILES = (".msk", ".ovr")
TIFF = (b"II*\0", b"II+\0", b"MM\0*", b"MM\0+")
# Servers that are busy are asked again, with growing pauses, and those that have stopped are given up; the environment may say otherwise.
_PATIENCE = {
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_HTTP_RETRY_CODES": "408,425,429,500,502,503,504",
    "GDAL_HTTP_CONNECTTIMEOUT": "30",
    "GDAL_HTTP_LOW_SPEED_TIME": "60",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "100",
}
_UNKNOWN = "not recognized as being in a supported file format"

# GDAL's own spellings of a source: /vsizip/…, NETCDF:"file":variable, https://…
_NOT_A_PATH = re.compile(r"^(/vsi|[A-Za-z0-9_+]{2,}:)")

_trusted: ContextVar[bool] = ContextVar("trusted", default=False)


@contextmanager
def trusting(trusted: bool) -> Iterator[None]:
    """Open the rasters of the block with every driver of GDAL, where ``trusted``: what they name is read too, here and elsewhere."""
    token = _trusted.set(trusted)
    try:
        yield
    finally:
        _trusted.reset(token)


def is_trusted() -> bool:
    """Whether the block runs under `trusting`."""
    return _trusted.get()


def is_address(source: str) -> bool:
    """Whether a source is an address, or a name as GDAL spells it, and no file here.

    Examples
    --------
    >>> is_address("https://example.com/a.tif"), is_address("/vsizip/a.zip/a.tif"), is_address("a.tif")
    (True, True, False)
    """
    return bool(_NOT_A_PATH.match(source)) and not Path(source).exists()


def is_tiff(path: Path) -> bool:
    """Whether a file starts as a TIFF or BigTIFF does."""
    with path.open("rb") as file:
        return file.read(4) in TIFF


@contextmanager
def open_raster(place: str | Path, *, trusted: bool | None = None) -> Iterator[Any]:
    """Open a raster for the block, under GDAL's options as geofuse wants them while reading.

    One that a catalog names at an address of http or https is read through `geofuse.io.read.remote`, unless it is trusted.

    Parameters
    ----------
    place : str or pathlib.Path
        A path, an address, or a name as GDAL spells it.
    trusted : bool, optional
        Let in every driver; by default as `trusting` says.

    Yields
    ------
    rasterio.DatasetReader

    Raises
    ------
    InvalidCube
        A file beside it is not what its name says; or a server does not answer, or leads where the catalog may not lead.
    rasterio.errors.RasterioIOError
        It cannot be opened, or only with a driver that is not let in.
    """
    trusted = is_trusted() if trusted is None else trusted
    # no side files beside the user's data
    options = {"CPL_VSIL_GZIP_WRITE_PROPERTIES": "NO", "GDAL_PAM_ENABLED": "YES"}
    options |= {key: value for key, value in _PATIENCE.items() if key not in os.environ}
    if not trusted:
        options["GDAL_VRT_ENABLE_PYTHON"] = "NO"
        if Path(place).is_file():
            _check_beside(Path(place))
        else:  # what lies beside it cannot be looked at first
            options["GDAL_DISABLE_READDIR_ON_OPEN"] = "EMPTY_DIR"
    opener, problems = None, list[str]()
    name, needed = bucket_place(str(place))
    if not trusted and is_remote(name):
        opener, name = _opener(remote_file(name), file_name(name), problems), file_name(name)
    try:
        with rasterio.Env(**(options | needed)), _opened(name, (None,) if trusted else DRIVERS, opener) as file:
            yield file
    except UnicodeDecodeError:  # rasterio reads names, and what GDAL says, as UTF-8
        raise RasterioIOError("its metadata, or what GDAL says of it, are not UTF-8") from None
    except Exception as error:
        if problems and isinstance(error, RasterioError):  # GDAL knows only that too little came
            raise RasterioIOError(problems[-1]) from None
        if type(error).__name__.startswith("CPLE_"):  # GDAL's own errors, which rasterio hands on where it does not expect them
            raise RasterioIOError(str(error)) from None
        raise


def _opener(remote: RemoteFile, name: str, problems: list[str]) -> Callable[..., Handle]:
    """How rasterio opens a remote file under a name, and finds no other beside it."""

    def opened(path: str, mode: str = "rb", **_: Any) -> Handle:
        if Path(path).name != name:
            raise FileNotFoundError(path)
        return Handle(remote, problems)

    return opened


def _opened(place: str, drivers: tuple[str | None, ...], opener: Callable[..., Any] | None) -> Any:
    """The file by the first driver that knows it."""
    for driver in drivers:
        try:
            return rasterio.open(place, driver=driver, opener=opener)
        except RasterioIOError as error:
            if _UNKNOWN not in str(error) or driver == drivers[-1]:
                raise
    raise AssertionError("no driver")


def _check_beside(path: Path) -> None:
    """Reject side files that are anything but TIFFs; GDAL finds them whatever the case of their names."""
    names = {path.name.lower() + suffix for suffix in _SIDE_FILES}
    for beside in path.parent.iterdir():
        if beside.name.lower() in names and beside.is_file() and not is_tiff(beside):
            raise InvalidCube(
                f"{beside.name} beside it is not a TIFF, as a mask or an overview would be; remove it, or let GDAL open whatever it "
                "names (trust_input=True, --trust-input)"
            )
