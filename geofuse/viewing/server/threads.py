"""Threads that read rasters and keep them open: GDAL's cache of decoded blocks lives as long as the file is open."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from queue import SimpleQueue
from typing import Any

import rasterio
from rasterio.errors import RasterioError

from geofuse.errors import GeofuseError, RunError
from geofuse.io.read.gdal import open_raster
from geofuse.io.read.raster import RasterArray

_COUNT = max(2, min(4, os.cpu_count() or 1))
_thread = threading.local()


class _Kept:
    """Files that a thread has opened, until the stack is closed."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack, self._files = stack, dict[tuple[str, bool], Any]()

    def file(self, path: str, trusted: bool) -> Any:
        key = path, trusted
        if key not in self._files:
            self._files[key] = self._stack.enter_context(open_raster(path, trusted=trusted))
        return self._files[key]


@contextmanager
def opened(path: str, *, trusted: bool) -> Iterator[Any]:
    """A raster for the block: in a thread of `ReadingThreads` the one that it keeps open, elsewhere one that is closed after it.

    Raises
    ------
    RunError
        It cannot be opened, or not be read in the block.
    """
    kept: _Kept | None = getattr(_thread, "kept", None)
    try:
        if kept is not None:
            yield kept.file(path, trusted)
            return
        with open_raster(path, trusted=trusted) as file:
            yield file
    except (RasterioError, OSError) as error:
        raise RunError(f"{path}: could not be read ({error}); the file is damaged or was changed while in use") from error


class ReadingThreads:
    """Threads that run what reads; each uses its own handles of GDAL, opens and closes them.

    Not an executor of the standard library: its threads end before the functions of `atexit` run, and leave their files open.

    Parameters
    ----------
    arrays : sequence of RasterArray
        Whose files each thread opens before they are asked for.
    count : int
        One where the same blocks are read again and again, several where each read is of other blocks.
    """

    def __init__(self, arrays: Sequence[RasterArray] = (), count: int = _COUNT) -> None:
        self._tasks: SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, args=(arrays,), name="geofuse-view-read", daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()
        atexit.register(self.close)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Run a function in one of them."""
        future: Future[Any] = Future()
        self._tasks.put((future, function, arguments))
        return future

    def close(self) -> None:
        """End the threads, which close their files."""
        atexit.unregister(self.close)
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _work(self, arrays: Sequence[RasterArray]) -> None:
        # a spectrum lies in as many blocks as there are bands: GDAL decodes them side by side
        with rasterio.Env(GDAL_NUM_THREADS="ALL_CPUS"), ExitStack() as stack:
            _thread.kept = kept = _Kept(stack)
            for array in arrays:
                with suppress(RasterioError, GeofuseError, OSError):  # it says so when it is read
                    kept.file(array.path, array.trusted)
            while (task := self._tasks.get()) is not None:
                _run(*task)


def _run(future: Future[Any], function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function(*arguments))
    except BaseException as error:
        future.set_exception(error)
