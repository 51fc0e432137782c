"""STAC documents of any size, read as they arrive: of a collection of items (GeoJSON, RFC 7946) one item at a time is in memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

from geofuse.errors import InvalidCube

ITEM_CHARACTERS = 2**24
"""Of an item at most."""
CATALOG_CHARACTERS = 2**26
"""Of any other member of a document at most."""
_PIECE = 2**18
_OF_NUMBERS = "0123456789.eE+-"
_SPACE = re.compile(r"[ \t\r\n]*")


class _Text:
    """A text that is read piece by piece as JSON, value by value."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.text, self.at, self.ended = stream, "", 0, False
        self.decode = json.JSONDecoder().raw_decode

    def more(self) -> bool:
        """Read another piece; False at the end."""
        piece = "" if self.ended else self.stream.read(max(_PIECE, len(self.text) - self.at))
        self.ended = not piece
        self.text, self.at = self.text[self.at :] + piece, 0
        return not self.ended

    def next(self) -> str:
        """The next character that is no space; it is not taken."""
        while True:
            self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                raise InvalidCube("the JSON ends too early; fetch it again")

    def take(self, expected: str) -> str:
        """Take the next character, one of those expected."""
        found = self.next()
        if found not in expected:
            raise InvalidCube(f"no valid JSON: {found!r} where one of {' '.join(expected)} was expected")
        self.at += 1
        return found

    def value(self, most: int) -> Any:
        """Take the next value, of so many characters at most."""
        self.next()
        while True:
            try:
                found, end = self.decode(self.text, self.at)
            except RecursionError:
                raise InvalidCube("the JSON is nested too deeply; expected a STAC document") from None
            except ValueError as error:
                if len(self.text) - self.at > most:
                    raise InvalidCube(f"more than {most / 2**20:.0f} MiB in one member of the JSON; expected a STAC document") from None
                if not self.more():
                    raise InvalidCube(f"no valid JSON ({error}); fetch it again") from None
                continue
            if self.ended or (end < len(self.text) and self.text[end] not in _OF_NUMBERS):
                self.at = end
                return found
            self.more()  # a number may go on in the next piece


def read_features(stream: TextIO, members: dict[str, Any]) -> Iterator[Any]:
    """The elements of ``features`` of a JSON object one after the other; its other members go into ``members``.

    Parameters
    ----------
    stream : file of text
    members : dict
        Filled while the features are taken; complete when they are.

    Yields
    ------
    Any
        Whatever stands there: nothing is checked.

    Raises
    ------
    InvalidCube
        No JSON object, cut off, or a member that is too large.

    Examples
    --------
    >>> import io
    >>> members = {}
    >>> list(read_features(io.StringIO('{"type": "FeatureCollection", "features": [{"id": "a"}, {"id": "b"}], "links": []}'), members))
    [{'id': 'a'}, {'id': 'b'}]
    >>> members
    {'type': 'FeatureCollection', 'links': []}
    """
    text = _Text(stream)
    text.take("{")
    if text.next() == "}":
        return
    while True:
        key = text.value(ITEM_CHARACTERS)
        text.take(":")
        if key == "features" and text.next() == "[":
            yield from _elements(text)
        elif isinstance(key, str):
            members[key] = text.value(CATALOG_CHARACTERS)
        else:
            raise InvalidCube("no valid JSON: a key of an object is no text")
        if text.take(",}") == "}":
            return


def _elements(text: _Text) -> Iterator[Any]:
    text.take("[")
    if text.next() == "]":
        text.take("]")
        return
    while True:
        yield text.value(ITEM_CHARACTERS)
        if text.take(",]") == "]":
            return
