"""The item says what is on disk, validates offline, and today's readers see every band."""

from __future__ import annotations

import copy
import datetime as dt
import hashlib
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.transform import from_origin

import geofuse
from geofuse.errors import InvalidCube, InvalidOutput
from geofuse.stac import Processing, Source, make_item, write_item
from geofuse.stac.attribution import Attribution
from geofuse.stac.footprint import footprint, thinned

Errors = Callable[[dict[str, Any]], list[str]]
MADE = Processing("gem", ["Estimated the shift.", "Solved for the coefficients."], datetime=dt.datetime(2025, 3, 1, 12, tzinfo=dt.UTC))
FLIGHT = dt.datetime(2009, 8, 20)
WAVELENGTHS_NM = [460.0, 552.5, 650.0, 850.0, 2200.0]
FWHM_NM = [5.8, 5.8, 6.0, 7.5, 9.0]


@pytest.fixture
def cog(tmp_path: Path) -> Path:
    """Write a COG of five bands at 3.6 m with tags, scale, nodata and statistics, by rasterio alone."""
    path = tmp_path / "fused scene.tif"
    values = np.random.default_rng(1).integers(100, 4000, (5, 32, 48)).astype("int16")
    values[:, :4] = -99
    flat = tmp_path / "flat.tif"
    profile = {"driver": "GTiff", "count": 5, "height": 32, "width": 48, "dtype": "int16", "nodata": -99, "crs": "EPSG:32633"}
    with rasterio.open(flat, "w", transform=from_origin(383469.97, 5818303.55, 3.6, 3.6), **profile) as out:
        out.write(values)
        out.scales, out.offsets = (0.0001,) * 5, (0.0,) * 5
        for band, (wavelength, fwhm) in enumerate(zip(WAVELENGTHS_NM, FWHM_NM, strict=True), start=1):
            out.set_band_description(band, f"{wavelength:.2f} nm")
            valid = values[band - 1][values[band - 1] != -99].astype(float)
            statistics = {"MINIMUM": valid.min(), "MAXIMUM": valid.max(), "MEAN": valid.mean(), "STDDEV": valid.std()}
            out.update_tags(band, wavelength=wavelength, fwhm=fwhm, wavelength_units="Nanometers")
            out.update_tags(band, **{f"STATISTICS_{key}": value for key, value in statistics.items()})
    with rasterio.open(flat) as source, rasterio.open(path, "w", driver="COG", **_creation(source)) as out:
        out.write(source.read())
        out.scales, out.offsets, out.descriptions = source.scales, source.offsets, source.descriptions
        for band in source.indexes:
            out.update_tags(band, **source.tags(band))
    flat.unlink()
    return path


def _creation(source: rasterio.DatasetReader) -> dict[str, Any]:
    return {key: source.profile[key] for key in ("count", "height", "width", "dtype", "nodata", "crs", "transform")}


@pytest.fixture
def item(cog: Path) -> pystac.Item:
    sources = [Source("/data/enmap.tif", "hsi", "EnMAP", 30.0, FLIGHT), Source(str(cog.parent / "hymap.tif"), "msi", "HyMap", 3.6, FLIGHT)]
    quality = {"shift_px": np.array([-0.9, -0.7]), "psf_sigma_px": np.float32(3.5), "hsi_rel_rmse": float("nan"), "best": "gem"}
    return make_item(cog, MADE, sources=sources, quality=quality)


def as_dict(item: pystac.Item) -> dict[str, Any]:
    return item.to_dict(include_self_link=False, transform_hrefs=False)


# --- it validates, and the validation can fail -------------------------------------------------------------------------------


def test_item_validates_with_the_core_schema_and_every_declared_extension(item: pystac.Item, validate: Errors) -> None:
    assert len(item.stac_extensions) == 6
    assert validate(as_dict(item)) == []


def test_item_of_the_embedded_scene_validates(berlin: tuple[Path, Path], tmp_path: Path, validate: Errors) -> None:
    described = as_dict(make_item(berlin[0], MADE, item_path=tmp_path / "item.json", datetime=FLIGHT))
    assert validate(described) == []
    assert len(described["assets"]["data"]["bands"]) == 177


def _data(item: dict[str, Any]) -> dict[str, Any]:
    return item["assets"]["data"]


