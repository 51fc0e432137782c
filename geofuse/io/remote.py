"""Outputs in object storage (``s3://bucket/key``): made locally, then uploaded in parts that the server checks one by one.

The object appears when its last part is there and all of them were found right, or not at all: that is what a multipart upload is.
A Zarr store is many objects: what makes it one, the ``zarr.json`` at its root, goes first from the old store and comes last to the new one.
Credentials, region and endpoint are those that boto3 finds (``AWS_PROFILE``, ``AWS_ENDPOINT_URL``, …).
"""

from __future__ import annotations

import base64
import getpass
import hashlib
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from geofuse.errors import OutputRefused
from geofuse.io.output import is_zarr

_PART, _MOST_PARTS = 64 * 2**20, 9_999
_UPLOADS = 4
# What makes a store one, and what marks one that is being uploaded: no name sorts before it.
_ROOT, _UNFINISHED = "zarr.json", "!geofuse"


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a path is the address of an object.

    Examples
    --------
    >>> is_remote("s3://bucket/fused.tif"), is_remote("fused.tif")
    (True, False)
    """
    return str(path).startswith("s3://")


def local_place(address: str) -> Path:
    """Where the object is made: in a folder of its own in the temporary folder (``TMPDIR``), the same one for the same address.

    Raises
    ------
    OutputRefused
        The address has no bucket or no key.
    """
    _, key = _split(address)
    folder = f"geofuse-{getpass.getuser()}-{hashlib.sha256(address.encode()).hexdigest()[:12]}"
    made = Path(tempfile.gettempdir()) / folder
    made.mkdir(mode=0o700, exist_ok=True)
    return made / Path(key).name


def leave(place: Path) -> None:
    """Remove the folder that `local_place` made, with what was uploaded; one that a later run can go on from stays."""
    for path in place.parent.iterdir():
        if path.is_file():
            path.unlink()
        elif not path.name.startswith("."):
            shutil.rmtree(path)
    if not any(place.parent.iterdir()):
        place.parent.rmdir()


def check_remote(address: str, *, overwrite: bool = False) -> None:
    """Refuse an address that cannot be written to, before anything is computed.

    Raises
    ------
    OutputRefused
        The object exists, or the storage does not answer or denies it.
    """
    bucket, key = _split(address)
    client, failures = _client()
    try:
        there = (_store_is_there if is_zarr(address) else _is_there)(client, bucket, key, failures)
    except failures as error:
        raise OutputRefused(f"{address} cannot be written: {error}. Check bucket, credentials and endpoint (AWS_ENDPOINT_URL).") from error
    if there and not overwrite:
        raise OutputRefused(f"{address} exists; give another name, or allow to replace it (overwrite=True, --overwrite)")


def _is_there(client: Any, bucket: str, key: str, failures: tuple[type[Exception], ...]) -> bool:
    try:
        client.head_object(Bucket=bucket, Key=key)
    except failures as error:
        if _status(error) == 404 and _bucket_is_there(client, bucket, failures):
            return False
        raise
    return True


def _store_is_there(client: Any, bucket: str, key: str, failures: tuple[type[Exception], ...]) -> bool:
    """Whether there is a whole store; what an upload that failed left of one does not count, other objects are not touched."""
    if _is_there(client, bucket, f"{key}/{_ROOT}", failures):
        return True
    held = client.list_objects_v2(Bucket=bucket, Prefix=f"{key}/").get("Contents", [])
    if held and held[0]["Key"] != f"{key}/{_UNFINISHED}":
        raise OutputRefused(f"s3://{bucket}/{key} holds objects and is no Zarr store; give another name, or remove them first")
    return False


def upload(made: Path, address: str) -> None:
    """Upload a file, or a Zarr store in place of the one that is there.

    Raises
    ------
    OSError
        It failed. An object is what it was before; a store is either the new one as a whole or, to whoever looks for one, not there.
    """
    if not made.is_dir():
        _upload_file(made, address)
        return
    bucket, key = _split(address)
    client, failures = _client()
    try:
        client.put_object(Bucket=bucket, Key=f"{key}/{_UNFINISHED}")
        _remove_store(client, bucket, key)
        names = sorted(path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file() and path != made / _ROOT)
        with ThreadPoolExecutor(_UPLOADS) as pool:
            list(pool.map(lambda name: _upload_file(made / name, f"{address}/{name}"), names))
        _upload_file(made / _ROOT, f"{address}/{_ROOT}")
        client.delete_object(Bucket=bucket, Key=f"{key}/{_UNFINISHED}")
    except failures as error:
        raise OSError(f"uploading to {address} failed: {error}") from error


def _remove_store(client: Any, bucket: str, key: str) -> None:
    """Remove the objects of a store, its root first; shards that a new store does not have, for want of data, must not stay."""
    client.delete_object(Bucket=bucket, Key=f"{key}/{_ROOT}")
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{key}/"):
        for entry in page.get("Contents", ()):
            if entry["Key"] != f"{key}/{_UNFINISHED}":
                client.delete_object(Bucket=bucket, Key=entry["Key"])


def _upload_file(file: Path, address: str) -> None:
    """Upload a file; every part travels with its SHA-256, which the server compares with what arrived.

    Raises
    ------
    OSError
        It failed; the object is what it was before.
    """
    bucket, key = _split(address)
    client, failures = _client()
    size = file.stat().st_size
    part = max(_PART, -(-size // _MOST_PARTS))
    try:
        begun = client.create_multipart_upload(Bucket=bucket, Key=key, ContentType=_content_type(file), ChecksumAlgorithm="SHA256")
    except failures as error:
        raise OSError(f"uploading to {address} failed: {error}") from error
    where = {"Bucket": bucket, "Key": key, "UploadId": begun["UploadId"]}

    def send(number: int) -> dict[str, Any]:
        with file.open("rb") as source:
            source.seek((number - 1) * part)
            content = source.read(part)
        checksum = base64.b64encode(hashlib.sha256(content).digest()).decode()
        answer = client.upload_part(**where, PartNumber=number, Body=content, ChecksumSHA256=checksum)
        if answer.get("ChecksumSHA256", checksum) != checksum:
            raise OSError(f"part {number} arrived damaged")
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}

    try:
        with ThreadPoolExecutor(_UPLOADS) as pool:
            parts = list(pool.map(send, range(1, max(1, -(-size // part)) + 1)))
        client.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
        found = client.head_object(Bucket=bucket, Key=key)["ContentLength"]
        if found != size:
            raise OSError(f"{found} bytes are there, and {size} were sent")
    except BaseException as error:
        _abort(client, where, failures)
        if isinstance(error, (*failures, OSError)):
            raise OSError(f"uploading to {address} failed: {error}") from error
        raise


def _abort(client: Any, where: dict[str, str], failures: tuple[type[Exception], ...]) -> None:
    """Give up an upload, so that its parts are not kept and paid for."""
    with suppress(*failures):
        client.abort_multipart_upload(**where)


def _split(address: str) -> tuple[str, str]:
    parts = urlsplit(address)
    key = parts.path.lstrip("/")
    if not parts.netloc or not key or key.endswith("/"):
        raise OutputRefused(f"{address} is no address of an object; expected s3://bucket/folder/name.tif")
    return parts.netloc, key


def _client() -> tuple[Any, tuple[type[Exception], ...]]:
    """An S3 client, and the exceptions that it raises."""
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as error:
        raise OutputRefused("Writing to s3:// needs boto3: pip install 'geofuse[s3]'.") from error
    return boto3.client("s3"), (BotoCoreError, ClientError)


def _status(error: Any) -> int | None:
    return getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode")


def _bucket_is_there(client: Any, bucket: str, failures: tuple[type[Exception], ...]) -> bool:
    try:
        client.head_bucket(Bucket=bucket)
    except failures as error:
        return _status(error) == 403  # listing may be denied where writing is not
    return True


def _content_type(file: Path) -> str:
    known = {".tif": "image/tiff; application=geotiff; profile=cloud-optimized", ".json": "application/geo+json", ".html": "text/html"}
    if file.name == _ROOT:
        return "application/json"
    return known.get(file.suffix.lower(), "application/octet-stream")
