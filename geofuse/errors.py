"""The exceptions of geofuse.

Two kinds matter to a caller: input that is rejected before work starts (`InvalidInput`, exit status 2 on
the command line) and a run that failed on the way (`RunError`, exit status 1). Every message says what
was found, what was expected, and what to do next.
"""

from __future__ import annotations

from typing import TypedDict

from geofuse.redact import redact


class GeofuseError(Exception):
    """Base of every exception that geofuse raises on purpose; its message holds no credentials, whatever it was made of.

    Attributes
    ----------
    code : str
        For programs, such as ``"no-overlap"``; empty where there is none.
    """

    def __init__(self, *args: object, code: str = "") -> None:
        super().__init__(*(redact(arg) if isinstance(arg, str) else arg for arg in args))
        self.code = code


class InvalidInput(GeofuseError, ValueError):
    """The input cannot be used; nothing was computed and nothing was written."""


class InvalidCube(InvalidInput):
    """A raster is not a usable cube: not readable, no CRS, no wavelengths, all nodata."""


class InvalidPair(InvalidInput):
    """Two rasters do not form a pair: no overlap, swapped, ratio out of range, contradictory content."""


class InvalidOutput(InvalidInput):
    """The output cannot be written where it was asked for: it exists, or the folder is not writable."""


class UnfinishedWork(InvalidOutput):
    """An earlier run of another kind left its work beside the output."""


class RunError(GeofuseError, RuntimeError):
    """Work had started and could not be finished."""


class RunInterrupted(RunError):
    """What the run worked with failed it, such as a cluster or a device; what is finished is kept, and the same run can resume."""


class InputWarning(UserWarning):
    """An image lacks something, or a part of it is left out.

    Attributes
    ----------
    code : str
        For programs, such as ``"scale-undeclared"``.
    """

    def __init__(self, message: str, code: str = "input") -> None:
        super().__init__(message)
        self.code = code


class NotReflectance(InputWarning):
    """The values of an image are no reflectance (1.0 = 100 %): its scale is not known, or it is something else."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "not-reflectance")


class Warned(TypedDict):
    """A warning of a report: a code for programs, which stays, and a message for people, which may be worded anew."""

    code: str
    message: str


def warned(code: str, message: str) -> Warned:
    """Make a warning; the code is in lower case, its words joined by hyphens."""
    return {"code": code, "message": message}
