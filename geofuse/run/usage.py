"""What a run took, and what it ran on: seconds and peak memory of its stages, versions of what the result depends on."""

from __future__ import annotations

import platform
import resource
import sys
import time
from importlib.metadata import version


class Clock:
    """Seconds of each stage, and the peak memory of this process by its end, in MB."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.peaks: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        """End a stage, which began when the one before it ended."""
        now = time.monotonic()
        self.laps[name] = round(now - self._last, 2)
        self.peaks[name] = peak_rss_mb()
        self._last = now


def peak_rss_mb() -> float:
    """The most memory that this process has held so far, MB."""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


def versions() -> dict[str, str]:
    """Versions of what the result depends on."""
    return {"python": platform.python_version()} | {
        name: version(name) for name in ("geofuse", "torch", "numpy", "xarray", "rasterio", "dask")
    }
