"""JSON read as it arrives: whatever the pieces, it says what Python's own parser says."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geofuse.errors import InvalidCube
from geofuse.stac import documents
from geofuse.stac.documents import read_features

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


class Slow(io.StringIO):
    """Gives a few characters at a time, whatever it is asked for."""

    def read(self, size: int | None = -1, /) -> str:
        return super().read(3)


@given(st.dictionaries(st.text(max_size=3), values, max_size=3), st.lists(values, max_size=4), st.sampled_from([None, 1]))
def test_it_says_what_a_whole_parser_says(members: dict[str, Any], features: list[Any], indent: int | None) -> None:
    text = json.dumps(members | {"features": features, "last": 12.5}, indent=indent)
    found: dict[str, Any] = {}
    assert list(read_features(Slow(text), found)) == features
    assert found == {key: value for key, value in json.loads(text).items() if key != "features"}


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"features": [', '{"features": [{}', '{"features": [{} {}]}', '{"a" 1}', "{1: 2}", '{"a": nul}', "hello"]
)
def test_what_is_no_json_object_is_rejected(text: str) -> None:
    with pytest.raises(InvalidCube, match="JSON"):
        list(read_features(io.StringIO(text), {}))


def test_what_is_nested_without_end_is_rejected() -> None:
    with pytest.raises(InvalidCube, match=r"nested|JSON"):
        list(read_features(io.StringIO('{"features": [' + "[" * 100_000 + "]" * 100_000 + "]}"), {}))


def test_a_member_without_end_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "ITEM_CHARACTERS", 2**20)

    class Endless(io.StringIO):
        given = 0

        def read(self, size: int | None = -1, /) -> str:
            self.given += size or 0
            return '{"features": ["' if self.given == size else "x" * (size or 0)

    stream = Endless()
    with pytest.raises(InvalidCube, match="MiB in one member"):
        list(read_features(stream, {}))
    assert stream.given < 8 * 2**20
