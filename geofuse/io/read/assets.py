"""STAC items and assets as sources: which file to open, and what the item knows about its bands that the file may not say."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from geofuse.cube.masks import is_mask, is_understood
from geofuse.cube.values import REFLECTANCE_SCALE
from geofuse.errors import InvalidCube
from geofuse.io.read.access import current_access, is_here
from geofuse.io.read.base import BandHints, MaskPart, Part
from geofuse.io.read.buckets import SCHEMES
from geofuse.io.read.gdal import is_trusted
from geofuse.io.read.remote import is_remote

if TYPE_CHECKING:
    from pystac import Asset

_NOT_DATA = {"thumbnail", "overview", "metadata", "visual", "data-mask", "cloud", "saturation"}
# Maps of Sentinel-2 that are no reflectance: optical thickness of aerosol, water vapour, true colour.
_DERIVED = {"aot", "wvp", "tci", "visual"}
_RASTER_TYPES = ("image/tiff", "image/vnd.stac.geotiff", "image/jp2", "application/x-hdf", "application/octet-stream")
_SENTINEL2 = ("sentinel-2-l2a", "sentinel-2-c1-l2a")
_BOA_OFFSET = -0.1
_WYVERN, _WYVERN_MASK = "dragonette", "Data Mask"
_STERADIAN = re.compile(r"\bsr\b")
_CORRECT = "correct the item, or open the file itself"
_TRUST = "Where you trust the item: trust_input=True, --trust-input"
_ABSURD = 1e30
_SCHEMES = ("https", "http", *SCHEMES, "file")
# NETCDF:…, MEM:::…, and the like; a single letter is a drive
_GDAL_NAME = re.compile(r"[A-Za-z0-9_+]{2,}:")


def parts_of(source: Any, bands: Sequence[str | int] | None, *, all_bands: bool = False) -> tuple[list[Part], list[str]]:
    """Files that hold the wanted bands of a STAC item or asset, and the names of these bands.

    Parameters
    ----------
    source : pystac.Item or pystac.Asset
        An asset is taken as it is. Of an item, the only raster asset is; or the one with most bands; or, with ``bands``,
        those whose keys or band names are asked for; those of the smallest pixels, where it is one of a catalog that is known (`sensor_of`).
    bands : sequence, optional
        Asset keys, band names or common names; what else `geofuse.cube.bands.positions` understands only where there is one raster asset.
    all_bands : bool
        Of an item with an asset a band take all that show the ground, where ``bands`` does not say which.

    Returns
    -------
    list of Part
        In the order of ``bands``; one part where all come from one asset.
    list of str
        A name a part; empty where one part holds all.

    Raises
    ------
    InvalidCube
        The item has no raster asset, or does not say which of several is meant.
    """
    if not hasattr(source, "assets"):
        return [_part(source, None)], []
    rasters = {key: asset for key, asset in source.assets.items() if _is_raster(asset)}
    if not rasters:
        raise InvalidCube(f"item {source.id} has no raster asset among {sorted(source.assets)}; pass a path or an asset")
    if bands is None and all_bands and len(rasters) > 1:
        bands = _one_a_band(rasters)
    whole = _has_cube(rasters)
    if bands is None and whole is None and sensor_of(source) is not None:
        bands = _finest(rasters)
    if bands is not None and len(rasters) > 1:
        bands = bands_without_masks(bands, source.id)
        try:
            found = [_find(rasters, band, source.id) for band in bands]
        except InvalidCube:
            if whole is None:
                raise
            return [_part(rasters[whole], None)], []  # numbers and ranges, of its bands
        if len({key for key, _ in found}) == 1:
            return [_part(rasters[found[0][0]], tuple(index for _, index in found))], []
        return [_part(rasters[key], (index,)) for key, index in found], [str(band) for band in bands]
    if whole is None:
        raise InvalidCube(
            f"item {source.id} has several raster assets: {', '.join(rasters)}; pass one of them, name bands= (--hsi-bands, --msi-bands), "
            "or take all onto one pixel size with resolution= (--msi-resolution)"
        )
    return [_part(rasters[whole], None)], []


def masks_of(source: Any) -> tuple[MaskPart, ...]:
    """The layers of classes of a STAC item that are understood; none of an asset."""
    assets = getattr(source, "assets", {})
    found = [MaskPart(checked_href(asset), key.lower()) for key, asset in assets.items() if is_understood(key)]
    if _WYVERN_MASK in assets and _is_wyvern(source):
        found.append(MaskPart(checked_href(assets[_WYVERN_MASK]), "wyvern data mask"))
    return tuple(found)


def sensor_of(source: Any) -> str | None:
    """The product that the item of a large public catalog is, by its collection or its platform."""
    collection, properties = getattr(source, "collection_id", None), getattr(source, "properties", None) or {}
    if collection in _SENTINEL2:
        return "Sentinel-2 L2A"
    if _is_wyvern(source):
        return f"Wyvern {properties.get('processing:level') or ''}".strip()
    return "Landsat 8/9 C2 L2" if collection == "landsat-c2-l2" and properties.get("platform") in ("landsat-8", "landsat-9") else None


def _is_wyvern(source: Any) -> bool:
    platform = (getattr(source, "properties", None) or {}).get("platform")
    return isinstance(platform, str) and platform.lower().startswith(_WYVERN)


def bands_without_masks(names: Sequence[Any], where: str) -> list[Any]:
    """The bands that are asked for, or that a file has, without those that are layers of classes by their names, which are said."""
    layers = [str(name) for name in names if is_mask(str(name))]
    if layers and len(layers) < len(names):
        warnings.warn(
            f"{where}: {', '.join(layers)} left out: layers of classes are no bands; give a mask as mask= (--mask) to the fusion",
            UserWarning,
            stacklevel=7,
        )
        return [name for name in names if not is_mask(str(name))]
    return list(names)


def _has_cube(rasters: dict[str, Asset]) -> str | None:
    """The asset that is meant where none is named: the only one, or the one with most bands; None where several hold as many.

    Of those the only one that is called data is, not what was computed beside it.
    """
    shown = {key: asset for key, asset in rasters.items() if key.lower() not in _DERIVED and not is_mask(key)} or rasters
    data = {key: asset for key, asset in shown.items() if "data" in _roles(asset)} or shown
    counts = {key: len(_bands(asset)) or 1 for key, asset in data.items()}
    most = [key for key, count in counts.items() if count == max(counts.values())]
    return most[0] if len(most) == 1 else None


def _one_a_band(rasters: dict[str, Asset]) -> list[str | int]:
    """Keys of the assets that show the ground in one band each: no composites, no layers of classes, each band in one format only."""
    marked = [key for key, asset in rasters.items() if "reflectance" in _roles(asset)]
    known = {key: (_bands(rasters[key]) or [{}]) for key in (marked or rasters)}
    spectral = [key for key, bands in known.items() if any({"center_wavelength", "common_name"} & set(band) for band in bands)]
    chosen: dict[str, str | int] = {}
    for key in spectral or known:
        if len(known[key]) == 1 and not is_mask(key) and key.lower() not in _DERIVED:
            chosen.setdefault(str(known[key][0].get("name", key)), key)
    return list(chosen.values())


def _finest(rasters: dict[str, Asset]) -> list[str | int] | None:
    """Of the assets that show the ground those with the smallest pixels, which lie on one grid; None where one does not say its pixel size."""
    sizes = {key: _pixel_size(rasters[str(key)]) for key in _one_a_band(rasters)}
    if not sizes or None in sizes.values():
        return None
    return [key for key, size in sizes.items() if size == min(filter(None, sizes.values()))]


def _pixel_size(asset: Asset) -> float | None:
    given = [band.get("spatial_resolution") for band in _bands(asset)] + [asset.extra_fields.get("gsd")]
    return next((float(size) for size in given if isinstance(size, int | float) and size > 0), None)


def _roles(asset: Asset) -> list[Any]:
    """Roles of an asset; an item may hold anything there."""
    return list(asset.roles) if isinstance(asset.roles, list | tuple) else []


def _is_raster(asset: Asset) -> bool:
    roles = _roles(asset)
    if any(role in _NOT_DATA for role in roles if isinstance(role, str)):
        return False
    return "data" in roles or (isinstance(asset.media_type, str) and asset.media_type.startswith(_RASTER_TYPES))


def _bands(asset: Asset) -> list[dict[str, Any]]:
    """Return the fields of each band, STAC 1.1 and the older extensions read as one.

    Raises
    ------
    InvalidCube
        What stands there is no list of objects.
    """
    keys = ("bands", "eo:bands", "raster:bands")
    columns = [[] if (listed := asset.extra_fields.get(key)) is None else listed for key in keys]
    for key, column in zip(keys, columns, strict=True):
        if not isinstance(column, list) or not all(isinstance(band, dict) for band in column):
            raise InvalidCube(f"{key} of the STAC asset {_name(asset)} is no list of objects, one a band; {_CORRECT}")
    bands: list[dict[str, Any]] = [{} for _ in range(max(map(len, columns)))]
    for column in columns:
        for band, given in zip(bands, column, strict=False):
            band.update({key.removeprefix("eo:").removeprefix("raster:"): value for key, value in given.items()})
    return bands


def _find(rasters: dict[str, Asset], band: str | int, item: str) -> tuple[str, int]:
    """Return the asset that holds a band, and the band's number in it."""
    if band in rasters:
        return str(band), 1
    for key, asset in rasters.items():
        for index, fields in enumerate(_bands(asset), start=1):
            if band in (fields.get("name"), fields.get("common_name")):
                return key, index
    names = [name for asset in rasters.values() for fields in _bands(asset) if isinstance(name := fields.get("name"), str)]
    known = f"its raster assets are {', '.join(rasters)}" + (f", its bands {', '.join(names)}" if names else "")
    raise InvalidCube(f"item {item} has no band {band!r}; {known}")


