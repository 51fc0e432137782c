"""What the compression of a fused COG costs and saves: ``python -m benchmarks.compression [FUSED.tif]``; prints Markdown.

Without a file the embedded scene is fused first (`gem`, some 30 s). Every row is a copy of the same file in the order of a COG, with its overviews, in blocks of
512 pixels: its size, and the processor seconds, over all threads, to write it, to read all of it, one band, and the spectrum of one pixel. The last rows round the
stored numbers of each band to multiples of a power of two that is at most half of the band's noise, or all of it: not lossless, and no option of geofuse.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.windows import Window

import geofuse
from geofuse.cube.normalise import REPORT_ATTRIBUTE
from geofuse.io.write.cog import write_cog
from geofuse.io.write.translate import copy_here

WAYS = {
    "DEFLATE 1, no predictor": {"COMPRESS": "DEFLATE", "ZLEVEL": "1"},
    "**DEFLATE 1** (the default)": {"COMPRESS": "DEFLATE", "ZLEVEL": "1", "PREDICTOR": "2"},
    "DEFLATE 6": {"COMPRESS": "DEFLATE", "ZLEVEL": "6", "PREDICTOR": "2"},
    '**ZSTD 1** (`compression="zstd"`)': {"COMPRESS": "ZSTD", "ZSTD_LEVEL": "1", "PREDICTOR": "2"},
    "ZSTD 9": {"COMPRESS": "ZSTD", "ZSTD_LEVEL": "9", "PREDICTOR": "2"},
    "LERC and ZSTD, lossless": {"COMPRESS": "LERC_ZSTD", "MAX_Z_ERROR": "0"},
    "DEFLATE 1, pixel by pixel": {"COMPRESS": "DEFLATE", "ZLEVEL": "1", "PREDICTOR": "2", "INTERLEAVE": "PIXEL"},
    "ZSTD 3, pixel by pixel": {"COMPRESS": "ZSTD", "ZSTD_LEVEL": "3", "PREDICTOR": "2", "INTERLEAVE": "PIXEL"},
}
DEFAULT = "**DEFLATE 1** (the default)"
COMMON = {
    "COPY_SRC_OVERVIEWS": "YES",
    "TILED": "YES",
    "BLOCKXSIZE": "512",
    "BLOCKYSIZE": "512",
    "INTERLEAVE": "BAND",
    "NUM_THREADS": "ALL_CPUS",
}
READS: dict[str, Callable[[Any], Any]] = {
    "all": lambda file: file.read(),
    "one band": lambda file: file.read(file.count // 2),
    "one spectrum": lambda file: file.read(window=Window(file.width // 2, file.height // 2, 1, 1)),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fused", nargs="?", type=Path, help="an int16 COG that geofuse wrote")
    parser.add_argument("--report", type=Path, help="its JSON report, for the noise of its bands")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fused, noise = (asked.fused, _noise(asked.report)) if asked.fused else _embedded(folder)
        with rasterio.open(fused) as file:
            print(
                f"{file.count} bands of {file.height} x {file.width} pixels, int16: {_raw(file) / 1e6:.1f} MB, with overviews {_all(file) / 1e6:.1f} MB\n"
            )
        print("| | MB | write, s | " + " | ".join(f"read {what}, s" for what in READS) + " |\n|---|---|---|" + "---|" * len(READS))
        for way, options in WAYS.items():
            print(row(way, fused, folder / "copy.tif", options), flush=True)
        if noise is not None:
            for label, share in (("half the noise", 0.5), ("the noise", 1.0)):
                rounded = _rounded(fused, folder, noise, share)
                print(row(f"DEFLATE 1, rounded to {label}", rounded, folder / "copy.tif", WAYS[DEFAULT]), flush=True)


def row(way: str, source: Path, target: Path, options: dict[str, str]) -> str:
    """Copy, read, and say what it took."""
    start = time.process_time()
    copy_here(str(source), str(target), COMMON | options)
    seconds = [time.process_time() - start]
    for read in READS.values():
        with rasterio.Env(GDAL_CACHEMAX=256 * 2**20), rasterio.open(target) as file:
            start = time.process_time()
            read(file)
            seconds.append(time.process_time() - start)
    return f"| {way} | {target.stat().st_size / 1e6:.2f} | {seconds[0]:.1f} | {seconds[1]:.1f} | {seconds[2]:.3f} | {seconds[3]:.2f} |"


def _embedded(folder: Path) -> tuple[Path, np.ndarray]:
    data = geofuse.demo_data()
    fused = geofuse.fuse(geofuse.open_hsi(data.hsi), geofuse.open_msi(data.msi), method="gem", progress=False)
    path = write_cog(fused, folder / "fused.tif", progress=False).path
    return path, np.array(json.loads(fused.attrs[REPORT_ATTRIBUTE])["noise"]["hsi_sigma"])


def _noise(report: Path | None) -> np.ndarray | None:
    return None if report is None else np.array(json.loads(report.read_text())["noise"]["hsi_sigma"])


def _rounded(fused: Path, folder: Path, noise: np.ndarray, share: float) -> Path:
    """A copy whose numbers are multiples of a power of two that is at most a share of each band's noise."""
    path = folder / "rounded.tif"
    with rasterio.open(fused) as file:
        profile = file.profile | {"compress": None, "tiled": True, "blockxsize": 512, "blockysize": 512}
        with rasterio.open(path, "w", **profile) as out:
            for band, sigma in enumerate(noise, start=1):
                step = 2 ** max(0, math.floor(math.log2(max(1.0, share * sigma / file.scales[band - 1]))))
                numbers = file.read(band).astype(np.int32)
                out.write(np.where(numbers == file.nodata, numbers, (numbers + step // 2) // step * step).astype(np.int16), band)
            out.build_overviews(file.overviews(1), rasterio.enums.Resampling.average)
    return path


def _raw(file: Any) -> int:
    return int(2 * file.count * file.height * file.width)


def _all(file: Any) -> int:
    return sum(int(2 * file.count * -(-file.height // f) * -(-file.width // f)) for f in (1, *file.overviews(1)))


if __name__ == "__main__":
    main()
