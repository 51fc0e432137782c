"""The STAC item of a fused raster: what it is, where it lies, what it was made from, and how good it is.

Everything about the raster is read back from the written file, so the item describes what is on disk and not what was meant.
Hrefs of sources are recorded and never opened.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
import pystac
from numpy.typing import NDArray

from geofuse.cube.sources import pixel_size_m, utc
from geofuse.errors import InvalidCube, InvalidOutput
from geofuse.io.read.fingerprint import content_size, file_sha256, local_name
from geofuse.io.write.base import Written
from geofuse.io.write.formats import format_of
from geofuse.redact import redact, redacted
from geofuse.reporting.plain import to_plain
from geofuse.stac.attribution import UNKNOWN, Attribution
from geofuse.stac.bands import band_fields
from geofuse.stac.footprint import footprint
from geofuse.stac.mlm import MLM_EXTENSION, MODEL_ASSET, MODEL_ROLES, model_properties
from geofuse.stac.renders import renders

EXTENSIONS = (
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
)
_RENDER_EXTENSION = "https://stac-extensions.github.io/render/v2.0.0/schema.json"
_EO_EXTENSION = "https://stac-extensions.github.io/eo/v2.0.0/schema.json"
_ZARR_EXTENSION = "https://stac-extensions.github.io/zarr/v1.1.0/schema.json"
_ZARR = "application/vnd.zarr; version=3; profile=multiscales"

_MEDIA_TYPES = {
    ".tif": pystac.MediaType.COG,
    ".tiff": pystac.MediaType.COG,
    ".json": pystac.MediaType.JSON,
    ".html": pystac.MediaType.HTML,
    ".png": pystac.MediaType.PNG,
    ".jpg": pystac.MediaType.JPEG,
    ".safetensors": "application/vnd.safetensors",
    ".zarr": _ZARR,
}
_ROLES = {
    "report": ["metadata"],
    "overview": ["overview"],
    "thumbnail": ["thumbnail"],
    "uncertainty": ["uncertainty"],
    "quality": ["data-mask", "metadata"],
    "model": MODEL_ROLES,
}


@dataclass(frozen=True)
class Source:
    """A raster that the product was made from.

    Parameters
    ----------
    href : str
        Path or URL of the raster, or of its item; empty where that is not known.
    role : {"hsi", "msi"}
        What it gave: the bands, or the pixels.
    title : str, optional
        For people.
    gsd : float, optional
        Native pixel size in metres.
    datetime : datetime.datetime, optional
        When it was acquired; taken as UTC if it has no time zone.
    item_href : str, optional
        Its own STAC item, which is what the link then points at.
    id : str, optional
        Of its item, or its own.
    """

    href: str
    role: Literal["hsi", "msi"]
    title: str | None = None
    gsd: float | None = None
    datetime: dt.datetime | None = None
    item_href: str | None = None
    id: str | None = None

    @classmethod
    def known(cls, role: Literal["hsi", "msi"], about: Mapping[str, Any], title: str | None = None) -> Source:
        """A source by what a cube says of it; see `geofuse.cube.sources.source_of`."""
        time = dt.datetime.fromisoformat(about["datetime"]) if "datetime" in about else None
        return cls(about.get("href", ""), role, title, about.get("gsd"), time, id=about.get("id"))


@dataclass(frozen=True)
class Processing:
    """How the product was made.

    Parameters
    ----------
    method : str
        The fusion method that ran, such as "gem".
    lineage : sequence of str
        One sentence for each stage.
    level : str
        "L4" by default: derived from several measurements.
    software : mapping of str to str
        Name → version; geofuse itself by default.
    datetime : datetime.datetime
        When it was made; now by default.
    parameters : mapping
        Plain values that the user decided.
    """

    method: str
    lineage: Sequence[str] = ()
    level: str = "L4"
    software: Mapping[str, str] = field(default_factory=lambda: {"geofuse": version("geofuse")})
    datetime: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC).replace(microsecond=0))
    parameters: Mapping[str, Any] = field(default_factory=dict)


def make_item(
    raster: str | Path,
    processing: Processing,
    *,
    item_path: str | Path | None = None,
    sources: Sequence[Source] = (),
    quality: Mapping[str, Any] | None = None,
    datetime: dt.datetime | tuple[dt.datetime, dt.datetime] | None = None,
    assets: Mapping[str, str | Path] | None = None,
    collection: pystac.Collection | None = None,
    elsewhere: bool = False,
    valid: NDArray[np.bool_] | None = None,
    attribution: Attribution = UNKNOWN,
) -> pystac.Item:
    """Describe a written raster as a STAC 1.1 item.

    Parameters
    ----------
    raster : path
        The written GeoTIFF or Zarr store; CRS, grid, band table, nodata, scale, offset and statistics are read from it.
    processing : Processing
        Method, lineage, level, software and time.
    item_path : path, optional
        Where the item will be written; `raster` with the suffix .json by default. Asset hrefs are relative to it.
    sources : sequence of Source
        What it was made from, as `derived_from` links. The item's `gsd` is the HSI's native pixel size: fusion does not
        measure at the fine one, which stands in `raster:spatial_resolution`.
    quality : mapping, optional
        Plain values to publish as `geofuse:<key>`; values that are None or not finite are left out.
    datetime : datetime or pair of datetimes, optional
        When the scene was acquired, or start and end. Without it: the sources' times, the file's own tag, or at last the
        processing time; `geofuse:datetime_source` says which.
    assets : mapping of str to path, optional
        Further files beside the raster: "report", "report_html", "overview", "thumbnail", "uncertainty", "quality", "model".
    collection : pystac.Collection, optional
        The collection that the item belongs to; it must have a self href.
    elsewhere : bool
        The item goes to another machine: sources that are files here are named, without a path that leads nowhere there.
    valid : ndarray of bool, optional
        Where there is data (see `geofuse.stac.footprint.thinned`): the geometry is the outline of that, else of the whole grid.
    attribution : Attribution
        Licence and providers of the sources.

    Returns
    -------
    pystac.Item
        With its self href set; `write_item` writes it.

    Raises
    ------
    geofuse.errors.InvalidCube
        If the raster cannot be read or has no CRS, or a further asset does not exist.
    """
    raster = Path(raster)
    path = Path(item_path) if item_path is not None else raster.with_suffix(".json")
    written = format_of(raster).describe(raster)
    when = _datetime_properties(datetime, sources, written.tags, processing)
    geometry, bbox = footprint(written.geobox, valid)
    shown, model = renders(written), (assets or {}).get("model")
    item = pystac.Item(
        id=raster.stem,
        geometry=geometry,
        bbox=bbox,
        datetime=when.pop("datetime"),
        properties=when
        | _gsd(sources)
        | _projection(written)
        | _processing(processing)
        | _quality(quality or {})
        | attribution.fields
        | ({"renders": shown} if shown else {})
        | (model_properties(Path(model), processing.method, len(written.bands), to_plain(processing.parameters)) if model else {}),
        stac_extensions=_extensions(written, shown, model),
    )
    item.set_self_href(str(path.resolve()))  # hrefs are relative to it
    fields = band_fields(written, pixel_size_m(written.geobox))
    item.add_asset("data", _asset(raster, path, ["data", "reflectance"], "Fused surface reflectance", fields))
    if written.variable:
        item.add_link(pystac.Link("store", _relative(raster, path), _ZARR, "Zarr store"))
    for key, file in (assets or {}).items():
        kind = key.partition("_")[0]
        about = MODEL_ASSET if key == "model" else None
        item.add_asset(key, _asset(Path(file), path, _ROLES.get(kind, ["metadata"]), key.replace("_", " ").capitalize(), about))
    for source in (s for s in sources if s.item_href or s.href):
        item.add_link(_source_link(source, path, elsewhere))
    for link in attribution.links:
        item.add_link(pystac.Link.from_dict(link))
    if collection is not None:
        item.set_collection(collection)
    return item


def _extensions(written: Written, shown: Mapping[str, Any], model: Any) -> list[str]:
    spectral = bool(np.isfinite([*written.table.wavelength, *written.table.fwhm]).any())
    further = {_RENDER_EXTENSION: shown, MLM_EXTENSION: model, _ZARR_EXTENSION: written.variable}
    return [*([_EO_EXTENSION] if spectral else []), *EXTENSIONS, *(extension for extension, used in further.items() if used)]


def write_item(item: pystac.Item, path: str | Path | None = None) -> Path:
    """Write an item as JSON, complete or not at all; the same item gives the same bytes.

    Parameters
    ----------
    item : pystac.Item
        From `make_item`.
    path : path, optional
        Where to write; the item's self href by default. It must be the `item_path` that the item was made for,
        or the relative hrefs point elsewhere.

    Returns
    -------
    pathlib.Path
        The written file.

    Raises
    ------
    geofuse.errors.InvalidOutput
        If the folder does not exist or cannot be written to.
    """
    target = Path(path if path is not None else str(item.self_href))
    # an item is published; what opens a private file must not travel in it
    made = redacted(item.to_dict(include_self_link=False, transform_hrefs=False))
    for link in made["links"]:
        if link["rel"] == "collection":  # both may be moved together
            link["href"] = source_href(link["href"], target)
    text = json.dumps(made, indent=2, ensure_ascii=False, allow_nan=False)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text + "\n")
        part.replace(target)
    except OSError as error:
        raise InvalidOutput(
            f"Cannot write the STAC item {target}: {error.strerror}. Expected a folder that exists and can be written to; choose another."
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return target


def _projection(written: Written) -> dict[str, Any]:
    authority, box = written.crs.to_authority(), written.geobox
    crs = {"proj:code": ":".join(authority)} if authority else {"proj:code": None, "proj:wkt2": written.crs.to_wkt(version="WKT2_2019")}
    return crs | {
        "proj:shape": list(box.shape),
        "proj:transform": list(box.affine)[:6],
        "proj:bbox": list(box.boundingbox.bbox),
    }


def _gsd(sources: Sequence[Source]) -> dict[str, float]:
    native = next((source.gsd for source in sources if source.role == "hsi" and source.gsd), None)
    return {"gsd": native} if native else {}


def _processing(processing: Processing) -> dict[str, Any]:
    made = {
        "created": _rfc3339(processing.datetime),
        "processing:datetime": _rfc3339(processing.datetime),
        "processing:level": processing.level,
        "processing:software": dict(processing.software),
        "geofuse:method": processing.method,
    }
    made |= {"processing:lineage": " ".join(processing.lineage)} if processing.lineage else {}
    return made | ({"geofuse:parameters": to_plain(processing.parameters)} if processing.parameters else {})


def _quality(quality: Mapping[str, Any]) -> dict[str, Any]:
    return {f"geofuse:{key}": value for key, value in to_plain(quality).items() if value is not None}


def _datetime_properties(
    given: dt.datetime | tuple[dt.datetime, dt.datetime] | None, sources: Sequence[Source], tags: Mapping[str, str], processing: Processing
) -> dict[str, Any]:
    """`datetime` (None beside a range), its range if there is one, and where the time comes from."""
    if isinstance(given, tuple):
        return {"datetime": None, **_range(given), "geofuse:datetime_source": "argument"}
    if given is not None:
        return {"datetime": utc(given), "geofuse:datetime_source": "argument"}
    dated = sorted((s for s in sources if s.datetime), key=lambda s: s.role)  # the HSI first: its light is what is shown
    if dated:
        times = [utc(s.datetime) for s in dated if s.datetime]
        spread = _range((min(times), max(times))) if len(set(times)) > 1 else {}
        return {"datetime": times[0], **spread, "geofuse:datetime_source": dated[0].role}
    try:
        tagged = dt.datetime.strptime(tags["TIFFTAG_DATETIME"], "%Y:%m:%d %H:%M:%S")
    except (KeyError, ValueError):
        return {"datetime": utc(processing.datetime), "geofuse:datetime_source": "processing"}
    return {"datetime": utc(tagged), "geofuse:datetime_source": "TIFFTAG_DATETIME"}


def _range(times: tuple[dt.datetime, dt.datetime]) -> dict[str, str]:
    return {"start_datetime": _rfc3339(times[0]), "end_datetime": _rfc3339(times[1])}


def _rfc3339(time: dt.datetime) -> str:
    return utc(time).isoformat().replace("+00:00", "Z")


def _asset(file: Path, item_path: Path, roles: list[str], title: str, fields: Mapping[str, Any] | None = None) -> pystac.Asset:
    if not file.exists():
        raise InvalidCube(f"The asset {file} does not exist. Write it before the item that describes it.")
    about: dict[str, Any] = {"file:size": content_size(file)}
    if file.is_dir():
        # without a checksum: file:checksum is that of one file, and for a folder nobody has agreed on any
        about |= {"zarr:consolidated": True, "zarr:node_type": "group", "zarr:zarr_format": 3}
    else:
        about["file:checksum"] = f"1220{file_sha256(file)}"  # a multihash: 0x12 says sha2-256, 0x20 says 32 bytes
    about |= fields or {}
    media_type = _MEDIA_TYPES.get(file.suffix.lower())
    return pystac.Asset(_relative(file, item_path), title=title, media_type=media_type, roles=roles, extra_fields=about)


def _relative(file: Path, item_path: Path) -> str:
    try:
        href = os.path.relpath(file.resolve(), item_path.resolve().parent).replace(os.sep, "/")
    except ValueError:  # another drive
        return file.resolve().as_uri()
    return href if href.startswith("../") else f"./{href}"


def _source_link(source: Source, item_path: Path, elsewhere: bool) -> pystac.Link:
    href = source.item_href or source.href
    suffix = Path(urlsplit(href).path).suffix.lower()
    media_type = pystac.MediaType.GEOTIFF if suffix in (".tif", ".tiff") else None
    if source.item_href is not None or suffix in (".json", ".geojson"):
        media_type = pystac.MediaType.GEOJSON
    link = pystac.Link("derived_from", source_href(href, item_path, elsewhere=elsewhere), media_type, source.title)
    link.extra_fields["geofuse:role"] = source.role
    if source.id:
        link.extra_fields["geofuse:id"] = source.id
    return link


def source_href(href: str, item_path: Path, *, elsewhere: bool = False) -> str:
    """What an item says of the place of a source: a file by its path from the item, an address without what opens a private file."""
    for prefix, replacement in (("/vsicurl/", ""), ("/vsis3/", "s3://"), ("/vsigs/", "gs://")):
        href = replacement + href.removeprefix(prefix) if href.startswith(prefix) else href
    if "://" in href and not href.startswith("file://"):
        return redact(href).partition("#")[0]
    file = Path(local_name(href)).expanduser()
    return file.name if elsewhere else _relative(file, item_path)
