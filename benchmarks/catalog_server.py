"""A server of files that knows ranges, and has the troubles of real ones: by the first folder of a path, and now and then for all."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

ELSEWHERE = "http://169.254.169.254/latest/meta-data"
"""A place that no redirect may lead to: there, machines of clouds ask for their credentials."""


class Server(ThreadingHTTPServer):
    """Files below a folder; every so many requests one fails once: busy, reset, or cut short."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, folder: Path, every: int) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
        self.every, self.requests = every, count(1)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: clients are killed."""


class _Handler(SimpleHTTPRequestHandler):
    server: Server

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
            self._file(drip=kind == "drip", share=0.5 if kind == "short" or turn in (1, 2) else 1.0, reset=turn == 2)

    def _file(self, *, drip: bool, share: float, reset: bool) -> None:
        """The range that is asked for; or the first part of it, a byte a moment, or up to a reset."""
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
        self.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
        self.end_headers()
        body = content[start : end + 1]
        if drip and len(body) > 1:
            with suppress(OSError):
                for place in range(len(body)):
                    self.wfile.write(body[place : place + 1])
                    self.wfile.flush()
                    time.sleep(0.2)
            return
        self.wfile.write(body[: max(1, int(share * len(body)))] if share < 1 else body)
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving_files(folder: Path, every: int = 0) -> Iterator[str]:
    """Serve a folder on loopback; yields the address of its root."""
    server = Server(folder, every)
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
