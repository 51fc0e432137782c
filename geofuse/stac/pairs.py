"""Pairs of a catalog: to each hyperspectral item the multispectral one, or ones, that suit it best, by what their metadata say."""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely

from geofuse.errors import InvalidInput
from geofuse.io.read.access import Access
from geofuse.redact import redact
from geofuse.stac.moments import Interval, interval_of, moment_of, rfc3339, seconds_of
from geofuse.stac.mosaics import Mosaic, best_mosaic
from geofuse.stac.names import folder_names
from geofuse.stac.sources import Found, Query, place_of, read_items

DAY_S = 86400.0
_SUN_DEG = 30.0  # difference of sun elevation that counts as much as all that is allowed of the others
_UNKNOWN = 0.5  # what an item that does not say how cloudy it is counts, as a share of what is allowed
_LONGEST_REASON, _LONGEST_NAME = 300, 80


@dataclass(frozen=True)
class Wanted:
    """Which items may be paired.

    Parameters
    ----------
    hsi, msi : str
        Ids of the collections.
    bbox : tuple of float, optional
        West, south, east, north in degrees: the HSI must touch it.
    datetime : Interval
        First and last moment of the HSI, in seconds since 1970.
    max_gap : float
        Seconds between both at most.
    max_cloud : float
        Cloud cover of either, percent; an item that does not say is not left out.
    min_overlap : float
        Share of the HSI's footprint that the MSI must cover, from 0 to 1.
    """

    hsi: str
    msi: str
    bbox: tuple[float, float, float, float] | None = None
    datetime: Interval = (float("-inf"), float("inf"))
    max_gap: float = 5 * DAY_S
    max_cloud: float = 20.0
    min_overlap: float = 0.5

    @classmethod
    def of(cls, hsi: str, msi: str, bbox: Any, datetime: str | None, max_gap: str, max_cloud: float, min_overlap: float) -> Wanted:
        """Checked, from what a user gives.

        Raises
        ------
        InvalidInput
        """
        if not 0 <= max_cloud <= 100:
            raise InvalidInput(f"The cloud cover is {max_cloud}; expected percent, from 0 to 100.")
        if not 0 <= min_overlap <= 1:
            raise InvalidInput(f"The overlap is {min_overlap}; expected a share of the HSI's footprint, from 0 to 1.")
        return cls(hsi, msi, _box(bbox), interval_of(datetime), seconds_of(max_gap), max_cloud, min_overlap)

    @property
    def query(self) -> Query:
        """What a server can filter: the MSI may lie outside the span of time by the gap."""
        first, last = self.datetime[0] - self.max_gap, self.datetime[1] + self.max_gap
        span = None if first == -last == float("-inf") else f"{rfc3339(first)}/{rfc3339(last)}"
        return Query(tuple(dict.fromkeys((self.hsi, self.msi))), self.bbox, span)


def _box(bbox: Any) -> tuple[float, float, float, float] | None:
    if bbox is None:
        return None
    try:
        west, south, east, north = (float(value) for value in (bbox.split(",") if isinstance(bbox, str) else bbox))
    except (TypeError, ValueError):
        west = south = east = north = float("nan")
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south < north <= 90):
        raise InvalidInput(f"The box is {bbox!r}; expected west,south,east,north in degrees.")
    return west, south, east, north


@dataclass(frozen=True)
class Stored:
    """An item as it was found, compressed: many are held, and few are opened."""

    packed: bytes
    base: str

    @classmethod
    def of(cls, found: Found) -> Stored:
        """Compress it."""
        return cls(zlib.compress(json.dumps(found.item, sort_keys=True).encode(), 1), found.base)

    @property
    def item(self) -> dict[str, Any]:
        """The JSON of the item."""
        made: dict[str, Any] = json.loads(zlib.decompress(self.packed))
        return made


@dataclass(frozen=True)
class Candidate:
    """What is to be known of an item to pair it."""

    id: str
    stored: Stored
    footprint: Any
    time: float
    cloud: float | None
    sun: float | None
    platform: str | None = None
    crs: str | None = None


