"""Who made the sources of an image and what they allow: licences and providers, as items and collections of STAC 1.1 say them.

Those of a catalog from elsewhere are data: only what the specification names is taken, and only so much of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from geofuse.redact import redact

OTHER = "other"
_LICENSE = re.compile(r"[\w.+-]{1,80}")
_UNSAID = {OTHER, "proprietary", "various", "unknown"}  # as earlier versions of STAC spell it, too
_ROLES = ("licensor", "producer", "processor", "host")
_LONGEST = 500
_MOST = 20
GEOFUSE = {
    "name": "geofuse",
    "description": "Fusion of the sources that each item links to.",
    "roles": ["processor"],
    "url": "https://github.com/geofuse/geofuse",
}


@dataclass(frozen=True)
class Attribution:
    """What is to be said of the sources of an image.

    Parameters
    ----------
    license : str, optional
        SPDX identifier, or ``other``; None where nothing is known.
    providers : tuple of dict
        Provider objects.
    links : tuple of dict
        Links to the texts of licences.
    """

    license: str | None = None
    providers: tuple[dict[str, Any], ...] = ()
    links: tuple[dict[str, Any], ...] = ()

    @classmethod
    def of(cls, document: dict[str, Any]) -> Attribution:
        """What a collection says, or an item among its properties.

        Examples
        --------
        >>> Attribution.of({"type": "Collection", "license": "CC-BY-4.0"}).license
        'CC-BY-4.0'
        """
        about = document.get("properties") if document.get("type") == "Feature" else document
        if not isinstance(about, dict):
            return cls()
        providers, links = (found if isinstance(found, list) else [] for found in (about.get("providers"), document.get("links")))
        return cls(
            _licence(about.get("license")),
            tuple(made for each in providers[:_MOST] if (made := _provider(each))),
            tuple(made for each in links if (made := _license_link(each)))[:_MOST],
        )

    def __bool__(self) -> bool:
        return bool(self.license or self.providers or self.links)

    @property
    def fields(self) -> dict[str, Any]:
        """`license` and `providers`, as far as anything is known of the sources."""
        if not self:
            return {}
        return {"license": self.license or OTHER, "providers": [*self.providers, GEOFUSE]}


UNKNOWN = Attribution()


def combined(found: Iterable[Attribution]) -> Attribution:
    """What holds for what is made of several sources.

    A licence that all of them have; ``other`` where they differ, where one does not say, or where a licence is not known by name.
    Providers of all, those of one name as one; who hosts a source does not host what is made of it.

    Examples
    --------
    >>> one, other = Attribution("CC-BY-4.0"), Attribution("CC0-1.0")
    >>> combined([one, one]).license, combined([one, other]).license
    ('CC-BY-4.0', 'other')
    """
    known = list(found)
    licences = {each.license for each in known}
    licence = (licences.pop() if len(licences) == 1 else OTHER) if any(known) else None
    providers: dict[str, dict[str, Any]] = {}
    for each in (provider for attribution in known for provider in attribution.providers):
        roles = [role for role in each.get("roles", ()) if role != "host"]
        if each["name"] == GEOFUSE["name"] or each.get("roles") == ["host"]:
            continue
        before = providers.setdefault(each["name"], each | {"roles": []})
        before["roles"] = [role for role in _ROLES if role in (*before["roles"], *roles)]
    links = {link["href"]: link for attribution in known for link in attribution.links}
    return Attribution(licence, tuple(providers.values()), tuple(links.values()))


def _licence(found: Any) -> str | None:
    if not isinstance(found, str):
        return None
    return found if _LICENSE.fullmatch(found) and found not in _UNSAID else OTHER


def _provider(found: Any) -> dict[str, Any] | None:
    if not isinstance(found, dict) or not isinstance(found.get("name"), str) or not found["name"].strip():
        return None
    roles = found.get("roles")
    made: dict[str, Any] = {"name": found["name"][:_LONGEST]}
    if isinstance(found.get("description"), str):
        made["description"] = found["description"][:_LONGEST]
    made["roles"] = [role for role in _ROLES if isinstance(roles, list) and role in roles]
    return made | ({"url": redact(found["url"])} if _is_web(found.get("url")) else {})


def _license_link(found: Any) -> dict[str, Any] | None:
    if not isinstance(found, dict) or found.get("rel") != "license" or not _is_web(found.get("href")):
        return None
    made = {"rel": "license", "href": redact(found["href"])}
    return made | {key: found[key][:_LONGEST] for key in ("type", "title") if isinstance(found.get(key), str)}


def _is_web(address: Any) -> bool:
    return isinstance(address, str) and len(address) <= _LONGEST and bool(re.fullmatch(r"https?://[^\s<>\"]+", address))