def _part(asset: Asset, indexes: tuple[int, ...] | None) -> Part:
    bands = _bands(asset)
    _reject_radiance(asset, bands)
    properties = {} if asset.owner is None else getattr(asset.owner, "properties", None) or {}

    def column(key: str) -> list[float | None]:
        return [_number(asset, band, key) for band in bands]

    hints = BandHints(
        names=[name if isinstance(name := band.get("name"), str) else None for band in bands],
        wavelength_um=column("center_wavelength"),
        fwhm_um=column("full_width_half_max"),
        scale=column("scale"),
        offset=column("offset"),
        nodata=[value if isinstance(value := band.get("nodata"), int | float) else None for band in bands],
    )
    return Part(checked_href(asset), _as_sentinel2(hints, properties, bands), indexes)


def _reject_radiance(asset: Asset, bands: Sequence[Mapping[str, Any]]) -> None:
    """Reject an asset whose unit is one of radiance, per steradian."""
    unit = next((unit for band in bands if isinstance(unit := band.get("unit"), str) and _STERADIAN.search(unit)), None)
    if unit is not None:
        raise InvalidCube(
            f"the STAC asset {_name(asset)} holds radiance ({unit[:40]}); expected surface reflectance: take the product of level 2, or correct it "
            "for the atmosphere first"
        )


