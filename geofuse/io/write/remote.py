"""Outputs in object storage (``s3://bucket/key``): made locally, then uploaded in parts that the server checks one by one.

The object appears when its last part is there and all of them were found right, or not at all: that is what a multipart upload is.
A Zarr store is many objects: what makes it one, the ``zarr.json`` at its root, goes first from the old store and comes last to the new one.
The object, or that root, bears the SHA-256 of the whole among its metadata, by which a run that was stopped knows its own again.
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
from geofuse.io.read.fingerprint import content_sha256, file_sha256
from geofuse.io.write.journal import Record
from geofuse.io.write.output import is_zarr

_PART, _MOST_PARTS = 64 * 2**20, 9_999
_UPLOADS = 4
# What makes a store one, and what marks one that is being uploaded: no name sorts before it.
_ROOT, _UNFINISHED = "zarr.json", "!geofuse"
_CHECKSUM = "geofuse-sha256"


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


def check_remote(address: str, *, overwrite: bool = False, finished: Record | None = None) -> bool:
    """Refuse an address that cannot be written to, before anything is computed.

    Parameters
    ----------
    address : str
    overwrite : bool
        Allow an existing object.
    finished : dict, optional
        What the journal of an unfinished run says of the output that it finished (``sha256``): that object is no obstacle.

    Returns
    -------
    bool
        Whether that object is there.

    Raises
    ------
    OutputRefused
        Another object exists, or the storage does not answer or denies it.
    """
    bucket, key = _split(address)
    client = _client()
    try:
        there = (_find_store if is_zarr(address) else _find)(client, bucket, key)
    except _failures() as error:
        raise OutputRefused(f"{address} cannot be written: {error}. Check bucket, credentials and endpoint (AWS_ENDPOINT_URL).") from error
    ours = finished is not None and there is not None and there["Metadata"].get(_CHECKSUM) == finished["sha256"]
    if there and not (ours or overwrite):
        raise OutputRefused(f"{address} exists; give another name, or allow to replace it (overwrite=True, --overwrite)")
    return ours


def _find(client: Any, bucket: str, key: str) -> dict[str, Any] | None:
    """What the server says about an object; None where there is none."""
    try:
        return dict(client.head_object(Bucket=bucket, Key=key))
    except _failures() as error:
        if _status(error) == 404 and _bucket_is_there(client, bucket):
            return None
        raise


def _find_store(client: Any, bucket: str, key: str) -> dict[str, Any] | None:
    """The root of a whole store; what an upload that failed left of one does not count, other objects are not touched."""
    root = _find(client, bucket, f"{key}/{_ROOT}")
    if root is None:
        held = client.list_objects_v2(Bucket=bucket, Prefix=f"{key}/").get("Contents", [])
        if held and held[0]["Key"] != f"{key}/{_UNFINISHED}":
            raise OutputRefused(f"s3://{bucket}/{key} holds objects and is no Zarr store; give another name, or remove them first")
    return root


def upload(made: Path, address: str, sha256: str | None = None) -> None:
    """Upload a file, or a Zarr store in place of the one that is there; nothing where a run that was stopped has done so.

    Parameters
    ----------
    made : pathlib.Path
    address : str
    sha256 : str, optional
        As `geofuse.io.read.fingerprint.content_sha256` takes it, where it is known.

    Raises
    ------
    OSError
        It failed. An object is what it was before; a store is either the new one as a whole or, to whoever looks for one, not there.
    """
    bucket, key = _split(address)
    client = _client()
    metadata = {_CHECKSUM: sha256 or content_sha256(made)}
    failures: tuple[type[Exception], ...] = (*_failures(), OSError)
    try:
        (_upload_store if made.is_dir() else _upload_file)(client, made, bucket, key, metadata)
    except failures as error:
        raise OSError(f"uploading to {address} failed: {error}") from error


def _upload_file(client: Any, file: Path, bucket: str, key: str, metadata: dict[str, str]) -> None:
    if not _is_marked(client, bucket, key, metadata):
        (_send_whole if file.stat().st_size <= _PART else _send_parts)(client, file, bucket, key, metadata)


def _upload_store(client: Any, store: Path, bucket: str, key: str, metadata: dict[str, str]) -> None:
    """Replace the objects of a store, the root first of all to go; shards that the new one lacks, for want of data, must not stay."""
    root, unfinished = f"{key}/{_ROOT}", f"{key}/{_UNFINISHED}"
    files = {f"{key}/{path.relative_to(store).as_posix()}": path for path in sorted(store.rglob("*")) if path.is_file()}
    there = _listed(client, bucket, f"{key}/")
    there.pop(unfinished, None)
    whole = there == {name: path.stat().st_size for name, path in files.items()}
    if not (whole and _is_marked(client, bucket, root, metadata)):
        client.put_object(Bucket=bucket, Key=unfinished)
        for name in (root, *there):
            client.delete_object(Bucket=bucket, Key=name)
        last = files.pop(root)
        with ThreadPoolExecutor(_UPLOADS) as pool:
            list(pool.map(lambda name: _send_whole(client, files[name], bucket, name), files))
        _send_whole(client, last, bucket, root, metadata)
    client.delete_object(Bucket=bucket, Key=unfinished)


def _is_marked(client: Any, bucket: str, key: str, metadata: dict[str, str]) -> bool:
    """Whether an object is there that bears a checksum."""
    with suppress(*_failures()):
        return bool(client.head_object(Bucket=bucket, Key=key)["Metadata"].get(_CHECKSUM) == metadata[_CHECKSUM])
    return False


def _listed(client: Any, bucket: str, prefix: str) -> dict[str, int]:
    """Keys and sizes of the objects whose keys begin so."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", ())}


