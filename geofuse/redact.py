"""Take credentials out of text: out of messages, reports, items and whatever else is shown, kept or published.

Addresses of rasters carry them in three places: before the host (``user:password@``), among the parameters (``token=``, and the
signature of a presigned address) and, in GDAL's own spellings, percent-encoded within another address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

# Parameters that open a private file, or name who may: those of AWS, Google, Azure, CloudFront and what services call a token.
_PREFIXES = ("x-amz-", "x-goog-", "x-oss-", "x-ms-", "header.")
_NAMES = {
    *("sig", "se", "sp", "sv", "sr", "st", "spr", "sip", "skoid", "sktid", "skt", "ske", "sks", "skv", "expires", "policy"),
    *("key", "auth", "jwt", "sas", "code", "pwd", "pass", "user", "username", "userpwd", "key-pair-id", "hdnts", "session"),
}
_WORDS = re.compile(r"token|secret|signature|passw|credential|api_?-?key|access_?-?key|subscription-?key|authorization", re.IGNORECASE)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,30}://[^\s'\"<>]+|/vsi[a-z0-9_]+\?[^\s'\"<>]+")
# A password may hold a slash that nobody encoded; what follows the colon is a port only where it is a number.
_USER = re.compile(r"(://)(?:[^/?#]*@|[^/?#@:]+:(?!\d+(?:[/?#]|$))[^@]{0,200}@)")
_BARE = re.compile(r"(?<![\w-])([\w-]{1,80})=[^\s&'\"<>,;)]+")
_NESTED = 3
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}")


def redact(text: str) -> str:
    """The text without credentials: addresses without user, password and parameters that sign or open, the rest as it is.

    Examples
    --------
    >>> redact("https://me:secret@host/a.tif?version=2&X-Amz-Signature=abc&sig=d")
    'https://host/a.tif?version=2'
    >>> redact("cannot read 'https://host/a.tif?token=abc' (token=abc)")
    "cannot read 'https://host/a.tif' (token=***)"
    """
    cleaned = _ADDRESS.sub(lambda found: _address(found[0]), text)
    cleaned = _BARE.sub(lambda found: f"{found[1]}=***" if _WORDS.search(found[1]) or found[1].lower() == "sig" else found[0], cleaned)
    return _BEARER.sub(r"\1 ***", cleaned)


def redacted(values: Any) -> Any:
    """Plain JSON values with every text in them redacted, keys excepted.

    Examples
    --------
    >>> redacted({"inputs": ["https://me:secret@host/a.tif"]})
    {'inputs': ['https://host/a.tif']}
    """
    if isinstance(values, str):
        return redact(values)
    if isinstance(values, Mapping):
        return {key: redacted(value) for key, value in values.items()}
    return [redacted(value) for value in values] if isinstance(values, list | tuple) else values


def _address(found: str) -> str:
    address = found.rstrip(".,:;)]")  # of the sentence that it stands in
    place, mark, query = _USER.sub(r"\1", address).partition("?")
    query, hash_mark, fragment = query.partition("#")
    kept = [_parameter(part) for part in re.split("[&;]", query) if part and not _is_secret(part.partition("=")[0])]
    fragment = "" if _WORDS.search(fragment) else hash_mark + fragment
    return place + (mark if kept else "") + "&".join(kept) + fragment + found[len(address) :]


def _is_secret(name: str) -> bool:
    name = unquote(name).lower()
    return name.startswith(_PREFIXES) or name in _NAMES or bool(_WORDS.search(name))


def _parameter(part: str) -> str:
    """A parameter, whose value may be an address of its own, as in ``/vsicurl?url=https%3A%2F%2F…``."""
    name, equals, value = part.partition("=")
    inner = unquote(value)
    if "://" not in inner:
        return part
    if inner.count("://") > _NESTED:
        return name + equals + "***"
    clean = redact(inner)
    return name + equals + (clean if inner == value else quote(clean, safe=""))
