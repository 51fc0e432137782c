"""Pairs of made-up catalogs, whose best partner is known by how they were made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import geofuse
from geofuse.errors import InvalidInput
from geofuse.stac.pairs import Pairs, Wanted, find_pairs
from tests.stac.catalog import item, write_items


def found(tmp_path: Path, items: list[dict[str, Any]], **options: Any) -> Pairs:
    given = {"bbox": None, "datetime": None, "max_gap": "5d", "max_cloud": 20.0, "min_overlap": 0.5} | options
    return find_pairs(str(write_items(tmp_path / "items.json", items)), Wanted.of("h", "m", **given))


def partner(tmp_path: Path, *msi: dict[str, Any], **options: Any) -> str:
    made = found(tmp_path, [item("hsi", "h", view__sun_elevation=50.0), *msi], **options)
    return made.pairs[0].msi[0].id if made.pairs else made.left[0][1]


def test_the_nearest_in_time_wins_where_all_else_is_equal(tmp_path: Path) -> None:
    days = {f"m{day}": item(f"m{day}", "m", time=f"2024-07-0{day}T10:00:00Z", eo__cloud_cover=5.0) for day in (1, 2, 3)}
    assert partner(tmp_path, days["m3"], days["m1"], days["m2"]) == "m1"


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"eo__cloud_cover": 1.0}, {"eo__cloud_cover": 19.0}),
        ({"eo__cloud_cover": 1.0}, {}),  # unknown
        ({"view__sun_elevation": 49.0}, {"view__sun_elevation": 20.0}),
        ({"box": (9.9, 49.9, 11.1, 51.1)}, {"box": (10.3, 50.0, 11.3, 51.0)}),
    ],
)
def test_the_one_that_is_better_in_one_respect_wins(better: Any, worse: Any, tmp_path: Path) -> None:
    assert partner(tmp_path, item("worse", "m", **worse), item("better", "m", **better)) == "better"


@pytest.mark.parametrize(
    ("msi", "reason"),
    [
        ([], "no MSI item overlaps it"),
        ([item("m", "m", box=(12.0, 50.0, 13.0, 51.0))], "no MSI item overlaps it"),
        ([item("m", "m", time="2024-07-07T10:00:00Z")], "no MSI item within 5 days (the nearest is 7 days apart)"),
        ([item("m", "m", eo__cloud_cover=45.0)], "cloud cover of every MSI item within 5 days > 20 % (the least is 45 %)"),
        ([item("m", "m", box=(10.69, 50.0, 12.0, 51.0))], "overlap 31 % < 50 %"),
    ],
)
def test_what_is_left_is_said_with_its_reason(msi: Any, reason: str, tmp_path: Path) -> None:
    assert partner(tmp_path, *msi) == reason


def test_bbox_and_datetime_are_those_of_the_hsi(tmp_path: Path) -> None:
    far = item("far", "h", box=(20.0, 50.0, 21.0, 51.0))
    early = item("early", "h", time="2024-06-27T10:00:00Z")
    msi = [item("m", "m", time="2024-06-28T10:00:00Z", box=(5.0, 45.0, 25.0, 55.0))]
    made = found(tmp_path, [far, early, item("hsi", "h"), *msi], bbox="9,49,12,52", datetime="2024-06-29/2024-06-30")
    assert [(p.hsi.id, [m.id for m in p.msi]) for p in made.pairs] == [("hsi", ["m"])]
    assert made.left == []


def test_a_cloudy_hsi_and_the_same_item_again_are_left(tmp_path: Path) -> None:
    made = found(tmp_path, [item("a", "h", eo__cloud_cover=60.0), item("b", "h"), item("b", "h"), item("m", "m")])
    assert [p.id for p in made.pairs] == ["b"]
    assert made.left == [("a", "cloud cover 60 % > 20 %"), ("b", "the same item again")]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"properties": {"datetime": "yesterday"}}, "the item does not say when it was acquired"),
        ({"properties": None}, "the item does not say when it was acquired"),
        ({"geometry": None, "bbox": None}, "the item does not say where it lies"),
        ({"geometry": {"type": "Polygon", "coordinates": [[["x"]]]}, "bbox": ["a"]}, "the item does not say where it lies"),
        ({"assets": {}}, "the item has no assets"),
        ({"id": 7}, "the item has no id"),
    ],
)
def test_an_item_that_does_not_say_enough_is_left(change: dict[str, Any], reason: str, tmp_path: Path) -> None:
    made = found(tmp_path, [item("hsi", "h") | change, item("m", "m")])
    assert (made.pairs, [why for _, why in made.left]) == ([], [reason])


def test_across_the_antimeridian(tmp_path: Path) -> None:
    halves = [[[179, 0], [180, 0], [180, 1], [179, 1], [179, 0]]], [[[-180, 0], [-179, 0], [-179, 1], [-180, 1], [-180, 0]]]
    hsi = item("hsi", "h") | {"geometry": {"type": "MultiPolygon", "coordinates": list(halves)}, "bbox": [179, 0, -179, 1]}
    made = found(tmp_path, [hsi, item("m", "m", box=(-180.0, 0.0, -178.0, 1.0))], bbox="179.5,0,-179.5,1")
    assert made.pairs[0].overlap == pytest.approx(0.5)


def test_the_table(tmp_path: Path) -> None:
    path = write_items(
        tmp_path / "items.json", [item("hsi", "h"), item("m", "m", eo__cloud_cover=3.0), item("alone", "h", time="2020-01-01")]
    )
    table = geofuse.search_pairs(str(path), "h", "m", datetime="2024", max_gap="12h")
    assert table[["id", "hsi", "overlap", "gap_days", "cloud_percent"]].values.tolist() == [["hsi", "hsi", 1.0, 0.0, 3.0]]
    assert table.msi[0] == ["m"]
    assert table.geometry[0].bounds == (10.0, 50.0, 11.0, 51.0)
    assert table.attrs["left"] == []


@pytest.mark.parametrize(
    "option",
    [
        {"max_gap": "soon"},
        {"max_cloud": 101},
        {"min_overlap": 50},
        {"bbox": "1,2,3"},
        {"bbox": "0,5,1,4"},
        {"datetime": "2024-13"},
        {"datetime": "2025/2024"},
    ],
)
def test_options_that_make_no_sense_are_rejected(option: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        found(tmp_path, [item("hsi", "h")], **option)


def part(name: str, west: float, east: float, **about: Any) -> dict[str, Any]:
    """An MSI item over a part of the HSI, which lies from 10° to 11°."""
    return item(name, "m", box=(west, 49.0, east, 52.0), **{"platform": "s2a", "proj__code": "EPSG:32632"} | about)


def together(tmp_path: Path, *msi: dict[str, Any], **options: Any) -> tuple[list[str], str]:
    """Ids of the MSI items that are taken together, and the reason."""
    made = found(tmp_path, [item("hsi", "h"), *msi], **options)
    return ([each.id for each in made.pairs[0].msi], made.pairs[0].reason) if made.pairs else ([], made.left[0][1])


def test_several_items_are_taken_where_none_covers_enough(tmp_path: Path) -> None:
    quarters = [part("a", 9.0, 10.35), part("b", 10.3, 10.7), part("c", 10.65, 12.0), part("d", 10.9, 12.0)]
    names, reason = together(tmp_path, *quarters, min_overlap=0.9)
    assert sorted(names) == ["a", "b", "c"], "d adds nothing"
    assert reason == "overlap 100 % with 3 items together (40 + 30 + 30 %), 0 hours apart; of the best alone overlap 40 % < 90 %"
    assert sorted(together(tmp_path, *quarters, min_overlap=0.6)[0]) == ["a", "b"], "that is enough"


def test_one_item_that_covers_enough_is_enough(tmp_path: Path) -> None:
    assert together(tmp_path, part("a", 9.0, 10.6), part("b", 10.6, 12.0))[0] == ["a"]


def test_the_clearest_of_several_comes_first(tmp_path: Path) -> None:
    names, reason = together(
        tmp_path, part("a", 9.0, 10.6, eo__cloud_cover=15.0), part("b", 10.5, 12.0, eo__cloud_cover=1.0), min_overlap=0.9
    )
    assert names == ["b", "a"]
    assert "cloud cover up to 15 %" in reason


@pytest.mark.parametrize(
    "other", [{"platform": "s2b"}, {"proj__code": "EPSG:32633"}, {"time": "2024-07-02T10:00:01Z"}], ids=["platform", "zone", "day"]
)
def test_items_that_do_not_go_together_are_not_taken_as_one(other: dict[str, Any], tmp_path: Path) -> None:
    names, reason = together(tmp_path, part("a", 9.0, 10.6), part("b", 10.5, 12.0, **other), min_overlap=0.9)
    assert names == []
    assert reason == "overlap 60 % < 90 %; items of different platforms, CRS or days are not taken as one"


def test_several_that_do_not_cover_enough_are_left_with_what_they_would(tmp_path: Path) -> None:
    assert together(tmp_path, part("a", 9.0, 10.3), part("b", 10.5, 10.7), min_overlap=0.9) == (
        [],
        "overlap 30 % < 90 %, 50 % with 2 items together",
    )


def test_a_table_of_pairs_names_all_of_them(tmp_path: Path) -> None:
    items = [item("hsi", "h"), part("a", 9.0, 10.5, eo__cloud_cover=3.0), part("b", 10.5, 12.0, time="2024-07-01T00:00:00Z")]
    table = geofuse.search_pairs(str(write_items(tmp_path / "items.json", items)), "h", "m", min_overlap=0.9)
    assert [sorted(names) for names in table.msi] == [["a", "b"]]
    assert table.gap_days[0] == pytest.approx(14 / 24)
    assert table.cloud_percent[0] == 3.0
