from __future__ import annotations

import math

import pytest
import torch

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
