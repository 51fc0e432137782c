"""What a user should know before trusting the result: warnings, each with a code and the figures behind it.

Codes are for programs and stay as they are; messages are for people and may be worded anew.
"""

from __future__ import annotations

import numpy as np

from geofuse.cube.values import NOT_REFLECTANCE
from geofuse.methods.gem.consistency import WARNING_RHO
from geofuse.methods.gem.estimator import Gem
from geofuse.methods.gem.symptoms import STRIPED, noisy_bands, striping
from geofuse.model import Model
from geofuse.pair.prepare import Ground, colocated
from geofuse.report.sentences import Warned, warned

# rho where it is plainly geometric, elongation of the PSF, gain and offset of a band.
LARGEST_GAP, SHOWN = 0.01, 8  # share of the area that a band may lack without a word; names in a list
GEOMETRIC_RHO, ELONGATED, LARGEST_GAIN, LARGEST_OFFSET = 0.03, 1.1, 0.05, 0.01


def warnings_of(ground: Ground, model: Model) -> list[Warned]:
    """What a user should know before trusting the result."""
    found = [
        *_scale_warnings(ground),
        *_fault_warnings(ground, model.bands),
        *_geometry_warnings(ground, model.gem),
        *_clouds_warnings(ground),
        *_table_warnings(ground),
    ]
    if model.gem is not None:
        found += _instrument_warnings(ground, model.gem, tuple(name for name, used in zip(model.bands, model.filled, strict=True) if used))
    if len(ground.response.matrix) < 3:
        found.append(
            warned("few-msi-bands", "The MSI has fewer than 3 bands: it says little about spectra, and the result leans on the HSI.")
        )
    if sum(int(p.psf.observed.sum()) for p in ground.patches) < 100:
        found.append(
            warned("few-coarse-pixels", "Fewer than 100 coarse pixels are observed: noise, subspace and response rest on little data.")
        )
    return found


def _scale_warnings(ground: Ground) -> list[Warned]:
    """Files are looked at when they are opened; arrays of users are first seen here."""
    typical = {
        name: float(np.median(values)) for name, values in zip(("HSI", "MSI"), colocated(ground.patches), strict=True) if values.size
    }
    return [
        warned(
            f"{name.lower()}-not-reflectance",
            f"The {name} holds values around {value:.4g}, which are not reflectance (1.0 = 100 %): multiply it by its scale before fusing.",
        )
        for name, value in typical.items()
        if value > NOT_REFLECTANCE
    ]