@dataclass(frozen=True)
class Pair:
    """A hyperspectral item and the multispectral one, or ones, that go with it.

    Parameters
    ----------
    id : str
        Name of the pair, of its folder and of what is made of it: the id of the HSI where that is a safe name.
    hsi : Candidate
    msi : tuple of Candidate
        Several are one image together; where more than one shows a pixel, the first counts.
    reason : str
        Why this one, or these.
    overlap : float
        Share of the HSI's footprint that the MSI covers.
    gap : float
        Seconds from the HSI to the MSI; of several to the one that is farthest in time.
    access : Access
        What the catalog that both were found in may name.
    """

    id: str
    hsi: Candidate
    msi: tuple[Candidate, ...]
    reason: str
    overlap: float
    gap: float
    access: Access

    def __repr__(self) -> str:
        return f"<pair {self.id}>"


@dataclass
class Pairs:
    """Pairs of a source, and what was left without one.

    Parameters
    ----------
    pairs : list of Pair
    left : list of tuple
        Id of the HSI, or address of what could not be read, and the reason.
    """

    pairs: list[Pair] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)


def find_pairs(source: str, wanted: Wanted, hosts: Iterable[str] = (), patch_url: Callable[[str], str] | None = None) -> Pairs:
    """Pair the items of a source; only metadata are read.

    Parameters
    ----------
    source : str
        See `geofuse.stac.sources.read_items`.
    wanted : Wanted
    hosts : iterable of str
        Hosts of this machine or its network that the catalog may name.
    patch_url : callable, optional
        Signs the addresses of assets when they are opened.

    Raises
    ------
    InvalidInput
        The source cannot be read.
    """
    access, found = Access(place_of(source), frozenset(hosts), patch_url), Pairs()
    coarse, fine = _sorted_out(read_items(source, wanted.query, access), wanted, found.left)
    finder = _Finder(fine, wanted)
    chosen: list[tuple[Candidate, tuple[Candidate, ...], str, float]] = []
    for hsi in coarse:
        best = finder.best(hsi)
        if isinstance(best, str):
            found.left.append((hsi.id, best))
        else:
            chosen.append((hsi, *best))
    names = folder_names([hsi.id for hsi, *_ in chosen], [f"{hsi.stored.base} {hsi.time}" for hsi, *_ in chosen])
    found.pairs = [
        Pair(name, hsi, msi, reason, overlap, max((each.time - hsi.time for each in msi), key=abs), access)
        for name, (hsi, msi, reason, overlap) in zip(names, chosen, strict=True)
    ]
    return found


def _sorted_out(items: Iterator[Found], wanted: Wanted, left: list[tuple[str, str]]) -> tuple[list[Candidate], list[Candidate]]:
    """Candidates of both sides; what cannot be one goes to those that are left, if it is no MSI."""
    coarse: list[Candidate] = []
    fine: list[Candidate] = []
    seen: set[int] = set()
    for found in items:
        if found.item is None:
            left.append((redact(found.base)[:_LONGEST_REASON], found.error[:_LONGEST_REASON]))
            continue
        for side, collection in ((coarse, wanted.hsi), (fine, wanted.msi)):
            if found.item.get("collection") != collection:
                continue
            candidate = _candidate(found)
            if side is fine:
                fine += [candidate] if isinstance(candidate, Candidate) else []
                continue
            if (reason := _rejected(candidate, wanted, seen)) is None:
                coarse.append(candidate)  # type: ignore[arg-type]
            elif reason:
                left.append((str(found.item.get("id"))[:_LONGEST_REASON], reason))
    return coarse, fine


def _rejected(candidate: Candidate | str, wanted: Wanted, seen: set[int]) -> str | None:
    """Why an HSI cannot be paired; empty where it was not asked for; None where it can."""
    if isinstance(candidate, str):
        return candidate
    if not wanted.datetime[0] <= candidate.time <= wanted.datetime[1]:
        return ""
    if wanted.bbox is not None and not candidate.footprint.intersects(_boxes(*wanted.bbox)):
        return ""
    key = hash((candidate.id, candidate.stored.packed))
    if key in seen:
        return "the same item again"
    seen.add(key)
    if candidate.cloud is not None and candidate.cloud > wanted.max_cloud:
        return f"cloud cover {candidate.cloud:.0f} % > {wanted.max_cloud:g} %"
    return None


