"""Leases on moto's server, which knows conditional writes."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from geofuse.errors import InvalidOutput, RunError
from geofuse.io.write import lease, remote
from geofuse.io.write.lease import leased
from tests import storage

pytest.importorskip("boto3")
server, bucket = storage.server, storage.bucket  # the fixtures
PLACE = {"Bucket": "scenes", "Key": "fused/.lock"}


def keys(bucket: Any) -> list[str]:
    return [entry.key for entry in bucket.objects.all()]


def test_one_of_two_holds_it_and_leaves_nothing(bucket: Any) -> None:
    with leased(remote.s3_client(), **PLACE) as check:
        check()
        with (
            pytest.raises(InvalidOutput, match=r"renewed the lock s3://scenes/fused/\.lock \d+ s ago.*delete it"),
            leased(remote.s3_client(), **PLACE),
        ):
            pytest.fail("both hold it")
        assert keys(bucket) == ["fused/.lock"]
    assert keys(bucket) == []


def test_of_many_at_once_one_gets_it(bucket: Any) -> None:
    got, barrier = [], threading.Barrier(6)

    def run() -> None:
        barrier.wait()
        try:
            with leased(remote.s3_client(), **PLACE):
                got.append(True)
                time.sleep(3)
        except InvalidOutput:
            got.append(False)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False] * 5 + [True]


def test_one_that_was_left_is_taken_over_and_its_holder_is_told(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEASE_S", 0.5)
    monkeypatch.setattr(lease, "RENEW_S", 4.0)
    with leased(remote.s3_client(), **PLACE) as first:
        time.sleep(2.1)
        with leased(remote.s3_client(), **PLACE) as second:
            time.sleep(3)
            second()
            with pytest.raises(RunError, match="has taken over"):
                first()
        assert keys(bucket) == []
    assert keys(bucket) == []


def test_one_that_is_renewed_is_respected(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEASE_S", 2.0)
    monkeypatch.setattr(lease, "RENEW_S", 0.2)
    with leased(remote.s3_client(), **PLACE):
        time.sleep(3.5)
        with pytest.raises(InvalidOutput, match="Another batch"), leased(remote.s3_client(), **PLACE):
            pytest.fail("both hold it")


def test_storage_without_conditions_is_said(bucket: Any) -> None:
    client = remote.s3_client()

    def ignore(params: dict[str, Any], **_: Any) -> None:
        for name in [name for name in params["headers"] if name.lower() == "if-none-match"]:
            del params["headers"][name]

    client.meta.events.register("before-call.s3.PutObject", ignore)
    with pytest.warns(UserWarning, match="no conditional writes"), leased(client, **PLACE):
        pass


def test_a_bucket_that_is_not_there(bucket: Any) -> None:
    with (
        pytest.raises(InvalidOutput, match=r"s3://nowhere/x/\.lock cannot be written.*credentials"),
        leased(remote.s3_client(), "nowhere", "x/.lock"),
    ):
        pytest.fail("it is held")
