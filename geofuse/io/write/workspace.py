"""The hidden folder beside an output in which the output is made.

It bears the output's name, so that the next run finds what this one left; it is locked, so that two runs never share it. It goes when the
output is there, and when a run failed in a way that another run would not mend; it stays, with the journal of what is finished, when
the run was interrupted or killed, or when the disk was full.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rasterio.errors import RasterioError

from geofuse.errors import InvalidInput, InvalidOutput, RunError, RunInterrupted, UnfinishedWork
from geofuse.io.read.fingerprint import content_size
from geofuse.io.write.journal import Journal, Record, peek
from geofuse.io.write.output import check_vacant
from geofuse.io.write.shared_path import check_folder_seen

_LOCK, _JOURNAL = "lock", "journal.jsonl"


class Workspace:
    """A locked folder, its journal, and the way from there to the output; made by `workspace`.

    Attributes
    ----------
    target : pathlib.Path
        Where the output shall appear.
    folder : pathlib.Path
        The hidden folder beside it.
    journal : Journal
    """

    def __init__(self, target: Path, folder: Path, journal: Journal) -> None:
        self.target, self.folder, self.journal = target, folder, journal
        self._appeared = False

    @property
    def final(self) -> Path:
        """The finished output before it is published."""
        return final_of(self.target)

    def publish(self, sidecars: Iterable[str] = ()) -> None:
        """Let the finished output appear in its place, by one rename; nothing where an earlier run has done so.

        A folder that is there already takes a second rename, out of the way. What is kept beside the output, by what is added to its name,
        belonged to the pixels that were replaced, and goes.
        """
        if self.final.exists():
            self._appeared = not self.target.exists()
            _replace(self.final, self.target, aside=self.folder / f"replaced{self.target.suffix}")
        for suffix in sidecars:
            self.target.with_name(self.target.name + suffix).unlink(missing_ok=True)

    @property
    def published(self) -> bool:
        """Whether the file in the output's place is the one that was finished here."""
        return not self.final.exists() and is_finished(self.target, self.journal.get("final"))

    def withdraw(self) -> None:
        """Take the file back that appeared: what belongs with it could not be written. A file that was replaced is gone either way."""
        if self._appeared:
            os.replace(self.target, self.final)


def _replace(new: Path, target: Path, aside: Path) -> None:
    if not target.is_dir():
        os.replace(new, target)
        return
    os.replace(target, aside)
    try:
        os.replace(new, target)
    except BaseException:
        os.replace(aside, target)
        raise


def is_finished(target: Path, record: Record | None) -> bool:
    """Whether an output is what a journal says that a run finished, by its size."""
    return record is not None and target.exists() and content_size(target) == record.get("size")


def folder_of(target: Path) -> Path:
    """The hidden folder of an output.

    Examples
    --------
    >>> folder_of(Path("/data/fused.tif")).as_posix()
    '/data/.fused.tif.geofuse'
    """
    return target.with_name(f".{target.name}.geofuse")


def final_of(target: Path) -> Path:
    """Where an output lies in its hidden folder, finished and not yet published.

    Examples
    --------
    >>> final_of(Path("/data/fused.tif")).as_posix()
    '/data/.fused.tif.geofuse/final.tif'
    """
    return folder_of(target) / f"final{target.suffix}"


def recorded(path: str | os.PathLike[str], name: str = "final") -> Record | None:
    """What the journal of an unfinished run records of an output: ``final``, its size and checksum; None where it records nothing."""
    return peek(folder_of(Path(path).expanduser().absolute()) / _JOURNAL, name)


def published_by_a_run(path: str | os.PathLike[str]) -> bool:
    """Whether an output was finished by a run that was interrupted before all that belongs with it was written."""
    return is_finished(Path(path).expanduser().absolute(), recorded(path))


@contextmanager
def workspace(target: Path, key: dict[str, Any], *, resume: bool = True, overwrite: bool = False) -> Iterator[Workspace]:
    """Work in the folder of an output.

    Parameters
    ----------
    target : pathlib.Path
    key : dict
        All that decides about the result, in plain JSON values.
    resume : bool
        Resume what an earlier run with the same key left; False starts again, and leaves nothing.
    overwrite : bool
        The output may replace a file that is not the work of an interrupted run.

    Raises
    ------
    InvalidOutput
        Another run is making this output, an earlier one with another key left its work there, or workers do not see the folder.
    RunError
        Writing failed; says whether what was finished is kept.
    """
    folder, lock = _locked(target)
    try:
        check_folder_seen(folder)
        work = _entered(target, folder, key, resume)
        if not (overwrite or work.published):
            check_vacant(target)
        if "final" in work.journal and not (work.final.exists() or work.published):
            work.journal.drop("final")  # it was taken away, or replaced
    except BaseException:
        if all(path.name == _LOCK for path in folder.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        raise
    try:
        yield work
    except BaseException as error:
        kept = resume and len(work.journal) > 0 and _worth_another_try(error)
        with suppress(OSError):
            work.withdraw()
        work.journal.close()
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
        _raise(error, target, folder if kept else None)
    else:
        work.journal.close()
        _remove(folder)
    finally:
        lock.release()


@contextmanager
def together(paths: Iterable[Path]) -> Iterator[None]:
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


def _locked(target: Path) -> tuple[Path, FileLock]:
    """Make and lock the folder; again where its last user removed it in between."""
    folder = folder_of(target)
    while True:
        folder.mkdir(exist_ok=True)
        lock = FileLock(folder / _LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise InvalidOutput(f"Another run is making {target}; wait for it, stop it, or give another name.") from None
        except FileNotFoundError:
            continue
        if (folder / _LOCK).exists():
            return folder, lock
        lock.release()


def _entered(target: Path, folder: Path, key: dict[str, Any], resume: bool) -> Workspace:
    if not resume:
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != _LOCK:
                path.unlink()
    try:
        journal = Journal(folder / _JOURNAL, key)
    except InvalidOutput as error:
        raise UnfinishedWork(
            f"An unfinished run left its work in {folder}, and this run is another one: {error}. Run that one again to finish it, "
            "or start this one afresh (--no-resume, resume=False)."
        ) from None
    return Workspace(target, folder, journal)


def _remove(folder: Path) -> None:
    """Remove the folder: what is large first, then the journal. Killed before that, a run resumes, and finds that all is done."""
    with suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.suffix == ".raw":
                path.unlink()
        (folder / _JOURNAL).unlink()
    shutil.rmtree(folder, ignore_errors=True)


def _worth_another_try(error: BaseException) -> bool:
    """Whether the same run could get further next time: it was interrupted, or the machine and not the work was at fault."""
    if isinstance(error, InvalidInput | RunError):
        return isinstance(error, RunInterrupted)
    machine = isinstance(error, OSError | RasterioError | MemoryError) or type(error).__module__.startswith("distributed")
    return machine or not isinstance(error, Exception)


def _raise(error: BaseException, target: Path, kept: Path | None) -> None:
    left = "nothing was left behind" if kept is None else f"what was finished is kept in {kept.name}"
    again = "" if kept is None else ": run the same again to resume from there, or with --no-resume (resume=False) to start afresh"
    if isinstance(error, KeyboardInterrupt):
        raise KeyboardInterrupt(left + again) from error
    if isinstance(error, RunInterrupted):
        raise RunInterrupted(f"{error}; {left}{again}") from error
    if isinstance(error, RasterioError | OSError):
        raise RunError(f"could not write {target} ({error}); {left}{again}. Check the free disk space") from error
    raise error
