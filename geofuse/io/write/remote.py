"""Outputs in object storage (``s3://bucket/key``): made locally, then uploaded by boto3's transfer manager, in parts if large.

Every request travels with a SHA-256 that the server compares with what arrived. The object appears when its last part is there, or not at all:
that is what a multipart upload is. What the manager does not do is done here: to look afterwards whether what is there is what was sent, and to
give up the upload of a run that was killed.
An output that is a folder is many objects: the file at its root that makes it one (`OutputFormat.root`) goes first from the old store and
comes last to the new one. The object, or that root, bears the SHA-256 of the whole among its metadata, by which a run that was interrupted
knows its own again.
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

from geofuse.errors import InvalidOutput
from geofuse.io.read.fingerprint import content_sha256, file_sha256
from geofuse.io.write.base import OutputFormat
from geofuse.io.write.journal import Record

_PART, _MOST_PARTS = 64 * 2**20, 9_999
_UPLOADS = 4
# What marks a store that is being uploaded: no name sorts before it.
_UNFINISHED = "!geofuse"
_CHECKSUM, _RUN = "geofuse-sha256", "geofuse-run"


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
    InvalidOutput
        The address has no bucket or no key, or somebody else made the folder.
    """
    _, key = split(address)
    folder = f"geofuse-{getpass.getuser()}-{hashlib.sha256(address.encode()).hexdigest()[:12]}"
    made = Path(tempfile.gettempdir()) / folder
    made.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and made.lstat().st_uid != os.getuid():  # its name can be foreseen
        raise InvalidOutput(f"{made} belongs to another user; expected a folder of your own: remove it, or set TMPDIR to another folder.")
    return made / Path(key).name


def leave(place: Path) -> None:
    """Remove the folder that `local_place` made, with what was uploaded; one that a later run can resume from stays."""
    if not place.parent.is_dir():
        return
    for path in place.parent.iterdir():
        if path.is_file():
            path.unlink()
        elif not path.name.startswith("."):
            shutil.rmtree(path)
    if not any(place.parent.iterdir()):
        place.parent.rmdir()


def check_remote(
    address: str, output_format: OutputFormat | None = None, *, overwrite: bool = False, finished: Record | None = None
) -> bool:
    """Reject an address that cannot be written to, before anything is computed.

    Parameters
    ----------
    address : str
    output_format : OutputFormat, optional
        Of a raster; without one it is a plain object.
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
    InvalidOutput
        Another object exists, or the storage does not answer or denies it.
    """
    bucket, key = split(address)
    client = s3_client()
    try:
        there = _find_output(client, bucket, key, output_format)
    except failures() as error:
        raise InvalidOutput(f"{address} cannot be written: {error}. Check bucket, credentials and endpoint (AWS_ENDPOINT_URL).") from error
    ours = finished is not None and there is not None and there["Metadata"].get(_CHECKSUM) == finished["sha256"]
    if there and not (ours or overwrite):
        raise InvalidOutput(f"{address} exists; give another name, or allow to replace it (overwrite=True, --overwrite)")
    return ours


def _find(client: Any, bucket: str, key: str) -> dict[str, Any] | None:
    """What the server says about an object; None where there is none."""
    try:
        return dict(client.head_object(Bucket=bucket, Key=key))
    except failures() as error:
        if status(error) == 404 and _bucket_is_there(client, bucket):
            return None
        raise


def _find_output(client: Any, bucket: str, key: str, output_format: OutputFormat | None) -> dict[str, Any] | None:
    """An object, or the root of a whole store; what an upload that failed left of one does not count, other objects are not touched."""
    root = _find(client, bucket, _telling(key, output_format))
    if root is None and output_format and output_format.folder:
        held = client.list_objects_v2(Bucket=bucket, Prefix=f"{key}/").get("Contents", [])
        if held and held[0]["Key"] != f"{key}/{_UNFINISHED}":
            raise InvalidOutput(
                f"s3://{bucket}/{key} holds objects and is no {output_format.name}; give another name, or remove them first"
            )
    return root


