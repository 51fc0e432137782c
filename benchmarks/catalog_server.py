"""Servers on loopback: of files, by ranges, and with the troubles of real ones; and of items, as a STAC API."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

ELSEWHERE = "http://169.254.169.254/latest/meta-data"
"""A place that no redirect may lead to: there, machines of clouds ask for their credentials."""


class Ranges(SimpleHTTPRequestHandler):
    """Files: whole, or the range that is asked for."""

    def do_GET(self) -> None:
        """Answer a request."""
        path = Path(self.translate_path(self.path))
        span = self.headers.get("Range", "")
        if not path.is_file() or not span.startswith("bytes="):
            super().do_GET()
            return
        content = path.read_bytes()
        first, _, last = span.removeprefix("bytes=").partition("-")
        start, end = int(first or 0), min(int(last or len(content)), len(content) - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
        self.send_header("Content-Length", str(end - start + 1))
        self.end_headers()
        self.send_body(content[start : end + 1])

    def send_body(self, body: bytes) -> None:
        """Send what a range holds."""
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class Server(ThreadingHTTPServer):
    """Files below a folder; every so many requests one fails once: busy, reset, or cut short."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, folder: Path, every: int) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
        self.every, self.requests = every, count(1)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: clients are killed."""


class _Handler(Ranges):
    """Troubles by the first folder of a path, and now and then for all."""

    server: Server
    drip, share, reset = False, 1.0, False

    def do_GET(self) -> None:
        number, kind = next(self.server.requests), self.path.split("/")[1]
        turn = number // self.server.every % 3 if self.server.every and number % self.server.every == 0 else None
        if kind == "busy" or turn == 0:
            self.send_response(503)
            self.send_header("Retry-After", "0")
            self.end_headers()
        elif kind == "away":
            self.send_response(302)
            self.send_header("Location", ELSEWHERE)
            self.end_headers()
        else:
            self.drip, self.share, self.reset = kind == "drip", 0.5 if kind == "short" or turn in (1, 2) else 1.0, turn == 2
            super().do_GET()

    def end_headers(self) -> None:
        """With the state of the file."""
        path = Path(self.translate_path(self.path))
        if path.is_file():
            self.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
        super().end_headers()

    def send_body(self, body: bytes) -> None:
        """All of it; or the first part, a byte a moment, or up to a reset."""
        if self.drip and len(body) > 1:
            with suppress(OSError):
                for place in range(len(body)):
                    self.wfile.write(body[place : place + 1])
                    self.wfile.flush()
                    time.sleep(0.2)
            return
        self.wfile.write(body[: max(1, int(self.share * len(body)))] if self.share < 1 else body)
        if self.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True


def serving_files(folder: Path, every: int = 0) -> AbstractContextManager[str]:
    """Serve a folder on loopback; yields the address of its root."""
    return running(Server(folder, every))


@contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[str]:
    """Let a server answer while the block runs; yields the address of its root."""
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serving_items(items: Path) -> Iterator[str]:
    """Serve an ItemCollection as a STAC API, by ``rustac serve``; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    program = str(Path(sys.executable).with_name("rustac"))
    process = subprocess.Popen([program, "serve", "-a", address, "--create-collections", str(items)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with suppress(OSError):
                urllib.request.urlopen(f"http://{address}", timeout=1).close()
                break
            time.sleep(0.1)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait()
