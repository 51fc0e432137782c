"""The files of `benchmarks.fuzz`: good ones of every format, and what is done to them; a case's number seeds the generator that spoils it."""

from __future__ import annotations

import json
import random
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.fuzz_spoilt import ODD, claiming_tiff, deep_json, spoilt_bytes, spoilt_tree, spoilt_xml


@dataclass(frozen=True)
class Bases:
    """Good files, of which the cases are made."""

    folder: Path
    address: str
    """Of a server that nobody may ask."""

    def path(self, name: str) -> Path:
        """One of them."""
        return self.folder / name


def make_bases(folder: Path, hsi: Any = None, model: Any = None) -> None:
    """Write the good files: a small hyperspectral cube in every format, and a model; by default of the embedded scene."""
    from importlib.resources import files

    import numpy as np
    import rasterio

    import geofuse
    from geofuse.cube.schema import geobox

    data = Path(str(files("geofuse"))) / "demo" / "data"
    hsi = geofuse.open_hsi(data / "berlin_enmap_30m.tif")[:, 20:36, 20:34] if hsi is None else hsi
    hsi[::30].mossfuse.to_zarr(folder / "a.zarr", progress=False)
    if model is None:
        model = geofuse.fit(hsi, geofuse.open_msi(data / "berlin_hires_3p6m.tif"), method="sylvester", progress=False)
    model.save(folder / "a.safetensors")
    numbers = (hsi[::30].values * 1e4).astype("int16")
    bands, rows, cols = numbers.shape
    profile = {"driver": "GTiff", "width": cols, "height": rows, "count": bands, "dtype": "int16", "nodata": -99, "crs": "EPSG:32633"}
    layouts: tuple[dict[str, Any], ...] = (
        {},
        {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"},
        {"BIGTIFF": "YES"},
    )
    for number, layout in enumerate(layouts):
        with rasterio.open(folder / f"{number}.tif", "w", **profile, **layout, transform=geobox(hsi).affine) as file:
            file.write(numbers)
            file.update_tags(DESCRIPTION="reflectance scaled between 0 and 10000")
            file.descriptions = [f"band {band}" for band in range(bands)]
            for band, wavelength in enumerate(hsi.wavelength.values[::30], start=1):
                file.update_tags(band, wavelength=str(wavelength), fwhm="6", wavelength_units="nm")
    np.asarray(numbers).tofile(folder / "a.img")
    (folder / "a.hdr").write_text(
        f"ENVI\ndescription = {{scaled between 0 and 10000}}\nsamples = {cols}\nlines = {rows}\nbands = {bands}\nheader offset = 0\n"
        "file type = ENVI Standard\ndata type = 2\ninterleave = bsq\nbyte order = 0\nsensor type = EnMAP\nfile compression = 0\n"
        f"wavelength = {{{', '.join(map(str, hsi.wavelength.values[::30]))}}}\nwavelength units = Nanometers\n"
        f"fwhm = {{{', '.join(['6'] * bands)}}}\nbbl = {{{', '.join(['1'] * bands)}}}\ndata ignore value = -99\n"
        f"band names = {{{', '.join(f'band {band}' for band in range(bands))}}}\n"
        "map info = {UTM, 1, 1, 384000, 5818000, 30, 30, 33, North, WGS-84}\nreflectance scale factor = 10000\n"
        'coordinate system string = {PROJCS["WGS 84 / UTM zone 33N",GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],'
        'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]],PROJECTION["Transverse_Mercator"],PARAMETER["latitude_of_origin",0],'
        'PARAMETER["central_meridian",15],PARAMETER["scale_factor",0.9996],PARAMETER["false_easting",500000],PARAMETER["false_northing",0],'
        'UNIT["metre",1]]}\n'
    )
    (folder / "secret.raw").write_bytes(b"*" * 65536)
    make_products(folder)


def make_products(folder: Path) -> None:
    """Write a small delivery of each sensor's product."""
    from geofuse.simulate.products import aviris, desis, emit, enmap, hyperion, landsat, planetscope, prisma, sentinel2, tanager, wyvern

    for name in PRODUCTS:
        (folder / name).mkdir()
    emit.write(folder / "EMIT", rows=16, cols=14, bands=6)
    enmap.write(folder / "EnMAP", rows=32, cols=32)
    aviris.write(folder / "AVIRIS", rows=20, cols=20)
    tanager.write(folder / "Tanager", rows=20, cols=20)
    desis.write(folder / "DESIS", rows=20, cols=20)
    prisma.write(folder / "PRISMA", rows=20, cols=20)
    sentinel2.write(folder / "Sentinel-2", size=240)
    landsat.write(folder / "Landsat", size=24)
    planetscope.write(folder / "PlanetScope", size=24)
    aviris.write_envi(folder / "AVIRIS line", rows=20, cols=20)
    wyvern.write(folder / "Wyvern", rows=20, cols=20)
    hyperion.write(folder / "Hyperion", size=16)


# ---- one maker a format: writes a case, and returns what opens it ----

Opening = Callable[[], Any]


def geotiff(bases: Bases, folder: Path, rng: random.Random) -> Opening:
    """TIFFs with damaged directories, tags and pixels."""
    raw = bases.path(f"{rng.randrange(3)}.tif").read_bytes()
    if rng.random() < 0.05:
        raw = claiming_tiff(
            rng.random() < 0.5, *rng.choice(((2 * 10**9, 2 * 10**9), (2 * 10**9, 1), (1, 2 * 10**9), (10**6, 4000), (10**5, 10**5)))
        )
    elif rng.random() < 0.03:
        shutil.copy(bases.path("0.tif"), folder / "a.tif")
        text = rng.choice(("reflectance" + " " * 200_000, "scaled" + " " * 200_000, "reflectance(" * 20_000, "[" * 200_000))
        (folder / "a.tif.aux.xml").write_text(f'<PAMDataset><Metadata><MDI key="DESCRIPTION">{text}</MDI></Metadata></PAMDataset>')
        return _opening(folder / "a.tif", rng)
    elif rng.random() < 0.15:  # the tags in words
        old = rng.choice((b"nm", b"wavelength", b"<Item", b"sample=", b"reflectance", b"band", b"10000", b"scaled between"))
        new = rng.choice((b"\xfc\xe9\xff", b"nan", b"-1", b"<" * 6, b"&amp;&x;", b"reflectance" + b" " * 200, b"\0\0"))
        raw = raw.replace(old, (new + old)[: len(old)] if rng.random() < 0.5 else new[: len(old)].ljust(len(old)))
    else:
        raw = spoilt_bytes(raw, rng, 600 if rng.random() < 0.7 else None)
    (folder / "a.tif").write_bytes(raw)
    if rng.random() < 0.1:
        raw = f"<PAMDataset><SRS>{rng.choice(ODD)!s}</SRS><Metadata><MDI key='a'>{' ' * 500}</MDI></Metadata></PAMDataset>".encode(
            errors="replace"
        )
        (folder / "a.tif.aux.xml").write_bytes(spoilt_bytes(raw, rng))
    return _opening(folder / "a.tif", rng)


def envi(bases: Bases, folder: Path, rng: random.Random) -> Opening:
    """ENVI files with headers that lie, in any encoding."""
    lines = bases.path("a.hdr").read_text().splitlines()
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(lines))
        key, _, value = lines[at].partition(" = ")
        number = rng.choice(
            ("2000000000", "-5", "0", "x", "1e9", "4294967296", "9" * 5000, "3.5", "", "{", "}", "{1, 2}", "rot-gr\u00fcn", "nan")
        )
        inner = value.strip("{}").split(", ")
        inner[rng.randrange(len(inner))] = number
        changed = rng.choice(
            (number, "{" + ", ".join(inner) + "}", "{" + value, value.rstrip("}"), value * 50, "{" + " " * 2000 + value + "}")
        )
        lines[at] = rng.choice((f"{key} = {changed}", f"{key} = {changed}", f"{key} = {changed}", "", key, f"{lines[at]}\n{lines[at]}"))
    raw = "\n".join(lines).encode(rng.choice(("utf-8", "latin-1", "utf-16")), errors="replace")
    (folder / "a.hdr").write_bytes(spoilt_bytes(raw, rng) if rng.random() < 0.3 else raw)
    pixels = bases.path("a.img").read_bytes()
    (folder / "a.img").write_bytes(pixels[: rng.randrange(len(pixels))] if rng.random() < 0.1 else pixels)
    return _opening(folder / rng.choice(("a.img", "a.hdr")), rng)


