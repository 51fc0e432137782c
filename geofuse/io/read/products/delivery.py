"""Deliveries of the DLR ground segments: a folder with metadata in XML, one spectral image and quality layers, under names with one beginning."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from geofuse.errors import InvalidCube
from geofuse.io.read.base import Description, Request
from geofuse.io.read.products.folder import contained, leads_to

_PART = re.compile(r"(?P<base>.+)-(METADATA|HISTORY|LOG|SPECTRAL_IMAGE(_COG)?|QL_\w+(-\d+)?)\.\w+", re.IGNORECASE)
_RASTERS = (".tif", ".tiff", ".jp2", ".bsq", ".bil", ".bip", ".img")
_METADATA = "METADATA"
# Bytes of the metadata in which the product names itself, and files of a folder that are looked at.
_HEAD, _MOST_FILES = 2**16, 2**14


@dataclass(frozen=True)
class Delivery:
    """The files of one product in a folder."""

    folder: Path
    base: str
    """What the names of its files begin with."""
    files: tuple[Path, ...]
    """All files of the folder."""

    @property
    def metadata(self) -> Path:
        """The file with the metadata."""
        found = self._named(_METADATA, (".xml",))
        assert found is not None  # what makes it a delivery
        return found

    def raster(self, part: str) -> Path | None:
        """The raster of a part, such as ``SPECTRAL_IMAGE``, also as a COG; None where there is none.

        Raises
        ------
        InvalidCube
            It is a link that leads out of the folder.
        """
        return self._named(part, _RASTERS) or self._named(f"{part}_COG", _RASTERS)

    def image(self) -> Path:
        """The raster with the spectral image.

        Raises
        ------
        InvalidCube
            There is none.
        """
        found = self.raster("SPECTRAL_IMAGE")
        if found is None:
            raise InvalidCube(f"{self.folder} holds no raster {self.base}-SPECTRAL_IMAGE.*; fetch the whole delivery")
        return found

    def _named(self, part: str, suffixes: tuple[str, ...]) -> Path | None:
        stem = f"{self.base}-{part}".lower()
        for path in self.files:
            if path.stem.lower() == stem and path.suffix.lower() in suffixes:
                return contained(path, self.folder)
        return None


@dataclass(frozen=True)
class DeliveryReader:
    """Reader of one kind of delivery: its folder, or any file in it."""

    name: str
    mark: re.Pattern[bytes]
    """What its metadata show near their beginning."""
    described: Callable[[Delivery], Description]
    layers: tuple[str, ...]
    """Rasters that are read beside the image, where they are there."""

    def recognises(self, source: str) -> bool:
        """Whether it is a delivery, or a file of one."""
        return leads_to(source, lambda path: deliveries(path, self.mark))

    def describe(self, source: str, request: Request) -> Description:
        """Read the metadata."""
        return self.described(delivery(Path(source), self.mark))

    def files(self, source: str, request: Request) -> list[str]:
        """The metadata, the image and the layers."""
        found = delivery(Path(source), self.mark)
        layers = (found.raster(name) for name in self.layers)
        return [str(path) for path in (found.metadata, found.image(), *layers) if path is not None]


def deliveries(source: Path, mark: re.Pattern[bytes]) -> list[Delivery]:
    """Products that a path leads to, whose metadata show a mark near their beginning: those in a folder, or the one that a file belongs to."""
    if source.is_dir():
        folder, files = source, _listed(source)
        matches = map(_PART.fullmatch, (path.name for path in files))
        bases = sorted({match["base"] for match in matches if match and match[2].upper() == _METADATA})
    elif source.is_file() and (match := _PART.fullmatch(source.name)):
        folder, bases = source.absolute().parent, [match["base"]]
        files = _listed(folder)
    else:
        return []
    return [found for base in bases if _shows(found := Delivery(folder, base, files), mark)]


def delivery(source: Path, mark: re.Pattern[bytes]) -> Delivery:
    """The product that a path leads to.

    Raises
    ------
    InvalidCube
        There are several.
    """
    found = deliveries(source, mark)
    if len(found) != 1:
        raise InvalidCube(f"{len(found)} products in one folder: {', '.join(one.base for one in found[:4])}; pass a file of one")
    return found[0]


def _listed(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(islice(folder.iterdir(), _MOST_FILES)))


def _shows(found: Delivery, mark: re.Pattern[bytes]) -> bool:
    path = found._named(_METADATA, (".xml",))
    if path is None or not path.is_file():
        return False
    with path.open("rb") as file:
        return mark.search(file.read(_HEAD)) is not None
