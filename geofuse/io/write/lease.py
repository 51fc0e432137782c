"""Exclusion of two runs in object storage, where no lock ends with the process that holds it: a lease.

The lock is an object that is made by a conditional write (``If-None-Match: *``), which succeeds for one of all who try. Its holder writes it anew
every half minute (``If-Match``). One that nobody wrote for two minutes was left by a run that was killed, and another run takes it over by a
conditional write of its own; the run that lost it, if it lives, finds that out when it renews the lease. Ages are those that the storage
tells (its ``Date`` and ``Last-Modified``): clocks of different machines are never compared.
"""

from __future__ import annotations

import email.utils
import json
import os
import platform
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from geofuse.errors import InvalidOutput, RunError
from geofuse.io.write import remote

LEASE_S = 120.0
RENEW_S = 30.0
_TAKEN = (409, 412)  # a condition that did not hold; or was being decided


@contextmanager
def leased(client: Any, Bucket: str, Key: str) -> Iterator[Callable[[], None]]:
    """Hold the lease of a lock.

    Parameters
    ----------
    client : boto3 client of S3
    Bucket, Key : str
        Of the object.

    Yields
    ------
    callable
        Raises `geofuse.errors.RunError` once another run has taken the lease over.

    Raises
    ------
    InvalidOutput
        Another run holds it, or the storage does not answer or denies it.
    """
    lock = _Lock(client, Bucket, Key)
    lock.take()
    ended, lost = threading.Event(), threading.Event()

    def renew() -> None:
        while not ended.wait(RENEW_S):
            try:
                lock.renew()
            except remote.failures() as error:
                if remote.status(error) in (404, 412):  # it is gone, or another one; all else may be better next time
                    lost.set()
                    return

    def check() -> None:
        if lost.is_set():
            raise RunError(
                f"Another batch has taken over {lock.address}, since this one did not renew its lock for {LEASE_S:.0f} s; what is finished is "
                "kept. Let only one of them run."
            )

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield check
    finally:
        ended.set()
        thread.join()
        if not lost.is_set():
            lock.release()


class _Lock:
    """The object, and the version of it that this run wrote last."""

    def __init__(self, client: Any, bucket: str, key: str) -> None:
        self.client, self.place, self.address = client, {"Bucket": bucket, "Key": key}, f"s3://{bucket}/{key}"
        who = {"host": platform.node(), "process": os.getpid(), "lease_s": LEASE_S, "token": uuid.uuid4().hex}
        self.body = json.dumps(who).encode()
        self.etag = ""

    def take(self) -> None:
        try:
            self._take()
        except remote.failures() as error:
            if remote.status(error) in _TAKEN:
                raise self._held("a moment") from None
            raise InvalidOutput(
                f"{self.address} cannot be written: {error}. Check bucket, credentials and endpoint (AWS_ENDPOINT_URL)."
            ) from error

    def _take(self) -> None:
        try:
            self._put(IfNoneMatch="*")
        except remote.failures() as error:
            if remote.status(error) not in _TAKEN:
                raise
            self._take_over()
        try:
            self._put(IfNoneMatch="*")
        except remote.failures() as error:
            if remote.status(error) in _TAKEN:
                return
            raise
        warnings.warn(
            f"the storage of {self.address} knows no conditional writes: a second run in this folder would not be noticed; see that there is none",
            UserWarning,
            stacklevel=2,
        )

    def _take_over(self) -> None:
        """Take a lock that was left; one that is held is respected."""
        there = self.client.get_object(**self.place)
        if there["Body"].read(2 * len(self.body)) == self.body:  # the client asked twice, since the first answer did not arrive
            self.etag = there["ETag"]
            return
        now = email.utils.parsedate_to_datetime(there["ResponseMetadata"]["HTTPHeaders"]["date"])
        age = (now - there["LastModified"]).total_seconds()
        if age <= LEASE_S:
            raise self._held(f"{age:.0f} s")
        self._put(IfMatch=there["ETag"])

    def _held(self, age: str) -> InvalidOutput:
        return InvalidOutput(
            f"Another batch works in this folder: it renewed the lock {self.address} {age} ago. Wait for it, stop it, or give another folder. The "
            f"lock of a run that was killed is taken over {LEASE_S:.0f} s after its last renewal, or at once if you delete it."
        )

    def renew(self) -> None:
        self._put(IfMatch=self.etag)

    def release(self) -> None:
        with suppress(*remote.failures()):
            self.client.delete_object(**self.place, IfMatch=self.etag)

    def _put(self, **condition: str) -> None:
        self.etag = self.client.put_object(**self.place, Body=self.body, ContentType="application/json", **condition)["ETag"]