BREAKAGES: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "no time at all": ("item.json", lambda i: i["properties"].update(datetime=None)),
    "no bbox": ("item.json", lambda i: i.pop("bbox")),
    "unknown data type": ("item.json", lambda i: _data(i)["bands"][0].update(data_type="short")),
    "collection without link": ("item.json", lambda i: i.update(collection="fused")),
    "wavelength as text": ("/eo/", lambda i: _data(i)["bands"][0].update({"eo:center_wavelength": "460 nm"})),
    "bands of eo 1": ("/eo/", lambda i: _data(i).update({"eo:bands": []})),
    "bands of raster 1": ("/raster/", lambda i: _data(i).update({"raster:bands": []})),
    "scale as text": ("/raster/", lambda i: _data(i)["bands"][0].update({"raster:scale": "1e-4"})),
    "three-dimensional shape": ("/projection/", lambda i: i["properties"]["proj:shape"].append(5)),
    "EPSG number as code": ("/projection/", lambda i: i["properties"].update({"proj:code": 32633})),
    "PROJJSON, which we never write": ("/projection/", lambda i: i["properties"].update({"proj:projjson": {"type": "GeographicCRS"}})),
    "checksum in upper case": ("/file/", lambda i: _data(i).update({"file:checksum": "1220ABCD"})),
    "negative size": ("/file/", lambda i: _data(i).update({"file:size": -1})),
    "software without a name": ("/processing/", lambda i: i["properties"].update({"processing:software": "geofuse 0.1.0"})),
    "local processing time": ("/processing/", lambda i: i["properties"].update({"processing:datetime": "2025-03-01T12:00:00+01:00"})),
    "invented processing field": ("/processing/", lambda i: i["properties"].update({"processing:mood": "good"})),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_broken_item_fails_the_schema_that_is_broken(name: str, item: pystac.Item, validate: Errors) -> None:
    schema, break_it = BREAKAGES[name]
    broken = copy.deepcopy(as_dict(item))
    break_it(broken)
    errors = validate(broken)
    assert errors
    assert all(schema in error for error in errors)


def test_extensions_are_declared_at_their_current_versions(item: pystac.Item) -> None:
    """Current in November 2026, by the lists of releases of https://github.com/stac-extensions."""
    assert {uri.split(".io/")[1].removesuffix("/schema.json") for uri in item.stac_extensions} == {
        "eo/v2.0.0",
        "file/v2.1.0",
        "processing/v1.2.0",
        "projection/v2.0.0",
        "raster/v2.0.0",
        "render/v2.0.0",
    }


def test_without_any_wavelength_the_eo_extension_is_not_declared(tmp_path: Path, validate: Errors) -> None:
    path = tmp_path / "unknown.tif"
    with rasterio.open(path, "w", driver="GTiff", count=2, dtype="float32", height=8, width=8, crs="EPSG:32633") as out:
        out.write(np.ones((2, 8, 8), "float32"))
    described = as_dict(make_item(path, MADE))
    assert not any("/eo/" in uri for uri in described["stac_extensions"])
    assert validate(described) == []


# --- it says what is on disk ---------------------------------------------------------------------------------------------------


def test_bands_tell_wavelengths_in_micrometres_values_and_statistics(item: pystac.Item, cog: Path) -> None:
    data = _data(as_dict(item))
    for index, band in enumerate(data["bands"]):
        assert band["name"] == f"{WAVELENGTHS_NM[index]:.2f} nm"
        assert band["eo:center_wavelength"] == pytest.approx(WAVELENGTHS_NM[index] / 1000, abs=1e-7)
        assert band["eo:full_width_half_max"] == pytest.approx(FWHM_NM[index] / 1000, abs=1e-7)
        assert (band["data_type"], band["nodata"], band["unit"]) == ("int16", -99, "1")
        assert (band["raster:scale"], band["raster:offset"], band["raster:spatial_resolution"]) == (0.0001, 0.0, 3.6)
        with rasterio.open(cog) as dataset:
            valid = dataset.read(index + 1, masked=True).compressed()
        assert band["statistics"]["mean"] == pytest.approx(valid.mean())
        assert band["statistics"]["maximum"] == valid.max()


def test_wavelengths_in_micrometres_and_unknown_ones(berlin: tuple[Path, Path], tmp_path: Path) -> None:
    micrometres, unknown = tmp_path / "micrometres.tif", tmp_path / "unknown.tif"
    shutil.copy(berlin[1], micrometres)
    with rasterio.open(micrometres, "r+") as out:
        for band in out.indexes:
            out.update_tags(band, wavelength="0.4843", fwhm="0.0148", wavelength_units="Micrometers")
    with rasterio.open(unknown, "w", driver="GTiff", count=2, dtype="float32", height=8, width=8, crs="EPSG:32633") as out:
        out.write(np.ones((2, 8, 8), "float32"))
    blue, dark = (_data(as_dict(make_item(path, MADE)))["bands"][0] for path in (micrometres, unknown))
    assert blue["eo:center_wavelength"] == pytest.approx(0.4843)
    assert blue["eo:full_width_half_max"] == pytest.approx(0.0148)
    assert (dark["name"], dark["description"]) == ("B001", "Reflectance, wavelength unknown")
    assert "eo:center_wavelength" not in dark
    assert "nodata" not in dark