def _boxes(west: float, south: float, east: float, north: float) -> Any:
    """A box; two across the antimeridian."""
    if west <= east:
        return shapely.box(west, south, east, north)
    return shapely.union(shapely.box(west, south, 180, north), shapely.box(-180, south, east, north))


def _candidate(found: Found) -> Candidate | str:
    """What an item says of itself, or what is wrong with it."""
    item: Any = found.item
    properties = item.get("properties")
    if not isinstance(item.get("id"), str) or not item["id"]:
        return "the item has no id"
    if not isinstance(item.get("assets"), dict) or not item["assets"]:
        return "the item has no assets"
    if (time := moment_of(properties)) is None:
        return "the item does not say when it was acquired"
    if (footprint := _footprint(item)) is None:
        return "the item does not say where it lies"
    cloud, sun = (_number(properties, key) for key in ("eo:cloud_cover", "view:sun_elevation"))
    return Candidate(item["id"], Stored.of(found), footprint, time, cloud, sun, _text(properties, "platform", "constellation"), _crs(item))


def _text(properties: dict[str, Any], *keys: str) -> str | None:
    found = next((properties[key] for key in keys if isinstance(properties.get(key), str)), None)
    return found and sys.intern(found[:_LONGEST_NAME])


def _crs(item: dict[str, Any]) -> str | None:
    """The CRS as the item, or the first asset that says it, names it."""
    for each in (item["properties"], *item["assets"].values()):
        code = isinstance(each, dict) and (each.get("proj:code") or each.get("proj:epsg"))
        if isinstance(code, str | int):
            return sys.intern(str(code)[:_LONGEST_NAME].upper().removeprefix("EPSG:"))
    return None


def _number(properties: dict[str, Any], key: str) -> float | None:
    value = properties.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 180 else None


def _footprint(item: dict[str, Any]) -> Any:
    """The footprint, which should be that of valid pixels; else the bounding box; None without either."""
    try:
        shape = shapely.from_geojson(json.dumps(item.get("geometry")), on_invalid="ignore")
        shape = shape if shape is None or shape.is_valid else shapely.make_valid(shape)
        if shape is not None and shape.area > 0 and np.isfinite(shape.bounds).all():
            return shape
        box = [float(value) for value in item.get("bbox") or ()]
        shape = _boxes(*(box if len(box) == 4 else (*box[:2], *box[3:5])))
        return shape if shape.area > 0 else None
    except (TypeError, ValueError, shapely.errors.ShapelyError):
        return None