def _fault_warnings(ground: Ground, names: tuple[str, ...]) -> list[Warned]:
    """What was left out of the images; the names are those of the HSI's bands."""
    found = []
    for fault in ground.faults:
        bands = "bands " + _listed([names[k] if fault.image == "HSI" and k < len(names) else str(k + 1) for k in fault.bands])
        first = f"{fault.value:.5g} at row {fault.place[0]}, column {fault.place[1]} of the image first; {bands}"
        if fault.kind == "empty":
            left = "They are nodata in the fused image, and not good." if fault.image == "HSI" else "The image is used without them."
            text = f"Bands of the {fault.image} without any data where the images overlap: {fault.count} ({bands}). {left}"
            found.append(warned("empty-bands", text))
        elif fault.kind == "impossible":
            text = f"Values of the {fault.image} that are no reflectance, taken for nodata: {fault.count} ({first})."
            found.append(warned("impossible-values", f"{text} If they stand for missing pixels, declare the nodata value."))
        elif fault.kind == "outlier":
            text = f"Values of the {fault.image} that stand apart from the bands and pixels around, taken for defects and left out: {fault.count} ({first})."
            found.append(warned("outliers", text))
        elif fault.share > LARGEST_GAP:
            text = f"Bands of the HSI that lack data where others have it: {len(fault.bands)}, up to {100 * fault.share:.0f} % of the area ({bands})."
            found.append(warned("band-gaps", f"{text} They are nodata there in the fused image, the other bands are not."))
    return found


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _geometry_warnings(ground: Ground, gem: Gem | None) -> list[Warned]:
    found = []
    geometry, rho = ground.geometry, gem.trust.rho if gem is not None else 0.0
    if geometry.at_limit:
        found.append(
            warned(
                "geometry-at-limit",
                "The search for PSF width and shift ended at the edge of its range: check the georeference of both images.",
            )
        )
    if max(geometry.sigma) > ELONGATED * min(geometry.sigma):
        found.append(
            warned(
                "elongated-psf",
                f"The point-spread function is elongated: standard deviations of {geometry.sigma[0]:.2f} fine pixels along columns and "
                f"{geometry.sigma[1]:.2f} along rows.",
            )
        )
    if not ground.harmonise and rho > GEOMETRIC_RHO:
        found.append(
            warned(
                "geometric-contradiction",
                f"The two images contradict each other (rho {rho:.2f}, above {GEOMETRIC_RHO}) in the way a wrong PSF or registration would: "
                "the point-spread function may not be Gaussian, or the registration may vary over the scene.",
            )
        )
    elif rho > WARNING_RHO:
        found.append(
            warned(
                "contradiction",
                f"The two images contradict each other (rho {rho:.2f}, above {WARNING_RHO}) beyond noise and geometry: other light, other date or other "
                "calibration. The HSI is believed in its radiometry and the MSI in its detail.",
            )
        )
    if gem is not None and gem.geometry is not None:
        sy, sx, dy, dx = gem.geometry
        found.append(
            warned(
                "geometry-replaced",
                f"The geometry that was given does not fit; used instead: standard deviations of ({sy:.2f}, {sx:.2f}) and a shift of ({dy:.2f}, {dx:.2f}) "
                "fine pixels (rows, columns).",
            )
        )
    return found


def _clouds_warnings(ground: Ground) -> list[Warned]:
    if ground.clouds is None:
        return []
    return [
        warned(
            "only-one-image",
            f"{100 * ground.covered:.1f} % of the area is shown by only one of the two images (clouds, shadows, change; mapped in the report under "
            "disagreement, only_one_image). The image that is farther from the rest of the scene is left out there, and the other decides: "
            "mask those pixels, or trust them less.",
        )
    ]


def _table_warnings(ground: Ground) -> list[Warned]:
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
        warned(
            "gain-or-offset",
            f"With the response {ground.response.method} the MSI bands differ from the HSI in gain or offset: {listed}. Check the calibration of both, "
            "or use srf='auto', which takes the difference into the response.",
        )
    ]


def gain_and_offset(predicted: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and intercept of ``seen`` on ``predicted``, both (M, N), per band; reduced major axis, as both are noisy."""
    left, right = (a - a.mean(1, keepdims=True) for a in (predicted, seen))
    gain = np.sqrt((right**2).sum(1) / np.maximum((left**2).sum(1), 1e-20))
    return gain, seen.mean(1) - gain * predicted.mean(1)


def _instrument_warnings(ground: Ground, gem: Gem, names: tuple[str, ...]) -> list[Warned]:
    found = []
    columns, rows = striping(ground.patches, gem.coordinates)
    if max(columns, rows) > STRIPED:
        lines = "columns" if columns >= rows else "rows"
        found.append(
            warned(
                "striped-hsi",
                f"The HSI is striped along its {lines}: their means vary {max(columns, rows):.1f} times as much as noise would make them. "
                "Stripes are taken for noise; destripe the HSI before fusing.",
            )
        )
    noisy = np.flatnonzero(noisy_bands(ground.patches, gem.coordinates))
    if len(noisy):
        listed = ", ".join(names[k] if k < len(names) else str(k + 1) for k in noisy[:20]) + (" …" if len(noisy) > 20 else "")
        found.append(
            warned(
                "noisy-bands",
                f"{len(noisy)} bands of the HSI are far noisier than the others ({listed}): what the fused image shows in them is mostly predicted "
                "from the other bands.",
            )
        )
    return found
