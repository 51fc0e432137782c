from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.cost_model import MEANING, load, main, predict
from benchmarks.cost_run import Run, decoded, planned
from geofuse.errors import InvalidInput

NOTHING = dict.fromkeys(MEANING, 0.0) | {"disk": 1e30}
SMALL = Run(side=1500, bands=64, workers=2)


def counted_by_hand(side: int, tile: int, halo: int) -> int:
    """Pixels that tiles see in a square scene without a margin: along one side, squared."""
    along = sum(min(start + tile + halo, side) - max(start - halo, 0) for start in range(0, side, tile))
    return along**2


@pytest.mark.parametrize(("ratio", "halo"), [(2, 61), (6, 61), (8.33, 72), (20, 165)])
def test_pixels_seen(ratio: float, halo: int) -> None:
    plan, seen = planned(replace(SMALL, ratio=ratio, tile=256))
    assert plan.halo == halo
    assert seen == counted_by_hand(1500, 256, halo)


def test_each_constant_costs_what_it_is_multiplied_with() -> None:
    values = 64 * 1500**2
    for name, amount in (
        ("decode", values),
        ("store", values),
        ("compress", values),
        ("verify", values),
        ("solve_gem", planned(SMALL)[1]),
        ("start", 1),
        ("graph", planned(SMALL)[0].tiles),
    ):
        assert predict(SMALL, NOTHING | {name: 1e-3}).cpu_seconds == pytest.approx(1e-3 * amount), name
    assert predict(SMALL, NOTHING | {"solve_sylvester": 1.0}).cpu_seconds == 0
    assert predict(SMALL, NOTHING | {"stored": 2.0}).output == 2 * values


def test_files_hand_out_whole_blocks() -> None:
    """Groups of 3 × 3 tiles of 256 and a halo of 61: rows 0–829 and 707–1500, in blocks of 256 1024 + 988 of 1500.

    The coarse image, 250 × 250, is one block, which each of the four groups decodes.
    """
    assert decoded(1500, 768, 61, 256) == pytest.approx(((1024 + 988) / 1500) ** 2)
    assert decoded(1500, 768, 61, 256, ratio=6.0) == 4
    assert decoded(1500, 768, 61, 1) == pytest.approx(((829 + 793) / 1500) ** 2)
    run = replace(SMALL, tile=256)
    assert planned(run)[0].group == 6, "all at once, where memory allows"
    msi, hsi = (predict(run, NOTHING | {name: 1.0}).cpu["read"] for name in ("read_msi", "read_hsi"))
    assert (msi, hsi) == (pytest.approx(4 * 1500**2), pytest.approx(64 * 250**2))


def test_workers_divide_the_tiles_and_the_disk_and_the_scheduler_do_not() -> None:
    one, four = (predict(replace(SMALL, workers=n), NOTHING | {"solve_gem": 1e-3, "start": 7.0}) for n in (1, 4))
    assert one.wall["tiles"] == pytest.approx(4 * four.wall["tiles"])
    assert one.wall["start"] == four.wall["start"] == 7
    slow_disk = predict(replace(SMALL, workers=200), NOTHING | {"solve_gem": 1e-6, "disk": 1e6})
    assert slow_disk.wall["tiles"] == pytest.approx(4 / 3 * 2 * 64 * 1500**2 / 1e6)
    slow_scheduler = predict(replace(SMALL, workers=200, cluster=True), NOTHING | {"solve_gem": 1e-6, "schedule_cluster": 2.0})
    assert slow_scheduler.wall["tiles"] == pytest.approx(2.0 * slow_scheduler.plan.tiles, rel=1e-3)
    assert slow_scheduler.overhead > 0.9


@settings(max_examples=15, deadline=None)
@given(side=st.integers(600, 6000), workers=st.integers(1, 64))
def test_cost_is_linear_in_pixels_and_never_less_with_fewer_workers(side: int, workers: int) -> None:
    constants = NOTHING | {"solve_gem": 1e-5, "store": 1e-8, "schedule": 1e-3, "compress": 1e-8}
    run = Run(side=side, bands=64, workers=workers, tile=512)
    small, large = predict(run, constants), predict(replace(run, side=2 * side), constants)
    # halos at the edge are cut off, so four times the pixels cost a little more; a narrow last row can make it a little less
    assert 3.9 < large.cpu_seconds / small.cpu_seconds < 4 * 1.7
    assert predict(replace(run, workers=workers + 1), constants).seconds <= small.seconds * (1 + 1e-9)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.cost_model.load", lambda: NOTHING | {"solve_sylvester": 3.6e-3})
    assert main(["--side", "1000", "--bands", "64", "--ratio", "4", "--workers", "3", "--method", "sylvester", "--tile", "1000"]) == 0
    said = capsys.readouterr().out
    assert "cpu      3600 s = 1.00 core hours" in said
    assert "wall     1200 s" in said


def test_constants_that_are_missing_are_named(tmp_path: Path) -> None:
    path = tmp_path / "constants.json"
    path.write_text(json.dumps({"values": {name: 1.0 for name in MEANING if name != "hash"}}))
    with pytest.raises(InvalidInput, match="lacks hash"):
        load(path)
    with pytest.raises(InvalidInput, match="--measure"):
        load(tmp_path / "none.json")
