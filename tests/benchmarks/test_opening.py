from __future__ import annotations

from pathlib import Path

from benchmarks.opening import opened
from geofuse.simulate.products import desis


def test_what_opening_takes(tmp_path: Path) -> None:
    found = opened(str(desis.write(tmp_path, rows=16, cols=16)), None)
    assert (found["sensor"], found["shape"]) == ("DESIS L2A", (235, 16, 16))
    assert 0 < found["cpu"] < 30
    assert 50 < found["peak_mb"] < 8000
