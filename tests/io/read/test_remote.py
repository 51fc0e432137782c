"""Files of a server, read by ranges: what servers do, and what becomes of it. The servers are on loopback, and of the standard library."""

from __future__ import annotations

import errno
import io
import os
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from geofuse.errors import InvalidCube, RunError
from geofuse.io.read import remote
from geofuse.io.read.access import Access, accessing
from geofuse.io.read.gdal import open_raster
from geofuse.io.read.http import open_url, stamp
from geofuse.io.read.open import open_hsi, open_msi
from geofuse.io.read.remote import BLOCK, RemoteFile
from tests.crops import few_files
from tests.stac.catalog import serving

CONTENT = random.Random(0).randbytes(5 * BLOCK + 1234)


@contextmanager
def served(folder: Path, answer: Callable[[Any], bool] = lambda _: False) -> Iterator[tuple[str, Access]]:
    """A file of random bytes, its address, and the access of a catalog beside it."""
    (folder / "a.bin").write_bytes(CONTENT)
    with serving(folder, answer) as root:
        yield f"{root}/a.bin", Access(f"{root}/items.json", cache=folder)


def span_of(request: Any) -> tuple[int, int]:
    first, _, last = request.headers["Range"].removeprefix("bytes=").partition("-")
    return int(first), min(int(last), len(CONTENT) - 1)


def begin(request: Any, first: int, last: int, total: int = len(CONTENT)) -> None:
    """Head of a response with a range."""
    request.send_response(206)
    request.send_header("Content-Range", f"bytes {first}-{last}/{total}")
    request.send_header("Content-Length", str(last - first + 1))
    request.end_headers()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []
    monkeypatch.setattr(remote.time, "sleep", pauses.append)
    return pauses


def test_any_range_is_right_and_no_byte_is_fetched_twice(tmp_path: Path) -> None:
    asked: list[tuple[int, int]] = []

    def watch(request: Any) -> bool:
        asked.append(span_of(request))
        return False

    chance = random.Random(1)
    with served(tmp_path, watch) as (url, access):
        file = RemoteFile(url, access)
        for _ in range(50):
            start = chance.randrange(len(CONTENT))
            stop = start + chance.choice([1, 100, BLOCK, 3 * BLOCK])
            assert file.read(start, stop) == CONTENT[start:stop]
        assert b"".join(file.fetch_all()) == CONTENT
    assert file.size == len(CONTENT)
    assert sum(last - first + 1 for first, last in asked) == len(CONTENT)
    assert not [path for path in tmp_path.iterdir() if path.name != "a.bin"] or os.name == "nt"


