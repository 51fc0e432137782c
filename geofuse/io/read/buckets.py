"""Addresses in object stores, as GDAL spells them: ``s3``, ``gs``, ``az`` and ``abfs``, with the user's credentials as GDAL finds them.

GDAL 3.10, *Network based file systems*: ``/vsis3/``, ``/vsigs/`` and ``/vsiaz/``, each followed by bucket (container) and key. An address of
Azure Data Lake names the account too (``abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH``); else ``AZURE_STORAGE_ACCOUNT`` does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

SCHEMES = ("s3", "gs", "az", "abfs", "abfss")
_WAYS = {"s3": "/vsis3/", "gs": "/vsigs/", "az": "/vsiaz/", "abfs": "/vsiaz/", "abfss": "/vsiaz/"}


def bucket_place(place: str, environment: Mapping[str, str] = os.environ) -> tuple[str, dict[str, str]]:
    """How GDAL spells an address in an object store, and the options that it needs; any other place as it is.

    S3 of another endpoint is that of ``AWS_ENDPOINT_URL_S3`` or ``AWS_ENDPOINT_URL``, as for what is written there.

    Examples
    --------
    >>> bucket_place("abfss://scenes@archive.dfs.core.windows.net/a/b.tif")
    ('/vsiaz/scenes/a/b.tif', {'AZURE_STORAGE_ACCOUNT': 'archive'})
    >>> bucket_place("gs://scenes/a.tif"), bucket_place("a.tif")
    (('/vsigs/scenes/a.tif', {}), ('a.tif', {}))
    """
    scheme, _, rest = place.partition("://")
    if scheme.lower() not in _WAYS:
        return place, {}
    options: dict[str, str] = {}
    way = _WAYS[scheme.lower()]
    first, slash, path = rest.partition("/")
    if way == "/vsiaz/" and "@" in first:
        first, _, host = first.partition("@")
        options["AZURE_STORAGE_ACCOUNT"] = host.partition(".")[0]
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    if way == "/vsis3/" and endpoint and "AWS_S3_ENDPOINT" not in environment:
        parts = urlsplit(endpoint)
        options |= {"AWS_S3_ENDPOINT": parts.netloc, "AWS_HTTPS": "NO" if parts.scheme == "http" else "YES", "AWS_VIRTUAL_HOSTING": "FALSE"}
    return way + first + slash + path, options
