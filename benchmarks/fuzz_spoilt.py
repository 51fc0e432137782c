"""What `benchmarks.fuzz` does to good files: bytes, JSON and XML spoilt by a generator, and files that claim more than they hold."""

from __future__ import annotations

import copy
import random
import re
import struct
from collections.abc import Iterator
from typing import Any

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**30, 1e308, -0.0, float("nan"), float("inf")),
    *("", "x", "0", "nan", "1e999", "../..", "/etc/passwd", "\0", "\udcff", "é" * 50, "a" * 5000, " " * 3000),
    *([], {}, [None], [[]], [{}], {"name": []}, {"configuration": None}, [1, "a", None], list(range(300))),
)


def spoilt_bytes(raw: bytes, rng: random.Random, focus: int | None = None) -> bytes:
    """Bytes changed, cut, doubled or taken out, most of them among the first ``focus``."""
    content = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        reach = min(len(content), focus or len(content)) if rng.random() < 0.8 else len(content)
        place = rng.randrange(max(reach, 1))
        what = rng.randrange(6)
        if what == 0:
            content[place : place + 1] = rng.randbytes(1)
        elif what == 1:
            content[place : place + 4] = struct.pack("<I", rng.choice((0, 1, 255, 65535, 2**31 - 1, 2 * 10**9, 2**32 - 1)))
        elif what == 2:
            content[place : place + 8] = rng.randbytes(8)
        elif what == 3:
            del content[place : place + rng.choice((1, 4, 64))]
        elif what == 4:
            content[place:place] = content[place : place + rng.choice((1, 12, 200))]
        elif rng.random() < 0.2:
            del content[place:]
    return bytes(content)


def spoilt_tree(tree: Any, rng: random.Random) -> Any:
    """A JSON value with one to three of its parts replaced, removed, renamed or wrapped."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(tree))
        if not places:
            return rng.choice(ODD)
        holder, key = rng.choice(places)
        what = rng.randrange(5)
        if what <= 1:
            holder[key] = copy.deepcopy(rng.choice(ODD))
        elif what == 2:
            del holder[key]
        elif what == 3:
            holder[key] = rng.choice(([holder[key]], {"name": holder[key]}, str(holder[key]), [holder[key]] * 200))
        elif isinstance(holder, dict):
            holder[str(rng.choice(ODD))] = holder.pop(key)
    return tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()):
        yield tree, key
        yield from _places(value)


def deep_json(levels: int = 100_000) -> str:
    """A list in a list in a list, and so on."""
    return "[" * levels + "]" * levels


def claiming_tiff(tiled: bool, width: int, height: int) -> bytes:
    """A TIFF of some 300 bytes with CRS and transform, without any pixel, of so many float64 in one tile of 65536 x 16 or in one strip."""
    keys = struct.pack("<8H", 1, 1, 0, 1, 3072, 0, 1, 32633)
    scale, tie = struct.pack("<3d", 30, 30, 0), struct.pack("<6d", 0, 0, 0, 384000, 5818000, 0)
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 64), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1)]
    if not tiled:
        entries += [(273, 4, 1, 0), (278, 4, 1, height), (279, 4, 1, 0)]
    else:
        entries += [(322, 4, 1, 65536), (323, 4, 1, 16), (324, 4, 1, 0), (325, 4, 1, 0)]
    entries += [(339, 3, 1, 3)]
    after = 8 + 2 + 12 * (len(entries) + 3) + 4
    entries += [(33550, 12, 3, after), (33922, 12, 6, after + 24), (34735, 3, 8, after + 72)]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", 8) + directory + scale + tie + keys


def spoilt_xml(raw: bytes, rng: random.Random) -> bytes:
    """XML with other numbers, with elements taken out, with entities, or with other bytes."""
    what = rng.random()
    if what < 0.3:
        return spoilt_bytes(raw, rng)
    text = raw.decode()
    if what < 0.4:
        bomb = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">' + "".join(
            f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
        )
        start = text.index("?>") + 2 if "?>" in text else 0
        return (text[:start] + bomb + "]>" + text[start:].replace("</", rng.choice(("&i;</", "&x;</")), 3)).encode()
    values = re.findall(r">([^<>]+)<", text) or [""]
    for _ in range(rng.choice((1, 1, 3, 9))):
        value = rng.choice(values)
        odd = rng.choice(("", "x", "0", "-1", "nan", "1e999", "9" * 5000, "../../etc/passwd", "1,2,3", " " * 3000, "\u00e9"))
        text = text.replace(f">{value}<", f">{odd}<", rng.choice((1, -1)))
    return text.encode()
