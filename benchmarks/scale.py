"""Whole scenes: seconds, peak memory and bytes against size and scheduler. ``make bench-scale``, or ``python benchmarks/scale.py --help``.

The scene is the embedded Berlin pair, repeated as often as it takes. Every case is one
command in a process of its own, watched from outside: its memory is that of the process and its children at any moment, its bytes are
those that the system counted (libraries that it loads included). Beside each size stands what writing a ready-made dask array of that size to the
same COG costs, in the same run: the ratios, unlike the seconds, carry over to other machines.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement

import numpy as np
import psutil
import rasterio
from affine import Affine
from rasterio.shutil import copy

DATA = Path(__file__).resolve().parent.parent / "geofuse" / "data"
# 3 coarse pixels are 25 fine ones, so these crops repeat without a seam in the geometry.
COARSE, FINE = (78, 57), (650, 475)
SCHEDULERS = ("threads", "processes")


@dataclass
class Row:
    """One case, and what it took."""

    side: int
    bands: int
    method: str
    scheduler: str
    seconds: float
    peak_mb: float
    planned_mb: float
    read_mb: float
    written_mb: float
    stages: dict[str, float]


def scene(folder: Path, side: int, bands: int) -> tuple[Path, Path]:
    """A pair of ``side`` fine pixels."""
    coarse = int(np.ceil(side * 3 / 25))
    hsi = repeated(DATA / "berlin_enmap_30m.tif", folder / f"hsi-{side}-{bands}.vrt", coarse, COARSE, bands)
    msi = repeated(DATA / "berlin_hires_3p6m.tif", folder / f"msi-{side}.vrt", side, FINE, 4)
    return stored(hsi), stored(msi)


def stored(source: Path) -> Path:
    """The virtual raster as a tiled GeoTIFF, which is what users have: a virtual one of many parts is slow to open."""
    target = source.with_suffix(".tif")
    if not target.exists():
        options = {"TILED": "YES", "BLOCKXSIZE": "256", "BLOCKYSIZE": "256", "COMPRESS": "DEFLATE", "PREDICTOR": "2", "BIGTIFF": "IF_SAFER"}
        copy(source, target, driver="GTiff", INTERLEAVE="BAND", NUM_THREADS="ALL_CPUS", **options)
    return target


def repeated(source: Path, target: Path, side: int, period: tuple[int, int], bands: int) -> Path:
    """A virtual raster that repeats the first pixels of a file."""
    with rasterio.open(source) as file:
        chosen = np.unique(np.linspace(1, file.count, bands).round().astype(int))
        root = Element("VRTDataset", rasterXSize=str(side), rasterYSize=str(side))
        SubElement(root, "SRS").text = file.crs.to_wkt()
        SubElement(root, "GeoTransform").text = ", ".join(repr(v) for v in file.transform.to_gdal())
        for number, band in enumerate(chosen, start=1):
            element = SubElement(root, "VRTRasterBand", dataType="Int16", band=str(number), blockXSize="512", blockYSize="512")
            SubElement(element, "Description").text = file.descriptions[band - 1]
            SubElement(element, "NoDataValue").text = repr(file.nodatavals[band - 1])
            SubElement(element, "Scale").text = "0.0001"
            metadata = SubElement(element, "Metadata")
            for key, value in file.tags(band).items():
                SubElement(metadata, "MDI", key=key).text = value
            for top in range(0, side, period[0]):
                for left in range(0, side, period[1]):
                    rows, cols = min(period[0], side - top), min(period[1], side - left)
                    part = SubElement(element, "SimpleSource")
                    SubElement(part, "SourceFilename", shared="1").text = str(source)
                    SubElement(part, "SourceBand").text = str(band)
                    SubElement(part, "SourceProperties", RasterXSize=str(file.width), RasterYSize=str(file.height), DataType="Int16")
                    SubElement(part, "SrcRect", xOff="0", yOff="0", xSize=str(cols), ySize=str(rows))
                    SubElement(part, "DstRect", xOff=str(left), yOff=str(top), xSize=str(cols), ySize=str(rows))
    ElementTree(root).write(target)
    return target


class Watch:
    """Memory and bytes of a process and its children, looked at twenty times a second."""

    def __init__(self, pid: int) -> None:
        self.root, self.peak = psutil.Process(pid), 0
        self.bytes: dict[int, tuple[int, int]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            total = 0
            try:
                family = [self.root, *self.root.children(recursive=True)]
            except psutil.Error:
                continue
            for process in family:
                try:
                    total += process.memory_info().rss
                    counted = process.io_counters()
                    self.bytes[process.pid] = (counted.read_chars, counted.write_chars)
                except psutil.Error:
                    continue
            self.peak = max(self.peak, total)

    def end(self) -> tuple[float, float, float]:
        """Peak memory, bytes read and written, in MB."""
        self._over.set()
        self._thread.join()
        read, written = (sum(pair[k] for pair in self.bytes.values()) for k in (0, 1))
        return self.peak / 1e6, read / 1e6, written / 1e6


def measured(command: list[str]) -> tuple[float, float, float, float]:
    """Run a command; seconds, peak MB, MB read and written."""
    begin = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    watch = Watch(process.pid)
    _, said = process.communicate()
    seconds = time.monotonic() - begin
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: {said}")
    return (seconds, *watch.end())


def fused(folder: Path, side: int, bands: int, method: str, scheduler: str, memory: str) -> Row:
    """One fusion, from files to a file."""
    hsi, msi = scene(folder, side, bands)
    out, report = folder / "out.tif", folder / "report.json"
    command = [sys.executable, "-m", "geofuse", "fuse", str(hsi), str(msi), "-o", str(out), "--method", method, "--scheduler", scheduler]
    command += ["--memory-limit", memory, "--report", str(report), "--no-stac", "--overwrite", "-q"]
    found = measured(command)
    told = json.loads(report.read_text())
    out.unlink()
    print(f"peak after each stage, MB: {told['peak_rss_mb_after']}", file=sys.stderr)
    seconds, peak, read, wrote = _rounded(found)
    return Row(side, bands, method, scheduler, seconds, peak, round(told["plan"]["memory"] / 1e6), read, wrote, told["seconds"])


def written(folder: Path, side: int, bands: int) -> Row:
    """The same size, ready made: what writing alone costs."""
    out = folder / "ready.tif"
    found = measured([sys.executable, __file__, "--ready", str(side), str(bands), str(out)])
    out.unlink()
    seconds, peak, read, wrote = _rounded(found)
    return Row(side, bands, "ready-made", "threads", seconds, peak, 0, read, wrote, {})


def write_ready(side: int, bands: int, out: Path) -> None:
    """Write a lazy array whose tiles are at hand: the embedded HSI, enlarged, the same in each tile."""
    import dask.array as da
    from scipy.ndimage import zoom

    import geofuse
    from geofuse.cube import wrap
    from geofuse.io.cog import write_cog

    hsi = geofuse.open_hsi(DATA / "berlin_enmap_30m.tif", chunks=None)
    chosen = np.unique(np.linspace(0, 176, bands).round().astype(int))
    texture = np.random.default_rng(0).normal(0, 0.003, (512, 512))
    tile = np.stack([zoom(plane[:60, :60], 512 / 60, order=1) + texture for plane in np.nan_to_num(hsi.values[chosen])]).astype("float32")
    empty = da.empty((len(tile), side, side), chunks=(len(tile), 512, 512), dtype="float32")
    data = empty.map_blocks(lambda block: tile[:, : block.shape[1], : block.shape[2]], dtype="float32")
    cube = wrap(data, transform=Affine(3.6, 0, 4e5, 0, -3.6, 5.8e6), crs=32633, names=[str(k) for k in chosen])
    write_cog(cube, out, progress=False, overwrite=True)


def _rounded(values: tuple[float, ...]) -> list[float]:
    return [round(v, 1) for v in values]


def table(rows: list[Row]) -> str:
    """Markdown; the last columns are what scales and what carries over to other machines."""
    head = "| side | bands | method | scheduler | seconds | µs a pixel | × ready-made | peak MB | planned MB | read MB | written MB | open, fit, apply, write (s) |"
    ready = {(r.side, r.bands): r.seconds for r in rows if r.method == "ready-made"}
    lines = [head, "|" + "---|" * head.count(" | ") + "---|"]
    for r in rows:
        ratio = f"{r.seconds / ready[r.side, r.bands]:.2f}" if (r.side, r.bands) in ready else ""
        stages = ", ".join(f"{r.stages[k]:.1f}" for k in ("open", "fit", "apply", "write")) if r.stages else ""
        cells: tuple[object, ...] = (r.side, r.bands, r.method, r.scheduler, r.seconds, f"{1e6 * r.seconds / r.side**2:.1f}", ratio)
        cells += (f"{r.peak_mb:.0f}", f"{r.planned_mb:.0f}", f"{r.read_mb:.0f}", f"{r.written_mb:.0f}", stages)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", default="1024,2048", help="fine pixels along each side, separated by commas")
    parser.add_argument("--bands", type=int, default=64)
    parser.add_argument("--methods", default="gem,fuse")
    parser.add_argument("--schedulers", default="threads")
    parser.add_argument("--memory-limit", default="4GB")
    parser.add_argument("--folder", type=Path, help="where the outputs are made and removed; a temporary folder by default")
    parser.add_argument("--json", type=Path, help="write the rows, too")
    parser.add_argument("--ready", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ready:
        write_ready(int(given.ready[0]), int(given.ready[1]), Path(given.ready[2]))
        return
    rows = []
    with tempfile.TemporaryDirectory(dir=given.folder) as made:
        folder = Path(made)
        for side in map(int, given.sides.split(",")):
            rows.append(written(folder, side, given.bands))
            for method in given.methods.split(","):
                for scheduler in given.schedulers.split(","):
                    rows.append(fused(folder, side, given.bands, method, scheduler, given.memory_limit))
                    print(table(rows[-1:]).splitlines()[-1], file=sys.stderr)
    if given.json:
        given.json.write_text(json.dumps([asdict(r) for r in rows], indent=1))
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, limit {given.memory_limit}\n")
    print(table(rows))


if __name__ == "__main__":
    main()
