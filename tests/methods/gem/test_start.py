"""The subspace: principal components of the coarse pixels, and what the MSI sees besides."""

from __future__ import annotations

import numpy as np

from geofuse.methods.gem.noise import MIN_RANK
from geofuse.methods.gem.start import start_coordinates
from tests.pairs import bell_responses, made_up_scene, simulated

BANDS, SIDE = 60, 16


def test_the_subspace_holds_what_the_msi_sees() -> None:
    """Fine detail in one band, of mean zero in every coarse pixel: the MSI sees it there, and principal components do not hold it."""
    rng = np.random.default_rng(0)
    srf = np.eye(BANDS)[[10, 25, 40, 55]]
    detail = rng.normal(size=(SIDE, 4, SIDE, 4))
    detail -= detail.mean((1, 3), keepdims=True)
    truth = made_up_scene(BANDS, 4 * SIDE, 4 * SIDE)
    truth[25] += 0.02 * detail.reshape(4 * SIDE, 4 * SIDE)
    pair = simulated(truth, srf, (SIDE, SIDE), 4.0)
    c = start_coordinates([pair.patch()], srf, np.zeros(4))
    assert c.rank == MIN_RANK + 4
    assert np.allclose(c.analysis @ c.basis, np.eye(c.rank))

    def lost(rank: int) -> float:
        """What the first components do not hold of that band, standard deviation in reflectance."""
        white = (truth.reshape(BANDS, -1) - c.mean[:, None]) / c.sigma[:, None]
        kept = c.basis[:, :rank] @ (c.basis[:, :rank].T @ white)
        return float((c.sigma[25] * (white - kept)[25]).std())

    assert lost(MIN_RANK) > 0.01
    assert lost(c.rank) < 1e-6


def test_a_response_inside_the_subspace_adds_nothing() -> None:
    """An MSI that sees one principal component alone."""
    truth = made_up_scene(BANDS, 4 * SIDE, 4 * SIDE)
    pair = simulated(truth, bell_responses(BANDS, 4), (SIDE, SIDE), 4.0)
    before = start_coordinates([pair.patch()], np.zeros((4, BANDS)), np.zeros(4))
    inside = (before.basis[:, :4] / before.sigma[:, None]).T
    assert start_coordinates([pair.patch()], inside, np.zeros(4)).rank == before.rank
