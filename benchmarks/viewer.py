"""How long the viewer takes: a tile from each distance, an index, a spectrum; over HTTP, as a browser asks.

Run from the repository root: ``python -m benchmarks.viewer [FUSED.tif] [--size 1024] [--bands 224]``. Without a file it writes one first, a COG of
noisy mixtures as `geofuse.to_cog` makes it. Prints one Markdown row for each kind of request, seconds; each tile is asked for once.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from affine import Affine

import geofuse
from geofuse.cube.schema import wrap

MOST_TILES = 64  # of a kind


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--size", type=int, default=1024, help="rows and columns of the file that is written")
    parser.add_argument("--bands", type=int, default=224)
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        file = asked.file or write(Path(folder) / "fused.tif", asked.size, asked.bands)
        with geofuse.view(file, port=0) as viewer:
            print_table(viewer.url)


def write(path: Path, size: int, bands: int) -> Path:
    """A COG of three spectra, mixed in waves, with noise of 0.004."""
    nm = np.linspace(400, 2450, bands)
    spectra = np.stack([0.15 + 0.25 / (1 + np.exp((720 - nm) / 15)), 0.1 + 0.3 * nm / 2450, 0.05 * np.exp((400 - nm) / 300)])
    row, column = np.mgrid[:size, :size]
    first = 0.5 + 0.5 * np.sin(column / 37) * np.cos(row / 51)
    second = (1 - first) * (0.5 + 0.5 * np.sin(column / 190 + row / 77))
    shares, random = np.stack([first, second, 1 - first - second]), np.random.default_rng(0)
    values = np.empty((bands, size, size), np.float32)
    for k in range(bands):
        values[k] = np.tensordot(spectra[:, k], shares, 1) + 0.004 * random.standard_normal((size, size))
    place = Affine(10, 0, 400_000, 0, -10, 5_800_000)
    cube = wrap(values, transform=place, crs="EPSG:32633", names=[f"{w:.1f} nm" for w in nm], wavelength=nm, fwhm=np.full(bands, 9.0))
    geofuse.to_cog(cube, path, progress=False)
    return path


def print_table(url: str) -> None:
    """Ask for everything, and print how long it took."""
    connection = http.client.HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=60)
    scene = json.loads(asked(connection, "/scene.json")[0])
    bands = len(scene["images"]["fused"]["names"])
    print(f"{bands} bands, {scene['height']} x {scene['width']} pixels\n")
    print("| request | times | median (s) | 95 % (s) | longest (s) |\n|---|---|---|---|---|")
    for kind, addresses in requests(scene):
        seconds = [asked(connection, address)[1] for address in addresses]
        figures = " | ".join(f"{value:.3f}" for value in (np.median(seconds), np.percentile(seconds, 95), max(seconds)))
        print(f"| {kind} | {len(seconds)} | {figures} |", flush=True)


def requests(scene: dict[str, Any]) -> Iterator[tuple[str, Iterable[str]]]:
    """Kinds of requests, and the addresses of each."""
    bands = ",".join(str(band + 1) for band in scene["presets"][0]["bands"])
    yield "stretch of three bands", [f"/stretch.json?bands={bands}&percent=2"]
    for level in range(scene["levels"], -1, -1):
        tiles = list(tiles_of(scene, level))
        yield f"tile of three bands, 1:{2**level}", [f"/tiles/fused/{tile}.png?bands={bands}&limits=0,1,0,1,0,1" for tile in tiles]
    if any(index["name"] == "NDVI" for index in scene["indices"]):
        yield "tile of NDVI, 1:1", [f"/tiles/fused/{tile}.png?index=NDVI&limits=0,1" for tile in tiles_of(scene, 0)]
    a, _, c, _, e, f = scene["transform"]
    places = [(c + a * share * scene["width"], f + e * share * scene["height"]) for share in np.linspace(0.1, 0.8, 4)]
    yield "spectrum, first in its blocks", [f"/place.json?x={x}&y={y}" for x, y in places]
    yield "spectrum, beside the last one", [f"/place.json?x={places[-1][0] + a * k}&y={places[-1][1]}" for k in range(1, 9)]


def tiles_of(scene: dict[str, Any], level: int) -> Iterator[str]:
    """Tiles of a level, some of them where there are many."""
    down, across = (math.ceil(scene[side] / 2**level / scene["tile"]) for side in ("height", "width"))
    places = list(itertools.product(range(across), range(down)))
    for column, row in places[:: -(-len(places) // MOST_TILES)]:
        yield f"{level}/{column}/{row}"


def asked(connection: http.client.HTTPConnection, address: str) -> tuple[bytes, float]:
    """What is answered, and the seconds it took."""
    begin = time.perf_counter()
    connection.request("GET", address)
    answer = connection.getresponse()
    body = answer.read()
    seconds = time.perf_counter() - begin
    if answer.status != 200:
        raise SystemExit(f"{address}: {answer.status} {body[:200]!r}")
    return body, seconds


if __name__ == "__main__":
    main()