class _Finder:
    """The multispectral items of a source, by place."""

    def __init__(self, items: Sequence[Candidate], wanted: Wanted) -> None:
        self.items, self.wanted = items, wanted
        self.tree = shapely.STRtree([item.footprint for item in items])

    def best(self, hsi: Candidate) -> tuple[tuple[Candidate, ...], str, float] | str:
        """The item, or items, that suit best, why, and how much they cover; or why none does."""
        wanted = self.wanted
        near = [self.items[k] for k in sorted(self.tree.query(hsi.footprint, predicate="intersects"))] if self.items else []
        near = [msi for msi in near if msi.stored.packed != hsi.stored.packed]
        if not near:
            return "no MSI item overlaps it"
        gaps = [abs(msi.time - hsi.time) for msi in near]
        timely = [msi for msi, gap in zip(near, gaps, strict=True) if gap <= wanted.max_gap]
        if not timely:
            return f"no MSI item within {_days(wanted.max_gap)} (the nearest is {_days(min(gaps))} apart)"
        clear = [msi for msi in timely if msi.cloud is None or msi.cloud <= wanted.max_cloud]
        if not clear:
            least = min(msi.cloud for msi in timely if msi.cloud is not None)
            return f"cloud cover of every MSI item within {_days(wanted.max_gap)} > {wanted.max_cloud:g} % (the least is {least:.0f} %)"
        overlaps = [_overlap(hsi.footprint, msi.footprint) for msi in clear]
        suiting = [(msi, overlap) for msi, overlap in zip(clear, overlaps, strict=True) if overlap >= wanted.min_overlap and overlap > 0]
        if not suiting:
            return self._mosaic(hsi, clear, f"overlap {100 * max(overlaps):.0f} % < {100 * wanted.min_overlap:g} %")
        msi, overlap = min(suiting, key=lambda found: (self._cost(hsi, *found), found[0].id))
        return (msi,), _why(hsi, msi, overlap, len(suiting)), overlap

    def _mosaic(self, hsi: Candidate, items: list[Candidate], alone: str) -> tuple[tuple[Candidate, ...], str, float] | str:
        """Several items together, where none is enough alone."""
        wanted = self.wanted.min_overlap
        found = best_mosaic(hsi, items, wanted, lambda item: self._cost(hsi, item, 1.0))
        if found is not None and found.overlap >= wanted:
            return found.items, _why_together(hsi, found, alone), found.overlap
        if found is not None:
            alone += f", {100 * found.overlap:.0f} % with {len(found.items)} items together"
        all_of_them = _overlap(hsi.footprint, shapely.union_all([item.footprint for item in items]))
        apart = all_of_them >= wanted and len(items) > 1
        return alone + ("; items of different platforms, CRS or days are not taken as one" if apart else "")

    def _cost(self, hsi: Candidate, msi: Candidate, overlap: float) -> float:
        """Each shortcoming as a share of what is allowed, summed."""
        wanted = self.wanted
        missing = (1 - overlap) / max(1 - wanted.min_overlap, 1e-9)
        gap = abs(msi.time - hsi.time) / max(wanted.max_gap, 1.0)
        cloud = _UNKNOWN if msi.cloud is None else msi.cloud / max(wanted.max_cloud, 1e-9)
        sun = 0.0 if msi.sun is None or hsi.sun is None else abs(msi.sun - hsi.sun) / _SUN_DEG
        return missing + gap + cloud + sun


def _overlap(hsi: Any, msi: Any) -> float:
    """Share of the first footprint that the second covers; degrees are as long in both, since they lie at one place."""
    return float(hsi.intersection(msi).area / hsi.area)


def _why(hsi: Candidate, msi: Candidate, overlap: float, count: int) -> str:
    parts = [f"overlap {100 * overlap:.0f} %", f"{_days(abs(msi.time - hsi.time))} apart"]
    parts += [] if msi.cloud is None else [f"cloud cover {msi.cloud:.0f} %"]
    parts += [] if msi.sun is None or hsi.sun is None else [f"sun {abs(msi.sun - hsi.sun):.0f}° apart"]
    return ", ".join(parts) + (f"; best of {count}" if count > 1 else "; the only one")


def _why_together(hsi: Candidate, found: Mosaic, alone: str) -> str:
    shares = " + ".join(f"{100 * share:.0f}" for share in found.added)
    gap = _days(max(abs(item.time - hsi.time) for item in found.items))
    clouds = [item.cloud for item in found.items if item.cloud is not None]
    parts = [f"overlap {100 * found.overlap:.0f} % with {len(found.items)} items together ({shares} %)", f"{gap} apart"]
    return ", ".join(parts + ([f"cloud cover up to {max(clouds):.0f} %"] if clouds else [])) + f"; of the best alone {alone}"


def _days(seconds: float) -> str:
    """A span of time, in words.

    Examples
    --------
    >>> _days(5 * DAY_S), _days(DAY_S), _days(3600.0), _days(600.0)
    ('5 days', '1 day', '1 hour', '0.17 hours')
    """
    days = round(seconds / DAY_S, 1)
    number, unit = (f"{days:g}", "day") if days >= 1 else (f"{seconds / 3600:.2g}", "hour")
    return f"{number} {unit}" if number == "1" else f"{number} {unit}s"
