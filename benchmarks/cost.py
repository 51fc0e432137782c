"""How long a run will take, from the cases that were measured before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from statistics import median

from benchmarks.cases import Case

# Seconds a case on one core, where nothing was measured yet: the means of docs/benchmarks/cases.csv. A method that is not named counts as slow.
NOMINAL = {"oracle": 0.5, "bicubic": 1.5, "gsa": 1.5, "regression": 1.5, "sylvester": 1.5, "hysure": 2.0, "gem": 3.0, "auto": 4.0}
NOMINAL |= {"cnmf": 5.0, "mlp": 10.0}
UNKNOWN = 60.0


class Costs:
    """Seconds that cases take: the median of the same method on the same scene, else of the same method, else a guess.

    Examples
    --------
    >>> costs = Costs([("ip", "gem", 9.0), ("ip", "gem", 11.0), ("la", "gem", 7.0)])
    >>> [costs(Case(scene, 4, "s2", "noisy", "known", "gem")) for scene in ("ip", "la", "jasper")]
    [10.0, 7.0, 9.0]
    """

    def __init__(self, measured: Iterable[tuple[str, str, float]]) -> None:
        self._seconds: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for scene, method, seconds in measured:
            self._seconds[scene, method].append(seconds)
            self._seconds[method,].append(seconds)

    @staticmethod
    def of(rows: Iterable[dict[str, str]]) -> Costs:
        """From the lines of a results file, whatever code they were measured with."""
        return Costs((row["scene"], row["method"], float(row["case_s"])) for row in rows if row["case_s"])

    def add(self, case: Case, seconds: float) -> None:
        """Learn from one more case."""
        self._seconds[case.scene, case.method].append(seconds)
        self._seconds[case.method,].append(seconds)

    def __call__(self, case: Case) -> float:
        """Seconds that a case is expected to take."""
        for name in ((case.scene, case.method), (case.method,)):
            if self._seconds[name]:
                return median(self._seconds[name])
        return NOMINAL.get(case.method, UNKNOWN)


def spelled(seconds: float) -> str:
    """A duration as people say it.

    Examples
    --------
    >>> spelled(95), spelled(1800), spelled(9000)
    ('95 s', '30 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
