"""The quality layer on disk: bytes as they are, no means in its overviews, read back with rasterio and xarray."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
import zarr
from affine import Affine
from rio_cogeo.cogeo import cog_validate

from geofuse.cube.schema import wrap
from geofuse.cube.values import StoredType
from geofuse.io.write.layer import beside, write_quality
from geofuse.io.write.staging import Flagged, StagingRaster

SHAPE = 700, 650


def plane() -> np.ndarray:
    return np.random.default_rng(0).choice(np.array([0, 1, 8, 16, 24], np.uint8), SHAPE)


def cube() -> xr.DataArray:
    return wrap(np.zeros((2, *SHAPE), np.float32), transform=Affine(3.6, 0, 383_470, 0, -3.6, 5_818_300), crs=32633, names=["a", "b"])


def test_a_cog(tmp_path: Path) -> None:
    write_quality(plane(), cube(), tmp_path / "q.tif", progress=False)
    assert cog_validate(tmp_path / "q.tif", quiet=True)[0]
    with rasterio.open(tmp_path / "q.tif") as file:
        assert (file.dtypes, file.nodata, file.descriptions, file.overviews(1)) == (("uint8",), 0, ("quality",), [2])
        assert np.array_equal(file.read(1), plane())
        assert file.transform == Affine(3.6, 0, 383_470, 0, -3.6, 5_818_300)
        assert "reflectance_scale" not in file.tags()
    with rasterio.open(tmp_path / "q.tif", overview_level=0) as file:
        assert np.array_equal(file.read(1), plane()[::2, ::2]), "no mean of flags"


def test_a_store(tmp_path: Path) -> None:
    write_quality(plane(), cube(), tmp_path / "q.zarr", progress=False)
    with xr.open_zarr(tmp_path / "q.zarr", mask_and_scale=False) as stored:
        assert np.array_equal(stored.quality.values[0], plane())
        assert stored.quality.attrs["flag_masks"] == [1, 2, 4, 8, 16]
        assert stored.quality.attrs["_FillValue"] == 0
        assert len(stored.quality.attrs["flag_meanings"].split()) == 5
    group = zarr.open_group(tmp_path / "q.zarr", mode="r")
    assets = [level["asset"] for level in group.attrs["multiscales"]["layout"]]  # type: ignore[index, call-overload, union-attr]
    assert assets == ["quality", "1/quality"]
    assert all(asset in group for asset in assets)


def test_names() -> None:
    assert beside(Path("/data/a.tif"), "quality") == "/data/a_quality.tif"
    assert beside("b.zarr", "uncertainty") == "b_uncertainty.zarr"


@pytest.mark.parametrize("damaged", ["image", "quality"])
def test_what_the_journal_tells_is_compared_with_both_rasters(tmp_path: Path, damaged: str) -> None:
    """A tile whose last plane are flags; a resumed run finds what has changed since, in either."""
    image = StagingRaster(tmp_path, (2, *SHAPE), StoredType.named("int16"), 512, ((0, 400), (0,)))
    tiles = Flagged.beside(image)
    tiles.allocate()
    values = np.concatenate([np.random.default_rng(1).uniform(0, 1, (2, *SHAPE)), plane()[None]]).astype(np.float32)
    records = [tiles.store(values[:, :400], 0, 0), tiles.store(values[:, 400:], 400, 0)]
    assert np.array_equal(tiles.layer(), plane())
    assert [tiles.holds(record) for record in records] == [True, True]
    with getattr(tiles, damaged).path(0).open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    assert [tiles.holds(record) for record in records] == [True, False]
    assert not tiles.holds({key: value for key, value in records[0].items() if key != "quality"})
