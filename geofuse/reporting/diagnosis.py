"""What would stop or weaken a fusion, in order of weight, with the fix for each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from geofuse.markup import facts
from geofuse.redact import redact
from geofuse.reporting.advice import WEIGHTS, Weight


@dataclass(frozen=True)
class Finding:
    """One thing that a user should know before fusing.

    Attributes
    ----------
    weight : {"stops", "weakens", "note"}
        Whether the fusion would be rejected, whether its result would be worse, or neither.
    code : str
        For programs, such as ``"no-overlap"``; it stays as it is.
    message : str
        What was found.
    fix : str
        What was expected, and what to do.
    """

    weight: Weight
    code: str
    message: str
    fix: str = ""


def from_text(weight: Weight, code: str, text: str, fix: str = "") -> Finding:
    """A finding of a message that says what was found, what was expected and what to do; these follow the first semicolon or full stop.

    Examples
    --------
    >>> from_text("stops", "no-crs", "a.tif: no CRS; write one into the file")
    Finding(weight='stops', code='no-crs', message='a.tif: no CRS.', fix='Write one into the file.')
    """
    text = redact(" ".join(text.split()))
    if not fix:
        at = min((where for mark in ("; ", ". ") if (where := text.find(mark)) > 0), default=len(text))
        text, fix = text[:at], text[at + 2 :]
    return Finding(weight, code, _sentence(text), _sentence(fix))


def _sentence(text: str) -> str:
    text = text.strip()
    if not text:
        return ""
    first = text if "/" in text.split()[0] or "." in text.split()[0] else text[0].upper() + text[1:]  # a name of a file stays as it is
    return first if first[-1] in ".!?…" else first + "."


@dataclass(frozen=True)
class Diagnosis:
    """What `geofuse.doctor` found, the weightiest first.

    Attributes
    ----------
    findings : tuple of Finding
        What stops the fusion, what weakens it, and what is only to be known, in this order.
    looked_at : str
        How far it could look: ``metadata``, or ``sample`` where a bounded sample of the pixels was fitted too.
    """

    findings: tuple[Finding, ...]
    looked_at: str = "metadata"

    @staticmethod
    def of(findings: Iterable[Finding], looked_at: str = "metadata") -> Diagnosis:
        """Each finding once, in order of weight."""
        once: dict[str, Finding] = {}
        for finding in findings:
            once.setdefault(f"{finding.code} {finding.message}", finding)
        return Diagnosis(tuple(sorted(once.values(), key=lambda finding: WEIGHTS.index(finding.weight))), looked_at)

    @property
    def stops(self) -> bool:
        """Whether the fusion would be rejected."""
        return any(finding.weight == "stops" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values: ``stops``, ``looked_at``, and ``findings`` with ``weight``, ``code``, ``message`` and ``fix`` of each."""
        return {"stops": self.stops, "looked_at": self.looked_at, "findings": [asdict(finding) for finding in self.findings]}

    @property
    def _verdict(self) -> str:
        counts = {weight: sum(finding.weight == weight for finding in self.findings) for weight in WEIGHTS}
        seen = "" if self.looked_at == "sample" else " Only metadata were looked at."
        if counts["stops"]:
            return f"These two cannot be fused as they are: {counts['stops']} to mend, {counts['weakens']} to know.{seen}"
        if counts["weakens"]:
            return f"Nothing stops the fusion; {counts['weakens']} found that would weaken the result.{seen}"
        return f"Nothing stops the fusion, and nothing was found that would weaken it.{seen}"

    def __str__(self) -> str:
        """Return a page for people."""
        lines = []
        for finding in self.findings:
            lines += [f"{finding.weight:8s} {finding.message} [{finding.code}]"]
            lines += [f"         fix: {finding.fix}"] if finding.fix else []
        return "\n".join([*lines, self._verdict])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [
            (f"{finding.weight}: {finding.code}", f"{finding.message} {finding.fix}".replace("`", "").strip()) for finding in self.findings
        ]
        return facts(self._verdict, rows)