def _telling(key: str, output_format: OutputFormat | None) -> str:
    """Key of the object whose metadata are those of the output."""
    return f"{key}/{output_format.root}" if output_format and output_format.folder else key


def run_of_object(address: str, output_format: OutputFormat | None = None) -> str | None:
    """What an object, or the root of a store, says of the run that wrote it; None where it says nothing, or cannot be asked."""
    bucket, key = split(address)
    client = s3_client()
    with suppress(*failures()):
        return str(client.head_object(Bucket=bucket, Key=_telling(key, output_format))["Metadata"].get(_RUN))
    return None


def upload(
    made: Path, address: str, output_format: OutputFormat | None = None, *, sha256: str | None = None, run: str | None = None
) -> None:
    """Upload a file, or a store in place of the one that is there; nothing where a run that was interrupted has done so.

    Parameters
    ----------
    made : pathlib.Path
    address : str
    output_format : OutputFormat, optional
        Of a raster; without one it is a plain file.
    sha256 : str, optional
        As `geofuse.io.read.fingerprint.content_sha256` takes it, where it is known.
    run : str, optional
        For `run_of_object`.

    Raises
    ------
    OSError
        It failed. An object is what it was before; a store is either the new one as a whole or not there.
    """
    bucket, key = split(address)
    client = s3_client()
    metadata = {_CHECKSUM: sha256 or content_sha256(made)} | ({_RUN: run} if run else {})
    expected: tuple[type[Exception], ...] = (*failures(), OSError)
    try:
        if output_format and output_format.root:
            _upload_store(client, made, bucket, key, output_format.root, metadata)
        else:
            _upload_file(client, made, bucket, key, metadata)
    except expected as error:
        raise OSError(f"uploading to {address} failed: {error}") from error


def _upload_file(client: Any, file: Path, bucket: str, key: str, metadata: dict[str, str]) -> None:
    if not _is_marked(client, bucket, key, metadata):
        _send_file(client, file, bucket, key, metadata)


def _upload_store(client: Any, store: Path, bucket: str, key: str, root: str, metadata: dict[str, str]) -> None:
    """Replace the objects of a store, the root first of all to go; shards that the new one lacks, for want of data, must not stay."""
    root, unfinished = f"{key}/{root}", f"{key}/{_UNFINISHED}"
    files = {f"{key}/{path.relative_to(store).as_posix()}": path for path in sorted(store.rglob("*")) if path.is_file()}
    there = listed(client, bucket, f"{key}/")
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
    with suppress(*failures()):
        return bool(client.head_object(Bucket=bucket, Key=key)["Metadata"].get(_CHECKSUM) == metadata[_CHECKSUM])
    return False


