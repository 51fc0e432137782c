"""Sentinel-2 Level-2A products in the SAFE format: a folder with ``MTD_MSIL2A.xml`` and one tile of JPEG 2000 files.

Sentinel-2 Products Specification Document (S2-PDGS-TAS-DI-PSD).
Reflectance is (DN + BOA_ADD_OFFSET) / BOA_QUANTIFICATION_VALUE; the offset, -1000, came with processing baseline 04.00.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from geofuse.cube.bands import BandTable, positions
from geofuse.errors import InvalidCube
from geofuse.io.read.base import BandHints, MaskPart, Part, Parts, Request
from geofuse.io.read.items import utc_text
from geofuse.io.read.products.folder import contained, leads_to, only_file
from geofuse.io.read.xml import number_of, read_xml, text_of

_METADATA, _ROOT = "MTD_MSIL2A.xml", b"Level-2A_User_Product"
_HEAD, _DEPTH = 4096, 5  # bytes that hold the root element; folders between the metadata and an image
_CHARACTERISTICS = "General_Info/Product_Image_Characteristics"
_FINE = 20.0  # m: bands that are taken where a pixel size is asked for; those of 60 m show the atmosphere
# Names of bands in STAC catalogs.
_COMMON = {
    **{"coastal": "B01", "blue": "B02", "green": "B03", "red": "B04", "rededge1": "B05", "rededge2": "B06", "rededge3": "B07"},
    **{"nir": "B08", "nir08": "B8A", "nir09": "B09", "swir16": "B11", "swir22": "B12"},
}


@dataclass(frozen=True)
class Bands:
    """Bands of a product: names and wavelengths, and per band the pixel size (m), scale and offset of the stored numbers."""

    table: BandTable
    resolution: tuple[float, ...]
    scale: float
    offset: tuple[float, ...]


class Sentinel2Reader:
    """Products by their folder, their metadata, or any image in them."""

    name = "Sentinel-2 L2A"

    def recognises(self, source: str) -> bool:
        """Whether it is such a folder, or a file of one."""
        return leads_to(source, _root_of)

    def describe(self, source: str, request: Request) -> Parts:
        """Name the images that hold the bands: those of 10 m; where a pixel size is asked for, those of 10 and 20 m."""
        root = _root_of(Path(source))
        assert root is not None  # it was recognised
        metadata = read_xml(root / _METADATA)
        bands, images = bands_of(metadata), _images(root)
        chosen = _chosen(bands, request)
        size = {k: f"{bands.resolution[k]:g}m" for k in chosen}
        return Parts(
            tuple(Part(str(_image(images, bands.table.names[k], size[k])), _hints(bands, k), (1,)) for k in chosen),
            tuple(bands.table.names[k] for k in chosen),
            {
                "href": str(root),
                "id": Path(text_of(metadata, "General_Info/Product_Info/PRODUCT_URI") or root.name).stem,
                "datetime": utc_text(text_of(metadata, "General_Info/Product_Info/PRODUCT_START_TIME")),
                "gsd": min(bands.resolution[k] for k in chosen),
            },
            self.name,
            _masks(images),
        )

    def files(self, source: str, request: Request) -> list[str]:
        """The metadata and the images of the bands."""
        found = self.describe(source, request)
        return [str(Path(found.about["href"]) / _METADATA), *(part.href for part in found.parts), *(layer.href for layer in found.masks)]


SENTINEL2 = Sentinel2Reader()


def _root_of(path: Path) -> Path | None:
    """The folder of the product that a path is, or lies in."""
    inside = [path] if path.is_dir() else list(path.absolute().parents)[:_DEPTH] if path.suffix.lower() in (".xml", ".jp2", ".safe") else []
    for folder in inside:
        if (folder / _METADATA).is_file():
            with (folder / _METADATA).open("rb") as file:
                return folder if _ROOT in file.read(_HEAD) else None
    return None


def bands_of(metadata: Element) -> Bands:
    """What the metadata of a product say of its bands.

    Raises
    ------
    InvalidCube
        They name no band, or numbers that are none.
    """
    quantification = number_of(metadata, f"{_CHARACTERISTICS}/QUANTIFICATION_VALUES_LIST/BOA_QUANTIFICATION_VALUE")
    if not 0 < quantification < np.inf:
        raise InvalidCube(f"its metadata give a BOA_QUANTIFICATION_VALUE of {quantification:g}; expected 10000, fetch the product again")
    listed = metadata.findall(f"{_CHARACTERISTICS}/Spectral_Information_List/Spectral_Information")
    # B10 is used up in the atmospheric correction
    known = {name: element for element in listed if (name := _name(element.get("physicalBand", ""))) != "B10"}
    if not known or "" in known:
        raise InvalidCube("its metadata name no bands (Spectral_Information_List); fetch the product again")
    offsets = {element.get("band_id"): number_of(element, ".") for element in metadata.iter("BOA_ADD_OFFSET")}
    centre = [number_of(element, "Wavelength/CENTRAL") for element in known.values()]
    return Bands(
        BandTable.make(list(known), centre, [_fwhm(element) for element in known.values()]),
        tuple(number_of(element, "RESOLUTION") for element in known.values()),
        1 / quantification,
        tuple(offsets.get(element.get("bandId"), 0.0) / quantification for element in known.values()),
    )


def _name(physical: str) -> str:
    """B2 → B02, as the files are named."""
    number = physical.removeprefix("B")
    return f"B{number.zfill(2)}" if number else ""


def _fwhm(element: Element) -> float:
    """Width (nm) of the part of the response above one half; of the whole band where the response is not given."""
    values = np.array((text_of(element, "Spectral_Response/VALUES") or "0").split(), dtype=str)
    try:
        response, step = values.astype(float), float(text_of(element, "Spectral_Response/STEP") or 1)
    except ValueError:
        raise InvalidCube("its metadata give a spectral response that is no list of numbers; fetch the product again") from None
    above = np.flatnonzero(response >= response.max() / 2)
    if response.max() > 0:
        return float((above[-1] - above[0] + 1) * step)
    return number_of(element, "Wavelength/MAX") - number_of(element, "Wavelength/MIN")


def _chosen(bands: Bands, request: Request) -> list[int]:
    if request.bands is not None:
        return positions(bands.table, [_COMMON.get(band.lower(), band) if isinstance(band, str) else band for band in request.bands])
    coarsest = min(bands.resolution) if request.resolution is None else max(_FINE, request.resolution)
    return [k for k, size in enumerate(bands.resolution) if size <= coarsest]


def _hints(bands: Bands, band: int) -> BandHints:
    row: dict[str, Any] = {
        "names": bands.table.names[band],
        "wavelength_um": bands.table.wavelength[band] / 1e3,
        "fwhm_um": bands.table.fwhm[band] / 1e3,
        "scale": bands.scale,
        "offset": bands.offset[band],
        "nodata": 0.0,
    }
    return BandHints(**{key: [value] for key, value in row.items()})


def _images(root: Path) -> Path:
    """The folder of the images of the one tile."""
    found = sorted(root.glob("GRANULE/*/IMG_DATA"))
    if len(found) != 1:
        raise InvalidCube(f"the product holds {len(found)} tiles (GRANULE/*/IMG_DATA); expected one, as products since December 2016 do")
    return contained(found[0], root)


def _masks(images: Path) -> tuple[MaskPart, ...]:
    """The scene classification, where the product has one."""
    return (MaskPart(str(_image(images, "SCL", "20m")), "scl"),) if any(images.glob("R20m/*_SCL_20m.jp2")) else ()


def _image(images: Path, band: str, size: str) -> Path:
    return only_file(contained(images / f"R{size}", images), f"*_{band}_{size}.jp2", band)
