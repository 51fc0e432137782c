"""What a job says of its result: the report, the files that are made of it, and the STAC item."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geofuse.cube.bands import BandTable
from geofuse.cube.flags import NODATA, Quality, shares
from geofuse.cube.sources import SOURCE, source_of
from geofuse.errors import warned
from geofuse.io.read.items import about_item, name_of
from geofuse.io.write.engine import Receipt, StagedRaster
from geofuse.pair.scene import Scene
from geofuse.pipeline.command import command_of
from geofuse.redact import redacted
from geofuse.reporting.report import Report, report_of
from geofuse.run.usage import Clock, peak_rss_mb, versions
from geofuse.stac.footprint import thinned
from geofuse.stac.item import Processing, Source, make_item, write_item
from geofuse.viewing.overview import overview_of_files
from geofuse.viewing.thumbnail import OVERVIEW_SIDE, write_thumbnail

if TYPE_CHECKING:
    from geofuse.model import Model
    from geofuse.pipeline.job import Job


def make_report(
    job: Job, scene: Scene, fused: xr.DataArray, receipt: Receipt, clock: Clock, staged: StagedRaster, counts: dict[str, int]
) -> Report:
    """The report of a finished image; ``counts`` are the pixels that bear each flag of its quality layer."""
    table = BandTable.from_cube(fused)
    about_run: dict[str, Any] = {
        "seconds": clock.laps,
        "peak_rss_mb": peak_rss_mb(),
        "peak_rss_mb_after": clock.peaks,
        "versions": versions(),
        "inputs": {"hsi": name_of(job.hsi), "msi": name_of(job.msi)},
        "bands": {"names": list(table.names), "wavelength_nm": table.wavelength.tolist(), "good": table.good.tolist()},
        "output": {"path": str(job.output), "sha256": receipt.sha256, "bytes": receipt.size, "clipped": receipt.clipped},
        "quality": {name: round(share, 6) for name, share in shares(counts).items()},
    }
    if command := command_of(job):
        about_run["command"] = command
    if job.reports:
        about_run["scene"] = overview_of_files(scene, job.output, job.uncertainty_path if job.uncertainty else None, staged.quality)
    made = report_of(fused).to_dict()
    about_run["images"] = _titled(job, made["images"])
    if receipt.clipped:
        text = f"{receipt.clipped} values did not fit {job.dtype} and were set to its limit; --dtype float32 keeps them."
        about_run["warnings"] = [*made.get("warnings", []), warned("clipped", text)]
    found = Report(made | about_run)
    return Report(redacted(found.to_dict() | {"warnings": found.warnings()}))  # with what the figures call for


def _titled(job: Job, images: dict[str, Any]) -> dict[str, Any]:
    """What is known of both images, with what the job says of them."""
    time = job.datetime[0] if isinstance(job.datetime, tuple) else job.datetime
    said = [{} if title is None else {"title": title} for title in job.titles]
    known = {} if time is None else {"datetime": time.isoformat()}
    return {role: known | images[role] | more for role, more in zip(("hsi", "msi"), said, strict=True)}


def write_further(job: Job, report: Report, model: Model) -> Iterator[tuple[str, Path]]:
    """Write the reports, the model and the thumbnail that the job asks for; key and path of each, as assets of its item."""
    for path in job.reports:
        yield _write_report(report, path)
    if job.save_model is not None:
        model.save(job.save_model)
        yield "model", job.save_model
    if job.thumbnail is not None:
        yield "thumbnail", write_thumbnail(job.output, job.thumbnail)
    if job.overview is not None:
        yield "overview", write_thumbnail(job.output, job.overview, OVERVIEW_SIDE)


def _write_report(report: Report, path: Path) -> tuple[str, Path]:
    if path.suffix.lower() == ".html":
        report.to_html(path)
        return "report_html", path
    report.to_json(path)
    return "report", path


def write_record(
    job: Job, report: Report, hsi: xr.DataArray, msi: xr.DataArray, written: list[tuple[str, Path]], valid: NDArray[np.bool_]
) -> None:
    """Write the STAC item beside the output; ``written`` are further assets, ``valid`` is where it holds data."""
    item = make_item(
        job.output,
        Processing(str(report.to_dict()["method"]), lineage=report.sentences(), software=versions(), parameters=parameters_of(job)),
        item_path=job.item_path,
        sources=list(_sources(job, hsi, msi)),
        quality=report.summary(),
        datetime=job.datetime,
        assets={"quality": job.quality_path} | dict(written) | ({"uncertainty": job.uncertainty_path} if job.uncertainty else {}),
        elsewhere=job.remote is not None,
        collection=job.collection,
        valid=valid,
        attribution=job.attribution,
    )
    write_item(item, job.item_path)


def _sources(job: Job, hsi: xr.DataArray, msi: xr.DataArray) -> Iterator[Source]:
    if isinstance(job.msi, tuple) and len(job.msi) > 1:
        yield from _sources(replace(job, msi=job.msi[0]), hsi, msi)
        for item in job.msi[1:]:
            yield Source.known("msi", {key: value for key, value in about_item(item).items() if value is not None})
        return
    for role, href, cube, title in zip(("hsi", "msi"), map(name_of, (job.hsi, job.msi)), (hsi, msi), job.titles, strict=True):
        yield Source.known(role, source_of(cube) | ({} if SOURCE in cube.attrs else {"href": href}), title)  # type: ignore[arg-type]


def valid_of(quality: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where an image holds data, by its quality layer, in large pixels."""
    missing = (NODATA, Quality.MASKED)
    return thinned(quality, missing)


def parameters_of(job: Job) -> dict[str, Any]:
    """What the user decided about the result; of files their names, without the folders that they lie in."""
    decided = ("method", "seed", "dtype", "register", "masked", "uncertainty", "train_seconds", "hsi_bands", "msi_bands", "msi_resolution")
    files = {"srf": job.srf, "model": job.model, "mask": job.mask}
    found = {key: getattr(job, key) for key in decided} | {key: Path(file).name for key, file in files.items() if file}
    return {key: value for key, value in found.items() if value is not None}
