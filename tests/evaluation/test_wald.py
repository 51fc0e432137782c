"""Validation at reduced scale: the truth is the HSI itself, and everything below it is made of the pair by its own operators."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import geofuse
from geofuse.errors import InvalidInput
from geofuse.evaluation.wald import MARGIN_DB, _step, choose_method, compare, reduce
from geofuse.methods.registry import get_method
from geofuse.pair.prepare import PreparedPair, Settings, prepare_pair
from geofuse.pair.scene import Sample
from geofuse.pipeline.fit import read_sample
from tests.crops import small_cubes, small_pair

QUIET = Settings(progress=False)


def no_progress(step: str) -> None:
    """Report nothing."""


@pytest.fixture(scope="module")
def full() -> tuple[PreparedPair, Sample]:
    scene = geofuse.api.pair(*small_cubes())
    sample = read_sample(scene)
    return prepare_pair(scene.pair, sample, sample, QUIET, no_progress, scene.bands.good), sample[0]


@pytest.fixture(scope="module")
def reduced(full: tuple[PreparedPair, Sample]) -> tuple[PreparedPair, np.ndarray]:
    found = reduce(*full, QUIET)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("ratio", "shape", "step"),
    [
        (25 / 3, (80, 60), 5),  # 60 coarse pixels give 12 at most at 5
        (25 / 3, (400, 400), 8),
        (30.0, (400, 400), 8),  # never more than 8
        (3.0, (400, 400), 3),
        (1.5, (400, 400), 2),  # a step is at least 2
        (25 / 3, (16, 14), 2),
        (25 / 3, (12, 12), 2),
        (25 / 3, (11, 40), None),  # too small to be reduced
    ],
)
def test_step(ratio: float, shape: tuple[int, int], step: int | None) -> None:
    assert _step(ratio, shape) == step


def test_truth_is_the_hsi(reduced: tuple[PreparedPair, np.ndarray]) -> None:
    _, truth = reduced
    assert truth.shape == (177, 16, 14)
    known = np.isfinite(truth)
    assert known.mean() > 0.7
    assert truth[known] == pytest.approx((small_pair()[0].values / 1e4)[known], abs=1e-6)


def gaussian(size: int, centre: float, sigma: float) -> np.ndarray:
    weight = np.exp(-((np.arange(size) - centre) ** 2) / (2 * sigma**2))
    return np.asarray(weight / weight.sum())


def test_the_fine_image_of_the_reduced_pair_is_the_msi_seen_by_the_hsi(
    full: tuple[PreparedPair, Sample], reduced: tuple[PreparedPair, np.ndarray]
) -> None:
    """At the places of the HSI's pixels; a Gaussian sum written out."""
    (prepared, _), (small, _) = full, reduced
    coarse, fine = small_pair()
    seen = small.samples[0].msi
    (sy, sx), (dy, dx) = prepared.geometry.sigma, prepared.geometry.shift
    for i, j in ((5, 5), (8, 7), (11, 4)):
        col, row = ~fine.transform * (coarse.transform * (j + 0.5, i + 0.5))
        wy, wx = gaussian(fine.values.shape[1], row - 0.5 + dy, sy), gaussian(fine.values.shape[2], col - 0.5 + dx, sx)
        assert seen[:, i, j] == pytest.approx(np.einsum("byx,y,x->b", fine.values / 1e4, wy, wx), rel=2e-3)


def test_the_coarse_image_of_the_reduced_pair_is_the_hsi_blurred_as_much(
    full: tuple[PreparedPair, Sample], reduced: tuple[PreparedPair, np.ndarray]
) -> None:
    """The same PSF relative to the pixel, sampled by the step: pixel (i, j) covers truth pixels 2 i and 2 i + 1."""
    (prepared, _), (small, _) = full, reduced
    sigma = np.array(prepared.geometry.sigma) / prepared.pair.ratio * 2
    assert small.pair.ratio == pytest.approx(2)
    assert small.geometry.sigma == pytest.approx(tuple(sigma))
    low = small.samples[0].hsi
    assert low.shape == (177, 8, 7)
    values = small_pair()[0].values / 1e4
    for i, j in ((3, 3), (4, 2)):
        wy, wx = gaussian(16, 2 * i + 0.5, sigma[0]), gaussian(14, 2 * j + 0.5, sigma[1])
        assert low[:, i, j] == pytest.approx(np.einsum("byx,y,x->b", values, wy, wx), rel=5e-3)