def _send_whole(client: Any, file: Path, bucket: str, key: str, metadata: dict[str, str] | None = None) -> None:
    """Upload a file by one request, of which nothing can stay half done; so go all files of a store, whose shards have at most 1 GiB."""
    checksum = _base64(bytes.fromhex(file_sha256(file)))
    about = {"Bucket": bucket, "Key": key, "ContentType": _content_type(file), "Metadata": metadata or {}}
    with file.open("rb") as content:
        client.put_object(**about, Body=content, ChecksumSHA256=checksum)
    _check_size(client, file, bucket, key)


def _send_parts(client: Any, file: Path, bucket: str, key: str, metadata: dict[str, str]) -> None:
    """Upload a file; every part travels with its SHA-256, which the server compares with what arrived.

    A note beside the file names the upload while it is under way: the next run gives up one that was killed, whose parts would be kept
    by the server, and paid for.
    """
    size, where, note = file.stat().st_size, {"Bucket": bucket, "Key": key}, file.with_name(f".{file.name}.upload")
    part = max(_PART, -(-size // _MOST_PARTS))
    if note.exists():
        _give_up(client, where | {"UploadId": note.read_text()}, note)
    begun = client.create_multipart_upload(**where, ContentType=_content_type(file), Metadata=metadata, ChecksumAlgorithm="SHA256")
    where["UploadId"] = begun["UploadId"]

    def send(number: int) -> dict[str, Any]:
        with file.open("rb") as source:
            source.seek((number - 1) * part)
            content = source.read(part)
        checksum = _base64(hashlib.sha256(content).digest())
        answer = client.upload_part(**where, PartNumber=number, Body=content, ChecksumSHA256=checksum)
        if answer.get("ChecksumSHA256", checksum) != checksum:
            raise OSError(f"part {number} arrived damaged")
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}

    try:
        note.write_text(where["UploadId"])
        with ThreadPoolExecutor(_UPLOADS) as pool:
            parts = list(pool.map(send, range(1, -(-size // part) + 1)))
        client.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    except BaseException:  # Ctrl-C too
        _give_up(client, where, note)
        raise
    note.unlink()
    _check_size(client, file, bucket, key)


def _give_up(client: Any, where: dict[str, str], note: Path) -> None:
    """Let the server forget an upload; where it cannot be told now, the note stays for the next run."""
    with suppress(*_failures()):
        client.abort_multipart_upload(**where)
        note.unlink(missing_ok=True)


def _check_size(client: Any, file: Path, bucket: str, key: str) -> None:
    size, found = file.stat().st_size, client.head_object(Bucket=bucket, Key=key)["ContentLength"]
    if found != size:
        client.delete_object(Bucket=bucket, Key=key)  # its metadata would say that it is whole
        raise OSError(f"{found} bytes are there, and {size} were sent")


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _split(address: str) -> tuple[str, str]:
    parts = urlsplit(address)
    key = parts.path.lstrip("/")
    if not parts.netloc or not key or key.endswith("/"):
        raise OutputRefused(f"{address} is no address of an object; expected s3://bucket/folder/name.tif")
    return parts.netloc, key


def _client() -> Any:
    try:
        import boto3
    except ImportError as error:
        raise OutputRefused("Writing to s3:// needs boto3: pip install 'geofuse[s3]'.") from error
    return boto3.client("s3")


def _failures() -> tuple[type[Exception], ...]:
    """What an S3 client raises."""
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError


def _status(error: Any) -> int | None:
    return getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode")


def _bucket_is_there(client: Any, bucket: str) -> bool:
    try:
        client.head_bucket(Bucket=bucket)
    except _failures() as error:
        return _status(error) == 403  # listing may be denied where writing is not
    return True


def _content_type(file: Path) -> str:
    known = {".tif": "image/tiff; application=geotiff; profile=cloud-optimized", ".json": "application/geo+json", ".html": "text/html"}
    if file.name == _ROOT:
        return "application/json"
    return known.get(file.suffix.lower(), "application/octet-stream")
