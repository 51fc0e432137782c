from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geofuse.errors import InvalidOutput
from geofuse.io.write.journal import Journal, differences, peek

KEY = {"seed": 1, "hsi": {"path": "/a b/ü.tif", "bytes": 12}}
names = st.text(min_size=1, max_size=5)
records = st.lists(st.tuples(names, st.one_of(st.none(), st.integers(), st.lists(st.floats(allow_nan=False)))), max_size=12)


@given(written=records, data=st.data())
def test_a_journal_torn_anywhere_holds_whole_records_only(
    written: list[tuple[str, object]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    with Journal(path, KEY) as journal:
        sizes = [path.stat().st_size]
        for name, value in written:
            journal.append(name, value=value)
            sizes.append(path.stat().st_size)
    cut = data.draw(st.integers(0, sizes[-1]))
    path.write_bytes(path.read_bytes()[:cut])
    whole = sum(size <= cut for size in sizes) - 1
    with Journal(path, KEY) as journal:
        assert {name: journal.get(name) for name in journal} == {name: {"value": value} for name, value in written[: max(whole, 0)]}
        journal.append("after", value=3)  # what follows a torn line is read again
    with Journal(path, KEY) as journal:
        assert journal.get("after") == {"value": 3}


def test_the_last_record_of_a_name_counts_and_a_dropped_one_is_gone(tmp_path: Path) -> None:
    for _ in range(2):
        with Journal(tmp_path / "j", KEY) as journal:
            if not len(journal):
                for value in (1, 2):
                    journal.append("a", value=value)
                    journal.append("b", value=value)
                journal.drop("b")
            assert list(journal) == ["a"]
            assert journal.get("a") == {"value": 2}
            assert "b" not in journal
            assert journal.get("b") is None


def test_another_key_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with Journal(path, KEY) as journal:
        journal.append("a", value=1)
    before = path.read_bytes()
    with pytest.raises(InvalidOutput, match=r"^hsi bytes was 12 and is 13; tile was not given and is 512$"):
        Journal(path, KEY | {"hsi": {"path": "/a b/ü.tif", "bytes": 13}, "tile": 512})
    assert path.read_bytes() == before


def test_differences_name_what_differs() -> None:
    assert differences(KEY, KEY) == []
    assert differences({"a": [1] * 100}, {"a": None}) == ["a was [" + "1, " * 18 + "1,… and is not given"]


def test_peeking(tmp_path: Path) -> None:
    assert peek(tmp_path / "none", "a") is None
    with Journal(tmp_path / "j", KEY) as journal:
        journal.append("a", value=1)
    assert peek(tmp_path / "j", "a") == {"name": "a", "value": 1}
    assert peek(tmp_path / "j", "b") is None
    with Journal(tmp_path / "j", KEY) as journal:
        journal.drop("a")
    assert peek(tmp_path / "j", "a") is None
    with Journal(tmp_path / "j", KEY) as journal:
        journal.append("a", value=2)
    assert peek(tmp_path / "j", "a") == {"name": "a", "value": 2}
    (tmp_path / "j").write_bytes(b"\0\1\2\n" * 3)
    assert peek(tmp_path / "j", "a") is None
