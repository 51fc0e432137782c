"""Every pair of a catalog through the one pipeline, unattended: what fails is recorded, and the rest is made."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import pickle
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pystac

from geofuse.errors import GeofuseError, InvalidCube, InvalidInput, UnfinishedWork
from geofuse.io.read.access import Access, accessing
from geofuse.io.read.fingerprint import file_sha256
from geofuse.io.read.gdal import is_address
from geofuse.io.read.remote import forget
from geofuse.io.write.folders import Check, Folder
from geofuse.io.write.vrt import software
from geofuse.io.write.workspace import folder_of
from geofuse.pair.masking import check_masked
from geofuse.pipeline.cluster import cluster
from geofuse.pipeline.inputs import check_assets, server_stamp
from geofuse.pipeline.job import DTYPES, Job
from geofuse.pipeline.plan import check_register, check_seed, check_train_seconds
from geofuse.pipeline.states import DONE, FAILED, State, read_state, read_states
from geofuse.pipeline.workers import in_processes
from geofuse.progress import bar
from geofuse.redact import redact, redacted
from geofuse.stac.attribution import UNKNOWN, Attribution
from geofuse.stac.collection import stub, write_collection
from geofuse.stac.origins import Origins
from geofuse.stac.pairs import Candidate, Pair

if TYPE_CHECKING:
    from tqdm import tqdm

_LOG, HERE = "log.jsonl", "threads"
UNCHECKED = "done before; whether its inputs changed since is not known"
# What decides about how a result is made, and not about the result.
_HOW = {"memory", "progress", "device", "tile"}


@dataclass(frozen=True)
class Task:
    """One pair, and all that is needed to make it, in this or in another process."""

    pair: Pair
    folder: Folder
    options: Mapping[str, Any] = field(default_factory=dict)
    again: bool = False
    """Also where it is done."""
    attribution: Attribution = UNKNOWN

    @property
    def _placed(self) -> tuple[Path, str | None]:
        return self.folder.place(f"{self.pair.id}/{self.pair.id}.tif")

    @property
    def place(self) -> Path:
        """Where the image is made."""
        return self._placed[0]

    def job(self) -> Job:
        """The job, of two items as they were found."""
        name, place = self.pair.id, self.place
        return Job(
            _item(self.pair.hsi),
            tuple(map(_item, self.pair.msi)),
            place,
            remote=self._placed[1],
            publishes_all=True,
            reports=tuple(place.with_name(f"{name}_report.{kind}") for kind in _kinds(self.options)),
            save_model=place.with_suffix(".safetensors"),
            thumbnail=place.with_suffix(".png"),
            overview=place.with_name(f"{name}_overview.png"),
            attribution=self.attribution,
            collection=stub(place.parent.parent),
            overwrite=True,
            **{"progress": False} | {key: value for key, value in self.options.items() if key != "report"},
        )

    def key(self, job: Job) -> str:
        """Checksum of all that decides about the result, but for what servers say: options, items, the files that they name, and the version."""
        options = {key: _plain(value) for key, value in self.options.items() if key not in _HOW}
        items = [hashlib.sha256(side.stored.packed).hexdigest() for side in (self.pair.hsi, *self.pair.msi)]
        return hashlib.sha256(json.dumps([software(), options, items, job.inputs], sort_keys=True).encode()).hexdigest()


def _kinds(options: Mapping[str, Any]) -> list[str]:
    """Endings of the reports: JSON always, from which the states have their scores."""
    return list(dict.fromkeys(["json", *(options.get("report") or ())]))


def _item(side: Candidate) -> pystac.Item:
    try:
        return pystac.Item.from_dict(side.stored.item, href=side.stored.base, preserve_dict=False)
    except Exception as error:  # whatever pystac makes of odd JSON
        raise InvalidInput(f"{side.id[:80]!r} cannot be read as a STAC item ({type(error).__name__}: {error}); correct it") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return file_sha256(value) if value.is_file() else str(value)
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def run_task(task: Task) -> State:
    """Make one pair, unless this very result is there; whatever goes wrong becomes the reason of its state.

    Raises
    ------
    KeyboardInterrupt
        The pair is waiting then.
    """
    pair, began = task.pair, time.monotonic()
    state, cache = State.of(pair), task.place.parent
    job: Job | None = None
    forget(cache)  # what a run that was killed has left
    try:
        before = read_state(task.folder, pair.id)
        with accessing(replace(pair.access, cache=cache)), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the report has those that matter
            job = task.job()
            state, same, unknown = _compared(task, job, state, before)
            if before is not None and same and not task.again and job.is_made():
                if before.state == DONE:
                    return replace(before, reason=f"{UNCHECKED} ({unknown})") if unknown else before
                return _made(task, state, began).write(task.folder)
            state.write(task.folder)
            check_assets([job.hsi, *job.msi], job.input_files)  # type: ignore[list-item, misc]
            _run(job)
        return _made(task, state, began).write(task.folder)
    except KeyboardInterrupt:
        replace(state, seconds=None).keep(task.folder)
        raise
    except Exception as error:
        return replace(state, state=FAILED, reason=_reason(error), seconds=_since(began)).keep(task.folder)
    finally:
        forget(cache)
        if job is not None:
            job.destination.cleanup()


def _compared(task: Task, job: Job, state: State, before: State | None) -> tuple[State, bool, str]:
    """The state with its key, whether it is that of the result before, and why a server did not say so."""
    key = task.key(job)
    try:
        whole = f"{key} {server_stamp(job.input_files, task.pair.access)}"
        return replace(state, key=whole), before is not None and before.key == whole, ""
    except InvalidCube as error:  # what is done stays so, and what is not says it itself
        return replace(state, key=key), before is not None and before.key.partition(" ")[0] == key, _reason(error)


def _run(job: Job) -> None:
    """Run a job; of work that was left it resumes its own, and drops that of another one."""
    try:
        job.run()
    except UnfinishedWork:
        for path in (job.output, *job.layers):
            shutil.rmtree(folder_of(path.absolute()), ignore_errors=True)
        job.run()


def _made(task: Task, state: State, began: float) -> State:
    """The state of a pair that is there, with the scores of its report."""
    report = json.loads(next(iter(task.folder.read([f"{task.pair.id}/{task.pair.id}_report.json"]))) or b"{}")
    validation: dict[str, Any] = next((row for row in report.get("validation") or () if row.get("method") == report.get("method")), {})
    scores = {key: value for key, value in validation.items() if isinstance(value, int | float)}
    residuals = {key: value for key, value in (report.get("residuals") or {}).items() if isinstance(value, int | float)}
    return replace(state, state=DONE, seconds=_since(began), scores=residuals | scores)


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)


def _reason(error: Exception) -> str:
    message = "".join(c if c.isprintable() else "?" for c in " ".join(str(error).split()))  # it may go to a terminal
    return redact(message if isinstance(error, GeofuseError | OSError) and message else f"{type(error).__name__}: {message}")


def checked_options(options: Mapping[str, Any], jobs: int, scheduler: str = HERE) -> None:
    """Reject options that no pair could be made with, before any is looked at.

    Raises
    ------
    InvalidInput
    """
    from geofuse.methods.registry import check_method
    from geofuse.run.device import torch_device

    if jobs < 1:
        raise InvalidInput(f"The number of jobs is {jobs}; expected at least 1.")
    if scheduler != HERE and "://" not in scheduler:
        raise InvalidInput(
            f"The scheduler is {scheduler!r}; expected {HERE}, or the address of a dask scheduler such as tcp://127.0.0.1:8786."
        )
    if scheduler != HERE and jobs > 1:
        raise InvalidInput(f"{jobs} jobs and a dask cluster: its workers make one pair each; leave --jobs away.")
    if options["dtype"] not in DTYPES:
        raise InvalidInput(f"The output cannot be stored as {options['dtype']!r}; expected {' or '.join(DTYPES)}.")
    if unknown := sorted(set(options["report"]) - {"json", "html"}):
        raise InvalidInput(f"There is no report of the kind {unknown[0]!r}; expected json or html.")
    model = options["model"]
    if model is not None and not model.is_file():
        raise InvalidInput(f"The model {model} is not there; expected the file of a model.")
    mask = options["mask"]
    if mask is not None and not is_address(mask) and not Path(mask).expanduser().is_file():
        raise InvalidInput(f"The mask {mask} is not there; expected a raster.")
    check_method(options["method"], options["uncertainty"])
    check_masked(options["masked"])
    check_register(options["register"])
    check_seed(options["seed"])
    check_train_seconds(options["train_seconds"])
    torch_device(options["device"])


def run_batch(
    pairs: Sequence[Pair],
    folder: Folder,
    options: Mapping[str, Any],
    *,
    jobs: int = 1,
    scheduler: str = HERE,
    again: bool = False,
    progress: bool = True,
    left: Sequence[Any] = (),
) -> list[State]:
    """Make all pairs, and the collection of all that is there.

    Parameters
    ----------
    pairs : sequence of Pair
    folder : Folder
        The batch folder; pairs of earlier runs stay in it.
    options : mapping
        Fields of `geofuse.pipeline.job.Job`.
    jobs : int
        Pairs at once, each in a process of its own where there are several, which share ``memory``.
    scheduler : str
        Address of a dask scheduler, whose workers make a pair each (see `geofuse.pipeline.cluster`); by default this machine makes them.
    again : bool
        Make also what is done.
    progress : bool
        One bar over the pairs, and a line for each.
    left : sequence
        Hyperspectral items without partner, for the log.

    Returns
    -------
    list of State
        In the order of the pairs.

    Raises
    ------
    InvalidOutput
        Another batch works in the folder, or it cannot be made.
    RunError
        Another batch took over a folder in object storage.
    InvalidInput
        Other processes, and a ``patch_url`` that cannot be sent to them; no dask scheduler at the address.
    KeyboardInterrupt
        What is finished is kept.
    """
    jobs = min(jobs, max(1, len(pairs)))
    if pairs and (jobs > 1 or scheduler != HERE):
        _check_sendable(pairs[0].access)
    with (
        _runner(jobs, scheduler, folder) as run,
        folder.locked() as check,
        _logged(folder) as log,
        bar(len(pairs), desc="pairs", unit="pair", enabled=progress) as steps,
    ):
        log("start", pairs=len(pairs), left=len(left), jobs=jobs, options={key: str(value) for key, value in options.items()})
        for name, reason in left:
            log("left", hsi=name, reason=reason)
        _announce(pairs, folder)
        shared = _whole_paths(options)
        if jobs > 1 and "memory" in shared:
            shared["memory"] = shared["memory"] // jobs
        origins = Origins()
        tasks = (Task(pair, folder, shared, again, origins.of(pair)) for pair in pairs)
        made: dict[str, State] = {}
        try:
            with closing(run(tasks)) as states:  # or others would be at work on pairs while the collection is written
                for state in states:
                    made[state.id] = state
                    if state.reason.startswith(UNCHECKED):
                        warnings.warn(f"{state.id}: {state.reason}", UserWarning, stacklevel=2)
                    log(state.state, **{key: value for key, value in vars(state).items() if key not in ("state", "key")})
                    _tell(steps, state, progress)
                    check()
        except KeyboardInterrupt:
            log("interrupted", done=len(made))
            raise KeyboardInterrupt(f"{len(made)} of {len(pairs)} pairs were looked at; run the same again for the rest") from None
        finally:
            _collect(folder, log, check)
        log("end", counts=Counter(state.state for state in made.values()))
    return [made[pair.id] for pair in pairs]


def _runner(jobs: int, scheduler: str, folder: Folder) -> AbstractContextManager[Callable[[Iterator[Task]], Generator[State]]]:
    """What makes tasks: this process, others of this machine, or those of a cluster."""
    if scheduler != HERE:
        return cluster(scheduler, folder)
    return nullcontext(_one_by_one if jobs == 1 else partial(in_processes, count=jobs))


def _one_by_one(tasks: Iterator[Task]) -> Generator[State]:
    for task in tasks:
        yield run_task(task)


def _whole_paths(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with the files that they name by their whole paths, as a process elsewhere needs them."""
    files = {key: options.get(key) for key in ("model", "mask", "srf")}
    return dict(options) | {
        key: type(value)(Path(value).expanduser().absolute())
        for key, value in files.items()
        if value and Path(value).expanduser().is_file()
    }


