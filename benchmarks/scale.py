"""Whole scenes: seconds, peak memory and bytes against size and scheduler. ``make bench-scale``, or ``python -m benchmarks.scale --help``.

The scene is the embedded Berlin pair, repeated as often as it takes. Every case is one command in a process of its own, watched from
outside (`benchmarks.watch`). Beside each size stands what writing a ready-made dask array of that size to the same COG costs, in the same
run: the ratios, unlike the seconds, carry over to other machines. Each case is written down when it is done, and not measured again with
the same code on the same machine: an interrupted run resumes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from benchmarks import scale_report, watch
from benchmarks.environment import OUT, ROOT, code_version, environment, remember
from benchmarks.scale_report import READY

DATA = ROOT / "geofuse" / "demo" / "data"
HSI, MSI = DATA / "berlin_enmap_30m.tif", DATA / "berlin_hires_3p6m.tif"
# 3 coarse pixels are 25 fine ones, so these crops repeat without a seam in the geometry.
COARSE, FINE = (78, 57), (650, 475)
SIZES = "1024x64,2048x64,4096x64,8192x64,2048x224"
# Rooms that change neither seconds nor bytes.
NO_FIGURES = ("__main__", "accessors", "catalogs", "cli", "cli_batch", "cli_options", "demo", "markup", "reporting", "stac", "viewing")


@dataclass(frozen=True)
class Case:
    """What is run."""

    side: int
    bands: int
    method: str
    scheduler: str = "threads"
    memory: str = "4GB"


@dataclass(frozen=True)
class Row(Case):
    """One case, and what it took; ``code`` and ``environment`` say with what and where, ``load`` how busy the machine was."""

    seconds: float = 0
    cpu: float = 0
    peak_mb: float = 0
    read_mb: float = 0
    written_mb: float = 0
    planned_mb: float = 0
    output_mb: float = 0
    stages: dict[str, float] = field(default_factory=dict)
    load: float = 0
    code: str = ""
    environment: str = ""

    @property
    def case(self) -> Case:
        """What was run."""
        return Case(*(getattr(self, f.name) for f in fields(Case)))


def scene(folder: Path, side: int, bands: int) -> tuple[Path, Path]:
    """A pair of ``side`` fine pixels, as tiled GeoTIFFs."""
    coarse = int(np.ceil(side * 3 / 25))
    hsi = _repeated(HSI, folder / f"hsi-{side}-{bands}.tif", coarse, COARSE, bands)
    return hsi, _repeated(MSI, folder / f"msi-{side}.tif", side, FINE, 4)


def _repeated(source: Path, target: Path, side: int, period: tuple[int, int], bands: int) -> Path:
    """A raster that repeats the first pixels of a file; bands that the file does not have lie between those that it has."""
    if target.exists():
        return target
    layout = {"driver": "GTiff", "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "predictor": 2}
    with rasterio.open(source) as file:
        first = file.read(window=((0, period[0]), (0, period[1])))
        wavelength, fwhm = ([float(file.tags(b)[key]) for b in file.indexes] for key in ("wavelength", "fwhm"))
        places = np.linspace(0, file.count - 1, bands)
        places = places.round() if bands <= file.count else places
        layout |= {"crs": file.crs, "transform": file.transform, "nodata": file.nodata, "dtype": "int16"}
    layout |= {"width": side, "height": side, "count": bands, "interleave": "band", "num_threads": "all_cpus", "bigtiff": "if_safer"}
    rows, cols = np.arange(side)[:, None] % period[0], np.arange(side)[None] % period[1]
    with rasterio.open(target, "w", **layout) as out:
        out.scales = (1e-4,) * bands
        for band, place in enumerate(places, start=1):
            below, share = int(place), place % 1
            plane = first[below] if not share else (1 - share) * first[below] + share * first[below + 1]
            out.write(np.rint(plane).astype("int16")[rows, cols], band)
            out.set_band_description(band, f"band {band}")
            table = {key: float(np.interp(place, np.arange(len(v)), v)) for key, v in (("wavelength", wavelength), ("fwhm", fwhm))}
            out.update_tags(band, **table, wavelength_units="nm")
    return target


def fused(folder: Path, case: Case) -> dict[str, Any]:
    """One fusion, from files to a file."""
    hsi, msi = scene(folder, case.side, case.bands)
    out, report = folder / "out.tif", folder / "report.json"
    command = [sys.executable, "-m", "geofuse", "fuse", str(hsi), str(msi), "-o", str(out), "--method", case.method]
    command += ["--scheduler", case.scheduler, "--memory-limit", case.memory]
    found = watch.run([*command, "--report", str(report), "--no-stac", "--overwrite", "-q"])
    made = json.loads(report.read_text(encoding="utf-8"))
    size = _removed(out)
    return asdict(found) | {"planned_mb": round(made["plan"]["memory"] / 1e6), "stages": made["seconds"], "output_mb": size}


def written(folder: Path, case: Case) -> dict[str, Any]:
    """The same size, ready made: what writing alone costs."""
    out = folder / "ready.tif"
    found = watch.run([sys.executable, "-m", "benchmarks.ready", str(case.side), str(case.bands), str(out)])
    return asdict(found) | {"output_mb": _removed(out)}


def _removed(path: Path) -> float:
    size = path.stat().st_size
    path.unlink()
    return round(size / 1e6, 1)


def rows_of(path: Path) -> list[Row]:
    """What was measured, line by line; a line that a killed run left torn is none."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            rows.append(Row(**json.loads(line)))
        except ValueError:
            continue
    return rows


