"""PlanetScope SuperDove scenes of surface reflectance: a GeoTIFF of eight bands, its usable data mask, and the scene's metadata.

Planet, PlanetScope Product Specifications and UDM 2.1. Reflectance is DN / 10000, 0 is nodata.
"""

from __future__ import annotations

import json
from pathlib import Path

from geofuse.errors import InvalidCube
from geofuse.io.read.base import BandHints, MaskPart, Part, Parts, Request
from geofuse.io.read.items import utc_text
from geofuse.io.read.products.folder import leads_to, only_file
from geofuse.io.read.xml import read_xml, text_of

_LARGEST = 2**20  # bytes of metadata
_SUPERDOVE, _NAMESPACE = "PSB.SD", b"planet_product_metadata_geocorrected_level"
_IMAGE, _MASK = "{}_3B_AnalyticMS_SR_8b*.tif", "{}_3B_udm2*.tif"
# Name, centre and FWHM (nm).
_BANDS = (
    *(("coastal_blue", 443, 20), ("blue", 490, 50), ("green_i", 531, 36), ("green", 565, 36), ("yellow", 610, 20), ("red", 665, 31)),
    *(("rededge", 705, 15), ("nir", 865, 40)),
)


class PlanetScopeReader:
    """Scenes by their folder, their metadata, or any image in it."""

    name = "PlanetScope SuperDove"

    def recognises(self, source: str) -> bool:
        """Whether it is such a folder, or a file of one."""
        return leads_to(source, _scenes)

    def describe(self, source: str, request: Request) -> Parts:
        """Name the image, whose bands are those of the specification."""
        scenes = _scenes(Path(source))
        if len(scenes) > 1:
            raise InvalidCube(
                f"the folder holds {len(scenes)} scenes ({', '.join(sorted(scenes)[:3])}, …); give a file of the one that is meant"
            )
        ((scene, metadata),) = scenes.items()
        count = len(_BANDS)
        hints = BandHints(
            [name for name, *_ in _BANDS],
            [centre / 1e3 for _, centre, _ in _BANDS],
            [width / 1e3 for *_, width in _BANDS],
            [1e-4] * count,
            [0.0] * count,
            [0.0] * count,
        )
        given = Path(source).absolute()
        image = given if given.match(_IMAGE.format(scene)) else only_file(metadata.parent, _IMAGE.format(scene), "surface reflectance")
        masked = any(metadata.parent.glob(_MASK.format(scene)))
        masks = (MaskPart(str(only_file(metadata.parent, _MASK.format(scene), "the usable data mask")), "udm2"),) if masked else ()
        about = {"href": str(image), "id": scene, "datetime": utc_text(_acquired(metadata)), "gsd": 3.0}
        return Parts((Part(str(image), hints),), (), about, self.name, masks)

    def files(self, source: str, request: Request) -> list[str]:
        """The metadata, the image and its mask."""
        found = self.describe(source, request)
        return [str(*_scenes(Path(source)).values()), *(part.href for part in found.parts), *(layer.href for layer in found.masks)]


PLANETSCOPE = PlanetScopeReader()


def _scenes(path: Path) -> dict[str, Path]:
    """Scenes of SuperDove that a folder holds, or the one that a file is of: the metadata of each by its name, JSON before XML."""
    folder = path if path.is_dir() else path.absolute().parent
    if not path.is_dir() and path.suffix.lower() not in (".tif", ".json", ".xml"):
        return {}
    found: dict[str, Path] = {}
    for ending, pattern, is_its in (("_metadata.json", "*_metadata.json", _of_json), ("_3B_", "*_3B_AnalyticMS_8b_metadata*.xml", _of_xml)):
        for metadata in sorted(folder.glob(pattern)):
            scene = metadata.name.rpartition(ending)[0]
            named = path.is_dir() or path.name.startswith(f"{scene}_")
            if named and scene not in found and any(folder.glob(_IMAGE.format(scene))) and is_its(metadata):
                found[scene] = metadata
    return found


def _of_json(path: Path) -> bool:
    return _properties(path).get("instrument") == _SUPERDOVE


def _of_xml(path: Path) -> bool:
    with path.open("rb") as file:
        return _NAMESPACE in file.read(4096)


def _properties(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_bytes()) if path.stat().st_size < _LARGEST else None
        properties = found["properties"] if isinstance(found, dict) else {}
        return properties if isinstance(properties, dict) else {}
    except (ValueError, KeyError, RecursionError):
        return {}


def _acquired(metadata: Path) -> str | None:
    if metadata.suffix.lower() == ".json":
        found = _properties(metadata).get("acquired")
        return found if isinstance(found, str) else None
    return text_of(read_xml(metadata), ".//acquisitionDateTime")