def test_grid_crs_and_footprint(item: pystac.Item, cog: Path) -> None:
    with rasterio.open(cog) as dataset:
        assert item.properties["proj:transform"] == list(dataset.transform)[:6]
        assert item.properties["proj:bbox"] == list(dataset.bounds)
        assert item.properties["proj:shape"] == [32, 48]
        left, bottom, right, top = dataset.bounds
    assert item.properties["proj:code"] == "EPSG:32633"
    assert "proj:wkt2" not in item.properties
    to_lonlat = Transformer.from_crs(32633, 4326, always_xy=True)
    corners = [to_lonlat.transform(x, y) for x in (left, right) for y in (bottom, top)]
    lon, lat = zip(*corners, strict=True)
    assert item.bbox == pytest.approx([min(lon), min(lat), max(lon), max(lat)], abs=2e-7)


def test_crs_without_a_code_is_written_as_wkt2(berlin: tuple[Path, Path], tmp_path: Path, validate: Errors) -> None:
    path = tmp_path / "local.tif"
    shutil.copy(berlin[1], path)
    with rasterio.open(path, "r+") as out:
        out.crs = "+proj=laea +lat_0=52.5 +lon_0=13.3 +datum=WGS84 +units=m"
    item = make_item(path, MADE)
    assert item.properties["proj:code"] is None
    assert item.properties["proj:wkt2"].startswith("PROJCRS")
    assert validate(as_dict(item)) == []


def test_pixel_size_of_a_grid_in_degrees_is_given_in_metres(tmp_path: Path) -> None:
    path = tmp_path / "degrees.tif"
    grid = GeoBox.from_bbox((13, 59.9, 13.2, 60.1), "EPSG:4326", resolution=0.01)
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "height": 20, "width": 20, "crs": "EPSG:4326"}
    with rasterio.open(path, "w", transform=grid.transform, **profile) as out:
        out.write(np.ones((1, 20, 20), "float32"))
    resolution = _data(as_dict(make_item(path, MADE)))["bands"][0]["raster:spatial_resolution"]
    # At 60°N one degree of latitude is 111.4 km and one of longitude half that (WGS 84: 55.80 km).
    assert resolution == pytest.approx((1114.1 + 558.0) / 2, rel=1e-3)