def cases_of(sizes: str, methods: str, schedulers: str, memory: str) -> list[Case]:
    """All cases, size by size; ready-made first.

    Examples
    --------
    >>> [case.method for case in cases_of("1024x64", "gem,sylvester", "threads", "4GB")]
    ['ready-made', 'gem', 'sylvester']
    """
    cases = []
    for side, bands in (map(int, size.split("x")) for size in sizes.replace(" ", ",").split(",")):
        cases.append(Case(side, bands, READY, memory=memory))
        cases += [Case(side, bands, method, s, memory) for method in methods.split(",") for s in schedulers.split(",")]
    return cases


@cache
def _code() -> str:
    return code_version(without=NO_FIGURES)


def measure(cases: Sequence[Case], path: Path, folder: Path) -> None:
    """Measure the cases that were not measured with this code on this machine, and write each down."""
    where = remember(environment(), path.parent / "environment.json")
    done = {(row.case, row.code, row.environment) for row in rows_of(path)}
    for case in cases:
        if (case, _code(), where) in done:
            continue
        load = round(os.getloadavg()[0], 2)
        found = (written if case.method == READY else fused)(folder, case)
        row = Row(**asdict(case), **found, load=load, code=_code(), environment=where)
        with path.open("a", encoding="utf-8") as file:
            if file.tell() and not path.read_text(encoding="utf-8").endswith("\n"):
                file.write("\n")
            file.write(json.dumps(asdict(row)) + "\n")
        print(scale_report.table([row]).splitlines()[-1], file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases, and write and print the report; the exit status is 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", default=SIZES, help=f"fine pixels along each side x bands (default: {SIZES})")
    parser.add_argument("--methods", default="sylvester,gem")
    parser.add_argument("--schedulers", default="threads")
    parser.add_argument("--memory-limit", default="4GB")
    parser.add_argument("--folder", type=Path, help="where inputs and outputs are made and removed; a temporary folder by default")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of scale.jsonl and scale.md (default: docs/benchmarks)")
    given = parser.parse_args(arguments)
    path: Path = given.out / "scale.jsonl"
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.folder) as made:
        measure(cases_of(given.sizes, given.methods, given.schedulers, given.memory_limit), path, Path(made))
    known = json.loads((given.out / "environment.json").read_text(encoding="utf-8"))
    text = scale_report.report(rows_of(path), known)
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