def test_too_small_a_scene_has_no_reduced_one(full: tuple[PreparedPair, Sample]) -> None:
    prepared, sample = full
    tiny = replace(
        sample, hsi=sample.hsi[:, :10, :10], coarse=replace(sample.coarse, bottom=sample.coarse.top + 10, right=sample.coarse.left + 10)
    )
    assert reduce(prepared, tiny, QUIET) is None
    assert choose_method(prepared, tiny, QUIET, no_progress) == ("gem", [])


def test_scores_are_those_of_the_fused_reduced_scene(
    full: tuple[PreparedPair, Sample], reduced: tuple[PreparedPair, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method that returns the truth plus 0.01 has 40 dB and 0.01 RMSE; its row says so."""
    small, truth = reduced

    class Known:
        role, halo, noise = "estimator", None, np.zeros(len(truth))

        def fit(self, *_: Any) -> Any:
            return self

        def apply(self, patch: Any, inner: Any) -> torch.Tensor:
            return torch.as_tensor(np.nan_to_num(truth) + 0.01)

    monkeypatch.setattr("geofuse.evaluation.wald.get_method", lambda name: Known())
    (row,) = compare(small, truth, full[0], QUIET, ["gem"], no_progress)
    assert row["psnr_db"] == pytest.approx(40, abs=1e-3)
    assert row["rmse"] == pytest.approx(0.01, abs=1e-4)
    assert (row["method"], row["role"], row["ratio"]) == ("gem", "estimator", pytest.approx(2))


def test_a_method_that_refuses_is_named(
    full: tuple[PreparedPair, Sample], reduced: tuple[PreparedPair, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    def reject(*_: Any, **__: Any) -> Any:
        raise InvalidInput("too few pixels for me")

    monkeypatch.setattr(type(get_method("gsa")), "fit", reject)
    steps: list[str] = []
    assert compare(*reduced, full[0], QUIET, ["gsa"], steps.append) == [{"method": "gsa", "rejected": "too few pixels for me"}]
    assert steps == ["validating gsa"]


def chosen(monkeypatch: pytest.MonkeyPatch, full: tuple[PreparedPair, Sample], **scores: tuple[float, float] | None) -> str:
    """The method that is taken, given (PSNR, SAM) of each; None where it rejected."""
    table = [{"method": m} | ({"rejected": "no"} if s is None else {"psnr_db": s[0], "sam_deg": s[1]}) for m, s in scores.items()]
    monkeypatch.setattr("geofuse.evaluation.wald.reduce", lambda *_: (None, None))
    monkeypatch.setattr("geofuse.evaluation.wald.compare", lambda *_: table)
    method, shown = choose_method(*full, QUIET, no_progress)
    assert shown == table
    return method


@pytest.mark.parametrize(
    ("gem", "other", "winner"),
    [
        ((30, 5), (29, 5), "gem"),
        ((30, 5), (30 + MARGIN_DB / 2, 4), "gem"),  # within the margin
        ((30, 5), (31, 4), "sylvester"),
        ((30, 5), (31, 6), "gem"),  # better in one score, worse in the other
        (None, (32, 3), "gem"),
        ((30, 5), None, "gem"),
    ],
)
def test_choice(gem: Any, other: Any, winner: str, full: tuple[PreparedPair, Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    """A baseline is never taken, however good."""
    assert chosen(monkeypatch, full, gem=gem, sylvester=other, gsa=(40, 1)) == winner


def test_the_best_of_several_estimators_is_taken(full: tuple[PreparedPair, Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of other packages included; the margin is that against the standard."""
    known = {name: SimpleNamespace(role=role, quick=True) for name, role in (("gem", "estimator"), ("a", "estimator"), ("b", "estimator"))}
    monkeypatch.setattr("geofuse.evaluation.wald.all_methods", lambda: known)
    assert chosen(monkeypatch, full, gem=(30, 5), a=(31, 4), b=(31 + MARGIN_DB / 2, 5)) == "b"
    assert chosen(monkeypatch, full, gem=(30, 5), a=(31, 4), b=(30.9, 1)) == "a"
    assert chosen(monkeypatch, full, a=(31, 4), b=(30.9, 1)) == "gem"


def test_only_quick_methods_are_compared_unasked(full: tuple[PreparedPair, Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("geofuse.evaluation.wald.reduce", lambda *_: (None, None))
    monkeypatch.setattr("geofuse.evaluation.wald.compare", lambda *a: asked.extend(a[4]) or [])
    choose_method(*full, QUIET, no_progress)
    assert set(asked) == {"gem", "sylvester", "gsa", "regression", "bicubic"}
