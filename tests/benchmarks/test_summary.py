"""The arithmetic, on a table made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.results import COLUMNS
from benchmarks.summary import by_pair, means, measured, method_order


def line(method: str, psnr: float | str, sam: float | str = 2.0, **other: Any) -> dict[str, str]:
    values = {"scene": "jasper", "ratio": 4, "response": "qb4", "noise": "noisy", "operators": "estimated", "seed": 0, "device": "cpu"}
    values |= {
        "code": "new",
        "method": method,
        "psnr_db": psnr,
        "sam_deg": sam,
        "fit_s": 1.0,
        "apply_s": 0.5,
        "peak_rss_mb": 300.0,
        "used": method,
    }
    return {name: str((values | other).get(name, "")) for name in COLUMNS}


HAND = [
    line("oracle", 99.0, code="old"),
    line("gem", 99.0, code="old"),
    line("oracle", 40.0, 2.0),
    line("oracle", 41.0, 4.0, seed=1),
    line("oracle", 50.0, 1.0, scene="ip"),
    line("gem", 42.0, 1.0),  # +2, × 0.5
    line("gem", 40.0, 4.0, seed=1),  # -1, × 1
    line("gem", 53.0, 1.0, scene="ip", peak_rss_mb=500.0),  # +3, × 1
    line("gem", 53.5, 0.9, scene="ip", peak_rss_mb=500.0),  # the same once more, later: +3.5, × 0.9
    line("auto", "", "", scene="ip", error="rejected: too small", fit_s="", apply_s="", peak_rss_mb="", used=""),
]


def test_gains_are_against_the_reference_of_the_same_pair_and_noise() -> None:
    frame = measured(HAND)
    assert set(frame["code"]) == {"new"}
    gem = frame[frame["method"] == "gem"]
    assert list(gem["gain_db"]) == [2.0, -1.0, 3.5]
    assert list(gem["sam_factor"]) == [0.5, 1.0, 0.9]
    assert list(gem["seconds"]) == [1.5] * 3
    assert set(measured(HAND, "old")["psnr_db"]) == {99.0}
    assert measured([]).empty


def test_seeds_first_then_pairs() -> None:
    pairs = by_pair(measured(HAND))
    jasper = pairs[(pairs["method"] == "gem") & (pairs["scene"] == "jasper")].iloc[0]
    assert jasper["gain_db"] == pytest.approx(0.5)
    assert jasper["psnr_spread_db"] == pytest.approx(2**0.5)  # of 42 and 40
    assert (jasper["below"], jasper["runs"]) == (1, 2)
    gem = means(pairs).set_index("method").loc["gem"]
    assert gem["gain_db"] == pytest.approx((0.5 + 3.5) / 2)
    assert gem["sam_factor"] == pytest.approx((0.75 + 0.9) / 2)
    assert (gem["below"], gem["runs"], gem["pairs"], gem["worst_gain_db"], gem["peak_rss_mb"]) == (1, 3, 2, -1.0, 500.0)


def test_refused_case_is_named_and_counts_nowhere() -> None:
    pairs = by_pair(measured(HAND))
    rejected = pairs[pairs["method"] == "auto"].iloc[0]
    assert (rejected["runs"], rejected["error"]) == (0, "rejected: too small")
    assert "auto" not in set(means(pairs)["method"])


def test_without_noise_one_reference_serves_all_seeds() -> None:
    frame = measured([line("oracle", 40.0, noise="clean"), *(line("gem", 41.0 + seed, noise="clean", seed=seed) for seed in range(3))])
    assert list(frame.loc[frame["method"] == "gem", "gain_db"]) == [1.0, 2.0, 3.0]


def test_a_method_on_a_gpu_has_a_row_of_its_own_and_the_same_reference() -> None:
    frame = measured([line("oracle", 40.0), line("gem", 41.0), line("gem", 41.5, device="cuda:0")])
    assert dict(zip(frame["method"], frame["gain_db"], strict=True)) == {"oracle": 0.0, "gem": 1.0, "gem on cuda:0": 1.5}


def test_a_case_without_its_reference_has_no_gain() -> None:
    pairs = by_pair(measured([line("gem", 41.0)]))
    assert pairs["gain_db"].isna().all()
    assert list(pairs["runs"]) == [0]


def test_order() -> None:
    assert method_order(["zebra", "auto", "oracle", "gem", "bicubic"]) == ["oracle", "bicubic", "gem", "auto", "zebra"]
