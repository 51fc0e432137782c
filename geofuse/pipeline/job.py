"""Files in, files out: what the command line runs."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import warnings
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import xarray as xr

from geofuse.cube.sampling import check_storable
from geofuse.cube.values import StoredType
from geofuse.errors import InvalidInput, InvalidOutput, NotReflectance, RunError
from geofuse.io.read.fingerprint import content_sha256, file_sha256, fingerprint, local_name
from geofuse.io.read.gdal import trusting
from geofuse.io.read.items import name_of
from geofuse.io.read.open import files_of, open_hsi, open_msi
from geofuse.io.write.base import OutputFormat
from geofuse.io.write.destinations import Destination, destination_of
from geofuse.io.write.engine import stage_tiles, write_raster
from geofuse.io.write.formats import endings, format_of, names_a_format
from geofuse.io.write.journal import differences
from geofuse.io.write.layer import write_quality_once
from geofuse.io.write.output import RUN_TAG, check_output
from geofuse.io.write.shared_path import check_files_seen
from geofuse.io.write.space import check_space, disk_space
from geofuse.io.write.vrt import software
from geofuse.io.write.workspace import Workspace, folder_of, is_finished, recorded, together, workspace
from geofuse.pair.masking import check_masked
from geofuse.pair.scene import Scene
from geofuse.pipeline import apply
from geofuse.pipeline.pair import checked_pair, pair
from geofuse.pipeline.plan import plan_scene
from geofuse.pipeline.record import make_report, valid_of, write_further, write_record
from geofuse.reporting.report import Report
from geofuse.run.plan import DEFAULT_MEMORY, Plan
from geofuse.run.scheduling import started
from geofuse.run.usage import Clock
from geofuse.stac.attribution import UNKNOWN, Attribution
from geofuse.stac.footprint import footprint

if TYPE_CHECKING:
    import pystac

    from geofuse.model import Model

DTYPES = ("int16", "float32")


@dataclass(frozen=True)
class Job:
    """One fusion of two files, or of two STAC items; see ``geofuse fuse --help``."""

    hsi: str | pystac.Item
    msi: str | pystac.Item | tuple[pystac.Item, ...]
    """Several items are one image together."""
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
    uncertainty: bool = False
    trust_input: bool = False
    """Open whatever GDAL knows."""
    hsi_bands: str | None = None
    msi_bands: str | None = None
    msi_resolution: float | None = None
    train_seconds: float | None = None
    mask: str | None = None
    masked: str = "nodata"
    register: str = "global"
    remote: str | None = None
    """Address that the output goes to when it is complete, its item beside it; ``output`` is where it is made."""
    save_model: Path | None = None
    thumbnail: Path | None = None
    """A small picture (.png) to make."""
    overview: Path | None = None
    """A larger one."""
    collection: pystac.Collection | None = None
    """That the item belongs to."""
    publishes_all: bool = False
    """Reports, model and pictures go where the output goes, too."""
    attribution: Attribution = UNKNOWN
    """Licence and providers of the inputs."""

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
        return (self.output, *self.layers, *self.further, *((self.item_path,) if self.stac else ()))

    @property
    def layers(self) -> tuple[Path, ...]:
        """The rasters that go beside the output."""
        return (self.quality_path, *((self.uncertainty_path,) if self.uncertainty else ()))

    @property
    def further(self) -> tuple[Path, ...]:
        """The files that are made of the result; they stay on this machine unless all is published."""
        return (*self.reports, *(path for path in (self.save_model, self.thumbnail, self.overview) if path is not None))

    @property
    def input_files(self) -> list[str]:
        """Every file that is read, as its item or its user names it."""
        return [*self._hsi_files, *self._msi_files, *([self.mask] if self.mask else [])]

    @property
    def format(self) -> OutputFormat:
        """What the output, and the layers beside it, are written in."""
        return format_of(self.output)

    @property
    def destination(self) -> Destination:
        """Where the output goes."""
        return destination_of(self.remote or self.output, self.format, self.output)

    @property
    def _beside(self) -> list[Destination]:
        """Where all goes that lies beside the output and does not stay on this machine."""
        files = (*(self.further if self.publishes_all else ()), *((self.item_path,) if self.stac else ()))
        return [*(self.destination.beside(path, self.format) for path in self.layers), *map(self.destination.beside, files)]

    @cached_property
    def _hsi_files(self) -> list[str]:
        with trusting(self.trust_input):
            return files_of(self.hsi, self.hsi_bands)

    @cached_property
    def _msi_files(self) -> list[str]:
        with trusting(self.trust_input):
            return files_of(self.msi, self.msi_bands, self.msi_resolution)

    def check(self) -> None:
        """Reject what cannot be written, before anything is read."""
        check_masked(self.masked)
        if self.dtype not in DTYPES:
            raise InvalidInput(f"The output cannot be stored as {self.dtype!r}; expected {' or '.join(DTYPES)}.")
        if not names_a_format(self.output):
            raise InvalidOutput(f"The output {self.output} must end in {endings()}; its STAC item goes beside it as .json.")
        self.format.check(self.output, {})
        for path in (Path(local_name(source)).expanduser().resolve() for source in self.input_files):
            for made in self.outputs:
                if made.resolve() in (path, *path.parents):
                    raise InvalidOutput(f"The output {made} is one of the inputs, or holds one; give it another name.")
        for path in self.further:
            check_output(path, overwrite=True)
        for path in self.reports:
            if path.suffix.lower() not in (".json", ".html"):
                raise InvalidInput(f"The report {path} must end in .json or .html, to say what it shall be.")
        if self.save_model is not None and self.save_model.suffix.lower() != ".safetensors":
            raise InvalidInput(f"The model {self.save_model} must end in .safetensors, which it is.")
        for path in (path for path, count in Counter(made.resolve() for made in self.outputs).items() if count > 1):
            raise InvalidInput(f"Two outputs would be {path}; give one of them another name.")
        self._check_destinations()
        from geofuse.methods.registry import check_method  # last, because it loads torch

        check_method(self.method, self.uncertainty)

    def _check_destinations(self) -> None:
        """What lies beside an image that an interrupted run published is of that run, too."""
        image = self.destination
        ours = image.check(overwrite=self.overwrite, resume=self.resume) or self.overwrite
        for path in self.layers:
            image.beside(path, self.format).check(overwrite=ours or image.begun, resume=self.resume)
        if self.stac:
            try:
                image.beside(self.item_path).check(overwrite=ours, resume=self.resume)
            except InvalidOutput as error:
                raise InvalidOutput(f"{error}. The STAC item of the output goes there; --no-stac writes none.") from None

    def plan(self) -> Plan:
        """The dry run."""
        self.check()
        with trusting(self.trust_input):
            return self._plan(pair(*self._opened(), self.mask), self._given_model())

    def run(self) -> tuple[xr.DataArray, Report]:
        """Fuse, write the COG or Zarr store, the reports and the STAC item; all of them appear, or none.

        Raises
        ------
        InvalidInput
            The input or the output cannot be used; nothing was computed and nothing was written.
        RunError
            Writing failed; nothing appeared, and it says whether another run can resume from what was finished.
        """
        try:
            return self._made()
        finally:
            self.__dict__.pop("inputs", None)  # another run looks at them anew

    def _made(self) -> tuple[xr.DataArray, Report]:
        self.check()
        check_files_seen(self.input_files)
        clock, command = Clock(), self._command()
        with trusting(self.trust_input):
            scene, given = checked_pair(*self._opened(), self.mask), self._given_model()
        planned = self._plan(scene, given)
        destination, run = self.destination, self._run(command)
        overwrite = self.overwrite or destination.private
        self._check_space(destination.target, planned)
        clock.lap("open")
        with (
            workspace(destination.target, command | self._tiling(planned), resume=self.resume, overwrite=overwrite) as work,
            together(self.outputs[1:]),
            dask.config.set(num_workers=planned.workers),
        ):
            model = replace(given or self._fitted(scene, work), fills_masked=self.masked == "one-image")
            clock.lap("fit")
            with started(planned.workers, planned.memory):
                if self.uncertainty:
                    self._write_deviation(scene, model, planned, work)
                    clock.lap("uncertainty")
                fused, flagged = apply.flagged(scene, model, planned)
                staged = stage_tiles(fused, work, self.format, dtype=self.dtype, progress=self.progress, flagged=flagged)
            clock.lap("apply")
            receipt = staged.finish({RUN_TAG: run}, self.progress)
            self._check_unchanged(command)
            valid = valid_of(staged.quality)
            counts = write_quality_once(staged, work, self.quality_path)
            staged.publish()
            clock.lap("write")
            report = make_report(self, scene, fused, receipt, clock, staged, counts)
            written = list(write_further(self, report, model))
            if self.stac:
                write_record(self, report, scene.hsi, scene.msi, written, valid)
            destination.publish(receipt.sha256, run)  # first: who finds the item shall find what it describes
            for place in self._beside:
                place.publish(run=run)
        destination.cleanup()
        return fused, report

    def _check_space(self, target: Path, planned: Plan) -> None:
        """The standard deviations are made first, unless a run that was interrupted has."""
        deviation = target.with_name(self.uncertainty_path.name)
        made = not self.uncertainty or (self.resume and is_finished(deviation, recorded(target, "uncertainty")))
        check_space([target] if made else [deviation, target], disk_space(planned.shape, self.dtype), resume=self.resume)

    def is_done(self) -> bool:
        """Whether this very command has made all that it would make, and nothing is left to finish.

        The output says which command made it: a checksum of the options and the inputs, as they are. Reports, model and thumbnail must be there.
        """
        return not self.overwrite and self.is_made()

    def is_made(self) -> bool:
        """As `is_done`, also where the output may be overwritten."""
        if self.resume and folder_of(self.output.absolute()).exists():
            return False
        if not self.publishes_all and not all(path.exists() for path in self.further):
            return False
        run = self._run(self._command())
        return all(place.exists(run) for place in (self.destination, *self._beside))

    def _run(self, command: dict[str, Any]) -> str:
        """The checksum by which an output says what made it."""
        asked = command | {"device": self.device, "tile": self.tile}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    def _command(self) -> dict[str, Any]:
        """All that the user decides about the pixels: the options, and the inputs as they are now."""
        return {
            "software": software(),
            **self.inputs,
            "bands": [self.hsi_bands, self.msi_bands, self.msi_resolution],
            "method": self.method,
            "seed": self.seed,
            "train_seconds": self.train_seconds,
            "register": self.register,
            "dtype": self.dtype,
            "uncertainty": self.uncertainty,
            "masked": self.masked,
        }

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """The inputs as they were when they were first asked for."""
        return self._inputs()

    def _inputs(self) -> dict[str, Any]:
        return {
            "hsi": [fingerprint(file) for file in self._hsi_files],
            "msi": [fingerprint(file) for file in self._msi_files],
            "mask": fingerprint(self.mask) if self.mask else None,
            "srf": self.srf if not Path(self.srf).is_file() else fingerprint(self.srf),
            "model": file_sha256(self.model) if self.model is not None and self.model.is_file() else None,
        }

    @staticmethod
    def _tiling(planned: Plan) -> dict[str, Any]:
        """All else that decides about the tiles."""
        return {"device": planned.device, "shape": list(planned.shape), "tile": planned.tile, "halo": planned.halo}

    def _check_unchanged(self, command: dict[str, Any]) -> None:
        """Reject inputs that changed during the run: nothing is published or kept, because some tiles may be of the old ones.

        Raises
        ------
        RunError
            Says what changed.
        """
        now = self._inputs()
        if changed := differences({key: command[key] for key in now}, now):
            raise RunError(
                f"An input was replaced or changed during the run: {'; '.join(changed)}. Nothing was published and nothing is kept; "
                "run again once the inputs stay as they are."
            )

    def _write_deviation(self, scene: Scene, model: Model, planned: Plan, work: Workspace) -> None:
        """Write the standard deviations, unless a run that was interrupted has."""
        done, path = work.journal.get("uncertainty"), self.uncertainty_path
        if done is not None and path.exists() and content_sha256(path) == done["sha256"]:
            return
        made = apply.deviation(scene, model, planned, progress=self.progress)
        receipt = write_raster(made, path, self.format, dtype=self.dtype, overwrite=True, progress=self.progress, resume=self.resume)
        work.journal.append("uncertainty", sha256=receipt.sha256, size=receipt.size)

    def _fitted(self, scene: Scene, work: Workspace) -> Model:
        """The model that the workspace holds; fitted and put there where it does not."""
        from geofuse.model import Model
        from geofuse.pipeline.fit import fit_scene, settings_of

        kept = work.folder / "model.safetensors"
        if "model" not in work.journal:
            settings = settings_of(
                scene,
                method=self.method,
                srf=self.srf,
                device=self.device,
                progress=self.progress,
                seed=self.seed,
                uncertainty=self.uncertainty,
                train_seconds=self.train_seconds,
                register=self.register,
            )
            model = fit_scene(scene, settings)
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
        check_storable(hsi, self.dtype, name_of(self.hsi))
        return hsi, open_msi(self.msi, bands=self.msi_bands, resolution=self.msi_resolution, trust_input=self.trust_input)

    def _plan(self, scene: Scene, model: Model | None) -> Plan:
        options: Any = {
            "method": self.method,
            "srf": self.srf,
            "tile": self.tile,
            "device": self.device,
            "train_seconds": self.train_seconds,
            "register": self.register,
        }
        planned = plan_scene(scene, model=model, memory=self.memory, **options)
        if self.stac:
            footprint(scene.pair.output_geobox)  # rejects before the work what an item could not say after it
        return planned

    def _given_model(self) -> Model | None:
        from geofuse.model import Model

        model = None if self.model is None else Model.load(self.model)
        if model is not None and self.uncertainty and not model.knows_errors:
            raise InvalidInput(
                f"The model {self.model} was fitted without uncertainty; expected one that was fitted with it, or no --model."
            )
        return model