def test_size_and_checksum_are_those_of_the_file(item: pystac.Item, cog: Path) -> None:
    content = cog.read_bytes()
    assert item.assets["data"].extra_fields["file:size"] == len(content)
    assert item.assets["data"].extra_fields["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()


def test_quality_is_plain_and_unknown_values_are_left_out(item: pystac.Item) -> None:
    assert item.properties["geofuse:shift_px"] == [-0.9, -0.7]
    assert item.properties["geofuse:psf_sigma_px"] == 3.5
    assert item.properties["geofuse:best"] == "gem"
    assert "geofuse:hsi_rel_rmse" not in item.properties


def test_processing_names_software_level_time_and_lineage(item: pystac.Item) -> None:
    assert set(item.properties["processing:software"]) == {"geofuse"}
    assert item.properties["processing:lineage"] == "Estimated the shift. Solved for the coefficients."
    assert item.properties["processing:datetime"] == "2025-03-01T12:00:00Z"
    assert item.properties["geofuse:method"] == "gem"


def test_gsd_stays_the_native_one_of_the_hyperspectral_source(item: pystac.Item) -> None:
    assert item.properties["gsd"] == 30.0


# --- times -----------------------------------------------------------------------------------------------------------------------


def test_time_of_the_sources_is_that_of_the_hyperspectral_one_with_the_range_of_both(cog: Path) -> None:
    sources = [Source("b.tif", "msi", datetime=FLIGHT + dt.timedelta(days=2)), Source("a.tif", "hsi", datetime=FLIGHT)]
    item = make_item(cog, MADE, sources=sources)
    assert item.datetime == FLIGHT.replace(tzinfo=dt.UTC)
    assert item.properties["start_datetime"] == "2009-08-20T00:00:00Z"
    assert item.properties["end_datetime"] == "2009-08-22T00:00:00Z"
    assert item.properties["geofuse:datetime_source"] == "hsi"


def test_time_given_wins_and_is_converted_to_utc(cog: Path) -> None:
    berlin_time = dt.timezone(dt.timedelta(hours=2))
    item = make_item(cog, MADE, sources=[Source("a.tif", "hsi", datetime=FLIGHT)], datetime=dt.datetime(2010, 1, 1, 12, tzinfo=berlin_time))
    assert item.datetime == dt.datetime(2010, 1, 1, 10, tzinfo=dt.UTC)
    assert item.properties["geofuse:datetime_source"] == "argument"


def test_time_range_gives_null_datetime(cog: Path, validate: Errors) -> None:
    item = make_item(cog, MADE, datetime=(FLIGHT, FLIGHT + dt.timedelta(hours=1)))
    assert as_dict(item)["properties"]["datetime"] is None
    assert validate(as_dict(item)) == []


@pytest.mark.parametrize(
    ("tag", "expected", "source"),
    [
        ("2009:08:20 11:30:00", dt.datetime(2009, 8, 20, 11, 30, tzinfo=dt.UTC), "TIFFTAG_DATETIME"),
        ("last summer", MADE.datetime, "processing"),
        (None, MADE.datetime, "processing"),
    ],
)
def test_time_falls_back_to_the_file_and_then_to_processing(
    tag: str | None, expected: dt.datetime, source: str, berlin: tuple[Path, Path], tmp_path: Path
) -> None:
    path = tmp_path / "tagged.tif"
    shutil.copy(berlin[1], path)
    if tag:
        with rasterio.open(path, "r+") as out:
            out.update_tags(TIFFTAG_DATETIME=tag)
    item = make_item(path, MADE)
    assert (item.datetime, item.properties["geofuse:datetime_source"]) == (expected, source)


# --- how to show it --------------------------------------------------------------------------------------------------------------


def test_composites_name_their_bands_and_stretch_them(item: pystac.Item, cog: Path) -> None:
    shown = item.properties["renders"]
    assert {key: render["bidx"] for key, render in shown.items()} == {"true_colour": [3, 2, 1], "cir": [4, 3, 2], "swir": [5, 4, 3]}
    names = [band["name"] for band in _data(as_dict(item))["bands"]]
    with rasterio.open(cog) as dataset:
        for render in shown.values():
            assert [[names[band - 1] for band in render["bidx"]]] == render["bands"]
            for band, (low, high) in zip(render["bidx"], render["rescale"], strict=True):
                values = dataset.read(band, masked=True).compressed()
                assert low < np.median(values) < high
                assert low >= 0


def test_without_bands_near_its_colours_there_is_no_composite(tmp_path: Path) -> None:
    path = tmp_path / "infrared.tif"
    with rasterio.open(path, "w", driver="GTiff", count=3, dtype="float32", height=8, width=8, crs="EPSG:32633") as out:
        out.write(np.ones((3, 8, 8), "float32"))
        for band, nm in enumerate((850.0, 1600.0, 2200.0), start=1):
            out.update_tags(band, wavelength=nm, wavelength_units="Nanometers")
    assert "renders" not in make_item(path, MADE).properties


def test_rio_tiler_shows_it_as_the_item_says(item: pystac.Item, cog: Path) -> None:
    """It reads STAC items for titiler; by the numbers of the bands, and by their names."""
    rio_tiler = pytest.importorskip("rio_tiler", minversion="9.0")
    from rio_tiler.io import STACReader

    render = item.properties["renders"]["swir"]
    with STACReader(str(write_item(item))) as reader, rasterio.open(cog) as dataset:
        shown = [reader.preview(assets=[{"name": "data"} | by]) for by in ({"indexes": render["bidx"]}, {"bands": render["bands"][0]})]
        for image in shown:
            np.testing.assert_array_equal(image.array, dataset.read(render["bidx"], masked=True))
        shown[0].rescale(render["rescale"])
        assert shown[0].array.dtype == np.uint8
    assert rio_tiler


# --- the model -------------------------------------------------------------------------------------------------------------------


def test_the_model_is_described_by_its_file(cog: Path, tmp_path: Path, validate: Errors) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "m.safetensors"
    save_file({"response.matrix": np.ones((4, 5)), "fitted.basis": np.ones((5, 3))}, path)
    processing = Processing("gem", parameters={"seed": 3, "srf": "auto"})
    item = as_dict(make_item(cog, processing, assets={"model": path}, datetime=FLIGHT))
    assert validate(item) == []
    about = item["properties"]
    assert about["mlm:total_parameters"] == 35
    assert about["mlm:memory_size"] == path.stat().st_size
    assert [side["input"]["shape"][0] for side in about["mlm:input"]] == [5, 4]
    assert about["mlm:hyperparameters"] == about["geofuse:parameters"] == {"seed": 3, "srf": "auto"}
    asset = item["assets"]["model"]
    assert "mlm:model" in asset["roles"]
    assert asset["mlm:artifact_type"] == "safetensors.numpy.save_file"
    del asset["mlm:artifact_type"]
    assert any("/mlm/" in error for error in validate(item))


# --- who made the sources --------------------------------------------------------------------------------------------------------


def test_licence_and_providers_of_the_sources(cog: Path, validate: Errors) -> None:
    links = ({"rel": "license", "href": "https://example.com/licence"},)
    known = Attribution("CC-BY-4.0", ({"name": "ESA", "roles": ["producer"]},), links)
    item = as_dict(make_item(cog, MADE, datetime=FLIGHT, attribution=known))
    assert validate(item) == []
    assert item["properties"]["license"] == "CC-BY-4.0"
    assert [(each["name"], each["roles"]) for each in item["properties"]["providers"]] == [
        ("ESA", ["producer"]),
        ("geofuse", ["processor"]),
    ]
    assert {link["href"] for link in item["links"] if link["rel"] == "license"} == {"https://example.com/licence"}
    assert "license" not in make_item(cog, MADE, datetime=FLIGHT).properties


# --- hrefs -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("href", "expected"),
    [
        ("{folder}/hsi.tif", "./hsi.tif"),
        ("{folder}/in/hsi.tif", "./in/hsi.tif"),
        ("{folder}/../elsewhere/hsi.tif", "../elsewhere/hsi.tif"),
        ("file://{folder}/in/hsi.tif", "./in/hsi.tif"),
        ("s3://bucket/hsi.tif", "s3://bucket/hsi.tif"),
        ("/vsis3/bucket/hsi.tif", "s3://bucket/hsi.tif"),
        ("/vsicurl/https://host/hsi.tif", "https://host/hsi.tif"),
        ("https://me:secret@host/hsi.tif?version=2&X-Amz-Signature=abc&sig=d", "https://host/hsi.tif?version=2"),
    ],
)
def test_sources_are_linked_without_secrets(href: str, expected: str, cog: Path) -> None:
    item = make_item(cog, MADE, sources=[Source(href.format(folder=cog.parent), "hsi", "EnMAP")])
    (link,) = as_dict(item)["links"]
    assert (link["rel"], link["href"], link["geofuse:role"]) == ("derived_from", expected, "hsi")