def listed(client: Any, bucket: str, prefix: str) -> dict[str, int]:
    """Keys and sizes of the objects whose keys begin so."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", ())}


def _send_whole(client: Any, file: Path, bucket: str, key: str, metadata: dict[str, str] | None = None) -> None:
    """Upload a file by one request, of which nothing can stay half done; so go all files of a store, whose shards have at most 1 GiB."""
    _send(client, file, bucket, key, metadata or {}, part=max(file.stat().st_size, _PART), use_threads=False)


def _send_file(client: Any, file: Path, bucket: str, key: str, metadata: dict[str, str]) -> None:
    """Upload a file, in parts if it is large.

    A note beside the file names the upload while it is under way: the next run gives up one that was killed, whose parts would be kept
    by the server, and paid for.
    """
    begun, note = "after-call.s3.CreateMultipartUpload", file.with_name(f".{file.name}.upload")
    if note.exists():
        _give_up(client, bucket, key, note.read_text())

    def write_down(parsed: dict[str, Any], **_: Any) -> None:
        if "UploadId" in parsed:
            note.write_text(parsed["UploadId"])

    client.meta.events.register(begun, write_down)
    try:
        _send(client, file, bucket, key, metadata, part=max(_PART, -(-file.stat().st_size // _MOST_PARTS)))
    finally:
        client.meta.events.unregister(begun, write_down)
    note.unlink(missing_ok=True)


def _send(client: Any, file: Path, bucket: str, key: str, metadata: dict[str, str], *, part: int, use_threads: bool = True) -> None:
    from boto3.s3.transfer import TransferConfig

    config = TransferConfig(
        multipart_threshold=part + 1,
        multipart_chunksize=part,
        max_concurrency=_UPLOADS,
        use_threads=use_threads,
        preferred_transfer_client="classic",  # the other one does not say what it begins
    )
    about = {"ContentType": _content_type(file), "Metadata": metadata, "ChecksumAlgorithm": "SHA256"}
    client.upload_file(str(file), bucket, key, ExtraArgs=about, Config=config)
    _check_sent(client, file, bucket, key, part)


def _give_up(client: Any, bucket: str, key: str, upload_id: str) -> None:
    """Let the server forget an upload; no fault if it has none of that name."""
    try:
        client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
    except failures() as error:
        if status(error) != 404:
            raise


def _check_sent(client: Any, file: Path, bucket: str, key: str, part: int) -> None:
    """Compare size and, where the server keeps it, checksum of the object with the file."""
    there = client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    sent = {"ContentLength": str(file.stat().st_size), "ChecksumSHA256": _s3_checksum(file, part)}
    found = {name: str(there.get(name, sent[name])).partition("-")[0] for name in sent}  # behind a dash S3 gives the number of parts
    if found != sent:
        client.delete_object(Bucket=bucket, Key=key)  # its metadata would say that it is whole
        raise OSError(f"what is there is not what was sent: found {found}, expected {sent}")


def _s3_checksum(file: Path, part: int) -> str:
    """The SHA-256 that S3 gives an object: of its content, or of the digests of its parts."""
    if file.stat().st_size <= part:
        return _base64(bytes.fromhex(file_sha256(file)))
    with file.open("rb") as content:
        digests = [hashlib.sha256(piece).digest() for piece in iter(lambda: content.read(part), b"")]
    return _base64(hashlib.sha256(b"".join(digests)).digest())


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def split(address: str) -> tuple[str, str]:
    """Bucket and key of an address.

    Raises
    ------
    InvalidOutput
        It has no bucket or no key.
    """
    parts = urlsplit(address)
    key = parts.path.lstrip("/")
    if not parts.netloc or not key or key.endswith("/"):
        raise InvalidOutput(f"{address} is no address of an object; expected s3://bucket/folder/name.tif")
    return parts.netloc, key


def s3_client() -> Any:
    """A client with the credentials, the region and the endpoint that boto3 finds.

    Raises
    ------
    InvalidOutput
        boto3 is not installed.
    """
    try:
        import boto3
    except ImportError as error:
        raise InvalidOutput("Writing to s3:// needs boto3: pip install 'geofuse[s3]'.") from error
    return boto3.client("s3")


def failures() -> tuple[type[Exception], ...]:
    """What an S3 client and its transfer manager raise."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    return Boto3Error, BotoCoreError, ClientError


def status(error: Any) -> int | None:
    """Of the response that an error tells of."""
    return getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode")


def _bucket_is_there(client: Any, bucket: str) -> bool:
    try:
        client.head_bucket(Bucket=bucket)
    except failures() as error:
        return status(error) == 403  # listing may be denied where writing is not
    return True


def _content_type(file: Path) -> str:
    known = {
        ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
        ".json": "application/geo+json",
        ".html": "text/html",
        ".png": "image/png",
        ".parquet": "application/vnd.apache.parquet",
    }
    if file.name in ("zarr.json", "collection.json"):  # of the first a store has one for each of its nodes
        return "application/json"
    return known.get(file.suffix.lower(), "application/octet-stream")
