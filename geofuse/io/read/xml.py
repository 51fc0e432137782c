"""XML of products, read as data: no document type, no entities, no external names, and no more than fits a metadata file."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from geofuse.errors import InvalidCube

_LARGEST, _DEEPEST, _MOST = 64 * 2**20, 64, 2**20  # bytes, levels, elements


def read_xml(path: Path) -> Element:
    """The root element of a file; prefixes of namespaces are dropped from the tags, and attributes keep theirs.

    Raises
    ------
    InvalidCube
        No XML, larger than 64 MB, deeper than 64 levels, or with a document type, in which entities would be declared.
    """
    try:
        size = path.stat().st_size
        if size > _LARGEST:
            raise InvalidCube(f"{path.name} has {size / 1e6:.0f} MB; expected the metadata of one product")
        return _parsed(path.read_bytes())
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise InvalidCube(f"{path.name} is no XML ({error}); fetch the product again") from None
    except OSError as error:
        raise InvalidCube(f"{path.name} cannot be read ({error.strerror}); fetch the product again") from None


def _parsed(raw: bytes) -> Element:
    builder, parser = TreeBuilder(), expat.ParserCreate()
    depth = count = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, count
        depth, count = depth + 1, count + 1
        if depth > _DEEPEST or count > _MOST:
            raise ValueError("more elements, or deeper ones, than the metadata of a product have")
        builder.start(tag.rpartition(":")[2], attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag.rpartition(":")[2])

    def reject(*_: object) -> None:
        raise ValueError("it declares a document type, which the metadata of a product do not need")

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, builder.data
    parser.StartDoctypeDeclHandler = reject
    parser.Parse(raw, True)
    return builder.close()


def text_of(root: Element, path: str) -> str | None:
    """Text of the first element at a path below the root (as ElementTree spells it); None where there is none."""
    found = root.findtext(path)
    return found.strip() if found and found.strip() else None


def number_of(root: Element, path: str) -> float:
    """The number that stands at a path.

    Raises
    ------
    InvalidCube
        It is not there, or no number.
    """
    text = text_of(root, path)
    try:
        return float(text or "")
    except ValueError:
        raise InvalidCube(f"its metadata give {text!r} for {path.rpartition('/')[2]}; expected a number, fetch the product again") from None
