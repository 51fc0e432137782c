"""Pairs as arrays: each layout reads the same, operators are taken from the file, scores are the toolbox's definitions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from benchmarks.adapter import ArrayPair, fused, read, scored
from geofuse.errors import InvalidInput
from geofuse.simulate import DRAWN, Simulation, draw, simulate_pair


@pytest.fixture(scope="module")
def case() -> Simulation:
    truth, wavelength = draw(replace(DRAWN["town"], rows=64, cols=64))
    return simulate_pair(truth[::12], wavelength[::12], 4, "qb4")


def arrays(case: Simulation) -> dict[str, np.ndarray]:
    images = {"HSI": case.hsi, "MSI": case.msi, "REF": case.truth}
    return {name: np.moveaxis(image, 0, -1) * 10_000 for name, image in images.items()} | {"SRF": case.srf, "PSF": kernel()}


def kernel(sigma: float = 2.0, half: int = 10, shift: float = 0.0) -> np.ndarray:
    weight = np.exp(-0.5 * ((np.arange(-half, half + 1) - shift) / sigma) ** 2)
    return np.outer(np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2), weight)


def test_each_layout_reads_the_same(case: Simulation, tmp_path: Path) -> None:
    given = arrays(case)
    savemat(tmp_path / "pair.mat", given)
    np.savez(tmp_path / "pair.npz", **given)
    (tmp_path / "pair").mkdir()
    for name, array in given.items():
        np.save(tmp_path / "pair" / f"{name}.npy", array)
    for source in ("pair.mat", "pair.npz", "pair"):
        pair = read(tmp_path / source)
        np.testing.assert_allclose(pair.hsi * pair.unit, case.hsi * 10_000)
        np.testing.assert_allclose(pair.msi * pair.unit, case.msi * 10_000)
        assert pair.truth is not None
        assert pair.srf is not None
        assert pair.ratio == 4


def test_what_does_not_make_a_pair_is_rejected(case: Simulation, tmp_path: Path) -> None:
    np.savez(tmp_path / "first.npz", hsi=case.hsi, msi=case.msi)
    with pytest.raises(InvalidInput, match="--bands-first"):
        read(tmp_path / "first.npz")
    assert read(tmp_path / "first.npz", bands_first=True).ratio == 4
    np.savez(tmp_path / "half.npz", hsi=case.hsi)
    with pytest.raises(InvalidInput, match="--names msi="):
        read(tmp_path / "half.npz")
    np.savez(tmp_path / "other.npz", hsi=case.hsi, msi=case.msi, srf=case.srf.T)
    with pytest.raises(InvalidInput, match="responses"):
        read(tmp_path / "other.npz", bands_first=True)


def test_the_kernel_says_how_wide_the_psf_is_and_where() -> None:
    found = ArrayPair(np.ones((5, 4, 4)), np.ones((4, 16, 16)), 1.0, psf=kernel(1.5, shift=0.5)).geometry
    assert found is not None
    assert found.sigma == pytest.approx((1.5, 1.5), abs=1e-3)
    assert found.shift == pytest.approx((0.0, 0.5), abs=1e-3)


def test_scores_are_those_of_the_definitions() -> None:
    truth = np.stack([np.full((16, 16), 0.5), np.full((16, 16), 0.25)])
    truth[:, 0, 0] *= 2  # the peaks: 1 and 0.5
    image = truth + np.array([0.01, 0.005])[:, None, None]
    found = scored(ArrayPair(truth, truth, 1.0, truth=np.stack([truth[0], truth[1]])), image)
    assert found["psnr_own_peak"] == pytest.approx(40.0)
    assert found["sam_deg"] == pytest.approx(0.0, abs=1e-6)


def test_a_method_gains_over_interpolation_and_knowing_the_operators_is_no_loss(case: Simulation) -> None:
    unit = float(max(case.hsi.max(), case.msi.max()))
    pair = ArrayPair(case.hsi / unit, case.msi / unit, unit, case.truth / unit)
    known = replace(pair, srf=case.srf, psf=kernel())
    coarse, guessed, given = (
        scored(p, fused(p, m))["psnr_own_peak"] for p, m in ((pair, "bicubic"), (pair, "sylvester"), (known, "sylvester"))
    )
    assert guessed > coarse + 3
    assert given > guessed - 0.3
