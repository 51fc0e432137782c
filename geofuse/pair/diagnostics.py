"""What a user should know before trusting the result: warnings, each with a code and the figures behind it.

Codes are for programs and stay as they are; messages are for people and may be worded anew.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geofuse.cube.bands import listed
from geofuse.cube.values import NOT_REFLECTANCE
from geofuse.errors import Warned, warned
from geofuse.pair.prepare import PreparedPair, colocated
from geofuse.pair.radiometry import MIN_EXPLAINED
from geofuse.pair.response import ESTIMATED

# Elongation of the PSF, gain and offset of a band.
ELONGATED, LARGEST_GAIN, LARGEST_OFFSET = 1.1, 0.05, 0.01
MOST_MOVED = 0.5  # share of a band's response that may lie elsewhere than the files say
FEWEST_BANDS, FEWEST_PIXELS = 3, 100  # of the MSI, and of the HSI
LARGEST_GAP = 0.01  # share of the area that a band may lack without a word


def pair_warnings(prepared: PreparedPair, names: Sequence[str]) -> list[Warned]:
    """What a user should know of the pair before relying on the result; the names are those of the HSI's bands."""
    found = [
        *_scale_warnings(prepared),
        *_fault_warnings(prepared, names),
        *_geometry_warnings(prepared),
        *_clouds_warnings(prepared),
        *_radiometry_warnings(prepared),
        *_prior_warnings(prepared),
        *_guide_warnings(prepared),
    ]
    return found + size_warnings(int(prepared.response.matrix.any(1).sum()), sum(int(p.psf.observed.sum()) for p in prepared.patches))


def size_warnings(msi_bands: int, coarse_pixels: int) -> list[Warned]:
    """What follows from the number of bands of the MSI that say something of spectra, and of pixels of the HSI, alone."""
    found = []
    if msi_bands < FEWEST_BANDS:
        text = f"The MSI has fewer than {FEWEST_BANDS} bands: it says little about spectra, and the result leans on the HSI."
        found.append(warned("few-msi-bands", text))
    if coarse_pixels < FEWEST_PIXELS:
        text = f"Fewer than {FEWEST_PIXELS} coarse pixels are observed: noise, subspace and response rest on little data."
        found.append(warned("few-coarse-pixels", text))
    return found


def _scale_warnings(prepared: PreparedPair) -> list[Warned]:
    """Files are looked at when they are opened; arrays of users are first seen here."""
    typical = {
        name: float(np.median(values)) for name, values in zip(("HSI", "MSI"), colocated(prepared.patches), strict=True) if values.size
    }
    return [
        warned(
            f"{name.lower()}-not-reflectance",
            f"The {name} holds values around {value:.4g}, which are not reflectance (1.0 = 100 %): multiply it by its scale before fusing.",
        )
        for name, value in typical.items()
        if value > NOT_REFLECTANCE
    ]


def _fault_warnings(prepared: PreparedPair, names: Sequence[str]) -> list[Warned]:
    """What was left out of the images; the names are those of the HSI's bands."""
    found = []
    for fault in prepared.faults:
        bands = "bands " + listed([names[k] if fault.image == "HSI" and k < len(names) else str(k + 1) for k in fault.bands])
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


def _geometry_warnings(prepared: PreparedPair) -> list[Warned]:
    found = []
    geometry = prepared.geometry
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
    return found


def _clouds_warnings(prepared: PreparedPair) -> list[Warned]:
    if prepared.clouds is None:
        return []
    return [
        warned(
            "only-one-image",
            f"{100 * prepared.covered:.1f} % of the area is shown by only one of the two images (clouds, shadows, change; mapped in the report under "
            "disagreement, only_one_image). The image that is farther from the rest of the scene is left out there, and the other is used: "
            "mask those pixels, or use them with care.",
        )
    ]


def _radiometry_warnings(prepared: PreparedPair) -> list[Warned]:
    """Large gains and offsets of MSI bands, and bands of which a response that was given explains too little to find any."""
    response, radiometry = prepared.response, prepared.response.radiometry
    if radiometry is None:
        return []
    gain, offset, numbers = radiometry.gain, radiometry.offset, _numbers(prepared)
    far = np.flatnonzero(radiometry.applied & ((np.abs(gain - 1) > LARGEST_GAIN) | (np.abs(offset) > LARGEST_OFFSET)))
    unlike = np.flatnonzero(radiometry.unlike) if response.method != ESTIMATED else np.zeros(0, int)
    against, found = response.prior or response.method, []
    if len(far):
        bands = listed([f"{numbers[k]} (gain {gain[k]:.2f}, offset {offset[k]:+.3f})" for k in far])
        text = f"MSI bands differ from what their response ({against}) makes of the HSI in gain or offset: {bands}. The MSI was corrected by that."
        found.append(warned("gain-or-offset", f"{text} Check the calibration and the atmospheric correction of both."))
    if len(unlike):
        text = f"The response {against} explains less than {100 * MIN_EXPLAINED:.0f} % of the variance of MSI bands {listed([str(numbers[k]) for k in unlike])}."
        found.append(warned("response-unlike", f"{text} Check the order of the MSI's bands, or use srf='auto'."))
    return found


def _prior_warnings(prepared: PreparedPair) -> list[Warned]:
    """Bands whose response the pair puts elsewhere than the files do."""
    response = prepared.response
    moved = np.zeros(0) if response.moved is None else np.nan_to_num(response.moved)
    far = np.flatnonzero(moved > MOST_MOVED)
    if not len(far):
        return []
    numbers = _numbers(prepared)
    bands = listed([f"{numbers[k]} ({100 * moved[k]:.0f} %)" for k in far])
    return [
        warned(
            "response-elsewhere",
            f"MSI bands that respond elsewhere than their {response.prior} says, with the share of their weight: {bands}. The pair was followed. "
            "Check the order and the wavelengths of the MSI's bands.",
        )
    ]


def _guide_warnings(prepared: PreparedPair) -> list[Warned]:
    """Bands that are no sum of HSI bands."""
    guides = np.flatnonzero(~prepared.response.matrix.any(1))
    if not len(guides):
        return []
    bands = listed([str(number) for number in _numbers(prepared)[guides]])
    return [warned("guide-bands", f"MSI bands beyond the wavelengths of the HSI: {bands}. They are used for detail, and not for spectra.")]


def _numbers(prepared: PreparedPair) -> np.ndarray:
    """Numbers, from 1, of the MSI's bands that are in use."""
    used = np.ones(len(prepared.response.matrix), bool) if prepared.screen is None else prepared.screen.msi_bands
    return np.flatnonzero(used) + 1
