"""The staging raster: every pixel in its place, whatever the tiles; overviews as averages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geofuse.cube.values import StoredType
from geofuse.io.read.fingerprint import fingerprint
from geofuse.io.write.pyramid import halved
from geofuse.io.write.staging import StagingRaster


@settings(max_examples=30, deadline=None)
@given(data=st.data(), dtype=st.sampled_from(["int16", "float32"]))
def test_any_tiles_in_any_order_make_the_same_files(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, dtype: str) -> None:
    rows, cols = data.draw(st.integers(20, 150)), data.draw(st.integers(20, 150))
    rng = np.random.default_rng(data.draw(st.integers(0, 5)))
    image = rng.uniform(0, 1, (2, rows, cols)).astype(np.float32)
    image[rng.random(image.shape) < data.draw(st.sampled_from([0, 0.4]))] = np.nan
    stored, files = StoredType.named(dtype), []
    for tile in (max(rows, cols), data.draw(st.integers(7, 80))):
        starts = tuple(range(0, rows, tile)), tuple(range(0, cols, tile))
        staging = StagingRaster(tmp_path_factory.mktemp("staging"), image.shape, stored, 16, starts)  # type: ignore[arg-type]
        staging.allocate()
        places = [(top, left) for top in starts[0] for left in starts[1]]
        records = [staging.store(image[:, t : t + tile, left : left + tile], t, left) for t, left in rng.permutation(places).tolist()]
        staging.complete_overviews()
        files.append([staging.path(level).read_bytes() for level in range(staging.levels + 1)])
        assert all(staging.holds(record) for record in records)
    assert files[0] == files[1]
    whole = np.frombuffer(files[0][0], dtype).reshape(image.shape)
    assert np.array_equal(whole, np.stack([stored.encode(plane)[0] for plane in image]), equal_nan=True)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), dtype=st.sampled_from(["int16", "float32"]))
def test_halving_averages_what_is_there(data: st.DataObject, dtype: str) -> None:
    shape = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    plane = rng.integers(-32767, 32768, shape).astype(dtype)
    nodata = -32768.0 if dtype == "int16" else float("nan")
    plane[rng.random(shape) < data.draw(st.sampled_from([0, 0.5]))] = nodata
    found = halved(plane, nodata)
    for i in range(found.shape[0]):
        for j in range(found.shape[1]):
            block = plane[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].astype(float)
            valid = block[~np.isnan(block) & (block != -32768)]
            if valid.size:
                assert abs(found[i, j] - valid.mean()) <= (0.5 if dtype == "int16" else 4e-3)
            else:
                assert np.array_equal(found[i, j], np.dtype(dtype).type(nodata), equal_nan=True)
    assert found.shape == (-(-shape[0] // 2), -(-shape[1] // 2))


def test_levels_that_tiles_make_by_themselves(tmp_path: Path) -> None:
    def staging(*starts: int) -> StagingRaster:
        return StagingRaster(tmp_path, (1, 5000, 5000), StoredType.named("int16"), 512, (starts, (0,)))

    assert staging(0).levels == 4  # 5000 → 2500 → 1250 → 625 → 313
    assert [staging(0).tile_levels, staging(0, 512, 1024).tile_levels, staging(0, 100).tile_levels, staging(0, 601).tile_levels] == [
        4,
        4,
        2,
        0,
    ]


def test_a_fingerprint_changes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bsq"
    path.write_bytes(bytes(3_000_000))
    first = fingerprint(path)
    assert fingerprint(str(path)) == first == fingerprint(f"file://{path}")
    with path.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"1")
    assert fingerprint(path)["content"] != first["content"]
    path.with_suffix(".hdr").write_text("ENVI")
    assert "hdr" in fingerprint(path)
