"""A catalog of small items, some with planted faults: crops of the embedded scene, one pair a day."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from geofuse.demo import demo_data

SIDE, EVERY_BAND, NODATA = 16, 9, -99
BANDS = 20
"""Of each hyperspectral crop: every ninth of 177."""
FIRST = dt.datetime(2024, 1, 1, 10, tzinfo=dt.UTC)
_VRT = """<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>
<SourceFilename>/etc/passwd</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"""
# A TIFF of 2^31-1 pixels along each side, in 42 bytes.
_LARGE = b"\x04\0\x01\0\0\0\xff\xff\xff\x7f"
_PETABYTES = b"II*\0\x08\0\0\0\x02\0" + b"\0\x01" + _LARGE + b"\x01\x01" + _LARGE + b"\0\0\0\0"


@dataclass(frozen=True)
class Fault:
    """Something wrong with one hyperspectral item.

    Parameters
    ----------
    name : str
    reason : str
        What stands in the reason of its pair.
    place : str
        Folder of its file, of whose trouble `benchmarks.catalog_server` knows.
    spoil : callable, optional
        Changes the file.
    change : callable, optional
        Changes the asset.
    """

    name: str
    reason: str
    place: str = "plain"
    spoil: Callable[[Path], Any] | None = None
    change: Callable[[dict[str, Any]], Any] | None = None


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _edit(**about: Any) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        with rasterio.open(path, "r+") as file:
            for key, value in about.items():
                setattr(file, key, value)

    return edit


def _empty(path: Path) -> None:
    with rasterio.open(path, "r+") as file:
        file.write(np.full((file.count, file.height, file.width), NODATA, file.dtypes[0]))


def _unreadable(path: Path) -> None:
    with rasterio.open(path, "r+") as file:
        file.update_tags(3, wavelength="greenish")


FAULTS = (
    Fault("truncated TIFF", "truncated", spoil=_cut),
    Fault("wrong CRS", "overlap", spoil=_edit(crs="EPSG:32612")),
    Fault("no raster among the assets", "no raster asset", change=lambda asset: asset.update(roles=["thumbnail"], type="image/png")),
    Fault("404", "404", change=lambda asset: asset.update(href=asset["href"] + ".gone.tif")),
    Fault("wrong checksum", "checksum", change=lambda asset: asset.update({"file:checksum": f"1220{'0' * 64}"})),
    Fault("wrong size", "file:size", change=lambda asset: asset.update({"file:size": 1})),
    Fault("nodata only", "no data", spoil=_empty),
    Fault("wavelength that is no number", "wavelength", spoil=_unreadable),
    Fault("VRT that names a local file", "GDAL cannot read", spoil=lambda path: path.write_text(_VRT)),
    Fault("header that promises petabytes", "damaged", spoil=lambda path: path.write_bytes(_PETABYTES)),
    Fault("address of the network", "--allow-host 10.0.0.1", change=lambda asset: asset.update(href="http://10.0.0.1/a.tif")),
    Fault("redirect to the network", "--allow-host 169.254.169.254", place="away"),
    Fault("slow drip", "too slow", place="drip"),
    Fault("server that stays busy", "503", place="busy"),
    Fault("ranges cut short", "of a range", place="short"),
)


@dataclass(frozen=True)
class Item:
    """A hyperspectral item of the catalog, and what is wrong with it."""

    id: str
    fault: Fault | None


def write_catalog(folder: Path, root: str, count: int, faulty: int) -> list[Item]:
    """Write the files below a folder that is served at ``root``, and ``items.json``; the faulty ones are spread evenly.

    Parameters
    ----------
    folder : pathlib.Path
    root : str
        Address of the folder.
    count, faulty : int
        Items in all, and with a fault.
    """
    planted = {round((k + 0.5) * count / faulty): FAULTS[k % len(FAULTS)] for k in range(faulty)} if faulty else {}
    made, features = [Item(f"h{k:04d}", planted.get(k)) for k in range(count)], []
    for place in {"plain", *(fault.place for fault in FAULTS)}:
        (folder / place).mkdir(parents=True, exist_ok=True)
    data = demo_data()
    with rasterio.open(data.hsi) as coarse, rasterio.open(data.msi) as fine:
        for k, item in enumerate(made):
            place = item.fault.place if item.fault else "plain"
            window = Window(7 * k % (coarse.width - SIDE), 11 * k % (coarse.height - SIDE), SIDE, SIDE)
            hsi, msi = folder / place / f"h{k:04d}.tif", folder / "plain" / f"m{k:04d}.tif"
            _crop(coarse, window, hsi, EVERY_BAND)
            _crop(fine, _around(coarse, window, fine), msi)
            time = FIRST + dt.timedelta(days=k)
            features += [_feature("h", hsi, time, f"{root}/{place}", item.fault, checked=k % 2 == 0)]
            features += [_feature("m", msi, time + dt.timedelta(hours=1), f"{root}/plain", None, checked=k % 2 == 0)]
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return made


def _around(coarse: Any, window: Window, fine: Any) -> Window:
    """The fine pixels around a crop."""
    bounds = rasterio.windows.bounds(window, coarse.transform)
    left, top = ~fine.transform * (bounds[0], bounds[3])
    right, bottom = ~fine.transform * (bounds[2], bounds[1])
    first = max(0, math.floor(left) - 10), max(0, math.floor(top) - 10)
    last = min(fine.width, math.ceil(right) + 10), min(fine.height, math.ceil(bottom) + 10)
    return Window(*first, last[0] - first[0], last[1] - first[1])


def _crop(source: Any, window: Window, path: Path, every: int = 1) -> None:
    bands = list(source.indexes)[::every]
    profile = {"driver": "GTiff", "count": len(bands), "height": window.height, "width": window.width, "dtype": source.dtypes[0]}
    with rasterio.open(path, "w", **profile, nodata=NODATA, crs=source.crs, transform=source.window_transform(window)) as file:
        file.write(source.read(bands, window=window))
        file.descriptions = [source.descriptions[band - 1] for band in bands]
        file.update_tags(**source.tags())
        for number, band in enumerate(bands, start=1):
            file.update_tags(number, **{key: value for key, value in source.tags(band).items() if not key.startswith("STATISTICS")})


def _feature(collection: str, path: Path, time: dt.datetime, root: str, fault: Fault | None, *, checked: bool) -> dict[str, Any]:
    with rasterio.open(path) as file:
        west, south, east, north = transform_bounds(file.crs, "EPSG:4326", *file.bounds)
    if fault and fault.spoil:
        fault.spoil(path)
    asset: dict[str, Any] = {"href": f"{root}/{path.name}", "type": "image/tiff; application=geotiff", "roles": ["data"]}
    if checked:
        asset |= {"file:size": path.stat().st_size, "file:checksum": f"1220{hashlib.sha256(path.read_bytes()).hexdigest()}"}
    if fault and fault.change:
        fault.change(asset)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": path.stem,
        "collection": collection,
        "geometry": {"type": "Polygon", "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]]},
        "bbox": [west, south, east, north],
        "properties": {"datetime": time.isoformat().replace("+00:00", "Z"), "gsd": 30.0 if collection == "h" else 3.6},
        "links": [],
        "assets": {"data": asset},
    }
