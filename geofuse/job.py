"""Files in, files out: what the command line runs."""

from __future__ import annotations

import datetime as dt
import json
import platform
import resource
import sys
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xarray as xr

from geofuse import api
from geofuse.errors import RefusedInput
from geofuse.io.cog import write_cog
from geofuse.io.open import open_hsi, open_msi
from geofuse.io.output import check_output
from geofuse.planning import DEFAULT_MEMORY, Plan
from geofuse.quality.report import Report
from geofuse.stac.item import Processing, Source, make_item, write_item


@dataclass(frozen=True)
class Job:
    """One fusion of two files; see ``geofuse fuse --help``."""

    hsi: str
    msi: str
    output: Path
    method: str = "auto"
    srf: str = "auto"
    tile: int | str = "auto"
    device: str = "auto"
    memory: int = DEFAULT_MEMORY
    dtype: str = "int16"
    reports: tuple[Path, ...] = ()
    stac: bool = True
    model: Path | None = None
    seed: int = 0
    overwrite: bool = False
    progress: bool = True
    datetime: dt.datetime | None = None
    titles: tuple[str | None, str | None] = (None, None)
    extra_assets: dict[str, Path] = field(default_factory=dict)

    @property
    def item_path(self) -> Path:
        """Where the STAC item goes: beside the output."""
        return self.output.with_suffix(".json")

    def refuse(self) -> None:
        """Refuse what cannot be written, before anything is read."""
        from geofuse.fitting import check_method

        check_method(self.method)
        for path in self.reports:
            if path.suffix.lower() not in (".json", ".html"):
                raise RefusedInput(f"The report {path} must end in .json or .html, to say what it shall be.")
            if self.stac and path.resolve() == self.item_path.resolve():
                raise RefusedInput(f"The report {path} would replace the STAC item of the output; give it another name.")
        check_output(self.output, overwrite=self.overwrite)
        if self.stac:
            check_output(self.item_path, overwrite=self.overwrite)

    def plan(self) -> Plan:
        """The dry run."""
        self.refuse()
        return api.plan(open_hsi(self.hsi), open_msi(self.msi), method=self.method, tile=self.tile, device=self.device, memory=self.memory)  # type: ignore[arg-type]

    def run(self) -> tuple[xr.DataArray, Report]:
        """Fuse, write the COG, the STAC item and the reports."""
        self.refuse()
        clock = _Clock()
        hsi, msi = open_hsi(self.hsi), open_msi(self.msi)
        scene = api.pair(hsi, msi)
        planned = api.plan(hsi, msi, method=self.method, tile=self.tile, device=self.device, memory=self.memory)  # type: ignore[arg-type]
        clock.lap("open")
        model = self._model(hsi, msi)
        clock.lap("fit")
        fused = api.apply(scene, model, tile=planned.tile, device=planned.device, progress=self.progress)
        receipt = write_cog(fused, self.output, dtype=self.dtype, overwrite=self.overwrite, progress=self.progress)
        clock.lap("write")
        report = Report(
            api.report(fused).to_dict()
            | {
                "seconds": clock.laps,
                "peak_rss_mb": _peak_rss_mb(),
                "versions": versions(),
                "inputs": {"hsi": str(self.hsi), "msi": str(self.msi)},
                "bands": {"names": list(scene.bands.names), "wavelength_nm": scene.bands.wavelength.tolist()},
                "output": {"path": str(self.output), "sha256": receipt.sha256, "bytes": receipt.size, "clipped": receipt.clipped},
            }
        )
        written = [self._write_report(report, path) for path in self.reports]
        if self.stac:
            self._write_item(report, scene.hsi, scene.msi, written)
        return fused, report

    def _model(self, hsi: xr.DataArray, msi: xr.DataArray) -> Any:
        from geofuse.model import Model

        if self.model is not None:
            return Model.load(self.model)
        return api.fit(hsi, msi, method=self.method, srf=self.srf, device=self.device, progress=self.progress, seed=self.seed)

    def _write_report(self, report: Report, path: Path) -> tuple[str, Path]:
        if path.suffix.lower() == ".html":
            report.to_html(path)
            return "report_html", path
        report.to_json(path)
        return "report", path

    def _write_item(self, report: Report, hsi: xr.DataArray, msi: xr.DataArray, written: list[tuple[str, Path]]) -> None:
        sources = [
            Source(href, role, title, _pixel_metres(cube), self.datetime)  # type: ignore[arg-type]
            for href, role, title, cube in ((self.hsi, "hsi", self.titles[0], hsi), (self.msi, "msi", self.titles[1], msi))
        ]
        item = make_item(
            self.output,
            Processing(str(report.to_dict()["method"]), lineage=report.sentences()),
            item_path=self.item_path,
            sources=sources,
            quality=report.summary(),
            datetime=self.datetime,
            assets=dict(written) | self.extra_assets,
        )
        write_item(item, self.item_path)


class _Clock:
    """Seconds of each stage."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name] = round(now - self._last, 2)
        self._last = now


def _peak_rss_mb() -> float:
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


def _pixel_metres(cube: xr.DataArray) -> float | None:
    from geofuse.cube import geobox

    box = geobox(cube)
    return float(abs(box.affine.a)) if box.crs is not None and box.crs.projected else None


def versions() -> dict[str, str]:
    """Versions of what the result depends on."""
    return {"python": platform.python_version()} | {name: version(name) for name in ("geofuse", "torch", "numpy", "xarray", "rasterio", "dask")}


def write_json(values: Any, path: Path | None) -> None:
    """Write JSON to a file, or to standard output."""
    text = json.dumps(values, indent=1)
    if path is None:
        print(text)
    else:
        path.write_text(text + "\n")
