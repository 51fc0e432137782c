"""Several multispectral items as one, where none covers a hyperspectral one: chosen by what each adds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import shapely

if TYPE_CHECKING:
    from geofuse.stac.pairs import Candidate

TOGETHER_S = 86400.0  # from the first of them: what is days apart shows another ground
_ADDS = 1e-3  # share of the hyperspectral footprint below which an item adds nothing
_MOST = 16


@dataclass(frozen=True)
class Mosaic:
    """Items of one platform and one CRS, within a day.

    Parameters
    ----------
    items : tuple of Candidate
        The best first: where several show a pixel, the first that holds data there counts.
    overlap : float
        Share of the hyperspectral footprint that they cover together.
    added : tuple of float
        What each of them added, in the order in which they were chosen.
    """

    items: tuple[Candidate, ...]
    overlap: float
    added: tuple[float, ...]


def best_mosaic(hsi: Candidate, items: Sequence[Candidate], wanted: float, cost: Callable[[Candidate], float]) -> Mosaic | None:
    """The mosaic that covers as much as is wanted with the fewest items, else the one that covers most; None where no two items go together.

    Parameters
    ----------
    hsi : Candidate
    items : sequence of Candidate
        Multispectral items that overlap it, near enough in time and clear enough.
    wanted : float
        Share of the hyperspectral footprint to cover, from 0 to 1.
    cost : callable
        How bad an item is, apart from what it does not cover.
    """
    groups = defaultdict(list)
    for item in sorted(items, key=lambda item: item.id):
        groups[item.platform, item.crs].append(item)
    made = [_chosen(hsi, group, wanted, cost) for group in groups.values() if len(group) > 1]
    several = [mosaic for mosaic in made if len(mosaic.items) > 1]
    return min(several, key=lambda m: (m.overlap < wanted, len(m.items) if m.overlap >= wanted else 0, -m.overlap), default=None)


def _chosen(hsi: Candidate, group: list[Candidate], wanted: float, cost: Callable[[Candidate], float]) -> Mosaic:
    """Items that add most, one after the other, until enough is covered or nothing more is added."""
    left, taken, added = list(group), [], []  # type: ignore[var-annotated]
    missing = hsi.footprint
    while left and len(taken) < _MOST and sum(added) < wanted:
        gains = [float(shapely.intersection(missing, item.footprint).area / hsi.footprint.area) for item in left]
        best = max(range(len(left)), key=lambda k: (gains[k], -cost(left[k])))
        if gains[best] < _ADDS:
            break
        item = left.pop(best)
        taken.append(item)
        added.append(gains[best])
        missing = shapely.difference(missing, item.footprint)
        left = [other for other in left if abs(other.time - taken[0].time) <= TOGETHER_S]
    return Mosaic(tuple(sorted(taken, key=cost)), min(1.0, sum(added)), tuple(added))