def test_an_item_for_another_machine_names_files_without_their_folders(cog: Path) -> None:
    sources = [Source("/data/private/hsi.tif", "hsi"), Source("s3://bucket/in/msi.tif", "msi")]
    links = as_dict(make_item(cog, MADE, sources=sources, elsewhere=True))["links"]
    assert [link["href"] for link in links] == ["hsi.tif", "s3://bucket/in/msi.tif"]


def test_no_path_of_the_machine_is_in_an_item(item: pystac.Item, cog: Path) -> None:
    assert str(cog.parent) not in json.dumps(as_dict(item))


def test_source_with_its_own_item_is_linked_by_it(cog: Path) -> None:
    source = Source("https://host/hsi.tif", "hsi", item_href="https://host/hsi.json")
    (link,) = as_dict(make_item(cog, MADE, sources=[source]))["links"]
    assert (link["href"], link["type"]) == ("https://host/hsi.json", "application/geo+json")


def test_assets_are_relative_also_from_another_folder(cog: Path, tmp_path: Path) -> None:
    picture = tmp_path / "overview.png"
    picture.write_bytes(b"png")
    item = make_item(cog, MADE, item_path=tmp_path / "stac" / "item.json", assets={"overview": picture})
    assets = as_dict(item)["assets"]
    assert assets["data"]["href"] == "../fused scene.tif"
    overview = assets["overview"]
    assert (overview["href"], overview["roles"], overview["type"]) == ("../overview.png", ["overview"], "image/png")
    assert overview["file:size"] == 3


# --- writing and reading ---------------------------------------------------------------------------------------------------------


