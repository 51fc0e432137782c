"""Landsat 8 and 9 Collection 2 Level-2 products: a folder of GeoTIFFs with the metadata file ``*_MTL.json`` or ``*_MTL.txt``.

Landsat 8-9 Collection 2 (C2) Level 2 Science Product (L2SP) Guide, LSDS-1619: reflectance is DN x 0.0000275 - 0.2, 0 is fill. Centres
and widths are those of OLI's responses: Barsi et al. 2014, doi:10.3390/rs61010232 (those of OLI-2 are within a nanometre).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from geofuse.cube.bands import BandTable, positions
from geofuse.errors import InvalidCube
from geofuse.io.read.base import BandHints, MaskPart, Part, Parts, Request
from geofuse.io.read.items import utc_text
from geofuse.io.read.products.folder import leads_to, only_file

_LARGEST = 2**20  # bytes of metadata; real ones have 15 kB
_ROOT, _OLI = "LANDSAT_METADATA_FILE", ("LANDSAT_8", "LANDSAT_9")
# Name, name in STAC catalogs, centre and FWHM (nm).
_BANDS = (
    ("SR_B1", "coastal", 442.96, 15.98),
    ("SR_B2", "blue", 482.04, 60.04),
    ("SR_B3", "green", 561.41, 57.33),
    ("SR_B4", "red", 654.59, 37.47),
    ("SR_B5", "nir08", 864.67, 28.25),
    ("SR_B6", "swir16", 1608.86, 84.72),
    ("SR_B7", "swir22", 2200.73, 186.66),
)
_TABLE = BandTable.make([name for name, *_ in _BANDS], [row[2] for row in _BANDS], [row[3] for row in _BANDS])
_COMMON = {common: name for name, common, *_ in _BANDS} | {name.removeprefix("SR_").lower(): name for name, *_ in _BANDS}
_SCALING = "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"
_GROUPS = ("PRODUCT_CONTENTS", "IMAGE_ATTRIBUTES", _SCALING)
Groups = dict[str, dict[str, str]]
_MASKS = ("QA_PIXEL", "QA_RADSAT")


class LandsatReader:
    """Products by their folder, their metadata, or any image in them."""

    name = "Landsat 8/9 C2 L2"

    def recognises(self, source: str) -> bool:
        """Whether it is such a folder, or a file of one."""
        return leads_to(source, lambda path: any(map(_is_oli, _metadata_of(path))))

    def describe(self, source: str, request: Request) -> Parts:
        """Name the images of surface reflectance."""
        found = [path for path in _metadata_of(Path(source)) if _is_oli(path)]
        products = sorted({_product(path) for path in found})
        if len(products) > 1:
            raise InvalidCube(
                f"the folder holds {len(products)} products ({', '.join(products[:3])}, …); give a file of the one that is meant"
            )
        metadata, folder = _parsed(found[0]), found[0].parent
        taken = metadata["IMAGE_ATTRIBUTES"]
        names = request.bands if request.bands is None else [_COMMON.get(b.lower(), b) if isinstance(b, str) else b for b in request.bands]
        chosen = range(len(_BANDS)) if names is None else positions(_TABLE, names)
        parts = [
            Part(str(only_file(folder, f"{products[0]}_{_TABLE.names[k]}.TIF", _TABLE.names[k])), _hints(metadata, k), (1,)) for k in chosen
        ]
        masks = [folder / f"{products[0]}_{mask}.TIF" for mask in _MASKS]
        return Parts(
            tuple(parts),
            tuple(_TABLE.names[k] for k in chosen),
            {
                "href": str(Path(source).absolute()),
                "id": products[0],
                "datetime": utc_text(f"{taken.get('DATE_ACQUIRED', '')}T{taken.get('SCENE_CENTER_TIME', '')}"),
                "gsd": 30.0,
            },
            self.name,
            tuple(
                MaskPart(str(only_file(folder, path.name, name)), name.lower())
                for path, name in zip(masks, _MASKS, strict=True)
                if path.exists()
            ),
        )

    def files(self, source: str, request: Request) -> list[str]:
        """The metadata and the images of the bands."""
        metadata = next(str(path) for path in _metadata_of(Path(source)) if _is_oli(path))
        found = self.describe(source, request)
        return [metadata, *(part.href for part in found.parts), *(layer.href for layer in found.masks)]


LANDSAT = LandsatReader()


def _product(metadata: Path) -> str:
    return metadata.name.rpartition("_MTL.")[0]


def _metadata_of(path: Path) -> list[Path]:
    """Metadata files that a folder holds, or those of the product that a file is of; JSON first."""
    folder = path if path.is_dir() else path.absolute().parent
    if not path.is_dir() and path.suffix.lower() not in (".tif", ".json", ".txt", ".xml"):
        return []
    found = sorted(folder.glob("*_MTL.json")) + sorted(folder.glob("*_MTL.txt"))
    return [each for each in found if path.is_dir() or path.name.startswith(_product(each) + "_")]


def _is_oli(metadata: Path) -> bool:
    """Whether it describes surface reflectance of OLI."""
    try:
        known = _parsed(metadata)
    except InvalidCube:
        return False
    return known["IMAGE_ATTRIBUTES"].get("SPACECRAFT_ID") in _OLI and known["PRODUCT_CONTENTS"].get("PROCESSING_LEVEL", "").startswith(
        "L2S"
    )


def _parsed(path: Path) -> Groups:
    """The groups that are read, by name; a group that is missing is empty."""
    if path.stat().st_size > _LARGEST:
        raise InvalidCube(f"{path.name} has {path.stat().st_size / 1e6:.0f} MB; expected the metadata of one product")
    text = path.read_bytes().decode("utf-8", errors="replace")
    found = _of_json(path, text) if path.suffix.lower() == ".json" else _of_odl(text)
    return {group: found.get(group, {}) for group in _GROUPS}


def _of_json(path: Path, text: str) -> Groups:
    try:
        groups = json.loads(text)[_ROOT]
        return {name: {key: value for key, value in group.items() if isinstance(value, str)} for name, group in groups.items()}
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        raise InvalidCube(f"{path.name} is no metadata file of Landsat ({_ROOT}); fetch the product again") from None


def _of_odl(text: str) -> Groups:
    """Lines ``KEY = VALUE`` after the line ``GROUP = NAME`` that they belong to."""
    groups: Groups = {}
    group: dict[str, str] = {}
    for line in text.splitlines() if _ROOT in text[:200] else []:
        key, equals, value = (part.strip() for part in line.partition("="))
        if key == "GROUP":
            group = groups.setdefault(value, {})
        elif equals:
            group.setdefault(key, value.strip('"'))
    return groups


def _hints(metadata: Groups, band: int) -> BandHints:
    def number(key: str) -> float:
        try:
            value = float(metadata[_SCALING][f"REFLECTANCE_{key}_BAND_{band + 1}"])
        except (KeyError, ValueError):
            value = float("nan")
        if not np.isfinite(value) or (key == "MULT" and value <= 0):
            raise InvalidCube(f"its metadata give no number for REFLECTANCE_{key}_BAND_{band + 1}; fetch the product again")
        return value

    row: dict[str, Any] = {
        "names": _TABLE.names[band],
        "wavelength_um": _TABLE.wavelength[band] / 1e3,
        "fwhm_um": _TABLE.fwhm[band] / 1e3,
        "scale": number("MULT"),
        "offset": number("ADD"),
        "nodata": 0.0,
    }
    return BandHints(**{key: [value] for key, value in row.items()})
