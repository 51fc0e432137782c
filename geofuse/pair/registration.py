"""Sub-pixel shift, width and shape of the PSF, from the pair itself.

Seen through the right PSF the MSI becomes a linear function of the HSI. So for each trial (sigma, dy, dx) the MSI is brought
to the coarse grid, regressed on the leading components of the HSI (variable projection: the linear part is eliminated), and
the unexplained share of its variance is what the search makes small. No spectral response needs to be known.
A PSF that is longer in one direction, or of another shape than a Gaussian, has to explain clearly more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from geofuse.errors import InvalidPair
from geofuse.pair.gaps import fill_gaps
from geofuse.pair.grid import MAX_RATIO, GridPair
from geofuse.pair.psf.builder import PsfBuilder
from geofuse.pair.psf.field import MAX_DEGREE, Field
from geofuse.pair.psf.weights import GAUSSIAN
from geofuse.pair.scene import Sample

COMPONENTS = 12
# Searched range: sigma in coarse pixels, shift in coarse pixels.
SIGMA_RANGE = (0.2, 1.2)
MAX_SHIFT = 1.5
# Two images of one place share at least half of their coarse variance; unrelated ones far less.
MAX_UNEXPLAINED = 0.5
MIN_PIXELS = 40  # coarse pixels
# What an elongated PSF must take off the misfit of a round one, and one of another shape off that of a Gaussian.
MIN_GAIN = 0.03
EXPONENTS = (1.1, 8.0)
WIDEST = 8.0 * MAX_RATIO  # standard deviations in fine pixels that a stored geometry may claim: what a PSF needs of memory grows with them
CUTOFFS = (0.6, 3.0)  # cycles to a detector: optics far worse than it, and as good as none
# Standard deviations in coarse pixels: twice as wide as its pixel is no detector, and its tails would reach beyond the halo of a tile.
WIDEST_DETECTOR = 0.55
DETECTOR, CUTOFF = 0.67, 1.5  # where the search for these starts: standard deviations of a Gaussian, and cycles to the detector


@dataclass(frozen=True)
class Registration:
    """Estimated geometry.

    Attributes
    ----------
    sigma : tuple of float
        Standard deviations (rows, columns) of the PSF, fine pixels.
    shift : tuple of float
        (dy, dx): where the coarse image really lies, relative to its georeference, fine pixels (rows down, columns right).
    unexplained : float
        Share of the MSI's variance at the coarse scale that no linear map of the HSI explains; NaN where there were too few pixels to estimate
        anything, and the georeference and a PSF of half a coarse pixel were taken.
    at_limit : bool
        Whether the search for width and shift ended at the edge of its range, so that the figure is a bound and not an estimate. An exponent
        may: a box is at its edge.
    local : LocalField, optional
        What is added to the shift from place to place; None: nothing.
    exponent, cutoff : float
        Shape of the PSF; 2 and 0 for a Gaussian (`PsfBuilder`).
    """

    sigma: tuple[float, float]
    shift: tuple[float, float]
    unexplained: float
    at_limit: bool = False
    local: LocalField | None = None
    exponent: float = GAUSSIAN
    cutoff: float = 0.0

    def builder(self, pair: GridPair) -> PsfBuilder:
        """The PSF of this geometry on a grid pair."""
        return PsfBuilder(pair, self.sigma, self.shift, None if self.local is None else self.local.field, self.exponent, self.cutoff)

    def displacement(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """Where places in fine index coordinates (…) really lie, less where the georeference has them; (2, …), fine pixels."""
        shift = np.reshape(self.shift, (2, *[1] * np.ndim(rows)))
        return np.broadcast_to(shift, (2, *np.shape(rows))) if self.local is None else shift + self.local.field.at(rows, cols)

    def values(self) -> dict[str, Any]:
        """All but the coefficients of the field, as plain JSON values."""
        local = None if self.local is None else [*self.local.field.shape, self.local.largest, self.local.rms, self.local.explained]
        own = {"sigma": self.sigma, "shift": self.shift, "unexplained": self.unexplained, "at_limit": bool(self.at_limit)}
        own |= {"exponent": self.exponent, "cutoff": self.cutoff}
        return own | {"local": local}

    @staticmethod
    def restored(values: dict[str, Any], coefficients: np.ndarray | None) -> Registration:
        """Undo `values`; ValueError where a field is none."""
        local = None
        if values["local"] is not None and coefficients is not None:
            height, width, *figures = values["local"]
            if coefficients.ndim != 3 or len(coefficients) != 2 or max(coefficients.shape) > MAX_DEGREE + 1:
                raise ValueError(f"its displacement field has shape {coefficients.shape}")
            local = LocalField(Field(coefficients.astype(float), (int(height), int(width))), *map(float, figures))
        sigma, shift = tuple(values["sigma"]), tuple(values["shift"])
        return Registration(sigma, shift, values["unexplained"], values["at_limit"], local, values["exponent"], values["cutoff"])


@dataclass(frozen=True)
class LocalField:
    """A displacement field and how it was found.

    Attributes
    ----------
    field : Field
    largest, rms : float
        Of the displacement where it was estimated, fine pixels, the shift left out.
    explained : float
        Share of the misfit of held-out blocks that it takes off, 0 to 1.
    """

    field: Field
    largest: float
    rms: float
    explained: float


def register(
    pair: GridPair, samples: Sequence[Sample], *, local: LocalField | None = None, fixed: bool = False, reject: bool = True
) -> Registration:
    """Estimate PSF width and shift.

    Parameters
    ----------
    pair : GridPair
    samples : sequence of Sample
        Windows of the scene.
    local : LocalField, optional
        A field that is known already, to which shift and PSF are found.
    fixed : bool
        Whether the georeference is taken as it is, and only the PSF is found.
    reject : bool
        Whether images that do not show the same thing are rejected.

    Raises
    ------
    InvalidPair
        The two images have too little in common, even at the best geometry.
    """
    misfit, ratio = Misfit(pair, samples, None if local is None else local.field), pair.ratio
    if misfit.pixels < MIN_PIXELS:
        # Too little to estimate from: the georeference is kept, and a PSF as wide as most sensors'.
        return Registration((0.5 * ratio, 0.5 * ratio), (0.0, 0.0), float("nan"), local=local)

    start = _nearest_shift(misfit, ratio)[: 0 if fixed else 2]
    round_psf, value = _minimise(lambda p: misfit(p[0], p[0], *_shift(p[1:])), np.array([0.5 * ratio, *start]), 0.15 * ratio)
    sigma, shift = round_psf[[0, 0]], round_psf[1:]
    # An elongated PSF must earn its extra parameter.
    long_psf, long_value = _minimise(lambda p: misfit(p[0], p[1], *_shift(p[2:])), np.array([*sigma, *shift]), 0.05 * ratio)
    if long_value < (1 - MIN_GAIN) * value:
        sigma, shift, value = long_psf[:2], long_psf[2:], long_value
    # So must another shape.
    sigma, shift, value, exponent, cutoff = _best_shape(misfit, sigma, shift, value, ratio)
    (sigma_y, sigma_x), (dy, dx) = sigma, _shift(shift)
    if reject:
        reject_unlike(value)
    low, high = (s * ratio for s in SIGMA_RANGE)
    inside = all(low * 1.01 < s < high * 0.99 for s in (sigma_y, sigma_x)) and max(abs(dy), abs(dx)) < 0.99 * MAX_SHIFT * ratio
    return Registration((float(sigma_y), float(sigma_x)), (float(dy), float(dx)), float(value), not inside, local, exponent, cutoff)


def reject_unlike(unexplained: float) -> None:
    """Reject images of which the HSI leaves more of the MSI unexplained than of one place.

    Raises
    ------
    InvalidPair
    """
    if unexplained > MAX_UNEXPLAINED:
        raise InvalidPair(
            f"The two images do not show the same thing: at best {100 * max(1 - unexplained, 0):.0f} % of the MSI's variance at the HSI's "
            f"resolution is explained by the HSI; expected more than {100 * (1 - MAX_UNEXPLAINED):.0f} %. "
            "Check that both show the same place and season, that clouds are masked, and that the georeference is right to a coarse pixel.",
            code="not-one-place",
        )


def _nearest_shift(misfit: Misfit, ratio: float) -> np.ndarray:
    """The best of a coarse net of shifts (dy, dx): the misfit has side minima when the shift exceeds half a coarse pixel."""
    steps = np.array([-1.0, -0.5, 0.0, 0.5, 1.0]) * ratio
    return min((np.array([dy, dx]) for dy in steps for dx in steps), key=lambda shift: misfit(0.5 * ratio, 0.5 * ratio, *shift))


def _shift(p: np.ndarray) -> tuple[float, float]:
    """A shift (dy, dx) of none or two parameters: none where the georeference is taken as it is."""
    return (p[0], p[1]) if len(p) else (0.0, 0.0)


def _best_shape(
    misfit: Misfit, sigma: np.ndarray, shift: np.ndarray, value: float, ratio: float
) -> tuple[np.ndarray, np.ndarray, float, float, float]:
    """Standard deviations, shift, misfit, exponent and cut-off of the best PSF, which has another shape than a Gaussian where that is clearly better."""

    def tails(p: np.ndarray) -> float:
        return misfit(p[0] * sigma[0], p[0] * sigma[1], *_shift(p[2:]), exponent=p[1])

    def optics(p: np.ndarray) -> float:
        detector = p[0] * sigma
        if detector.max() > WIDEST_DETECTOR * ratio:
            return 1 + float(detector.max())
        return misfit(detector[0], detector[1], *_shift(p[2:]), cutoff=p[1])

    scale, exponent, cutoff = 1.0, GAUSSIAN, 0.0
    found, shaped = _shaped(tails, (1.0, GAUSSIAN), EXPONENTS, shift, ratio, value)
    if shaped < value:
        scale, exponent, shift, value = found[0], float(found[1]), found[2:], shaped
    found, shaped = _shaped(optics, (DETECTOR, CUTOFF), CUTOFFS, shift, ratio, value)
    if shaped < value:
        scale, exponent, cutoff, shift, value = found[0], GAUSSIAN, float(found[1]), found[2:], shaped
    return scale * sigma, shift, value, exponent, cutoff


def _shaped(
    misfit: Callable[[np.ndarray], float],
    start: tuple[float, float],
    limits: tuple[float, float],
    shift: np.ndarray,
    ratio: float,
    before: float,
) -> tuple[np.ndarray, float]:
    """A factor of the width, a shape and a shift, and their misfit; infinite where they are not clearly better than what was found before.

    The shift is found again once a shape is: the wrong one displaces it.
    """

    def octaves(p: np.ndarray) -> np.ndarray:
        return np.array([p[0], np.clip(start[1] * 2 ** p[1], *limits), *p[2:]])

    # To a tenth of the steps: that suffices to judge, and what is taken is found again.
    rough, value = _minimise(
        lambda p: misfit(octaves(np.array([*p, *shift]))), np.array([start[0], 0.0]), np.array([0.1, 0.5]), 0.1, 1e-3 * before
    )
    if value > (1 - MIN_GAIN) * before:
        return np.array([*start, *shift]), float("inf")
    steps = np.array([0.05, 0.2, *[0.05 * ratio] * len(shift)])
    best, value = _minimise(lambda p: misfit(octaves(p)), np.array([*rough, *shift]), steps)
    return octaves(best), value


def _minimise(
    function: Callable[[np.ndarray], float], start: np.ndarray, step: float | np.ndarray, within: float = 1e-2, misfit_within: float = 1e-6
) -> tuple[np.ndarray, float]:
    """The minimum near ``start``, to a share of the first steps and of the misfit."""
    simplex = start + step * np.vstack([np.zeros(len(start)), np.eye(len(start))])
    options: Any = {"initial_simplex": simplex, "xatol": within * np.min(step), "fatol": misfit_within, "maxfev": 160}
    best = minimize(function, start, method="Nelder-Mead", options=options)
    return best.x, float(best.fun)


def geometric_share(pair: GridPair, samples: Sequence[Sample], found: Registration, matrix: np.ndarray, offset: np.ndarray) -> float:
    """How much of the contradiction between the two images looks like geometry.

    The difference ``matrix`` · HSI - P(MSI) is regressed on what it would change if the PSF were wider, longer, heavier in its
    tails or displaced (one coefficient each for all bands). A wrong PSF explains most of it; other light, other season or
    another sensor does not.

    Parameters
    ----------
    pair, samples, found
        As for `register`, and its result.
    matrix, offset : ndarray, shapes (M, B) and (M,)
        Effective response.

    Returns
    -------
    float
        Share of the difference's variance, 0 to 1.
    """
    (sy, sx), (dy, dx) = found.sigma, found.shift
    step = 0.1 * pair.ratio
    centre = ((sy, sx), (dy, dx))
    probes = [((sy + step, sx), (dy, dx)), ((sy, sx + step), (dy, dx)), ((sy, sx), (dy + step, dx)), ((sy, sx), (dy, dx + step))]
    probes += [((1.5 * sy, 1.5 * sx), (dy, dx)), ((0.6 * sy, 0.6 * sx), (dy, dx))]
    errors, changes = [], []
    for sample in samples:
        msi, _ = _filled(sample.msi)
        mean = np.nanmean(sample.msi, axis=(1, 2))
        valid = np.isfinite(sample.hsi).all(0)
        seen = []
        for sigma, shift in (centre, *probes):
            psf = replace(found.builder(pair), sigma=sigma, shift=shift).build(sample.fine, sample.coarse, valid, msi, sample.positions)
            seen.append((psf.forward(msi).numpy(), psf.observed.numpy() > 0))
        used = np.logical_and.reduce([observed for _, observed in seen])
        base = seen[0][0][:, used]
        errors.append(matrix @ sample.hsi[:, used] - offset[:, None] - mean[:, None] - base)
        changes.append(np.stack([image[:, used] - base for image, _ in seen[1:]]))
    error, change = np.concatenate(errors, axis=1), np.concatenate(changes, axis=2)
    scale = np.sqrt((error**2).mean(1, keepdims=True)) + 1e-12  # every band has the same weight
    y = (error - error.mean(1, keepdims=True)) / scale
    x = (change - change.mean(2, keepdims=True)) / scale
    x, y = x.reshape(len(x), -1), y.reshape(-1)
    coefficient = np.linalg.lstsq(x.T, y, rcond=None)[0]
    return float(1 - ((y - coefficient @ x) ** 2).sum() / max((y**2).sum(), 1e-20))


class Misfit:
    """Unexplained share of the coarse MSI's variance as a function of the geometry."""

    def __init__(self, pair: GridPair, samples: Sequence[Sample], field: Field | None = None) -> None:
        self.pair, self.field = pair, field
        self.windows = samples
        spectra = np.concatenate([s.hsi[:, np.isfinite(s.hsi).all(0)] for s in samples], axis=1)
        self.pixels = spectra.shape[1]
        mean = spectra.mean(1, keepdims=True)
        scale = spectra.std(1, keepdims=True) + 1e-6
        _, vector = np.linalg.eigh((spectra - mean) / scale @ ((spectra - mean) / scale).T)
        keep = min(COMPONENTS, len(vector), max(1, spectra.shape[1] // 8))
        self.components = [np.tensordot(vector[:, ::-1][:, :keep].T, (s.hsi - mean[:, :, None]) / scale[:, :, None], 1) for s in samples]
        self.msi, self.msi_valid = zip(*(_filled(s.msi) for s in samples), strict=True)
        self.means = [np.nanmean(s.msi, axis=(1, 2))[:, None, None] for s in samples]

    def __call__(self, sigma_y: float, sigma_x: float, dy: float, dx: float, exponent: float = GAUSSIAN, cutoff: float = 0.0) -> float:
        """Misfit of a PSF and shift, fine pixels; what lies beyond the searched range costs more."""
        ratio = self.pair.ratio
        wanted, limit = np.array([sigma_y, sigma_x]), MAX_SHIFT * ratio
        bounded = np.clip(wanted, SIGMA_RANGE[0] * ratio, SIGMA_RANGE[1] * ratio)
        outside = max(0.0, abs(dy) - limit) + max(0.0, abs(dx) - limit) + float(np.abs(wanted - bounded).sum())
        builder = PsfBuilder(
            self.pair, (float(bounded[0]), float(bounded[1])), (float(dy), float(dx)), self.field, float(exponent), float(cutoff)
        )
        views = self.seen(builder)
        x = np.concatenate([components[:, used] for components, (_, used) in zip(self.components, views, strict=True)], axis=1)
        y = np.concatenate([seen[:, used] for seen, used in views], axis=1)
        if x.shape[1] < 2 * len(x) + 2:
            return 1.0 + outside / ratio
        return unexplained_share(x, y) * (1 + outside / ratio) + outside / ratio

    def seen(self, builder: PsfBuilder) -> list[tuple[np.ndarray, np.ndarray]]:
        """The MSI of every window seen through a PSF, (M, h, w), and where that can be compared with the HSI, (h, w)."""
        found = []
        for sample, msi, msi_valid, mean, components in zip(
            self.windows, self.msi, self.msi_valid, self.means, self.components, strict=True
        ):
            valid = np.asarray(np.isfinite(components).all(0))
            psf = builder.build(sample.fine, sample.coarse, valid, msi, sample.positions)
            seen = psf.forward(torch.cat([msi, msi_valid]))
            # Coarse pixels whose footprint is mostly without MSI say nothing about the geometry.
            found.append((seen[:-1].numpy() + mean, (psf.observed * (seen[-1] > 0.95)).numpy() > 0))
        return found


def unexplained_share(x: np.ndarray, y: np.ndarray) -> float:
    """Mean over the rows of ``y`` (M, N) of the variance share that a linear map of ``x`` (C, N) and a constant leave over.

    Corrected for the degrees of freedom, so that unrelated rows give 1 whatever N is.
    """
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    weight = np.linalg.lstsq(x.T, y.T, rcond=None)[0]
    left = ((y - weight.T @ x) ** 2).sum(1) / np.maximum((y**2).sum(1), 1e-20)
    return float(left.mean() * (x.shape[1] - 1) / max(x.shape[1] - 1 - len(x), 1))


def _filled(msi: np.ndarray) -> tuple[Tensor, Tensor]:
    valid = torch.as_tensor(np.isfinite(msi).all(0))
    mean = np.nanmean(msi, axis=(1, 2), keepdims=True)
    image = fill_gaps(torch.as_tensor(np.nan_to_num(msi - mean)), valid)
    return image, valid[None].to(image.dtype)