def test_written_item_is_read_by_pystac_and_leads_to_the_pixels(item: pystac.Item, cog: Path) -> None:
    path = write_item(item)
    assert path == cog.with_suffix(".json")
    read = pystac.Item.from_file(str(path))
    assert read.ext.proj.code == "EPSG:32633"
    bands = read.assets["data"].to_dict()["bands"]
    assert [band["eo:center_wavelength"] for band in bands] == pytest.approx([w / 1000 for w in WAVELENGTHS_NM])
    assert [band["raster:scale"] for band in bands] == [0.0001] * 5
    with rasterio.open(read.assets["data"].get_absolute_href()) as dataset:
        assert dataset.count == 5


def test_same_item_gives_the_same_bytes(item: pystac.Item, tmp_path: Path) -> None:
    first = write_item(item, tmp_path / "a.json").read_bytes()
    assert write_item(pystac.Item.from_dict(json.loads(first)), tmp_path / "b.json").read_bytes() == first


def test_failure_leaves_the_old_item_and_no_part(item: pystac.Item, tmp_path: Path) -> None:
    target = tmp_path / "out" / "item.json"
    target.parent.mkdir()
    write_item(item, target)
    before = target.read_bytes()
    item.properties["geofuse:broken"] = float("nan")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_item(item, target)
    assert [(path.name, path.read_bytes()) for path in target.parent.iterdir()] == [("item.json", before)]


def test_missing_folder_is_rejected(item: pystac.Item, tmp_path: Path) -> None:
    with pytest.raises(InvalidOutput, match="Expected a folder that exists"):
        write_item(item, tmp_path / "nowhere" / "item.json")


def test_what_cannot_be_described_is_rejected(berlin: tuple[Path, Path], cog: Path, tmp_path: Path) -> None:
    truncated = tmp_path / "truncated.tif"
    truncated.write_bytes(berlin[1].read_bytes()[:100])
    with pytest.raises(InvalidCube, match="written completely"):
        make_item(truncated, MADE)
    bare = tmp_path / "bare.tif"
    with rasterio.open(bare, "w", driver="GTiff", count=1, dtype="uint8", height=2, width=2) as out:
        out.write(np.ones((1, 2, 2), "uint8"))
    with pytest.raises(InvalidCube, match="no coordinate reference system"):
        make_item(bare, MADE)
    with pytest.raises(InvalidCube, match="does not exist"):
        make_item(cog, MADE, assets={"report": tmp_path / "report.json"})


def test_odc_stac_loads_every_band(item: pystac.Item, cog: Path) -> None:
    """By number: odc-stac 0.5 takes names from the eo extension of before version 2 only."""
    odc_stac = pytest.importorskip("odc.stac")
    loaded = odc_stac.load([pystac.Item.from_file(str(write_item(item)))])
    assert list(loaded.data_vars) == [f"data.{band}" for band in range(1, 6)]
    with rasterio.open(cog) as dataset:
        for band, name in enumerate(loaded.data_vars, start=1):
            np.testing.assert_array_equal(loaded[name].squeeze().values, dataset.read(band))


# --- Zarr stores -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(cog: Path) -> Path:
    """The same cube as a store."""
    return Path(geofuse.to_zarr(geofuse.open_hsi(cog), cog.with_suffix(".zarr"), progress=False))


def test_item_of_a_store_says_what_that_of_the_cog_says(cog: Path, store: Path, validate: Errors) -> None:
    about_cog, about_store = (as_dict(make_item(path, MADE, datetime=FLIGHT)) for path in (cog, store))
    assert validate(about_store) == []
    assert about_store["geometry"] == about_cog["geometry"]
    assert about_cog["properties"].pop("renders")
    assert about_store["properties"] == about_cog["properties"]
    for mine, theirs in zip(_data(about_store)["bands"], _data(about_cog)["bands"], strict=True):
        assert mine.pop("nodata") == -32768
        theirs.pop("nodata")
        assert mine.pop("statistics")["mean"] == pytest.approx(theirs.pop("statistics")["mean"])
        assert mine | {"name": theirs["name"]} == theirs
    assert _data(about_store)["bands"][1]["name"] == "reflectance[band=552.50 nm]"


def test_asset_of_a_store(store: Path, validate: Errors) -> None:
    item = as_dict(make_item(store, MADE, datetime=FLIGHT, assets={"uncertainty": store}))
    asset = _data(item)
    assert asset["href"] == "./fused scene.zarr"
    assert asset["type"] == "application/vnd.zarr; version=3; profile=multiscales"
    assert asset["file:size"] == sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    assert "file:checksum" not in asset
    assert (asset["zarr:zarr_format"], asset["zarr:node_type"], asset["zarr:consolidated"]) == (3, "group", True)
    assert item["assets"]["uncertainty"]["zarr:zarr_format"] == 3
    assert [link["href"] for link in item["links"] if link["rel"] == "store"] == ["./fused scene.zarr"]
    asset["zarr:zarr_format"] = 4
    assert any("/zarr/" in error for error in validate(item))


