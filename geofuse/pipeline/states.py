"""How far each pair of a batch is: one small file in each of its folders."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from geofuse.redact import redact, redacted

Progress = Literal["done", "failed", "waiting"]
DONE: Progress = "done"
FAILED: Progress = "failed"
WAITING: Progress = "waiting"
_FILE = "state.json"
_LONGEST = 2000


@dataclass(frozen=True)
class State:
    """How far a pair is.

    Parameters
    ----------
    id : str
        Of the pair: the name of its folder.
    hsi, msi : str
        Ids of the items.
    state : {"done", "failed", "waiting"}
    reason : str
        Why it was paired, or why it failed.
    seconds : float, optional
        That the last attempt took.
    scores : dict
        Plain values of the report: see `geofuse.Report.summary`.
    key : str
        Checksum of all that decides about the result.
    """

    id: str
    hsi: str
    msi: str
    state: Progress = WAITING
    reason: str = ""
    seconds: float | None = None
    scores: dict[str, Any] = field(default_factory=dict)
    key: str = ""

    @property
    def row(self) -> dict[str, Any]:
        """What ``geofuse batch status --json`` says of it."""
        return {"id": self.id, "state": self.state, "reason": self.reason, "seconds": self.seconds}

    def write(self, output: Path) -> State:
        """Write it into the folder of the pair, complete or not at all."""
        folder = output / self.id
        folder.mkdir(exist_ok=True)
        part = folder / f".{_FILE}.part"
        safe = replace(self, reason=redact(self.reason)[:_LONGEST], scores=redacted(self.scores))
        part.write_text(json.dumps(asdict(safe), indent=1), encoding="utf-8")
        os.replace(part, folder / _FILE)
        return safe


def read_state(folder: Path) -> State | None:
    """The state of the pair of a folder; None where it is none."""
    try:
        values = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        state = State(**{key: values[key] for key in State.__dataclass_fields__})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return state if state.state in (DONE, FAILED, WAITING) and state.id == folder.name else None


def read_states(output: Path) -> Iterator[State]:
    """The states of all pairs of a batch folder, by name."""
    for folder in sorted(path for path in output.iterdir() if path.is_dir()):
        state = read_state(folder)
        if state is not None:
            yield state
