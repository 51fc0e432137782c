"""What a user should know before trusting the result: warnings, each with the figures behind it."""

from __future__ import annotations

import numpy as np

from geofuse.cube.values import NOT_REFLECTANCE
from geofuse.pair.prepare import Ground, colocated

# Elongation of the PSF, gain and offset of a band.
ELONGATED, LARGEST_GAIN, LARGEST_OFFSET = 1.1, 0.05, 0.01


def pair_warnings(ground: Ground) -> list[str]:
    """What a user should know before trusting the result."""
    found = [*_scale_warnings(ground), *_geometry_warnings(ground), *_clouds_warnings(ground), *_table_warnings(ground)]
    if len(ground.response.matrix) < 3:
        found.append("The MSI has fewer than 3 bands: it says little about spectra, and the result leans on the HSI.")
    if sum(int(p.psf.observed.sum()) for p in ground.patches) < 100:
        found.append("Fewer than 100 coarse pixels are observed: noise, subspace and response rest on little data.")
    return found


def _scale_warnings(ground: Ground) -> list[str]:
    """Files are looked at when they are opened; arrays of users are first seen here."""
    typical = {
        name: float(np.median(values)) for name, values in zip(("HSI", "MSI"), colocated(ground.patches), strict=True) if values.size
    }
    return [
        f"The {name} holds values around {value:.4g}, which are not reflectance (1.0 = 100 %): multiply it by its scale before fusing."
        for name, value in typical.items()
        if value > NOT_REFLECTANCE
    ]


def _geometry_warnings(ground: Ground) -> list[str]:
    found = []
    geometry = ground.geometry
    if geometry.at_limit:
        found.append("The search for PSF width and shift ended at the edge of its range: check the georeference of both images.")
    if max(geometry.sigma) > ELONGATED * min(geometry.sigma):
        found.append(
            f"The point-spread function is elongated: standard deviations of {geometry.sigma[0]:.2f} fine pixels along columns and "
            f"{geometry.sigma[1]:.2f} along rows."
        )
    return found


def _clouds_warnings(ground: Ground) -> list[str]:
    if ground.clouds is None:
        return []
    return [
        f"{100 * ground.covered:.1f} % of the area is shown by only one of the two images (clouds, shadows, change; mapped in the report under "
        "disagreement, only_one_image). The image that is farther from the rest of the scene is left out there, and the other decides: "
        "mask those pixels, or trust them less."
    ]


def _table_warnings(ground: Ground) -> list[str]:
    """Gain and offset between the sensors, where a response was given; an estimated one contains them."""
    if ground.response.method == "estimated":
        return []
    hsi, msi = colocated(ground.patches)
    gain, offset = gain_and_offset(ground.response.matrix @ hsi, msi)
    far = np.flatnonzero((np.abs(gain - 1) > LARGEST_GAIN) | (np.abs(offset) > LARGEST_OFFSET))
    if not len(far):
        return []
    listed = ", ".join(f"{k + 1} (gain {gain[k]:.2f}, offset {offset[k]:+.3f})" for k in far)
    return [
        f"With the response {ground.response.method} the MSI bands differ from the HSI in gain or offset: {listed}. Check the calibration of both, "
        "or use srf='auto', which takes the difference into the response."
    ]


def gain_and_offset(predicted: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and intercept of ``seen`` on ``predicted``, both (M, N), per band; reduced major axis, as both are noisy."""
    left, right = (a - a.mean(1, keepdims=True) for a in (predicted, seen))
    gain = np.sqrt((right**2).sum(1) / np.maximum((left**2).sum(1), 1e-20))
    return gain, seen.mean(1) - gain * predicted.mean(1)
