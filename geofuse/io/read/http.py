"""Fetch small documents over HTTP: bounded in size and in time, again where the server asks for patience, and never led where a catalog may not lead."""

from __future__ import annotations

import email.utils
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO
from urllib.parse import urljoin

from geofuse.errors import InvalidCube
from geofuse.io.read.access import Access
from geofuse.redact import redact

DOCUMENT_BYTES = 2**26
"""Of a document at most: a collection may link to 100,000 items."""
_TIMEOUT_S = 30.0
_PATIENCE_S = 60.0
_ATTEMPTS = 4
_AGAIN = (408, 425, 429, 500, 502, 503, 504)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """A redirect leads on only to where the catalog could have led itself."""

    def __init__(self, access: Access) -> None:
        self.access = access

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        self.access.check(urljoin(req.full_url, newurl))
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def open_url(
    url: str, access: Access, *, method: str = "GET", headers: Mapping[str, str] | None = None, body: Any = None, attempts: int = _ATTEMPTS
) -> BinaryIO:
    """The response of a server, to be read and closed.

    Parameters
    ----------
    url : str
        An address of http or https.
    access : Access
        What is checked against it is each redirect.
    method, headers, body
        Of the request; the body becomes JSON.
    attempts : int
        How often to ask, with growing pauses or those of ``Retry-After``, while the server is busy or does not answer.

    Raises
    ------
    InvalidCube
        No answer, or one that is not success.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise InvalidCube(f"cannot fetch {url!r}; expected an address of http or https")
    opener = urllib.request.build_opener(_Redirects(access))
    data = None if body is None else json.dumps(body).encode()
    sent = {"Accept-Encoding": "identity", **({"Content-Type": "application/json"} if data else {}), **(headers or {})}
    for attempt in range(1, attempts + 1):
        try:
            found: BinaryIO = opener.open(urllib.request.Request(url, data, sent, method=method), timeout=_TIMEOUT_S)
            return found
        except InvalidCube:  # of a redirect
            raise
        except urllib.error.HTTPError as error:
            error.close()
            if error.code not in _AGAIN or attempt == attempts:
                raise InvalidCube(f"{url}: the server says {error.code} {error.reason}; check the address") from None
            time.sleep(_pause(attempt, error.headers.get("Retry-After")))
        except (OSError, ValueError, http.client.HTTPException) as error:  # no connection, reset, timeout; an address that is none
            if attempt == attempts or isinstance(error, ValueError | http.client.InvalidURL):
                raise InvalidCube(f"{url}: no answer ({redact(str(error))}); check the address and the network") from None
            time.sleep(_pause(attempt, None))
    raise AssertionError("no attempt")


def fetch(url: str, access: Access, **request: Any) -> bytes:
    """A whole document; for the parameters see `open_url`.

    Raises
    ------
    InvalidCube
        Also for one that is larger than `DOCUMENT_BYTES`, or arrives slower than in a minute.
    """
    pieces, size, end = [], 0, time.monotonic() + _PATIENCE_S
    with open_url(url, access, **request) as response, reading(url):
        while piece := response.read1(2**16):  # type: ignore[attr-defined]  # what has arrived: a slow server must not stop the clock
            pieces.append(piece)
            size += len(piece)
            if size > DOCUMENT_BYTES:
                raise InvalidCube(f"{url}: more than {DOCUMENT_BYTES / 2**20:.0f} MiB of JSON; expected a STAC document")
            if time.monotonic() > end:
                raise InvalidCube(f"{url}: {size} bytes in {_PATIENCE_S:.0f} s; the server is too slow, try again later")
    return b"".join(pieces)


@contextmanager
def reading(url: str) -> Iterator[None]:
    """Read the response of a server: a connection that breaks is an `InvalidCube`."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, InvalidCube):
            raise
        raise InvalidCube(f"{url}: the connection broke ({redact(str(error) or type(error).__name__)}); try again later") from None


def stamp(url: str, access: Access) -> dict[str, str] | None:
    """What a server says of the state of a file: ETag, size and time of change; None where it says nothing."""
    try:
        with open_url(access.patched(url), access, method="HEAD", attempts=2) as response:
            headers: Any = response.headers  # type: ignore[attr-defined]
            return {key: headers[key] for key in ("ETag", "Content-Length", "Last-Modified") if headers[key]} or None
    except InvalidCube:
        return None


def _pause(attempt: int, retry_after: str | None) -> float:
    """Seconds to wait before the next attempt."""
    if retry_after:
        try:
            wanted = float(retry_after)
        except ValueError:
            try:
                wanted = email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time()
            except (TypeError, ValueError):
                wanted = 0.0
        return min(max(wanted, 0.0), _PATIENCE_S)
    return float(0.5 * 2 ** (attempt - 1))