def _check_sendable(access: Access) -> None:
    try:
        pickle.dumps(access)
    except Exception as error:  # whatever pickle makes of a function
        raise InvalidInput(
            f"patch_url cannot be sent to other processes ({type(error).__name__}); expected a function of a module, or jobs=1"
        ) from None


def _collect(folder: Folder, log: Callable[..., None], check: Check) -> None:
    """Write the collection; what keeps it from being written must not take the place of how the pairs went."""
    try:
        check()
        write_collection(folder)
    except Exception as error:
        log("collection", error=_reason(error))
        warnings.warn(f"the collection of {folder} could not be written: {_reason(error)}", UserWarning, stacklevel=3)


def _announce(pairs: Sequence[Pair], folder: Folder) -> None:
    """Let pairs that are new wait."""
    known = {state.id for state in read_states(folder, [pair.id for pair in pairs])}
    for pair in pairs:
        if pair.id not in known:
            State.of(pair).write(folder)


def _tell(steps: tqdm[Any], state: State, progress: bool) -> None:
    if progress:
        about = f"{state.seconds:.1f} s" if state.state == DONE and state.seconds is not None else state.reason
        steps.write(f"{state.state:7s} {state.id}: {about}", file=steps.fp)
    steps.update()


@contextmanager
def _logged(folder: Folder) -> Iterator[Any]:
    """Write events to the log of the folder, one JSON object a line."""
    with folder.appending(_LOG) as append:

        def log(event: str, **about: Any) -> None:
            now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            append(json.dumps({"time": now, "event": event} | redacted(about)))

        yield log
