"""The command, or the call, by which a result can be made again."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geofuse.io.read.items import name_of
from geofuse.redact import redact

if TYPE_CHECKING:
    from geofuse.pipeline.job import Job

_OPTIONS = {
    "method": "--method", "srf": "--srf", "tile": "--tile", "device": "--device", "dtype": "--dtype", "uncertainty": "--uncertainty",
    "trust_input": "--trust-input", "hsi_bands": "--hsi-bands", "msi_bands": "--msi-bands", "msi_resolution": "--msi-resolution",
    "train_seconds": "--train-seconds", "mask": "--mask", "masked": "--masked", "register": "--register", "model": "--model",
    "seed": "--seed", "save_model": "--save-model",
}  # fmt: skip
_MEMORY, _DATE = "--memory-limit", "--datetime"


def command_of(job: Job) -> str | None:
    """The command line of a job: the options that are not the default ones; without credentials. None where no command takes its inputs.

    Parameters
    ----------
    job : Job
    """
    if isinstance(job.msi, tuple) and len(job.msi) > 1:  # one image together, which only a batch or Python makes of them
        return None
    words = ["geofuse", "fuse", name_of(job.hsi), name_of(job.msi), "-o", job.remote or str(job.output)]
    usual = {field.name: field.default for field in fields(job)}
    for name, option in _OPTIONS.items():
        value = getattr(job, name)
        if value != usual[name] and usual[name] is not MISSING:
            words += [option] if value is True else [option, str(value)]
    if job.memory != usual["memory"]:
        words += [_MEMORY, f"{job.memory}B"]
    if job.datetime is not None:
        times = job.datetime if isinstance(job.datetime, tuple) else (job.datetime,)
        words += [_DATE, "/".join(time.isoformat() for time in times)]
    for path in job.reports:
        words += ["--report", str(path)]
    return shlex.join([redact(word) for word in (*words, *([] if job.stac else ["--no-stac"]))])


def call_of(function: Callable[..., Any], arguments: Mapping[str, Any]) -> str:
    """The Python call of `geofuse.fuse`, or a relative that takes two cubes first: the options that are not the default ones; without credentials.

    Examples
    --------
    >>> import xarray as xr
    >>> def fuse(hsi, msi, *, method="auto", seed=0): ...
    >>> cube = xr.DataArray(0)
    >>> call_of(fuse, {"hsi": cube, "msi": cube, "method": "gem", "seed": 0})
    "geofuse.fuse(hsi, msi, method='gem')"
    """
    (hsi, msi, *options), usual = arguments, inspect.signature(function).parameters
    given = [f"{name}={_said(arguments[name])}" for name in options if not _same(arguments[name], usual[name].default)]
    opened = [
        f"{name} = geofuse.open_{name}({redact(source)!r})\n"
        for name in (hsi, msi)
        if isinstance(source := getattr(arguments[name], "encoding", {}).get("source"), str)
    ]
    return "".join(opened) + f"geofuse.{function.__name__}({', '.join([hsi, msi, *given])})"


def _same(one: Any, other: Any) -> bool:
    return one is other or (isinstance(one, str | int | float | bool) and one == other)


def _said(value: Any) -> str:
    """A value as it is typed, or what it is where it has no such form."""
    if isinstance(value, str | int | float | bool | np.number) or value is None:
        return redact(repr(value))
    return redact(repr(str(value))) if isinstance(value, Path) else f"<{type(value).__name__}>"