def _as_sentinel2(hints: BandHints, properties: Mapping[str, Any], bands: Sequence[Mapping[str, Any]]) -> BandHints:
    """The hints with the offset of Sentinel-2, applied exactly once.

    Since processing baseline 04.00 reflectance is (DN - 1000) / 10000 (S2-PDGS-TAS-DI-PSD). Earth Search v1 declares the offset also where it has
    taken it out of the pixels, and says so; Planetary Computer leaves the pixels as they are and declares neither scale nor offset.
    """
    if properties.get("earthsearch:boa_offset_applied"):
        return replace(hints, offset=[0.0] * len(bands))
    try:
        shifted = float(properties["s2:processing_baseline"]) >= 4
    except (KeyError, TypeError, ValueError):
        return hints
    spectral = len(bands) == 1 and {"center_wavelength", "common_name"} & set(bands[0])
    if spectral and hints.scale[0] is None:
        hints = replace(hints, scale=[REFLECTANCE_SCALE], offset=[_BOA_OFFSET], nodata=[0])
    return hints if shifted else replace(hints, offset=[0.0] * len(bands))


def _number(asset: Asset, band: dict[str, Any], key: str) -> float | None:
    value = band.get(key)
    if value is None:
        return None
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _ABSURD else math.nan
    if math.isnan(number):
        raise InvalidCube(f"{key} of a band of the STAC asset {_name(asset)} is {str(value)[:80]!r}, which is no number; {_CORRECT}")
    return number


def _name(asset: Asset) -> str:
    return repr(str(asset.href)[-80:])


def checked_href(asset: Asset) -> str:
    """Where the file of an asset lies, if the item may name it.

    Raises
    ------
    InvalidCube
        One of GDAL's own spellings, which open what they like; or, in an item that came from the network, a place of this machine or its
        network. `geofuse.io.read.gdal.trusting` lets both in.
    """
    if not isinstance(asset.href, str):
        raise InvalidCube(f"the href of a STAC asset is {str(asset.href)[:80]!r}, which is no address; {_CORRECT}")
    href = asset.get_absolute_href() or asset.href
    access = current_access()
    if is_trusted():
        return href if access is None else access.patched(href)
    scheme = href.partition("://")[0] if "://" in href else ""
    if (not scheme and _GDAL_NAME.match(href)) or (scheme and scheme.lower() not in _SCHEMES) or "/vsi" in href[:5]:
        raise InvalidCube(f"the STAC item names {href!r}; expected a path, or an address of {', '.join(_SCHEMES)}. {_TRUST}")
    if access is not None:
        access.check(href)
        return href if is_remote(href) else access.patched(href)  # else it is signed for each request
    base = getattr(asset.owner, "get_self_href", lambda: None)() if asset.owner is not None else None
    if isinstance(base, str) and "://" in base and not is_here(base) and (is_here(href) or "://" not in href):
        raise InvalidCube(f"the STAC item at {base} names {href!r}, a place of this machine or its network. {_TRUST}")
    return href
