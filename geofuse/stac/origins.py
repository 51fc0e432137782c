"""Licence and providers of the items of a pair: of each item, where it says them, else of the collection that it links to."""

from __future__ import annotations

from typing import Any

from geofuse.errors import InvalidCube
from geofuse.io.read.access import Access
from geofuse.stac.attribution import Attribution, combined
from geofuse.stac.pairs import Candidate, Pair
from geofuse.stac.sources import absolute, hrefs, read_document

_MOST = 64
"""Collections that are opened at most: a catalog may name another one with each item."""


class Origins:
    """What the sources of pairs say of themselves; each collection is read once, and one that cannot be read says nothing."""

    def __init__(self) -> None:
        self._collections: dict[str, Attribution] = {}

    def of(self, pair: Pair) -> Attribution:
        """Of all its items together."""
        return combined([self._of_item(side, pair.access) for side in (pair.hsi, *pair.msi)])

    def _of_item(self, side: Candidate, access: Access) -> Attribution:
        item = side.stored.item
        own = Attribution.of(item)
        if own.license and own.providers:
            return own
        for href in hrefs(item, "collection"):
            other = self._of_collection(absolute(href, side.stored.base), access)
            return Attribution(own.license or other.license, own.providers or other.providers, own.links or other.links)
        return own

    def _of_collection(self, place: str, access: Access) -> Attribution:
        if place not in self._collections and len(self._collections) < _MOST:
            self._collections[place] = Attribution.of(_collection(place, access))
        return self._collections.get(place, Attribution())


def _collection(place: str, access: Access) -> dict[str, Any]:
    try:
        return read_document(access.check(place), access)
    except InvalidCube:
        return {}