def zarr(bases: Bases, folder: Path, rng: random.Random) -> Opening:
    """Zarr stores with odd metadata, and a few with damaged chunks."""
    store = folder / "a.zarr"
    shutil.copytree(bases.path("a.zarr"), store)
    files = sorted(store.rglob("zarr.json"))
    file = rng.choice(files[:1] + [path for path in files if path.parent.parent.name in ("a.zarr", "0")])
    what = rng.random()
    if what < 0.8:
        file.write_text(json.dumps(spoilt_tree(json.loads(file.read_text()), rng)))
    elif what < 0.82:
        file.write_text(deep_json())
    elif what < 0.92:
        file.write_bytes(spoilt_bytes(file.read_bytes(), rng))
    else:
        file = rng.choice([path for path in sorted(store.rglob("*")) if path.is_file()])
        file.write_bytes(spoilt_bytes(file.read_bytes(), rng))
    return _opening(store, rng)


def stac(bases: Bases, folder: Path, rng: random.Random) -> Opening:
    """STAC items whose assets and band lists are not what the specification says."""
    import pystac

    bands = [
        {"name": f"b{i}", "eo:center_wavelength": 0.4 + i / 10, "eo:full_width_half_max": 0.006, "raster:scale": 1e-4} for i in range(6)
    ]
    assets: dict[str, Any] = {
        "data": {"href": str(bases.path("0.tif")), "roles": ["data"], "type": "image/tiff", "bands": bands, "raster:bands": bands[:3]},
        "cog": {
            "href": str(bases.path("1.tif")),
            "roles": ["data"],
            "type": "image/tiff",
            "eo:bands": [{"name": "red", "common_name": "red"}],
        },
        "thumbnail": {"href": "t.png", "roles": ["thumbnail"], "type": "image/png"},
    }
    for key in rng.sample(sorted(assets), rng.randrange(1, 3)) if rng.random() < 0.3 else []:
        del assets[key]
    spoilt = spoilt_tree(assets, rng)
    if rng.random() < 0.2 and isinstance(spoilt, dict):
        href = rng.choice(
            ("/vsicurl/{0}/a.tif", "{0}/a.tif", "/etc/passwd", "WMS:{0}", "NETCDF:/etc/passwd:x", "MEM:::DATAPOINTER=1", "file:///x")
        )
        spoilt["data"] = {**assets.get("data", {"roles": ["data"]}), "href": href.format(bases.address)}
    item: Any = pystac.Item("a", None, None, None, {"datetime": "2024-01-01T00:00:00Z", "start_datetime": "", "end_datetime": ""})
    if rng.random() < 0.1:
        spoilt = {"data": {**assets.get("data", {"roles": ["data"]}), "href": f"{bases.address}/a.tif"}}
        item.set_self_href("https://example.com/item.json")
    wanted = rng.choice((None, None, ["red"], ["data", "cog"], [1], ["b1", "b2"], "none"))

    def made() -> Any:
        known = spoilt if isinstance(spoilt, dict) else {}
        for key, asset in known.items():
            if isinstance(asset, dict) and isinstance(asset.get("href"), str):
                fields = {k: v for k, v in asset.items() if k not in ("href", "roles", "type")}
                item.add_asset(
                    key, pystac.Asset(asset["href"], roles=asset.get("roles"), media_type=asset.get("type"), extra_fields=fields)
                )
        return item

    if rng.random() < 0.1 and isinstance(spoilt, dict) and spoilt:
        return lambda: _read(_open_msi()(next(iter(made().assets.values()), item)))
    return lambda: _read(_open_msi()(made(), bands=wanted))


