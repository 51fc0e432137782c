"""Times of items and of queries: RFC 3339, as STAC has them."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from geofuse.cube.sources import utc
from geofuse.errors import InvalidInput

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
Interval = tuple[float, float]


def seconds_of(text: str) -> float:
    """Seconds of a span of time such as ``"5d"`` or ``"36h"``; a bare number is days.

    Raises
    ------
    InvalidInput

    Examples
    --------
    >>> seconds_of("5d"), seconds_of("36h"), seconds_of("0.5")
    (432000.0, 129600.0, 43200.0)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([dhms]?)[a-z]*\s*", str(text).lower())
    if not found:
        raise InvalidInput(f"The gap is {text!r}; expected a span such as 5d, 36h or 90m.")
    return float(found[1]) * _UNITS[found[2] or "d"]


def interval_of(text: str | None) -> Interval:
    """First and last moment (seconds since 1970) of ``START/END``, of one time, or of a day, month or year; ``..`` is open.

    Raises
    ------
    InvalidInput

    Examples
    --------
    >>> first, last = interval_of("2024-06")
    >>> int(last - first) // 86400, interval_of("../..")
    (29, (-inf, inf))
    """
    if text is None:
        return float("-inf"), float("inf")
    ends = str(text).split("/")
    try:
        found = [_span(ends[0], -1), _span(ends[-1], 1)] if len(ends) <= 2 else []
    except (ValueError, OverflowError):
        found = []
    if not found or found[0][0] > found[-1][1]:
        raise InvalidInput(f"The time is {text!r}; expected ISO 8601 such as 2024-06-30 or 2024-06-01/2024-06-30, the earlier first.")
    return found[0][0], found[-1][1]


def _span(text: str, side: int) -> Interval:
    """First and last moment of one end of an interval."""
    text = text.strip()
    if text in ("", ".."):
        return side * float("inf"), side * float("inf")
    if re.fullmatch(r"\d{4}", text):
        year = int(text[:4])
        return _stamp(dt.datetime(year, 1, 1)), _stamp(dt.datetime(year + 1, 1, 1)) - 1e-3
    if re.fullmatch(r"\d{4}-\d{2}", text):
        year, month = int(text[:4]), int(text[5:])
        return _stamp(dt.datetime(year, month, 1)), _stamp(dt.datetime(year + month // 12, month % 12 + 1, 1)) - 1e-3
    first = _stamp(dt.datetime.fromisoformat(text))
    return first, first + 86400.0 - 1e-3 if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) else first


def _stamp(time: dt.datetime) -> float:
    return utc(time).timestamp()


def moment_of(properties: Any) -> float | None:
    """When an item was acquired, in seconds since 1970: its ``datetime``, else the middle of its start and end; None if it does not say."""
    if not isinstance(properties, dict):
        return None
    try:
        if properties.get("datetime"):
            return _stamp(dt.datetime.fromisoformat(properties["datetime"]))
        ends = [_stamp(dt.datetime.fromisoformat(properties[f"{end}_datetime"])) for end in ("start", "end")]
        return sum(ends) / 2
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def rfc3339(seconds: float) -> str:
    """A moment as text; ``..`` for one before year 1 or after 9999.

    Examples
    --------
    >>> rfc3339(0.0), rfc3339(float("inf"))
    ('1970-01-01T00:00:00Z', '..')
    """
    try:
        return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):  # beyond what calendars count
        return ".."
