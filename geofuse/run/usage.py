"""What a run took, and what it ran on: seconds and peak memory of its stages, versions of what the result depends on."""

from __future__ import annotations

import platform
import re
import resource
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TextIO

_OF_DEVELOPMENT = ("dev", "docs")  # extras


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


def show_versions(file: TextIO | None = None) -> None:
    """Print versions of geofuse and of all that it rests on, the GPU, and which extras are not installed: for reports of defects.

    Parameters
    ----------
    file : text file, optional
        Where to print; standard output by default.
    """
    for title, rows in _installed():
        print(f"{title}\n{'-' * len(title)}", *(f"{name:16s} {value}" for name, value in rows.items()), "", sep="\n", file=file)


def _installed() -> Iterator[tuple[str, dict[str, str]]]:
    """Titles, and names with their versions."""
    import pyproj
    import rasterio
    import torch

    yield "geofuse", {"geofuse": version("geofuse"), "python": platform.python_version(), "system": platform.platform()}
    gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    yield "below Python", {"GDAL": rasterio.__gdal_version__, "PROJ": pyproj.proj_version_str, "GPU": ", ".join(gpus) or "none"}
    needed, extras = _requirements()
    yield "libraries", {name: _version(name) for name in needed}
    yield "extras", {f"[{extra}]": ", ".join(f"{name} {_version(name)}" for name in names) for extra, names in extras.items()}


def _requirements() -> tuple[list[str], dict[str, list[str]]]:
    """Packages that geofuse needs, and those of each extra, as its own metadata say; without those of development."""
    needed: list[str] = []
    extras: dict[str, list[str]] = {}
    for text in requires("geofuse") or []:
        name, extra = re.split(r"[^\w.-]", text, maxsplit=1)[0], re.search(r"extra == ['\"]([\w-]+)['\"]", text)
        if extra is None:
            needed.append(name)
        elif extra[1] not in _OF_DEVELOPMENT:
            extras.setdefault(extra[1], []).append(name)
    return sorted(needed), extras


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
