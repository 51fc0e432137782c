"""Which addresses a catalog may name, and how they are signed.

A catalog from elsewhere must not lead a run to files of this machine, or to services of its network that trust whoever reaches them.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from geofuse.errors import InvalidCube
from geofuse.io.read.buckets import SCHEMES

_LOCAL_NAMES = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
_MACHINE = ""
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # IPv4 addresses, RFC 6052


@dataclass(frozen=True)
class Access:
    """What the documents of one catalog may lead to.

    Parameters
    ----------
    place : str
        Path or address that the catalog itself was read from.
    hosts : frozenset of str
        Hosts of this machine or its network that it may name all the same; ``file`` for files.
    patch_url : callable, optional
        Makes of the address of an asset the one to open, such as a signed one. It is called when the asset is opened, and what it returns
        is kept nowhere.
    cache : pathlib.Path, optional
        Folder for temporary files with what was fetched of remote rasters; that of the system where none is given.
    """

    place: str
    hosts: frozenset[str] = frozenset()
    patch_url: Callable[[str], str] | None = None
    cache: Path | None = None

    def check(self, href: str) -> str:
        """The address, if the catalog may name it.

        Raises
        ------
        InvalidCube
            It is of this machine or its network, and the catalog is not.
        """
        named = _here(href)
        if named is None or named == _here(self.place) or named in self.hosts or _host(href) in self.hosts:
            return href
        raise InvalidCube(
            f"the catalog at {self.place} names {href[:200]!r}, a place of this machine or its network; expected a public address. Where that "
            f"is meant: --allow-host {_host(href) or named}"
        )

    def check_resolved(self, href: str, address: str) -> None:
        """Check what the name of a public host turned out to be when it was looked up.

        Raises
        ------
        InvalidCube
            An address of this machine or its network, and neither the user nor the catalog's own place named the host.
        """
        host = _host(href)
        if _here(href) is None and host != _host(self.place) and host not in self.hosts and not _address(address).is_global:
            raise InvalidCube(
                f"the name {host!r}, which the catalog at {self.place} leads to, is that of {address}, a place of this machine or its "
                f"network; expected a public address. Where that is meant: --allow-host {host}"
            )

    def patched(self, href: str) -> str:
        """The address to open."""
        return self.patch_url(href) if self.patch_url is not None and "://" in href else href


_access: ContextVar[Access | None] = ContextVar("access", default=None)


@contextmanager
def accessing(access: Access | None, *, patched: bool = True) -> Iterator[None]:
    """Open the items of the block as those of a catalog; with their addresses as they stand in it where not ``patched``."""
    token = _access.set(access if patched or access is None else replace(access, patch_url=None))
    try:
        yield
    finally:
        _access.reset(token)


def current_access() -> Access | None:
    """What `accessing` says."""
    return _access.get()


def is_here(address: str) -> bool:
    """Whether an address is that of this machine or of its own network, as far as it says so itself: no name is looked up.

    Examples
    --------
    >>> is_here("file:///etc/passwd"), is_here("http://169.254.169.254/"), is_here("http://10.0.0.7/a"), is_here("https://example.com/a")
    (True, True, True, False)
    """
    return "://" in address and _here(address) is not None


def _here(address: str) -> str | None:
    """The host, of an address of this machine's network; empty for this machine and its files; None for a public address."""
    if "://" not in address:
        return _MACHINE
    try:
        parts = urlsplit(address)
        host = (
            (parts.hostname or "").encode("idna").decode("ascii").rstrip(".")
        )  # as resolvers read it, whatever letters and dots it is written in
    except ValueError:
        return "invalid"
    if parts.scheme.lower() == "file" or host == "localhost" or host.endswith(".localhost"):
        return _MACHINE
    if parts.scheme.lower() in SCHEMES:  # a bucket is no host
        return None
    try:
        place = _address(host)
    except ValueError:
        # a name without a dot is one of the own network
        local = host.endswith(_LOCAL_NAMES) or "." not in host
        return (host or "invalid") if local else None
    if place.is_loopback or place.is_unspecified:
        return _MACHINE
    return None if place.is_global else host


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address that a host is written as, in any spelling that a resolver takes for one; ValueError where it is a name."""
    try:
        return ipaddress.ip_address(socket.inet_ntoa(socket.inet_aton(host)))  # 127.1, 0x7f.1 and 2130706433 too; nothing is looked up
    except OSError:
        place = ipaddress.ip_address(host)
    if isinstance(place, ipaddress.IPv6Address) and place in _NAT64:
        return ipaddress.IPv4Address(place.packed[-4:])
    return getattr(place, "ipv4_mapped", None) or place


def _host(address: str) -> str:
    try:
        return (urlsplit(address).hostname or urlsplit(address).scheme) if "://" in address else "file"
    except ValueError:
        return ""
