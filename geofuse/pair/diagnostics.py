"""What a user should know before trusting the result: warnings, each with the figures behind it."""

from __future__ import annotations

import numpy as np

from geofuse.cube.values import NOT_REFLECTANCE
from geofuse.methods.gem.consistency import WARNING_RHO
from geofuse.methods.gem.estimator import Gem
from geofuse.methods.gem.symptoms import STRIPED, noisy_bands, striping
from geofuse.model import Model
from geofuse.pair.prepare import Ground, colocated

# rho where it is plainly geometric, elongation of the PSF, gain and offset of a band.
GEOMETRIC_RHO, ELONGATED, LARGEST_GAIN, LARGEST_OFFSET = 0.03, 1.1, 0.05, 0.01


def warnings_of(ground: Ground, model: Model) -> list[str]:
    """What a user should know before trusting the result."""
    found = [*_scale_warnings(ground), *_geometry_warnings(ground, model.gem), *_clouds_warnings(ground), *_table_warnings(ground)]
    if model.gem is not None:
        found += _instrument_warnings(ground, model.gem, model.bands)
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


def _geometry_warnings(ground: Ground, gem: Gem | None) -> list[str]:
    found = []
    geometry, rho = ground.geometry, gem.trust.rho if gem is not None else 0.0
    if geometry.at_limit:
        found.append("The search for PSF width and shift ended at the edge of its range: check the georeference of both images.")
    if max(geometry.sigma) > ELONGATED * min(geometry.sigma):
        found.append(
            f"The point-spread function is elongated: standard deviations of {geometry.sigma[0]:.2f} fine pixels along columns and "
            f"{geometry.sigma[1]:.2f} along rows."
        )
    if not ground.harmonise and rho > GEOMETRIC_RHO:
        found.append(
            f"The two images contradict each other (rho {rho:.2f}, above {GEOMETRIC_RHO}) in the way a wrong PSF or registration would: "
            "the point-spread function may not be Gaussian, or the registration may vary over the scene."
        )
    elif rho > WARNING_RHO:
        found.append(
            f"The two images contradict each other (rho {rho:.2f}, above {WARNING_RHO}) beyond noise and geometry: other light, other date or other "
            "calibration. The HSI is believed in its radiometry and the MSI in its detail."
        )
    if gem is not None and gem.geometry is not None:
        sy, sx, dy, dx = gem.geometry
        found.append(
            f"The geometry that was given does not fit; used instead: standard deviations of ({sy:.2f}, {sx:.2f}) and a shift of ({dy:.2f}, {dx:.2f}) "
            "fine pixels (rows, columns)."
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


def _instrument_warnings(ground: Ground, gem: Gem, names: tuple[str, ...]) -> list[str]:
    found = []
    columns, rows = striping(ground.patches, gem.coordinates)
    if max(columns, rows) > STRIPED:
        lines = "columns" if columns >= rows else "rows"
        found.append(
            f"The HSI is striped along its {lines}: their means vary {max(columns, rows):.1f} times as much as noise would make them. "
            "Stripes are taken for noise; destripe the HSI before fusing."
        )
    noisy = np.flatnonzero(noisy_bands(ground.patches, gem.coordinates))
    if len(noisy):
        listed = ", ".join(names[k] if k < len(names) else str(k + 1) for k in noisy[:20]) + (" …" if len(noisy) > 20 else "")
        found.append(
            f"{len(noisy)} bands of the HSI are far noisier than the others ({listed}): what the fused image shows in them is mostly predicted "
            "from the other bands."
        )
    return found
