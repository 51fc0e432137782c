"""STAC items and assets as sources: which file to open, and what the item knows about its bands that the file may not say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geofuse.errors import InvalidCube
from geofuse.io.read.metadata import BandHints

if TYPE_CHECKING:
    from pystac import Asset

_NOT_DATA = {"thumbnail", "overview", "metadata", "visual", "data-mask", "cloud", "saturation"}
_RASTER_TYPES = ("image/tiff", "image/vnd.stac.geotiff", "image/jp2", "application/x-hdf", "application/octet-stream")


@dataclass(frozen=True)
class Part:
    """One file to open, and which of its bands (1-based; None for all)."""

    href: str
    hints: BandHints
    indexes: tuple[int, ...] | None = None


def parts_of(source: Any, bands: Sequence[str | int] | None) -> list[Part]:
    """Files that hold the wanted bands of a STAC item or asset.

    Parameters
    ----------
    source : pystac.Item or pystac.Asset
        An asset is taken as it is. Of an item, the only raster asset is; or the one with most bands; or, with ``bands``,
        those whose keys or band names are asked for.
    bands : sequence, optional
        Asset keys, band names or common names; 1-based numbers only where there is one raster asset.

    Returns
    -------
    list of Part
        In the order of ``bands``; one part where all come from one asset.

    Raises
    ------
    InvalidCube
        The item has no raster asset, or does not say which of several is meant.
    """
    if not hasattr(source, "assets"):
        return [_part(source, None)]
    rasters = {key: asset for key, asset in source.assets.items() if _is_raster(asset)}
    if not rasters:
        raise InvalidCube(f"item {source.id} has no raster asset among {sorted(source.assets)}; pass a path or an asset")
    if bands is not None and len(rasters) > 1:
        found = [_find(rasters, band, source.id) for band in bands]
        if len({key for key, _ in found}) == 1:
            return [_part(rasters[found[0][0]], tuple(index for _, index in found))]
        return [_part(rasters[key], (index,)) for key, index in found]
    counts = {key: len(_bands(asset)) or 1 for key, asset in rasters.items()}
    most = [key for key, count in counts.items() if count == max(counts.values())]
    if len(most) > 1:
        raise InvalidCube(f"item {source.id} has several raster assets: {', '.join(rasters)}; pass one of them, or name bands= (open_msi)")
    return [_part(rasters[most[0]], None)]


def _is_raster(asset: Asset) -> bool:
    if _NOT_DATA & set(asset.roles or []):
        return False
    return "data" in (asset.roles or []) or (asset.media_type or "").startswith(_RASTER_TYPES)


def _bands(asset: Asset) -> list[dict[str, Any]]:
    """Return the fields of each band, STAC 1.1 and the older extensions read as one."""
    fields = asset.extra_fields
    columns = [fields.get(key) or [] for key in ("bands", "eo:bands", "raster:bands")]
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
    names = [fields["name"] for asset in rasters.values() for fields in _bands(asset) if "name" in fields]
    known = f"its raster assets are {', '.join(rasters)}" + (f", its bands {', '.join(names)}" if names else "")
    raise InvalidCube(f"item {item} has no band {band!r}; {known}")


def _part(asset: Asset, indexes: tuple[int, ...] | None) -> Part:
    bands = _bands(asset)
    offset_applied = asset.owner is not None and getattr(asset.owner, "properties", {}).get("earthsearch:boa_offset_applied")
    columns = {key: [band.get(key) for band in bands] for key in ("name", "center_wavelength", "full_width_half_max", "scale", "nodata")}
    hints = BandHints(
        names=columns["name"],
        wavelength_um=columns["center_wavelength"],
        fwhm_um=columns["full_width_half_max"],
        scale=columns["scale"],
        offset=[0.0 if offset_applied else band.get("offset") for band in bands],
        nodata=[value if isinstance(value, int | float) else None for value in columns["nodata"]],
    )
    return Part(asset.get_absolute_href() or asset.href, hints, indexes)
