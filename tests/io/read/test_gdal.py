"""Files that name others, under the names of rasters: nothing of them is read, and nobody is asked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine

from benchmarks.fuzz import listening
from geofuse import open_hsi, open_msi
from geofuse.errors import InvalidCube

PLACE = "<SRS>EPSG:32633</SRS><GeoTransform>384000,30,0,5818000,0,-30</GeoTransform>"
MASK = '<Metadata><MDI key="INTERNAL_MASK_FLAGS_1">2</MDI></Metadata>'


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, list[str]]]:
    """A server, and what it was asked for."""
    with listening() as started:
        yield started


def raster(path: Path, bands: int = 1) -> Path:
    profile = {"driver": "GTiff", "width": 64, "height": 64, "count": bands, "dtype": "uint8", "crs": "EPSG:32633"}
    with rasterio.open(path, "w", **profile, transform=Affine(30, 0, 384000, 0, -30, 5818000)) as file:
        file.write(np.full((bands, 64, 64), 42, "uint8"))
        file.scales = [0.01] * bands
    return path


def raw_vrt(secret: Path) -> str:
    """Shows the bytes of any file as pixels."""
    return (
        f'<VRTDataset rasterXSize="64" rasterYSize="64">{PLACE}<VRTRasterBand dataType="Byte" band="1" subClass="VRTRawRasterBand">'
        f'<Scale>0.01</Scale><SourceFilename relativetoVRT="0">{secret}</SourceFilename><ImageOffset>0</ImageOffset><PixelOffset>1</PixelOffset>'
        "<LineOffset>64</LineOffset></VRTRasterBand></VRTDataset>"
    )


def calling_vrt(address: str) -> str:
    return (
        f'<VRTDataset rasterXSize="64" rasterYSize="64">{PLACE}{MASK}<VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>/vsicurl/{address}/a.tif</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )


def test_a_vrt_is_read_only_where_it_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret, path = tmp_path / "secret", tmp_path / "a.tif"
    secret.write_bytes(b"*" * 4096)
    path.write_text(raw_vrt(secret))
    for verb in (open_hsi, open_msi):
        with pytest.raises(InvalidCube, match=r"formats that may name other files .* VRT.*trust_input=True, --trust-input"):
            verb(path)
    monkeypatch.setenv("GDAL_VRT_RAWRASTERBAND_ALLOWED_SOURCE", "ALL")
    cube = open_msi(path, trust_input=True)
    assert float(cube.compute(scheduler="threads")[0, 0, 0]) == pytest.approx(0.42)  # in other threads too
    with pytest.raises(InvalidCube):
        open_msi(path)  # trust does not outlast its call


@pytest.mark.parametrize("name", ["a.tif", "a.img", "a.jp2", "a"])
def test_nothing_is_fetched(name: str, tmp_path: Path, server: tuple[str, list[str]]) -> None:
    address, asked = server
    contents = (
        calling_vrt(f"{address}/{name}"),  # GDAL remembers what it asked for
        f'<GDAL_WMS><Service name="TMS"><ServerUrl>{address}/${{z}}/${{x}}/${{y}}</ServerUrl></Service></GDAL_WMS>',
        f"<GDAL_WMTS><GetCapabilitiesUrl>{address}/a</GetCapabilitiesUrl></GDAL_WMTS>",
        f"<WCS_GDAL><ServiceURL>{address}/a?</ServiceURL><CoverageName>a</CoverageName></WCS_GDAL>",
        f"<GDALTileIndexDataset><IndexDataset>/vsicurl/{address}/a</IndexDataset></GDALTileIndexDataset>",
    )
    for content in contents:
        (tmp_path / name).write_text(content)
        with pytest.raises(InvalidCube, match="GDAL cannot read it as a raster"):
            open_msi(tmp_path / name)
    assert asked == []
    (tmp_path / name).write_text(contents[0])
    with contextlib.suppress(InvalidCube):
        open_msi(tmp_path / name, trust_input=True)
    assert asked, "the server must be one that can be asked"
    asked.clear()


@pytest.mark.parametrize("suffix", [".msk", ".MsK", ".ovr"])
def test_files_beside_a_raster_are_what_their_names_say(suffix: str, tmp_path: Path, server: tuple[str, list[str]]) -> None:
    address, asked = server
    path = raster(tmp_path / "a.tif")
    (tmp_path / f"a.tif{suffix}").write_text(calling_vrt(address))
    with pytest.raises(InvalidCube, match=rf"a\.tif{suffix} beside it is not a TIFF"):
        open_msi(path)
    assert asked == []


def test_overviews_that_a_tag_names_are_not_opened(tmp_path: Path, server: tuple[str, list[str]]) -> None:
    address, asked = server
    path = raster(tmp_path / "a.tif")
    with rasterio.open(path, "r+") as file:
        file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=f"/vsicurl/{address}/ovr.tif")
    open_msi(path).compute()
    assert asked == []


@pytest.mark.parametrize("driver", ["PNG", "GPKG"])
def test_other_formats_say_how_they_are_opened(driver: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    profile = {"width": 8, "height": 8, "count": 1, "dtype": "uint8", "crs": "EPSG:32633", "transform": Affine(30, 0, 0, 0, -30, 0)}
    with rasterio.open(path, "w", driver=driver, **profile) as file:
        file.write(np.ones((1, 8, 8), "uint8"))
    with pytest.raises(InvalidCube, match="--trust-input"):
        open_msi(path)


class TestHrefs:
    """Of STAC items, which come from anywhere."""

    @pytest.mark.parametrize(
        "href", ["/vsicurl/{0}/a.tif", "NETCDF:{0}/a.nc:x", "MEM:::DATAPOINTER=1", "WMS:{0}/a", "vrt://{0}/a.tif", "zip+{0}"]
    )
    def test_gdals_own_spellings(self, href: str, server: tuple[str, list[str]]) -> None:
        address, asked = server
        with pytest.raises(InvalidCube, match=r"the STAC item names .*expected a path, or an address of https.*--trust-input"):
            open_msi(pystac.Asset(href.format(address), roles=["data"]))
        assert asked == []

    @pytest.mark.parametrize(
        "href", ["file:///etc/passwd", "{0}/a.tif", "http://169.254.169.254/a", "http://[::1]/a", "http://0x7f000001/a"]
    )
    def test_an_item_from_the_network_names_nothing_here(self, href: str, server: tuple[str, list[str]]) -> None:
        address, asked = server
        item = pystac.Item("a", None, None, None, {"datetime": "2024-01-01T00:00:00Z", "start_datetime": "", "end_datetime": ""})
        item.set_self_href("https://example.com/item.json")
        item.add_asset("data", pystac.Asset(href.format(address), roles=["data"]))
        with pytest.raises(InvalidCube, match="a place of this machine or its network"):
            open_msi(item)
        assert asked == []

    def test_an_item_from_here_names_a_file_here(self, tmp_path: Path) -> None:
        raster(tmp_path / "a.tif")
        item = pystac.Item("a", None, None, None, {"datetime": "2024-01-01T00:00:00Z", "start_datetime": "", "end_datetime": ""})
        item.set_self_href(str(tmp_path / "item.json"))
        item.add_asset("data", pystac.Asset("./a.tif", roles=["data"]))
        assert open_msi(item).shape == (1, 64, 64)


def test_a_mask_beside_a_raster_is_still_one(tmp_path: Path) -> None:
    path = raster(tmp_path / "a.tif")
    with rasterio.open(path, "r+") as file, rasterio.Env(GDAL_TIFF_INTERNAL_MASK="NO"):
        mask = np.full((64, 64), 255, "uint8")
        mask[:5] = 0
        file.write_mask(mask)
    assert (tmp_path / "a.tif.msk").is_file()
    assert int(np.isnan(open_msi(path).values).sum()) == 5 * 64