def test_geofuse_opens_a_store_by_its_item(cog: Path, store: Path) -> None:
    item = pystac.Item.from_file(str(write_item(make_item(store, MADE, datetime=FLIGHT))))
    cube = geofuse.open_hsi(item)
    assert cube.drop_vars("time").equals(geofuse.open_hsi(store))
    assert cube.time.values == np.datetime64(FLIGHT, "ns"), "the item knows it"
    assert geofuse.open_msi(item, bands=["552.50 nm"]).band.values.tolist() == ["552.50 nm"]


# --- footprints anywhere -----------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    zone=st.integers(1, 60),
    south=st.booleans(),
    easting=st.floats(200_000, 800_000),
    northing=st.floats(500_000, 9_000_000),
    pixel=st.sampled_from([0.3, 3.6, 30.0]),
    rows=st.integers(1, 3000),
    columns=st.integers(1, 3000),
)
def test_footprint_holds_every_border_point(
    zone: int, south: bool, easting: float, northing: float, pixel: float, rows: int, columns: int
) -> None:
    epsg = (32700 if south else 32600) + zone
    geobox = GeoBox((rows, columns), from_origin(easting, northing + rows * pixel, pixel, pixel), f"EPSG:{epsg}")
    geometry, (west, bottom, east, top) = footprint(geobox)
    fraction = np.linspace(0, 1, 33)
    edges = [(fraction, 0 * fraction), (fraction, 0 * fraction + 1), (0 * fraction, fraction), (0 * fraction + 1, fraction)]
    x = np.concatenate([easting + u * columns * pixel for u, _ in edges])
    y = np.concatenate([northing + v * rows * pixel for _, v in edges])
    lon, lat = Transformer.from_crs(epsg, 4326, always_xy=True).transform(x, y)
    slack = 2e-6 + 1e-5 * (pixel == 30.0)  # 0.2 m, and 1 m for a 90 km scene drawn with 16 pieces a side
    assert ((lat >= bottom - slack) & (lat <= top + slack)).all()
    inside = (lon >= west - slack) & (lon <= east + slack) if west <= east else (lon >= west - slack) | (lon <= east + slack)
    assert inside.all()
    polygons = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
    for (ring,) in polygons:
        assert ring[0] == ring[-1]
        assert sum(a[0] * b[1] - b[0] * a[1] for a, b in itertools.pairwise(ring)) > 0


def test_footprint_across_the_antimeridian_is_cut_and_its_box_wraps() -> None:
    # Fiji: 40 km around 180°, in UTM zone 60 south.
    x, y = Transformer.from_crs(4326, 32760, always_xy=True).transform(179.9, -17.0)
    geometry, bbox = footprint(GeoBox.from_bbox((x, y, x + 40_000, y + 10_000), "EPSG:32760", resolution=100))
    assert geometry["type"] == "MultiPolygon"
    assert len(geometry["coordinates"]) == 2
    assert bbox[0] == pytest.approx(179.9, abs=3e-3)  # meridians converge by 0.002° over 10 km there
    assert -180 < bbox[2] < -179.7


@pytest.mark.parametrize("west", [179, -181])
def test_footprint_of_a_grid_in_degrees_across_the_antimeridian(west: float) -> None:
    geometry, bbox = footprint(GeoBox.from_bbox((west, -18, west + 2, -17), "EPSG:4326", resolution=0.1))
    assert bbox == [179, -18, -179, -17]
    assert sorted(shapely.geometry.shape(geometry).geoms[i].bounds for i in (0, 1)) == [(-180, -18, -179, -17), (179, -18, 180, -17)]


@pytest.mark.parametrize("width", [250, 360])
def test_footprint_of_most_of_the_globe(width: float) -> None:
    geometry, bbox = footprint(GeoBox.from_bbox((-180, -50, -180 + width, 60), "EPSG:4326", resolution=1))
    assert bbox == [-180, -50, -180 + width, 60]
    assert shapely.geometry.shape(geometry).area == width * 110


