from __future__ import annotations

import pytest

from benchmarks.cases import DEFAULT_METHODS, METHODS, REFERENCE, SLOW, Case, all_cases, is_random, quick_cases
from geofuse.methods.registry import get_method, method_names
from geofuse.simulate import SCENES


def test_every_combination_once() -> None:
    cases = all_cases()
    assert len(set(cases)) == len(cases)
    noisy = [case for case in cases if case.noise == "noisy"]
    # scenes × ratios × responses × operators × seeds × (methods + the reference)
    assert len(noisy) == len(SCENES) * 2 * 2 * 2 * 3 * (len(METHODS) - len(SLOW) + 1)
    assert set(quick_cases()) <= set(cases)


def test_methods_are_those_of_the_package() -> None:
    assert set(METHODS) == {"auto", *method_names()}
    assert set(DEFAULT_METHODS) == {"auto", *method_names()} - set(SLOW)
    assert not any(get_method(name).quick for name in SLOW)
    assert {c.method for c in all_cases(methods=["mossfuse-paper"])} == {REFERENCE, "mossfuse-paper"}


def test_seeds_where_something_is_random() -> None:
    def seeds(**kind: str) -> set[int]:
        return {c.seed for c in all_cases(seeds=4) if all(getattr(c, name) == value for name, value in kind.items())}

    assert seeds(noise="noisy", method="bicubic") == {0, 1, 2, 3}
    assert seeds(noise="clean", method="bicubic") == {0}
    assert seeds(noise="clean", method="gem") == {0, 1, 2, 3}
    assert seeds(noise="clean", method="sylvester", operators="known") == {0}
    assert is_random("sylvester", "clean", "estimated")  # its response is chosen by random folds
    assert is_random("a new method", "clean", "known")


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_reference_is_measured_once_for_all_devices(device: str) -> None:
    oracle = [c for c in all_cases(device=device) if c.method == REFERENCE]
    assert {c.device for c in oracle} == {"cpu"}
    assert {c.device for c in all_cases(device=device) if c.method == "gem"} == {device}


def test_shift_is_there_to_be_found() -> None:
    case = Case("ip", 8, "s2", "noisy", "estimated", "gem")
    assert case.shift == (0.4, -0.3)
    assert Case("ip", 8, "s2", "noisy", "known", "gem").shift == (0, 0)
