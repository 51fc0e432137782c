"""Files in, files out: what the command line runs."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import platform
import resource
import shutil
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import xarray as xr

from geofuse import api
from geofuse.cube.bands import BandTable
from geofuse.cube.flags import counted, shares
from geofuse.cube.sampling import check_storable
from geofuse.cube.sources import SOURCE, source_of
from geofuse.cube.values import StoredType
from geofuse.errors import NotReflectance, OutputRefused, RefusedInput, RunFailed, warned
from geofuse.io.read.fingerprint import content_sha256, file_sha256, fingerprint, local_name
from geofuse.io.read.open import files_of, open_hsi, open_msi
from geofuse.io.write.cog import Filled, Receipt, fill_draft, write_cog
from geofuse.io.write.journal import differences
from geofuse.io.write.layer import copy_into_place, write_quality
from geofuse.io.write.output import RUN_TAG, check_output, is_zarr, run_of
from geofuse.io.write.remote import check_remote, leave, run_of_object, upload
from geofuse.io.write.shared_path import check_files_seen
from geofuse.io.write.space import check_space, disk_space
from geofuse.io.write.vrt import software
from geofuse.io.write.workspace import Workspace, check_target, folder_of, is_finished, published_by_a_run, told, workspace
from geofuse.io.write.zarr import check_zarr, write_zarr
from geofuse.pair.scene import Scene
from geofuse.redact import redacted
from geofuse.reporting.report import Report
from geofuse.run.plan import DEFAULT_MEMORY, Plan
from geofuse.scheduling import started
from geofuse.stac.footprint import footprint
from geofuse.stac.item import Processing, Source, make_item, write_item

if TYPE_CHECKING:
    from geofuse.model import Model

DTYPES = ("int16", "float32")


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
    resume: bool = True
    progress: bool = True
    datetime: dt.datetime | tuple[dt.datetime, dt.datetime] | None = None
    titles: tuple[str | None, str | None] = (None, None)
    extra_assets: dict[str, Path] = field(default_factory=dict)
    uncertainty: bool = False
    trust_input: bool = False
    """Open whatever GDAL knows."""
    hsi_bands: str | None = None
    msi_bands: str | None = None
    msi_resolution: float | None = None
    remote: str | None = None
    """Address that the output goes to when it is complete, its item beside it; ``output`` is where it is made."""

    @property
    def item_path(self) -> Path:
        """Where the STAC item goes: beside the output."""
        return self.output.with_suffix(".json")

    @property
    def uncertainty_path(self) -> Path:
        """Where the standard deviations go: beside the output."""
        return self.output.with_name(f"{self.output.stem}_uncertainty{self.output.suffix}")

    @property
    def quality_path(self) -> Path:
        """Where the quality layer goes: beside the output."""
        return self.output.with_name(f"{self.output.stem}_quality{self.output.suffix}")

    @property
    def outputs(self) -> tuple[Path, ...]:
        """Every file that the job writes."""
        deviation = (self.uncertainty_path,) if self.uncertainty else ()
        return (self.output, self.quality_path, *deviation, *self.reports, *((self.item_path,) if self.stac else ()))

    @property
    def uploads(self) -> list[tuple[Path, str]]:
        """What goes to which address, the image first: who finds the item shall find what it describes."""
        folder = (self.remote or "").rpartition("/")[0]
        return [(path, f"{folder}/{path.name}") for path in self.outputs if self.remote and path not in self.reports]

    @property
    def replaces(self) -> bool:
        """Whether files here may be replaced; where an object is made they are our own."""
        return self.overwrite or self.remote is not None

    @property
    def _hsi_files(self) -> list[str]:
        return files_of(self.hsi, self.hsi_bands)

    @property
    def _msi_files(self) -> list[str]:
        return files_of(self.msi, self.msi_bands, self.msi_resolution)

    def refuse(self) -> None:
        """Refuse what cannot be written, before anything is read."""
        if self.dtype not in DTYPES:
            raise RefusedInput(f"The output cannot be stored as {self.dtype!r}; expected {' or '.join(DTYPES)}.")
        if self.output.suffix.lower() not in (".tif", ".tiff", ".zarr"):
            raise OutputRefused(
                f"The output {self.output} must end in .tif (a GeoTIFF) or .zarr (a Zarr store); its STAC item goes beside it as .json."
            )
        if is_zarr(self.output):
            check_zarr(self.output)
        for path in (Path(local_name(source)).expanduser().resolve() for source in (*self._hsi_files, *self._msi_files)):
            for made in self.outputs:
                if made.resolve() in (path, *path.parents):
                    raise OutputRefused(f"The output {made} is one of the inputs, or holds one; give it another name.")
        for path in self.reports:
            if path.suffix.lower() not in (".json", ".html"):
                raise RefusedInput(f"The report {path} must end in .json or .html, to say what it shall be.")
            if self.stac and path.resolve() == self.item_path.resolve():
                raise RefusedInput(f"The report {path} would replace the STAC item of the output; give it another name.")
            check_output(path, overwrite=True)
        known = told(self.output) if self.resume else None
        ours = False
        for _, address in self.uploads:  # what lies beside our own image is ours too
            ours |= check_remote(address, overwrite=self.overwrite or ours, finished=known)
        check_target(self.output, overwrite=self.replaces)
        begun = folder_of(self.output.absolute()).exists()  # a run that was stopped may have finished what goes beside the image
        for path in (self.quality_path, *((self.uncertainty_path,) if self.uncertainty else ())):
            check_target(path, overwrite=self.replaces or begun)
        if self.stac:
            try:
                check_output(self.item_path, overwrite=self.replaces or published_by_a_run(self.output))
            except OutputRefused as error:
                raise OutputRefused(f"{error}. The STAC item of the output goes there; --no-stac writes none.") from None
        from geofuse.methods.registry import check_method  # last, because it loads torch

        check_method(self.method, self.uncertainty)

    def plan(self) -> Plan:
        """The dry run."""
        self.refuse()
        return self._plan(*self._opened(), self._given_model())

    def run(self) -> tuple[xr.DataArray, Report]:
        """Fuse, write the COG or Zarr store, the reports and the STAC item; all of them appear, or none.

        Raises
        ------
        RefusedInput
            The input or the output cannot be used; nothing was computed and nothing was written.
        RunFailed
            Writing failed; nothing appeared, and it says whether another run can go on from what was finished.
        """
        self.refuse()
        check_files_seen([*self._hsi_files, *self._msi_files])
        clock, command = _Clock(), self._command()
        (hsi, msi), given = self._opened(), self._given_model()
        scene = api.checked_pair(hsi, msi)
        planned = self._plan(scene.hsi, scene.msi, given)
        target = check_target(self.output, overwrite=self.replaces)
        self._check_space(target, planned)
        clock.lap("open")
        with (
            workspace(target, command | self._tiling(planned), resume=self.resume, overwrite=self.replaces) as work,
            _together(self.outputs[1:]),
            dask.config.set(num_workers=planned.workers),
        ):
            model = given or self._fitted(scene, work)
            clock.lap("fit")
            with started(planned.workers, planned.memory):
                if self.uncertainty:
                    self._write_deviation(scene, model, planned, work)
                    clock.lap("uncertainty")
                fused, flagged = api.flagged(scene, model, planned)
                filled = fill_draft(fused, work, dtype=self.dtype, progress=self.progress, flagged=flagged)
            clock.lap("apply")
            receipt = filled.finish({RUN_TAG: self._run(command)}, self.progress)
            self._check_unchanged(command)
            quality = self._write_quality(filled, work)
            work.publish()
            clock.lap("write")
            report = self._report(fused, receipt, clock, quality)
            written = [self._write_report(report, path) for path in self.reports]
            if self.stac:
                self._write_item(report, scene.hsi, scene.msi, written)
            for path, address in self.uploads:
                upload(path, address, receipt.sha256 if path == self.output else None, self._run(command))
        if self.remote:
            leave(self.output)
        return fused, report

    def _check_space(self, target: Path, planned: Plan) -> None:
        """The standard deviations are made first, unless a run that was stopped has."""
        deviation = target.with_name(self.uncertainty_path.name)
        made = not self.uncertainty or (self.resume and is_finished(deviation, told(target, "uncertainty")))
        check_space([target] if made else [deviation, target], disk_space(planned.shape, self.dtype), resume=self.resume)

    def is_done(self) -> bool:
        """Whether this very command has made all that it would make, and nothing is left to finish.

        The output says which command made it: a checksum of the options and the inputs, as they are. Reports are asked to be there.
        """
        if self.overwrite or (self.resume and folder_of(self.output.absolute()).exists()):
            return False
        here = self.reports if self.remote else self.outputs
        if not all(path.exists() for path in here):
            return False
        found = {run_of_object(address) for _, address in self.uploads} if self.remote else {run_of(self.output)}
        return found == {self._run(self._command())}

    def _run(self, command: dict[str, Any]) -> str:
        """The checksum by which an output says what made it."""
        asked = command | {"device": self.device, "tile": self.tile}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    def _command(self) -> dict[str, Any]:
        """All that the user decides about the pixels: the options, and the inputs as they are now."""
        return {
            "software": software(),
            **self._inputs(),
            "bands": [self.hsi_bands, self.msi_bands, self.msi_resolution],
            "method": self.method,
            "seed": self.seed,
            "dtype": self.dtype,
            "uncertainty": self.uncertainty,
        }

    def _inputs(self) -> dict[str, Any]:
        return {
            "hsi": [fingerprint(file) for file in self._hsi_files],
            "msi": [fingerprint(file) for file in self._msi_files],
            "srf": self.srf if not Path(self.srf).is_file() else fingerprint(self.srf),
            "model": file_sha256(self.model) if self.model is not None and self.model.is_file() else None,
        }

    @staticmethod
    def _tiling(planned: Plan) -> dict[str, Any]:
        """All else that decides about the tiles."""
        return {"device": planned.device, "shape": list(planned.shape), "tile": planned.tile, "halo": planned.halo}

    def _check_unchanged(self, command: dict[str, Any]) -> None:
        """Refuse to publish what was made of inputs that are others by now; nothing of it is kept, because it cannot be told apart.

        Raises
        ------
        RunFailed
            Says what changed.
        """
        now = self._inputs()
        if changed := differences({key: command[key] for key in now}, now):
            raise RunFailed(
                f"An input was replaced or changed during the run: {'; '.join(changed)}. Nothing was published and nothing is kept; "
                "run again once the inputs stay as they are."
            )

    def _write_deviation(self, scene: Scene, model: Model, planned: Plan, work: Workspace) -> None:
        """Write the standard deviations, unless a run that was stopped has."""
        done, path = work.journal.get("uncertainty"), self.uncertainty_path
        if done is not None and path.exists() and content_sha256(path) == done["sha256"]:
            return
        made = api.deviation(scene, model, planned, progress=self.progress)
        write = write_zarr if is_zarr(path) else write_cog
        receipt = write(made, path, dtype=self.dtype, overwrite=True, progress=self.progress, resume=self.resume)
        work.journal.append("uncertainty", sha256=receipt.sha256, size=receipt.size)

    def _write_quality(self, filled: Filled, work: Workspace) -> dict[str, float]:
        """Write the quality layer, unless a run that was interrupted has; returns the share of pixels that bear each flag.

        It is made in the workspace and copied from there: what is taken back when a later step fails need not be made again.
        """
        done, path = work.journal.get("quality"), self.quality_path
        made = work.folder / f"layer{path.suffix}"
        if done is None or not any(file.exists() and content_sha256(file) == done["sha256"] for file in (made, path)):
            receipt = write_quality(filled.quality, filled.cube, made, overwrite=True, progress=False)
            done = {"sha256": receipt.sha256, "size": receipt.size, "counts": counted(filled.quality)}
            work.journal.append("quality", **done)
        if made.exists():
            copy_into_place(made, path, work.folder)
        return shares(done["counts"])

    def _fitted(self, scene: Scene, work: Workspace) -> Model:
        """The model that the workspace holds; fitted and put there where it does not."""
        from geofuse.model import Model

        kept = work.folder / "model.safetensors"
        if "model" not in work.journal:
            model = api.fit(
                scene.hsi,
                scene.msi,
                method=self.method,
                srf=self.srf,
                device=self.device,
                progress=self.progress,
                seed=self.seed,
                uncertainty=self.uncertainty,
            )
            model.save(kept)
            work.journal.append("model", sha256=file_sha256(kept))
        # read back even when it was fitted just now, so that a resumed run uses the very same numbers
        return Model.load(kept)

    def _opened(self) -> tuple[xr.DataArray, xr.DataArray]:
        """Both images; an HSI whose values the output cannot hold is rejected."""
        with warnings.catch_warnings():
            if StoredType.named(self.dtype).limit < math.inf:
                warnings.simplefilter("ignore", NotReflectance)  # it is an error then
            hsi = open_hsi(self.hsi, bands=self.hsi_bands, trust_input=self.trust_input)
        check_storable(hsi, self.dtype, self.hsi)
        return hsi, open_msi(self.msi, bands=self.msi_bands, resolution=self.msi_resolution, trust_input=self.trust_input)

    def _plan(self, hsi: xr.DataArray, msi: xr.DataArray, model: Model | None) -> Plan:
        options: Any = {"method": self.method, "srf": self.srf, "tile": self.tile, "device": self.device}
        planned = api.plan(hsi, msi, model=model, memory=self.memory, **options)
        if self.stac:
            footprint(api.pair(hsi, msi).pair.output_geobox)  # which refuses before the work what an item could not say after it
        return planned

    def _given_model(self) -> Model | None:
        from geofuse.model import Model

        model = None if self.model is None else Model.load(self.model)
        if model is not None and self.uncertainty and not model.knows_errors:
            raise RefusedInput(
                f"The model {self.model} was fitted without uncertainty; expected one that was fitted with it, or no --model."
            )
        return model

    def _report(self, fused: xr.DataArray, receipt: Receipt, clock: _Clock, quality: dict[str, float]) -> Report:
        table = BandTable.from_cube(fused)
        about_run: dict[str, Any] = {
            "seconds": clock.laps,
            "peak_rss_mb": _peak_rss_mb(),
            "peak_rss_mb_after": clock.peaks,
            "versions": versions(),
            "inputs": {"hsi": str(self.hsi), "msi": str(self.msi)},
            "bands": {"names": list(table.names), "wavelength_nm": table.wavelength.tolist(), "good": table.good.tolist()},
            "output": {"path": str(self.output), "sha256": receipt.sha256, "bytes": receipt.size, "clipped": receipt.clipped},
            "quality": {name: round(share, 6) for name, share in quality.items()},
        }
        made = api.report(fused).to_dict()
        if receipt.clipped:
            text = f"{receipt.clipped} values did not fit {self.dtype} and were set to its limit; --dtype float32 keeps them."
            about_run["warnings"] = [*made.get("warnings", []), warned("clipped", text)]
        found = Report(made | about_run)
        return Report(redacted(found.to_dict() | {"warnings": found.warnings()}))  # with what the figures call for

    def _write_report(self, report: Report, path: Path) -> tuple[str, Path]:
        if path.suffix.lower() == ".html":
            report.to_html(path)
            return "report_html", path
        report.to_json(path)
        return "report", path

    def _write_item(self, report: Report, hsi: xr.DataArray, msi: xr.DataArray, written: list[tuple[str, Path]]) -> None:
        sources = [
            Source.known(role, source_of(cube) | ({} if SOURCE in cube.attrs else {"href": href}), title)  # type: ignore[arg-type]
            for role, href, cube, title in zip(("hsi", "msi"), (self.hsi, self.msi), (hsi, msi), self.titles, strict=True)
        ]
        item = make_item(
            self.output,
            Processing(str(report.to_dict()["method"]), lineage=report.sentences()),
            item_path=self.item_path,
            sources=sources,
            quality=report.summary(),
            datetime=self.datetime,
            assets={"quality": self.quality_path}
            | dict(written)
            | ({"uncertainty": self.uncertainty_path} if self.uncertainty else {})
            | self.extra_assets,
            elsewhere=self.remote is not None,
        )
        write_item(item, self.item_path)


@contextmanager
def _together(paths: Iterable[Path]) -> Iterator[None]:
    """Files that appear together: where the block fails, those that were not there before it are removed again."""
    new = [path for path in paths if not path.exists()]
    try:
        yield
    except BaseException:  # Ctrl-C too
        for path in new:
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
        raise


class _Clock:
    """Seconds of each stage, and the peak memory of this process by its end."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.peaks: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        """End a stage, which began when the one before it ended."""
        now = time.monotonic()
        self.laps[name] = round(now - self._last, 2)
        self.peaks[name] = _peak_rss_mb()
        self._last = now


def _peak_rss_mb() -> float:
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


def versions() -> dict[str, str]:
    """Versions of what the result depends on."""
    return {"python": platform.python_version()} | {
        name: version(name) for name in ("geofuse", "torch", "numpy", "xarray", "rasterio", "dask")
    }
