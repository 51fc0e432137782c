"""Names of folders for ids from elsewhere: an id may be a path, hold newlines, be of any length, or be there twice."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

_LONGEST = 80
_SAFE = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?")
# Names that Windows keeps for devices.
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)
# What a batch folder holds beside its pairs.
_TAKEN = {"collection.json", "items.parquet", "log.jsonl"}


def folder_name(text: str) -> str:
    """The id where it is safe as the name of a folder and of the files in it; else what is safe of it, with a checksum of all of it.

    Examples
    --------
    >>> folder_name("EMIT_L2A_RFL_001_20240630"), folder_name("../../etc/passwd")
    ('EMIT_L2A_RFL_001_20240630', 'etc-passwd-3754d6cb')
    """
    if len(text) <= _LONGEST and _SAFE.fullmatch(text) and not _DEVICES.fullmatch(text) and text.lower() not in _TAKEN:
        return text
    kept = re.sub(r"[^A-Za-z0-9_]+", "-", text[: 4 * _LONGEST]).strip("-")[: _LONGEST - 9].strip("-")
    return f"{kept or 'item'}-{_checksum(text)}"


def folder_names(ids: Sequence[str], origins: Sequence[str]) -> list[str]:
    """A name for each id, all different also where letters are not told apart by case; the same whatever the order.

    Parameters
    ----------
    ids : sequence of str
    origins : sequence of str
        What tells apart those with the same id, such as where they were found.

    Examples
    --------
    >>> folder_names(["a", "b", "a"], ["1.json", "2.json", "3.json"])
    ['a-3591a900', 'b', 'a-5cf64f62']
    """
    names = [folder_name(text) for text in ids]
    counts = Counter(name.lower() for name in names)
    made = [
        name if counts[name.lower()] == 1 else f"{name[: _LONGEST - 9]}-{_checksum(f'{text} {origin}')}"
        for name, text, origin in zip(names, ids, origins, strict=True)
    ]
    seen: Counter[str] = Counter()
    for k, name in enumerate(made):
        seen[name.lower()] += 1
        made[k] = name if seen[name.lower()] == 1 else f"{name}-{seen[name.lower()]}"
    return made


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