def test_what_is_read_in_order_is_fetched_ahead_up_to_what_is_held(tmp_path: Path) -> None:
    asked: list[tuple[int, int]] = []

    def watch(request: Any) -> bool:
        asked.append(span_of(request))
        return False

    with served(tmp_path, watch) as (url, access):
        file = RemoteFile(url, access)
        for block in (3, 1, 2, 4):
            assert file.read(block * BLOCK, (block + 1) * BLOCK) == CONTENT[block * BLOCK : (block + 1) * BLOCK]
        assert file.read(0, len(CONTENT)) == CONTENT
    assert [(first // BLOCK, -(-last // BLOCK)) for first, last in asked] == [(0, 1), (3, 4), (1, 2), (2, 3), (4, 6)]


@pytest.mark.parametrize("reset", [False, True], ids=["cut short", "reset"])
def test_what_breaks_goes_on_where_it_broke(reset: bool, tmp_path: Path) -> None:
    broken: list[int] = []

    def breaks(request: Any) -> bool:
        first, last = span_of(request)
        if len(broken) >= 4 or first == 0:
            return False
        broken.append(first)
        begin(request, first, last)
        request.wfile.write(CONTENT[first : first + 5000])
        request.wfile.flush()
        if reset:
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.close_connection = True
        return True

    with served(tmp_path, breaks) as (url, access):
        file = RemoteFile(url, access)
        with pytest.raises(InvalidCube, match=r"sent 5000 of|connection broke"):
            file.read(BLOCK, 2 * BLOCK)
        assert file.read(BLOCK, 2 * BLOCK) == CONTENT[BLOCK : 2 * BLOCK]
    if not reset:  # a reset may take with it what was sent
        assert broken == [BLOCK + k * 5000 for k in range(4)]


def test_servers_that_are_busy_are_asked_again_as_they_say(tmp_path: Path, no_pauses: list[float]) -> None:
    states = iter([503, 429, 200])

    def busy(request: Any) -> bool:
        if (code := next(states, 200)) == 200:
            return False
        request.send_response(code)
        request.send_header("Retry-After", "7")
        request.end_headers()
        return True

    with served(tmp_path, busy) as (url, access):
        assert RemoteFile(url, access).read(0, 9) == CONTENT[:9]
    assert no_pauses == [7.0, 7.0]


def test_a_slow_drip_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pause = threading.Event().wait  # time.sleep is not what it was
    monkeypatch.setenv("GDAL_HTTP_LOW_SPEED_TIME", "0.2")

    def drip(request: Any) -> bool:
        begin(request, *span_of(request))
        with suppress(OSError):
            for byte in CONTENT[:100]:
                request.wfile.write(bytes([byte]))
                request.wfile.flush()
                pause(0.05)
        return True

    with served(tmp_path, drip) as (url, access), pytest.raises(InvalidCube, match="too slow"):
        RemoteFile(url, access)


def test_a_server_that_knows_no_ranges_sends_all_of_it_once(tmp_path: Path) -> None:
    asked: list[str] = []

    def whole(request: Any) -> bool:
        asked.append(request.path)
        request.send_response(200)
        if "sized" in request.path:
            request.send_header("Content-Length", str(len(CONTENT)))
        request.end_headers()
        with suppress(OSError):
            request.wfile.write(CONTENT)
        request.close_connection = True
        return True

    with served(tmp_path, whole) as (url, access):
        file = RemoteFile(f"{url}?sized", access)
        assert file.read(3 * BLOCK, 4 * BLOCK) == CONTENT[3 * BLOCK : 4 * BLOCK]
        assert len(asked) == 1
        with pytest.raises(InvalidCube, match="says no size"):
            RemoteFile(url, access)


def test_another_range_or_another_file_than_was_asked_for(tmp_path: Path) -> None:
    def other(request: Any) -> bool:
        first, last = span_of(request)
        begin(request, first + (first > 0), last + (first > 0))
        request.wfile.write(CONTENT[first : last + 1])
        return True

    with served(tmp_path, other) as (url, access), pytest.raises(InvalidCube, match="another range"):
        RemoteFile(url, access).read(BLOCK, BLOCK + 1)

    def grown(request: Any) -> bool:
        first, last = span_of(request)
        begin(request, first, last, len(CONTENT) + (first > 0))
        request.wfile.write(CONTENT[first : last + 1])
        return True

    with served(tmp_path, grown) as (url, access), pytest.raises(InvalidCube, match="replaced or changed"):
        RemoteFile(url, access).read(BLOCK, BLOCK + 1)


def test_a_full_disk_is_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(remote, "TemporaryFile", lambda dir: Full())
    with served(tmp_path) as (url, access), accessing(access), pytest.raises(InvalidCube, match=r"cannot be kept in .*No space left"):
        open_msi(url)


@contextmanager
def served_raster(folder: Path, answer: Callable[[Any], bool] = lambda _: False) -> Iterator[tuple[str, Access]]:
    (folder / "a.tif").write_bytes(few_files()[1].read_bytes())
    with serving(folder, answer) as root:
        yield f"{root}/a.tif", Access(f"{root}/items.json", cache=folder)


def test_gdal_reads_through_it_in_any_thread_and_after_a_pickle(tmp_path: Path) -> None:
    import pickle

    with served_raster(tmp_path) as (url, access):
        with accessing(access):
            cube = open_msi(url, chunks={"y": 20, "x": 20})
        array = pickle.loads(pickle.dumps(cube))
        with rasterio.open(few_files()[1]) as file:
            truth = np.where(file.read() == file.nodata, np.nan, file.read() / 1e4).astype(np.float32)
        np.testing.assert_allclose(array.values, truth, atol=1e-7)


def test_gdal_is_led_nowhere(tmp_path: Path) -> None:
    """Neither by a redirect, nor by files beside a raster."""
    asked: list[str] = []

    def away(request: Any) -> bool:
        asked.append(request.path)
        if request.path == "/away.tif":
            request.send_response(302)
            request.send_header("Location", "http://169.254.169.254/latest/meta-data")
            request.end_headers()
        return request.path == "/away.tif"

    with served_raster(tmp_path, away) as (url, access), accessing(access):
        root = url.removesuffix("/a.tif")
        with open_raster(url) as file:
            file.read()
        assert set(asked) == {"/a.tif"}
        with pytest.raises(InvalidCube, match=r"--allow-host 169\.254\.169\.254"):
            open_msi(url.replace("a.tif", "away.tif"))
        (tmp_path / "odd.tif").write_text("<VRTDataset>")
        with pytest.raises(InvalidCube, match=r"GDAL cannot read it as a raster \('odd\.tif' not recognized"):
            open_msi(url.replace("a.tif", "odd.tif"))
        with pytest.raises(InvalidCube, match=rf"^{root}/none\.tif: the server says 404"):
            open_msi(f"{root}/none.tif")


def test_a_redirect_to_another_scheme_is_not_followed(tmp_path: Path) -> None:
    def away(request: Any) -> bool:
        request.send_response(302)
        request.send_header("Location", "ftp://example.com/a.bin")
        request.end_headers()
        return True

    with served(tmp_path, away) as (url, access), pytest.raises(InvalidCube, match="expected an address of http or https"):
        RemoteFile(url, access)


def test_a_name_that_is_of_this_machine_after_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that is checked is the one that is connected to: a name that means another one the next time gains nothing."""
    with served(tmp_path) as (url, _):
        port, looked_up = int(url.split(":")[2].split("/")[0]), []

        def look_up(host: str, *_: Any, **__: Any) -> list[Any]:
            looked_up.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr("geofuse.io.read.http._look_up", look_up)
        monkeypatch.setenv("no_proxy", "*")
        public = Access("https://example.org/items.json")
        named = f"http://example.com:{port}/a.bin"
        with pytest.raises(InvalidCube, match=r"'example\.com'.*127\.0\.0\.1.*--allow-host example\.com"):
            open_url(named, public)
        for access in (replace(public, hosts=frozenset({"example.com"})), Access("http://example.com/items.json")):
            with open_url(named, access) as response:
                assert response.read(4) == CONTENT[:4]
        assert looked_up == ["example.com"] * 3


def test_a_product_in_hdf5_is_copied_as_a_whole(tmp_path: Path) -> None:
    """Its reader reads only what lies here; the copy goes with all else that was fetched."""
    pytest.importorskip("h5py")
    from geofuse.simulate.products import emit

    (tmp_path / "archive").mkdir()
    path = emit.write(tmp_path / "archive", rows=20, cols=16, bands=20, mask=False)
    with serving(tmp_path / "archive") as root, accessing(Access(f"{root}/items.json", cache=tmp_path)):
        cube = open_hsi(f"{root}/{path.name}")
        np.testing.assert_array_equal(cube.values, open_hsi(path).values)
    assert cube.encoding["sensor"] == "EMIT L2A"
    assert len(list(tmp_path.rglob(path.name))) == 2
    remote.forget(tmp_path)
    assert [found.name for found in tmp_path.iterdir()] == ["archive"]


def test_threads_that_want_the_same_copy_make_one(tmp_path: Path) -> None:
    with served(tmp_path) as (url, access), accessing(access), ThreadPoolExecutor(4) as pool:
        copies = [pool.submit(copy_context().run, remote.local_copy, url) for _ in range(4)]
        for copy in copies:
            found = copy.result()
            assert found is not None
            assert found.read_bytes() == CONTENT
    remote.forget(tmp_path)


def test_what_breaks_while_pixels_are_read_is_an_error_of_the_run(tmp_path: Path) -> None:
    gone: list[bool] = []

    def answer(request: Any) -> bool:
        if gone:
            request.send_error(404)
        return bool(gone)

    with served_raster(tmp_path, answer) as (url, access):
        with accessing(access):
            cube = open_msi(url)
        remote.forget(tmp_path)
        gone.append(True)
        with pytest.raises(RunError, match="404"):
            cube.values  # noqa: B018


def test_the_state_of_a_file_is_asked_for_with_one_byte(tmp_path: Path) -> None:
    with served(tmp_path) as (url, access):
        assert stamp(url, access)["size"] == str(len(CONTENT))
        with pytest.raises(InvalidCube, match="404"):
            stamp(f"{url}.gone", access)


def test_a_password_in_an_address_is_sent_and_goes_nowhere_else(tmp_path: Path) -> None:
    sent: list[tuple[str, str | None]] = []

    def guarded(request: Any) -> bool:
        sent.append((request.path, request.headers.get("Authorization")))
        if request.path == "/moved.bin":
            request.send_response(302)
            request.send_header("Location", "/a.bin")
            request.end_headers()
        return request.path == "/moved.bin"

    with served(tmp_path, guarded) as (url, access):
        signed = url.replace("http://", "http://me:open%20sesame@")
        assert RemoteFile(signed, access).read(0, 9) == CONTENT[:9]
        RemoteFile(signed.replace("a.bin", "moved.bin"), access)
    basic = "Basic bWU6b3BlbiBzZXNhbWU="  # printf 'me:open sesame' | base64
    assert sent == [("/a.bin", basic), ("/moved.bin", basic), ("/a.bin", None)]


def test_a_table_as_large_as_a_server_claims_its_file_to_be_is_not_fetched(tmp_path: Path) -> None:
    """A petabyte, says the server, and the TIFF has a table of 2^40 strips in it."""
    head = b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 1) + struct.pack("<HHQQ", 273, 16, 2**40, 64) + struct.pack("<Q", 0)
    asked: list[str] = []

    def claims(request: Any) -> bool:
        asked.append(request.headers["Range"])
        begin(request, 0, BLOCK - 1, 10**15)
        request.wfile.write(head.ljust(BLOCK, b"\0"))
        return True

    with served(tmp_path, claims) as (url, access), accessing(access), pytest.raises(InvalidCube, match="damaged TIFF"):
        open_msi(f"{url}.tif")
    assert len(asked) == 1


def test_passwords_of_the_user_go_to_the_host_that_they_are_of_and_over_https_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from geofuse.io.read.http import _Passwords

    (tmp_path / "netrc").write_text("machine urs.example.com login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    known = _Passwords()
    assert known.find_user_password("any", "https://urs.example.com/oauth") == ("me", "secret")
    assert known.find_user_password("any", "http://urs.example.com/oauth") == (None, None)
    assert known.find_user_password("any", "https://example.com/oauth") == (None, None)
