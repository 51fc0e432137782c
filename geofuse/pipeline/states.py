"""How far each pair of a batch is: one small file in each of its folders."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from geofuse.io.write.folders import Folder
from geofuse.redact import redact, redacted

if TYPE_CHECKING:
    from geofuse.stac.pairs import Pair

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
    hsi : str
        Id of the item.
    msi : list of str
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
    msi: list[str]
    state: Progress = WAITING
    reason: str = ""
    seconds: float | None = None
    scores: dict[str, Any] = field(default_factory=dict)
    key: str = ""

    @property
    def row(self) -> dict[str, Any]:
        """What ``geofuse batch status --json`` says of it."""
        return {"id": self.id, "state": self.state, "reason": self.reason, "seconds": self.seconds}

    @classmethod
    def of(cls, pair: Pair, state: Progress = WAITING, reason: str | None = None) -> State:
        """That of a pair; the reason is why it was paired, by default."""
        return cls(pair.id, pair.hsi.id, [item.id for item in pair.msi], state, pair.reason if reason is None else reason)

    def write(self, folder: Folder) -> State:
        """Write it into the folder of the pair, complete or not at all."""
        safe = replace(self, reason=redact(self.reason)[:_LONGEST], scores=redacted(self.scores))
        folder.write(f"{self.id}/{_FILE}", json.dumps(asdict(safe), indent=1).encode())
        return safe

    def keep(self, folder: Folder) -> State:
        """As `write`; where it cannot be written, the batch still says it."""
        with suppress(OSError):
            return self.write(folder)
        return self


def read_state(folder: Folder, name: str) -> State | None:
    """The state of a pair of a batch folder; None where it has none."""
    return _parsed(next(iter(folder.read([f"{name}/{_FILE}"]))), name)


def read_states(folder: Folder, names: Iterable[str] | None = None) -> Iterator[State]:
    """The states of pairs of a batch folder: of all, by name, or of those that are named, as far as they have one."""
    if names is None:
        names = [name.removesuffix(f"/{_FILE}") for name in folder.names() if name.endswith(f"/{_FILE}")]
    names = list(names)
    for name, content in zip(names, folder.read(f"{name}/{_FILE}" for name in names), strict=True):
        state = _parsed(content, name)
        if state is not None:
            yield state


def _parsed(content: bytes | None, name: str) -> State | None:
    try:
        values = json.loads(content or b"")
        state = State(**{key: values[key] for key in State.__dataclass_fields__})
    except (ValueError, KeyError, TypeError):
        return None
    return state if state.state in (DONE, FAILED, WAITING) and state.id == name else None
