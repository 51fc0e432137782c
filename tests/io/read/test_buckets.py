"""Rasters in object stores: S3 on moto's server; of the others, the place that GDAL opens."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import rasterio

from geofuse.io.read import gdal
from geofuse.io.read.buckets import bucket_place
from geofuse.io.read.open import open_msi
from tests.crops import few_files

boto3 = pytest.importorskip("boto3")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(port=0, verbose=False)
    running.start()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    endpoint = "http://{}:{}".format(*running.get_host_and_port())
    values = {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test", "DEFAULT_REGION": "eu-central-1", "ENDPOINT_URL": endpoint}
    for name, value in values.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    made = boto3.resource("s3").Bucket("scenes")
    made.create(CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    yield made
    running.stop()


def test_a_raster_in_s3_is_that_of_the_file(bucket: Any) -> None:
    path = few_files()[1]
    bucket.upload_file(str(path), "a/b.tif")
    np.testing.assert_array_equal(open_msi("s3://scenes/a/b.tif").values, open_msi(path).values)


@pytest.mark.parametrize(
    ("href", "opened", "account"),
    [
        ("gs://scenes/a/b.tif", "/vsigs/scenes/a/b.tif", None),
        ("az://scenes/a/b.tif", "/vsiaz/scenes/a/b.tif", None),
        ("abfs://scenes/a/b.tif", "/vsiaz/scenes/a/b.tif", None),
        ("abfss://scenes@archive.dfs.core.windows.net/a/b.tif", "/vsiaz/scenes/a/b.tif", "archive"),
    ],
)
def test_what_gdal_opens_of_the_others(href: str, opened: str, account: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []

    def note(place: str, **_: Any) -> Any:
        asked.append((place, rasterio.env.getenv().get("AZURE_STORAGE_ACCOUNT")))
        raise rasterio.errors.RasterioIOError("no network")

    monkeypatch.setattr(gdal.rasterio, "open", note)
    with pytest.raises(rasterio.errors.RasterioIOError), gdal.open_raster(href):
        pass
    assert asked == [(opened, account)]


def test_another_endpoint_of_s3_unless_gdal_was_told_its_own() -> None:
    secure = {"AWS_ENDPOINT_URL": "https://s3.example.com", "AWS_ENDPOINT_URL_S3": "https://store.example.com:9000"}
    _, options = bucket_place("s3://scenes/a.tif", secure)
    assert options == {"AWS_S3_ENDPOINT": "store.example.com:9000", "AWS_HTTPS": "YES", "AWS_VIRTUAL_HOSTING": "FALSE"}
    assert bucket_place("s3://scenes/a.tif", secure | {"AWS_S3_ENDPOINT": "own"}) == ("/vsis3/scenes/a.tif", {})
    assert bucket_place("gs://scenes/a.tif", secure) == ("/vsigs/scenes/a.tif", {})
