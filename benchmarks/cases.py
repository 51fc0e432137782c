"""What is measured: a case is one method on one simulated pair."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.environment import ROOT
from geofuse.errors import InvalidInput
from geofuse.methods.registry import AUTO, method_names
from geofuse.simulate import DRAWN, RESPONSES, SCENES

NAMES = {key: scene.title for key, scene in SCENES.items()} | {key: scene.title for key, scene in DRAWN.items()}
BANDS = {"qb4": "4 bands", "s2": "10 bands"}
RATIOS = (4, 8)
NOISES = ("noisy", "clean")  # 35 dB (HSI) and 40 dB (MSI); none
OPERATORS = ("estimated", "known")
# Displacement of the coarse image where the operators are to be found, fine pixels. Where they are known nothing is gained by one.
SHIFT = (0.4, -0.3)
# The oracle: the closed form that is given operators and noise, and what every other method is compared with.
REFERENCE = "oracle"
METHODS = (AUTO, *method_names())
SLOW = ("mossfuse", "mossfuse-paper")  # measured when it is named
DEFAULT_METHODS = tuple(m for m in METHODS[::-1] if m not in SLOW)
# These draw no random numbers; the estimated response, which the last one uses, is chosen by random folds.
SEEDLESS = (REFERENCE, "bicubic", "gsa", "regression")
SEEDLESS_WHEN_KNOWN = ("sylvester",)


@dataclass(frozen=True, order=True)
class Case:
    """One measurement.

    Attributes
    ----------
    scene, response : str
        Of `geofuse.simulate.SCENES` or `geofuse.simulate.DRAWN`, and of `geofuse.simulate.RESPONSES`.
    ratio : int
        Coarse over fine pixel size.
    noise : str
        ``noisy`` or ``clean``.
    operators : str
        ``estimated`` from the pair, or ``known``.
    method : str
        A method of geofuse, or `REFERENCE`.
    seed : int
        Of the noise realisation and of the method.
    device : str
        Torch device.
    """

    scene: str
    ratio: int
    response: str
    noise: str
    operators: str
    method: str
    seed: int = 0
    device: str = "cpu"

    @property
    def shift(self) -> tuple[float, float]:
        """Displacement (dy, dx) of the coarse image, in fine pixels."""
        return SHIFT if self.operators == "estimated" else (0.0, 0.0)

    @staticmethod
    def of(row: Mapping[str, str]) -> Case:
        """Undo ``vars``, from text.

        Examples
        --------
        >>> case = Case("jasper", 4, "qb4", "noisy", "known", "gem", 2)
        >>> Case.of({name: str(value) for name, value in vars(case).items()}) == case
        True
        """
        values = {f.name: row[f.name] for f in fields(Case)}
        return Case(**values | {"ratio": int(values["ratio"]), "seed": int(values["seed"])})  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.scene} {self.response} 1:{self.ratio}, {self.noise}, {self.operators}, {self.method}, seed {self.seed}"


def is_random(method: str, noise: str, operators: str) -> bool:
    """Whether another seed could give another result."""
    if noise == "noisy":
        return True
    return method not in SEEDLESS and not (method in SEEDLESS_WHEN_KNOWN and operators == "known")


def all_cases(
    *,
    scenes: Iterable[str] = tuple(SCENES),
    ratios: Iterable[int] = RATIOS,
    responses: Iterable[str] = tuple(RESPONSES),
    noises: Iterable[str] = NOISES,
    operators: Iterable[str] = OPERATORS,
    methods: Sequence[str] = DEFAULT_METHODS,
    seeds: int = 3,
    device: str = "cpu",
) -> list[Case]:
    """Every combination, the reference included; what the README shows comes first, and further seeds after all first ones.

    Examples
    --------
    >>> found = all_cases(scenes=["ip"], ratios=[4], responses=["s2"], operators=["known"], methods=["gsa", "gem"], seeds=2)
    >>> [f"{case.method} {case.noise} {case.seed}" for case in found]
    ['oracle noisy 0', 'gsa noisy 0', 'gem noisy 0', 'oracle noisy 1', 'gsa noisy 1', 'gem noisy 1',
     'oracle clean 0', 'gsa clean 0', 'gem clean 0', 'gem clean 1']
    """
    scenes, ratios, responses, operators = list(scenes), list(ratios), list(responses), list(operators)
    measured = list(dict.fromkeys((REFERENCE, *methods)))
    return [
        Case(scene, ratio, response, noise, known, method, seed, "cpu" if method == REFERENCE else device)
        for noise in noises
        for known in operators
        for seed in range(seeds)
        for scene in scenes
        for response in responses
        for ratio in ratios
        for method in measured
        if seed == 0 or is_random(method, noise, known)
    ]


def quick_cases(methods: Sequence[str] = DEFAULT_METHODS, device: str = "cpu") -> list[Case]:
    """One small scene, one seed: the most telling pair first, so that a run that is cut short still says something."""
    common: dict[str, Any] = {"scenes": ["jasper"], "noises": ["noisy"], "methods": methods, "seeds": 1, "device": device}
    choices = [("qb4", 4, "estimated"), ("s2", 8, "known"), ("s2", 8, "estimated"), ("qb4", 4, "known")]
    return [c for response, ratio, known in choices for c in all_cases(responses=[response], ratios=[ratio], operators=[known], **common)]


def data_folder(scenes: Iterable[str] = tuple(SCENES)) -> Path:
    """Where the scenes are: the folder that ``GEOFUSE_BENCHMARK_DATA`` names, or ``shared/data`` beside the repository.

    Raises
    ------
    InvalidInput
        One of them is not there.
    """
    folder = Path(os.environ.get("GEOFUSE_BENCHMARK_DATA", ROOT.parent / "shared" / "data"))
    if absent := [SCENES[name].file for name in sorted(set(scenes) - set(DRAWN)) if not SCENES[name].path(folder).exists()]:
        raise InvalidInput(
            f"The benchmark scenes {', '.join(absent)} are not in {folder}. They may not be redistributed; docs/benchmarks/README.md says where "
            "they come from. Put them in a folder and name it in GEOFUSE_BENCHMARK_DATA, or choose others with --scenes."
        )
    return folder
