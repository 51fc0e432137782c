"""Fetch over HTTP: bounded in size and in time, again where the server asks for patience, and never led where a catalog may not lead.

Redirects and the addresses that names turn out to be are checked before anything is sent (RFC 9110, section 15.4). Passwords come from
the user's ``.netrc``, for the hosts that it names and over https only, as archives behind a login want (NASA Earthdata).
"""

from __future__ import annotations

import base64
import email.utils
import http.client
import http.cookiejar
import json
import netrc
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, BinaryIO
from urllib.parse import unquote, urljoin, urlsplit

from geofuse.errors import InvalidCube
from geofuse.io.read.access import Access
from geofuse.redact import redact

DOCUMENT_BYTES = 2**26
"""Of a document at most: a collection may link to 100,000 items."""
_TIMEOUT_S = 30.0
_PATIENCE_S = 60.0
_ATTEMPTS = 4
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_cookies = http.cookiejar.CookieJar()  # in memory
_look_up = socket.getaddrinfo


def patience_s() -> float:
    """Seconds after which a server that sends next to nothing is given up; the environment may say otherwise, as to GDAL."""
    try:
        return float(os.environ["GDAL_HTTP_LOW_SPEED_TIME"])
    except (KeyError, ValueError):
        return _PATIENCE_S


def _connected(access: Access, url: str, place: tuple[str, int], timeout: Any = None, source: Any = None, **options: Any) -> socket.socket:
    """A connection to the first address of a host that answers; each is checked, and none is looked up again."""
    found = [str(address[0]) for *_, address in _look_up(*place, type=socket.SOCK_STREAM)]
    for address in found:
        access.check_resolved(url, address)
    for address in found[:-1]:
        with suppress(OSError):
            return socket.create_connection((address, place[1]), timeout, source, **options)
    return socket.create_connection((found[-1], place[1]), timeout, source, **options)


class _Checked:
    """What both handlers of connections share."""

    def __init__(self, access: Access) -> None:
        super().__init__()
        self.access = access

    def do_open(self, http_class: Any, req: Any, **options: Any) -> Any:
        """As that of urllib, but for how the connection is made; that to a proxy, which the user chose, is not checked."""
        through_proxy = req.host != urlsplit(req.full_url).netloc

        def made(host: str, **about: Any) -> Any:
            connection = http_class(host, **about)
            if not through_proxy:
                connection._create_connection = partial(_connected, self.access, req.full_url)
            return connection

        return super().do_open(made, req, **options)  # type: ignore[misc]


class _Plain(_Checked, urllib.request.HTTPHandler):
    pass


class _Secure(_Checked, urllib.request.HTTPSHandler):
    pass


class _Passwords(urllib.request.HTTPPasswordMgr):
    """Those of the user's ``.netrc``."""

    def find_user_password(self, realm: Any, authuri: str) -> tuple[Any, Any]:
        if authuri.startswith("https://"):
            try:
                found = netrc.netrc(os.environ.get("NETRC")).hosts.get(urlsplit(authuri).hostname or "")
            except (OSError, netrc.NetrcParseError):
                found = None
            if found is not None:
                return found[0], found[2]
        return None, None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """A redirect leads on only to where the catalog could have led itself."""

    def __init__(self, access: Access) -> None:
        self.access = access

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        if not self.access.check(urljoin(req.full_url, newurl)).lower().startswith(("http://", "https://")):
            raise InvalidCube(f"{req.full_url}: the server leads to {newurl[:200]!r}; expected an address of http or https")
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
        What is checked against it is each redirect, and what the names of hosts turn out to be.
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
    opener = urllib.request.build_opener(
        _Redirects(access),
        _Plain(access),
        _Secure(access),
        urllib.request.HTTPCookieProcessor(_cookies),
        urllib.request.HTTPBasicAuthHandler(_Passwords()),
    )
    data = None if body is None else json.dumps(body).encode()
    sent = {"Accept-Encoding": "identity", **({"Content-Type": "application/json"} if data else {}), **(headers or {})}
    for attempt in range(1, attempts + 1):
        try:
            found: BinaryIO = opener.open(_request(url, data, sent, method), timeout=min(_TIMEOUT_S, patience_s()))
            return found
        except InvalidCube:  # of a redirect, or of what a name turned out to be
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


def _request(url: str, data: bytes | None, headers: Mapping[str, str], method: str) -> urllib.request.Request:
    """A request; user and password of the address become a header, which no redirect takes along (RFC 7617)."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    made = urllib.request.Request(parts._replace(netloc=host).geturl() if at else url, data, dict(headers), method=method)
    if at:
        made.add_unredirected_header("Authorization", f"Basic {base64.b64encode(unquote(user).encode()).decode()}")
    return made


def fetch(url: str, access: Access, **request: Any) -> bytes:
    """A whole document; for the parameters see `open_url`.

    Raises
    ------
    InvalidCube
        Also for one that is larger than `DOCUMENT_BYTES`, or arrives slower than in a minute.
    """
    pieces, size, end = [], 0, time.monotonic() + (patience := patience_s())
    with open_url(url, access, **request) as response, reading(url):
        while piece := response.read1(2**16):  # type: ignore[attr-defined]  # what has arrived: a slow server must not stop the clock
            pieces.append(piece)
            size += len(piece)
            if size > DOCUMENT_BYTES:
                raise InvalidCube(f"{url}: more than {DOCUMENT_BYTES / 2**20:.0f} MiB of JSON; expected a STAC document")
            if time.monotonic() > end:
                raise InvalidCube(f"{url}: {size} bytes in {patience:.0f} s; the server is too slow, try again later")
    return b"".join(pieces)


@contextmanager
def reading(url: str) -> Iterator[None]:
    """Read the response of a server: a connection that breaks is an `InvalidCube`."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        raise InvalidCube(f"{url}: the connection broke ({redact(str(error) or type(error).__name__)}); try again later") from None


def stamp(url: str, access: Access) -> dict[str, str]:
    """What a server says of the state of a file: ETag, size and time of change, as far as it says them.

    Asked by a range of one byte: an address that is signed for reading answers no HEAD.

    Raises
    ------
    InvalidCube
        No answer, or the file is not there.
    """
    with open_url(access.patched(url), access, headers={"Range": "bytes=0-0"}, attempts=2) as response:
        headers: Any = response.headers  # type: ignore[attr-defined]
        size = (headers["Content-Range"] or headers["Content-Length"] or "").rpartition("/")[2]
        said = {"ETag": headers["ETag"], "size": size, "Last-Modified": headers["Last-Modified"]}
        return {key: value for key, value in said.items() if value}


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