def model(bases: Bases, folder: Path, rng: random.Random) -> Opening:
    """Models with other tensors, headers and JSON than geofuse writes."""
    raw = bases.path("a.safetensors").read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header, body = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    what = rng.random()
    if what < 0.3:
        names = sorted(set(header) - {"__metadata__"})
        name = rng.choice(names)
        first, stop = header[name]["data_offsets"]
        size = {"F64": 8, "F32": 4}.get(header[name]["dtype"], 8)
        values = bytearray(body)
        at = first + rng.randrange(max((stop - first) // size, 1)) * size
        odd = rng.choice((float("nan"), float("inf"), -float("inf")))
        values[at : at + size] = struct.pack("<d" if size == 8 else "<f", odd)
        body = bytes(values)
    elif what < 0.6:
        plain = json.loads(header["__metadata__"]["model"])
        header["__metadata__"]["model"] = deep_json() if rng.random() < 0.1 else json.dumps(spoilt_tree(plain, rng))
    elif what < 0.85:
        header = spoilt_tree(header, rng)
    if what < 0.85:
        text = json.dumps(header).encode()
        raw = struct.pack("<Q", len(text)) + text + body
    else:
        raw = spoilt_bytes(raw, rng, 8 + length)
    (folder / "a.safetensors").write_bytes(raw)

    def load() -> Any:
        import geofuse

        return repr(geofuse.Model.load(folder / "a.safetensors"))

    return load


def disguised(bases: Bases, folder: Path, rng: random.Random) -> Opening:
    """Files that name other files or addresses, under the names of rasters."""
    secret, away = str(bases.path("secret.raw")), f"{bases.address}/a.tif"
    size = 'rasterXSize="64" rasterYSize="64"'
    place = "<SRS>EPSG:32633</SRS><GeoTransform>384000,30,0,5818000,0,-30</GeoTransform>"
    raw_band = (
        f'<VRTRasterBand dataType="Byte" band="1" subClass="VRTRawRasterBand"><SourceFilename relativetoVRT="0">{secret}</SourceFilename>'
        "<ImageOffset>0</ImageOffset><PixelOffset>1</PixelOffset><LineOffset>64</LineOffset></VRTRasterBand>"
    )
    simple = (
        '<VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename>{0}</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand>"
    )
    vrts = [f"<VRTDataset {size}>{place}{band}</VRTDataset>" for band in (raw_band, simple.format(f"/vsicurl/{away}"), simple.format(away))]
    masking = vrts[1].replace("</VRTDataset>", '<Metadata><MDI key="INTERNAL_MASK_FLAGS_1">2</MDI></Metadata></VRTDataset>')
    others = (
        f'<GDAL_WMS><Service name="TMS"><ServerUrl>{bases.address}/${{z}}/${{x}}/${{y}}.png</ServerUrl></Service><DataWindow><UpperLeftX>0'
        "</UpperLeftX><UpperLeftY>0</UpperLeftY><LowerRightX>9</LowerRightX><LowerRightY>9</LowerRightY><SizeX>64</SizeX><SizeY>64</SizeY>"
        "</DataWindow><BandsCount>1</BandsCount></GDAL_WMS>",
        f"<WMT_MS_Capabilities><OnlineResource href='{away}'/></WMT_MS_Capabilities>",
        f"<GDAL_WMTS><GetCapabilitiesUrl>{away}</GetCapabilitiesUrl></GDAL_WMTS>",
        f"<WCS_GDAL><ServiceURL>{away}?</ServiceURL><CoverageName>a</CoverageName></WCS_GDAL>",
        f"<GDALTileIndexDataset><IndexDataset>/vsicurl/{away}</IndexDataset></GDALTileIndexDataset>",
        '{"type": "FeatureCollection", "stac_version": "1.0.0", "features": [{"type": "Feature", "stac_version": "1.0.0", "properties": '
        f'{{"proj:epsg": 32633}}, "assets": {{"a": {{"href": "{away}", "proj:shape": [64, 64], "proj:transform": [30, 0, 0, 0, -30, 0]}}}}}}]}}',
        f'DatasetHeader Begin\nVersion = "6.0"\nDataFile = "{secret}"\nDataSetType = ERStorage\nDataType = Raster\nByteOrder = LSBFirst\n'
        "RasterInfo Begin\nCellType = Unsigned8BitInteger\nNrOfLines = 64\nNrOfCellsPerLine = 64\nNrOfBands = 1\nRasterInfo End\n"
        "DatasetHeader End\n",
        f"<MRF_META><CachedSource><Source>{away}</Source></CachedSource><Raster><Size x='64' y='64'/></Raster></MRF_META>",
        f'{{".zgroup": "{{\\"zarr_format\\": 2}}", "a/0.0": ["{away}", 0, 100], "b/0.0": ["{secret}", 0, 100]}}',
        f'{{"kerchunk": 1, "version": 1, "refs": {{"a/0": ["{secret}", 0, 9]}}}}',
    )
    text = rng.choice(vrts) if rng.random() < 0.5 else rng.choice(others)
    raw = text.encode()
    if rng.random() < 0.3:
        raw = rng.choice((b"\xef\xbb\xbf", b"\n\n", b"<?xml version='1.0'?>\n", b"<!-- II* -->", b"II*\0", b"ENVI\n")) + raw
    if rng.random() < 0.2:
        raw = spoilt_bytes(raw, rng)
    name = rng.choice(("a.tif", "a.TIF", "a.img", "a.jp2", "a", "a.json", "a.xml"))
    (folder / name).write_bytes(raw)
    if rng.random() < 0.25:  # beside a raster that is one
        shutil.copy(bases.path(f"{rng.randrange(3)}.tif"), folder / "b.tif")
        (folder / ("b.tif" + rng.choice((".msk", ".MSK", ".ovr", ".Msk")))).write_text(rng.choice((masking, vrts[0])))
        name = "b.tif"
    path: Any = folder / name
    return _opening(rng.choice((path, path, path, path, f"file://{path}", f"/vsicurl/file://{path}")), rng)


def product(name: str) -> Callable[[Bases, Path, random.Random], Opening]:
    """Deliveries of a sensor's product with one damaged file, opened by their folder or any of their files."""

    def case(bases: Bases, folder: Path, rng: random.Random) -> Opening:
        shutil.copytree(bases.path(name), folder / "a")
        files = sorted(path for path in (folder / "a").rglob("*") if path.is_file())
        file = rng.choice(files)
        file.write_bytes(_spoilt_file(file, rng))
        return _opening(rng.choice((folder / "a", files[0].parent, *files)), rng)

    return case


def _spoilt_file(file: Path, rng: random.Random) -> bytes:
    """Its content, damaged in a way that its kind invites."""
    raw, kind = file.read_bytes(), file.suffix.lower()
    if kind == ".json" and rng.random() < 0.8:
        return json.dumps(spoilt_tree(json.loads(raw), rng)).encode()
    return spoilt_xml(raw, rng) if kind == ".xml" else spoilt_bytes(raw, rng, rng.choice((None, 4000, 40_000)))


PRODUCTS = (
    "EMIT",
    "EnMAP",
    "DESIS",
    "PRISMA",
    "AVIRIS",
    "Tanager",
    "Sentinel-2",
    "Landsat",
    "PlanetScope",
    "AVIRIS line",
    "Wyvern",
    "Hyperion",
)
FORMATS: dict[str, Callable[[Bases, Path, random.Random], Opening]] = {
    "GeoTIFF": geotiff, "ENVI": envi, "Zarr": zarr, "STAC": stac, "model": model, "disguised": disguised,
} | {name: product(name) for name in PRODUCTS}  # fmt: skip


def _open_msi() -> Any:
    from geofuse import open_msi

    return open_msi


def _opening(path: Any, rng: random.Random) -> Opening:
    import geofuse

    verb = rng.choice((geofuse.open_hsi, geofuse.open_msi))
    return lambda: _read(verb(path))


def _read(cube: Any) -> Any:
    return cube[:, -16:, -16:].values.mean()
