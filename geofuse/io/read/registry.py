"""The readers that exist: those that installed packages declare under the entry points ``geofuse.readers``, and those of geofuse.

Those of packages are asked first: a product of one sensor is often a file of a general format. One that is broken is left out, with a
warning that names it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from geofuse.errors import GeofuseError, InvalidCube
from geofuse.io.read.base import Description, NamesFiles, Parts, Reader, Request

GROUP = "geofuse.readers"
# In the order in which they are asked: products that are folders of files, which are not asked again of the files that they name; and formats.
_FOLDERS = {
    "EnMAP L2A": "geofuse.io.read.products.enmap:ENMAP",
    "DESIS L2A": "geofuse.io.read.products.desis:DESIS",
    "Sentinel-2 L2A": "geofuse.io.read.products.sentinel2:SENTINEL2",
    "Landsat 8/9 C2 L2": "geofuse.io.read.products.landsat:LANDSAT",
    "PlanetScope SuperDove": "geofuse.io.read.products.planetscope:PLANETSCOPE",
    "Wyvern L2A": "geofuse.io.read.products.wyvern:WYVERN",
    "Hyperion L1": "geofuse.io.read.products.hyperion:HYPERION",
}
_OWN = {
    **_FOLDERS,
    "EMIT L2A": "geofuse.io.read.products.emit:EMIT",
    "PRISMA L2D": "geofuse.io.read.products.prisma:PRISMA",
    "AVIRIS L2A": "geofuse.io.read.products.aviris:AVIRIS",
    "Tanager L2A": "geofuse.io.read.products.tanager:TANAGER",
    "AVIRIS and Hyperion in ENVI format": "geofuse.io.read.products.lines:LINES",
    "STAC": "geofuse.io.read.stac:STAC",
    "Zarr": "geofuse.io.read.zarr:ZARR",
    "GeoTIFF": "geofuse.io.read.formats:GEOTIFF",
    "JPEG 2000": "geofuse.io.read.formats:JPEG2000",
    "ENVI": "geofuse.io.read.formats:ENVI",
}
_LAST = "geofuse.io.read.formats:ANY"


@dataclass(frozen=True)
class PlugIn:
    """A reader of an installed package, whose errors are reported as its own."""

    name: str
    reader: Any
    origin: str

    def recognises(self, source: str) -> bool:
        """As its reader says; False, with a warning, where that fails."""
        try:
            return bool(self.reader.recognises(source))
        except Exception as error:  # whatever an installed package does
            warnings.warn(f"{self} failed to recognise a source and was passed over: {_said(error)}", UserWarning, stacklevel=6)
            return False

    def describe(self, source: str, request: Request) -> Description | Parts:
        """As its reader does; what fails in it is an `InvalidCube`."""
        try:
            found = self.reader.describe(source, request)
        except GeofuseError:
            raise
        except Exception as error:
            raise InvalidCube(f"{self} failed: {_said(error)}") from error
        if not isinstance(found, Description | Parts):
            raise InvalidCube(f"{self} returned {type(found).__name__}; expected a Description or Parts")
        return found

    def files(self, source: str, request: Request) -> list[str]:
        """As its reader says; the source alone where it says nothing."""
        if not isinstance(self.reader, NamesFiles):
            return [source]
        try:
            return list(self.reader.files(source, request))
        except GeofuseError:
            raise
        except Exception as error:
            raise InvalidCube(f"{self} failed: {_said(error)}") from error

    def __str__(self) -> str:
        return f"the reader {self.name!r} of {self.origin}"


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def readers() -> tuple[Reader, ...]:
    """All readers, in the order in which they are asked; the last takes what none of the others knows."""
    return (*_plug_ins(), *map(_own, (*_OWN.values(), _LAST)))


def reader_names() -> tuple[str, ...]:
    """Names of all readers, but for the last, which is none of a format."""
    return (*(reader.name for reader in _plug_ins()), *_OWN)


def find_reader(source: Any, *, named: bool = False) -> Reader | None:
    """The first reader that recognises a source; None where none does.

    Parameters
    ----------
    source : str, pystac.Item or pystac.Asset
        A path, or an address; objects are those of STAC.
    named : bool
        Another source names it as one of its files.
    """
    asked = readers() if isinstance(source, str) else (_own(_OWN["STAC"]),)
    if named:
        asked = tuple(reader for reader in asked if reader.name not in _FOLDERS)
    return next((reader for reader in asked if reader.recognises(source)), None)


def reader_of(source: Any, *, named: bool = False) -> Reader:
    """As `find_reader`.

    Raises
    ------
    InvalidCube
        No reader recognises the source.
    """
    found = find_reader(source, named=named)
    if found is not None:
        return found
    if isinstance(source, str) and Path(source).is_dir():
        raise InvalidCube(f"this is a folder; pass the raster file in it. As a whole it cannot be read: {expected()}")
    raise InvalidCube(f"it cannot be read; {expected()}")


def expected() -> str:
    """What can be read, for messages about what cannot."""
    return (
        f"expected what one of the readers recognises: {', '.join(reader_names())}; formats that may name other files or addresses, such as VRT, "
        "netCDF, HDF5 and WMS, are opened where you trust the file: trust_input=True, --trust-input"
    )


def _own(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


@cache
def _plug_ins() -> tuple[PlugIn, ...]:
    found: dict[str, PlugIn] = {}
    for entry in entry_points(group=GROUP):
        try:
            made = _loaded(entry)
            if made.name in found or made.name in _OWN:
                raise ValueError("there is a reader of that name already")
            found[made.name] = made
        except Exception as error:  # whatever an installed package does when it is imported
            warnings.warn(f"the reader {entry.name!r} of {entry.value} is left out: {_said(error)}", UserWarning, stacklevel=2)
    return tuple(found.values())


def _loaded(entry: EntryPoint) -> PlugIn:
    found = entry.load()
    reader = found() if isinstance(found, type) else found
    if not isinstance(reader, Reader) or not isinstance(reader.name, str):
        raise TypeError("a reader has a name, recognises(source) and describe(source, request)")
    return PlugIn(reader.name, reader, entry.value)
