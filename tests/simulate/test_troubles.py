"""Each trouble does what its name says, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geofuse.simulate import TROUBLES, Simulation, cloud


@pytest.fixture(scope="module")
def pairs(tiny_data: Path) -> dict[str, Simulation]:
    return {name: trouble.pair("jasper", 4, "qb4", tiny_data) for name, trouble in TROUBLES.items()}


def test_only_the_image_that_is_named_changes(pairs: dict[str, Simulation]) -> None:
    calm = pairs["none"]
    changed = {name: (not np.array_equal(p.hsi, calm.hsi), not np.array_equal(p.msi, calm.msi)) for name, p in pairs.items()}
    msi_alone = {"gain and offset", "cloud in the MSI"}
    assert changed == {name: (name != "none" and name not in msi_alone, name in msi_alone) for name in TROUBLES}


def test_a_cloud_covers_its_share(pairs: dict[str, Simulation]) -> None:
    cover = cloud(pairs["none"])
    assert cover.mean() == pytest.approx(0.04, rel=0.05)
    clouded = pairs["cloud in the MSI"].msi
    assert clouded[:, cover == 1] == pytest.approx(0.8)
    assert np.array_equal(clouded[:, cover == 0], pairs["none"].msi[:, cover == 0])


def test_noise_is_ten_times_as_strong_in_vapour_bands(pairs: dict[str, Simulation]) -> None:
    calm, rough = pairs["none"], pairs["noisy vapour bands"]
    vapour = ((calm.wavelength > 1340) & (calm.wavelength < 1460)) | ((calm.wavelength > 1790) & (calm.wavelength < 1970))
    assert 0 < vapour.sum() < len(vapour)
    exact = calm.dh @ calm.truth @ calm.dw.T
    strength = (rough.hsi - exact).std((1, 2)) / calm.hsi_noise
    assert np.median(strength[vapour]) == pytest.approx(10, rel=0.1)
    assert np.median(strength[~vapour]) == pytest.approx(1, rel=0.1)