@pytest.mark.parametrize(("epsg", "pole"), [(3413, 90), (3995, 90), (3031, -90), (3976, -90)])
@pytest.mark.parametrize("up", [-1, 1], ids=["north-up", "south-up"])
def test_footprint_over_a_pole_goes_all_around_it(epsg: int, pole: float, up: int) -> None:
    side = 1e5
    geometry, bbox = footprint(GeoBox((100, 100), Affine(side / 100, 0, -side / 2, 0, up * side / 100, -up * side / 2), f"EPSG:{epsg}"))
    outline = shapely.geometry.shape(geometry)
    assert outline.is_valid
    corner = 90 - side / np.sqrt(2) / 110_000  # degrees of latitude have some 110 km; these projections stretch by less than 3 % there
    assert bbox == pytest.approx([-180, corner, 180, 90] if pole > 0 else [-180, -90, 180, -corner], abs=0.03)
    assert outline.covers(shapely.Point(0, pole))
    assert 360 * (side / 2 / 113_000) < outline.area < 360 * (side / np.sqrt(2) / 110_000)


def test_footprint_near_a_pole_across_the_antimeridian() -> None:
    geometry, bbox = footprint(GeoBox.from_bbox((-5e4, -1.5e6, 4e4, -1.4e6), "EPSG:3031", resolution=1000))
    parts = shapely.geometry.shape(geometry)
    assert parts.is_valid
    assert len(parts.geoms) == 2
    lon, lat = Transformer.from_crs(3031, 4326, always_xy=True).transform([4e4, -5e4, 0], [-1.4e6, -1.4e6, -1.45e6])
    assert (bbox[0], bbox[2]) == pytest.approx((lon[0], lon[1]), abs=1e-6)
    assert parts.buffer(1e-6).covers(shapely.Point(-180, lat[2]))
    assert not parts.covers(shapely.Point(0, lat[2]))


@pytest.mark.parametrize("crs", ['LOCAL_CS["Arbitrary",UNIT["metre",1]]', "IAU_2015:49910"])
def test_footprint_of_a_place_that_is_not_on_the_earth_is_rejected(crs: str) -> None:
    with pytest.raises(InvalidCube, match=r"longitude and latitude.*--no-stac"):
        footprint(GeoBox((10, 8), from_origin(0, 0, 3, 3), crs))


def valid_of(shape: tuple[int, int]) -> np.ndarray:
    """A swath: a band of data that runs across the image, 12 pixels wide, with a hole and a speck."""
    rows, cols = np.indices(shape)
    valid = np.abs(rows - cols) < shape[0] // 6
    valid[shape[0] // 2, shape[1] // 2] = False
    return valid


@pytest.mark.parametrize("side", [96, 1536])
def test_footprint_of_the_data_leads_around_all_of_it(side: int, cog: Path) -> None:
    geobox = GeoBox((side, side), from_origin(383469.97, 5818303.55, 30.0, 30.0), "EPSG:32633")
    valid = valid_of((side, side))
    geometry, _ = footprint(geobox, thinned(valid))
    outline = shapely.geometry.shape(geometry)
    assert outline.is_valid
    assert geometry["type"] == "Polygon"
    assert len(geometry["coordinates"]) == 1, "the hole does not show"
    to_lonlat = Transformer.from_crs(32633, 4326, always_xy=True)
    rows, cols = np.indices((side, side))
    x, y = geobox.affine * (cols + 0.5, rows + 0.5)
    inside = shapely.contains_xy(outline, *to_lonlat.transform(x, y))
    step = max(1, side // 512)
    near = np.abs(np.abs(rows - cols) - side // 6) <= 2 * step + 1
    hole = (rows == side // 2) & (cols == side // 2)
    assert (inside == valid)[~near & ~hole].all()
    assert outline.area == pytest.approx(shapely.geometry.shape(footprint(geobox)[0]).area * valid.mean(), rel=0.08)


def test_footprint_of_two_parts_across_the_antimeridian() -> None:
    x, y = Transformer.from_crs(4326, 32760, always_xy=True).transform(179.9, -17.0)
    geobox = GeoBox.from_bbox((x, y, x + 40_000, y + 10_000), "EPSG:32760", resolution=100)
    valid = np.zeros(geobox.shape, bool)
    valid[:, :300] = True  # over 180°
    valid[:, 350:] = True
    geometry, bbox = footprint(geobox, thinned(valid))
    assert len(geometry["coordinates"]) == 3
    assert bbox[0] > 179
    assert bbox[2] < -179


@pytest.mark.parametrize("value", [False, True])
def test_footprint_of_all_or_nothing_is_that_of_the_grid(value: bool) -> None:
    geobox = GeoBox((50, 60), from_origin(383469.97, 5818303.55, 30.0, 30.0), "EPSG:32633")
    assert footprint(geobox, np.full((50, 60), value)) == footprint(geobox)
