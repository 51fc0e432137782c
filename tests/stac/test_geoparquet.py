"""stac-geoparquet as rustac, which others wrote, reads it back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from geofuse.stac.geoparquet import read_batches, write_geoparquet
from tests.stac.catalog import item

rustac = pytest.importorskip("rustac")


def items() -> list[dict[str, Any]]:
    """Forty items, of which single ones have what the others have not."""
    made = [item(f"i{k:02d}", "c", gsd=30, number=k) for k in range(40)]
    made[21]["properties"]["gsd"] = 30.5
    made[30]["properties"]["only_here"] = "text"
    made[33]["assets"]["more"] = {"href": "./more.tif", "roles": ["data"], "bands": [{"name": "b1", "nodata": 7}]}
    return made


def test_nothing_is_lost_though_items_differ(tmp_path: Path) -> None:
    path = write_geoparquet(lambda: iter(items()), tmp_path / "items.parquet")
    found = {made["id"]: made for made in rustac.read_sync(str(path))["features"]}
    assert set(found) == {made["id"] for made in items()}
    for made in items():
        assert found[made["id"]]["properties"] == made["properties"]
        assert found[made["id"]]["assets"] == made["assets"]
    assert [path.name for path in tmp_path.iterdir()] == ["items.parquet"]


def test_what_is_written_is_read_by_batches(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = write_geoparquet(lambda: iter(items()), tmp_path / "items.parquet")
    found = {made["id"]: made for made in read_batches(path)}
    for made in items():
        assert found[made["id"]]["properties"] == made["properties"]
        assert found[made["id"]]["assets"] == made["assets"]
