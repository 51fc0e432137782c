from __future__ import annotations

import math

import pytest
import torch

from geofuse.methods.mossfuse.degradation import Degradation
from geofuse.methods.mossfuse.losses import apply_response, consistency, decoupling, reconstruction
from geofuse.methods.mossfuse.network import Features, Reconstructions


def test_consistency_is_zero_for_an_image_that_explains_both() -> None:
    z, srf = torch.rand(2, 5, 8, 8), torch.rand(3, 5)

    def psf(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(x, 4)

    assert consistency(z, psf(z), apply_response(srf, z), psf, srf) == pytest.approx(0, abs=1e-6)
    # A constant error of 0.1 shows as 0.1 in X and as 0.1 times the sum of the response in Y.
    expected = 0.1 + 0.1 * float(srf.sum(1).mean())
    assert consistency(z + 0.1, psf(z), apply_response(srf, z), psf, srf) == pytest.approx(expected, rel=1e-4)


def test_response_acts_per_pixel() -> None:
    z, srf = torch.rand(1, 5, 3, 4), torch.rand(2, 5)
    torch.testing.assert_close(apply_response(srf, z)[0, :, 2, 1], srf @ z[0, :, 2, 1])


def test_decoupling_by_hand() -> None:
    """Cosine 1 between the shared features; 0, 0 and -1 for the others."""
    a, b, c = (torch.tensor(v).reshape(1, 1, 1, 3) for v in ([1.0, 0, 0], [0, 1.0, 0], [0, -2.0, 0]))
    expected = -math.log(math.e / (math.e + 1 + 1 + math.exp(-1)))
    assert decoupling(Features(a, b, 3 * a, c)) == pytest.approx(expected, rel=1e-6)
    worse = decoupling(Features(a, a, 3 * a, c))  # a complementary feature that repeats the shared one
    assert worse > expected + 0.2


def test_decoupling_is_the_mean_over_samples() -> None:
    features = Features(*(torch.randn(3, 2, 4, 4) for _ in range(4)))
    each = [decoupling(Features(*(f[i : i + 1] for f in features))) for i in range(3)]
    assert decoupling(features) == pytest.approx(float(sum(each)) / 3, rel=1e-5)


def test_reconstruction_adds_three_mean_absolute_errors() -> None:
    msi, hsi = torch.rand(1, 3, 4, 4), torch.rand(1, 6, 4, 4)
    decoded = Reconstructions(msi + 0.1, hsi - 0.2, msi + 0.4)
    assert reconstruction(decoded, hsi, msi, msi) == pytest.approx(0.7, rel=1e-5)


@pytest.mark.parametrize("ratio", [2, 3, 4, 5, 8])
def test_kernel_is_centred_and_wide_enough(ratio: int) -> None:
    """The published kernel is off by half a pixel for even ratios and cannot leave its own coarse pixel at 3 and 4."""
    estimator = Degradation(4, 2, ratio)
    kernel = estimator.kernel.detach()
    assert len(kernel) >= 2 * ratio
    assert float(kernel.sum()) == pytest.approx(1, rel=1e-5)
    # A linear ramp seen through a centred PSF gives the ramp's value at (r - 1)/2 of the coarse pixel, away from the edges.
    size = 6 * ratio
    ramp = torch.arange(size, dtype=torch.float32).expand(1, 1, size, size)
    seen = estimator.psf(ramp)[0, 0, 3].detach()
    assert seen.shape == (6,)
    torch.testing.assert_close(seen[1:-1], torch.arange(1, 5) * ratio + (ratio - 1) / 2.0, rtol=1e-4, atol=1e-3)


def test_edges_are_reflected() -> None:
    estimator = Degradation(4, 2, 4)
    image = torch.rand(1, 2, 12, 12)
    torch.testing.assert_close(estimator.psf(image.flip(-1)), estimator.psf(image).flip(-1))
    torch.testing.assert_close(estimator.psf(torch.ones(1, 2, 12, 12)), torch.ones(1, 2, 3, 3))


def test_estimator_finds_a_known_psf_and_an_equivalent_response() -> None:
    generator = torch.Generator().manual_seed(0)
    endmembers = torch.rand(8, 5, generator=generator)
    abundance = torch.nn.functional.interpolate(torch.rand(1, 5, 24, 24, generator=generator), scale_factor=2.0, mode="bilinear")
    truth = torch.einsum("bk,nkhw->nbhw", endmembers, abundance)
    srf = torch.tensor([[0.5, 0.3, 0.2, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0.25, 0.25, 0.25, 0.25]])
    maker = Degradation(8, 2, 4)
    maker.root.data = torch.tensor([2.6, 0.4, 1.7])
    hsi, msi = maker.psf(truth).detach(), apply_response(srf, truth)
    estimator = Degradation(8, 2, 4)
    losses = estimator.fit(hsi, msi, steps=400)
    assert losses[-1] < 0.03 * losses[0]
    # The response's shape is not determined by one scene; what it makes of the scene is.
    torch.testing.assert_close(apply_response(estimator.srf, hsi), apply_response(srf, hsi), rtol=0, atol=0.01)
    assert (estimator.kernel - maker.kernel).abs().max() < 0.05 * maker.kernel.max()
    assert estimator.srf.min() >= 0
    torch.testing.assert_close(estimator.srf.sum(1), torch.ones(2))
