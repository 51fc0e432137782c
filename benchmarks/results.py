"""The results: a CSV file that grows by one line a case and survives being cut off at any moment."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from benchmarks.cases import Case
from benchmarks.measure import MEASURED
from geofuse.errors import InvalidInput

KEY = (*(f.name for f in fields(Case)), "code")
PROVENANCE = ("commit", "environment", "finished")
COLUMNS = (*KEY, *MEASURED, *PROVENANCE)


def read_rows(path: Path) -> list[dict[str, str]]:
    """All lines of a file of results, oldest first; none where there is no file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def append_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Add lines to a file of results, which the first of them makes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(columns)
        writer.writerows(rows)


class Results:
    """Finished cases in a file, which the first of them makes.

    Parameters
    ----------
    path : Path
        A line that a killed run left half-written is dropped.

    Raises
    ------
    InvalidInput
        The file has other columns.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            return
        _drop_half_line(path)
        with path.open(encoding="utf-8", newline="") as file:
            found = tuple(next(csv.reader(file), ()))
        if found != COLUMNS:
            strange = sorted(set(found) ^ set(COLUMNS)) or ["their order"]
            raise InvalidInput(
                f"{path} has other columns than this version writes (differing: {', '.join(strange)}); start anew with --fresh, "
                "which keeps the old file under another name."
            )

    def rows(self) -> list[dict[str, str]]:
        """All lines, oldest first; empty text where there is no value."""
        return read_rows(self.path)

    def finished(self, code: str, *, failed: bool = True) -> set[Case]:
        """Cases measured with this code; with ``failed=False`` those with scores only."""
        return {Case.of(row) for row in self.rows() if row["code"] == code and (failed or not row["error"])}

    def append(self, case: Case, found: Mapping[str, Any]) -> None:
        """Add a finished case: one write, on the disk before this returns."""
        row = {**vars(case), **found}
        unknown = row.keys() - set(COLUMNS)
        if unknown:
            raise ValueError(f"no column for {', '.join(sorted(unknown))}")
        line = _line([" ".join(str(row.get(name, "")).split()) for name in COLUMNS]).encode()
        if not self.path.exists():
            self._begin()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _begin(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self.path.with_name(f".{self.path.name}.part")
        scratch.write_text(_line(COLUMNS), encoding="utf-8", newline="")
        scratch.replace(self.path)


def set_aside(path: Path) -> Path | None:
    """Rename a results file to ``….old``, over an older one; None where there is none."""
    return path.replace(path.with_name(path.name + ".old")) if path.exists() else None


def _line(values: Any) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def _drop_half_line(path: Path) -> None:
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
