"""GEM, the guided EM-calibrated MAP: the estimator of geofuse, fitted on a sample and applied anywhere in the scene.

    prior mean                                     prior covariance
    stage A   upsampled HSI                        12 soft classes, EM
    stage B   A, guided by the MSI                 scatter around it, EM
    stage C   B, guided once more, finer           scatter around it, EM

Every stage ends in the same MAP solve, so that the result explains both observations whatever the guide proposed. After stage A the
displacement of the HSI's bands against each other is estimated and taken apart; the stages behind work on bands that lie on each other.
`fit` estimates; what it returns is frozen, and `Gem.apply` is a local operator (how far it reaches: docs/explanation/tiles.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from geofuse.methods.gem.blends import ALIKE
from geofuse.methods.gem.classes import Classes, fit_classes
from geofuse.methods.gem.consistency import Consistency, harmonised, measure_consistency
from geofuse.methods.gem.coordinates import Coordinates
from geofuse.methods.gem.coregistration import BandShifts, fit_band_shifts
from geofuse.methods.gem.em import calibrate, refine_classes, second_moment
from geofuse.methods.gem.evidence import apart_from
from geofuse.methods.gem.geometry import correct_geometry
from geofuse.methods.gem.guided import GuidedFilter
from geofuse.methods.gem.innovation import innovation_distance, widening
from geofuse.methods.gem.observation import Observation, encode
from geofuse.methods.gem.posterior import Prior, solve
from geofuse.methods.gem.start import detail_covariance, start_coordinates
from geofuse.pair.images import as_like, mix
from geofuse.pair.patch import Patch
from geofuse.pair.registration import WIDEST

CLASSES = 12
FIRST_ROUNDS, LATER_ROUNDS = 8, 3
SHRINKAGE = 300.0  # pixels' worth of the pooled statistics in every class
# Relative residuals at which stages stop: the first, which only shows where bands are displaced, and the others. Every tile stops where its own
# residual allows, so that looser ones make seams on bright roofs: with 1e-3 for the others 1.5e-4 reflectance, with 1e-2 for the first 2.5e-4.
FIRST_TOLERANCE, TOLERANCE = 3e-4, 1e-4
# Standard deviations of the windows of the guided stages: of the first in coarse pixels, with few bands and with many, whose regressions have more slopes
# to find; of the last in fine pixels. There many bands are replaced by their components: as good, and far quicker.
FEW_WINDOW, MANY_WINDOW, FINE = 0.5, 1.0, 1.0
FEW_BANDS = 5
FEW_RIDGE, MANY_RIDGE = 3e-3, 1e-3


class Filters(Protocol):
    """What a learned step makes of an estimate (K, H, W), beside the whitened MSI (M, H, W): a change of the next prior mean."""

    def change(self, z: Tensor, m: Tensor) -> Tensor:
        """To an image of coefficients, (K, H, W)."""
        ...


@dataclass(frozen=True)
class Stage:
    """One stage: how its prior mean is made of the estimate before it (``upsample``, ``guided`` or ``finer``), and its prior."""

    kind: str
    prior: Prior


@dataclass(frozen=True)
class Draft:
    """What a stage starts from, the displacements of the bands taken apart.

    Attributes
    ----------
    seen : Observation
        What is left to explain, gaps of the MSI filled.
    z : Tensor, shape (K, H, W)
        Estimate of the stage before; empty in the first.
    apart : Tensor, shape (K, H, W), or None
        What these add to what the stage will find.
    base : Tensor, shape (K, H, W)
        Prior mean.
    """

    seen: Observation
    z: Tensor
    apart: Tensor | None
    base: Tensor


@dataclass(frozen=True)
class Gem:
    """The frozen estimator.

    Attributes
    ----------
    coordinates : Coordinates
    consistency : Consistency
        How far the two images contradict each other, and how the MSI is harmonised to the HSI.
    classes : Classes or None
        None: one class.
    guide : GuidedFilter
    stages : tuple of Stage
    shifts : BandShifts or None
        Displacements of the HSI's bands; None: not looked for.
    geometry : ndarray, shape (4,), or None
        PSF width and shift that replace those of the patches (see `correct_geometry`); None: they are right.
    """

    coordinates: Coordinates
    consistency: Consistency
    classes: Classes | None
    guide: GuidedFilter
    stages: tuple[Stage, ...]
    shifts: BandShifts | None = None
    geometry: np.ndarray | None = None

    def apply(self, patch: Patch, filters: Filters | None = None) -> Tensor:
        """MAP coefficients of a patch, shape (K, H, W); with filters those of the learned step."""
        return self.run(self.observe(patch), filters)

    def run(self, seen: Observation, filters: Filters | None = None) -> Tensor:
        """Run all stages one after the other; coefficients (K, H, W).

        With the filters of a learned step the last one is solved once more, around a prior mean that they have moved.
        """
        weights = self.weights(seen)

        def solved(draft: Draft, base: Tensor, stage: Stage, tolerance: float, dual: Tensor | None) -> tuple[Tensor, Tensor]:
            found = solve(draft.seen, base, weights, stage.prior, self.coordinates.mixing, tolerance=tolerance, alike=ALIKE, start=dual)
            return found.z if draft.apart is None else found.z.add_(draft.apart), found.x

        z, dual = torch.empty(0), None
        for number, stage in enumerate(self.stages):
            draft = self.draft(stage.kind, seen, z)
            # The second "upsample" asks nearly what the first one did, with the displacements taken apart: it starts from that answer.
            start = dual if stage.kind == "upsample" else None
            z, dual = solved(draft, draft.base, stage, FIRST_TOLERANCE if number == 0 < len(self.stages) - 1 else TOLERANCE, start)
        if filters is not None:
            z, _ = solved(draft, draft.base + filters.change(self.aligned(z), draft.seen.m), stage, TOLERANCE, dual)
        return z

    def draft(self, kind: str, seen: Observation, z: Tensor) -> Draft:
        """What a stage of this kind starts from, after the estimate ``z`` of the one before it."""
        seen = self.filled(seen, z)
        if self.shifts is None or not z.numel():
            return Draft(seen, z, None, self.base(kind, seen, z))
        apart = self.shifts.change(z)
        seen, aligned = apart_from(seen, apart), z - apart
        return Draft(seen, aligned, apart, self.base(kind, seen, aligned))

    def aligned(self, z: Tensor) -> Tensor:
        """The estimate with its bands where the MSI has them."""
        return z if self.shifts is None else z - self.shifts.change(z)

    def features(self, seen: Observation) -> Tensor:
        """Scaled components of what the MSI shows, shape (C, H, W)."""
        if self.classes is None:
            raise ValueError("a closed-form estimator has no features")
        return self.classes.components(seen.m)

    def weights(self, seen: Observation) -> Tensor:
        """Soft class weights, shape (J, H, W)."""
        return torch.ones_like(seen.m[:1]) if self.classes is None else self.classes.weights(seen)

    def observe(self, patch: Patch) -> Observation:
        """Encode a patch and harmonise its MSI."""
        patch = patch if self.geometry is None else patch.at(self.geometry)
        return harmonised(encode(patch, self.coordinates), self.coordinates, self.consistency)

    def surprise(self, seen: Observation, weights: Tensor) -> Tensor:
        """Squared distance of the MSI from what was to be expected, shape (H, W); see `geofuse.methods.gem.innovation`."""
        return innovation_distance(seen, weights, self.stages[0].prior, self.coordinates.mixing)

    def widening(self, seen: Observation, weights: Tensor) -> Tensor:
        """Factor of the variance, shape (H, W): above 1 where spectra are extrapolated."""
        return widening(self.surprise(seen, weights), len(seen.m))

    def filled(self, seen: Observation, z: Tensor) -> Observation:
        """The observation with gaps of its MSI showing what the estimate ``z`` predicts, so that the filters see no edge there."""
        if seen.valid is None or not z.numel():
            return seen
        return replace(seen, m=torch.where(seen.valid, seen.m, mix(as_like(self.coordinates.mixing, z), z)))

    def base(self, kind: str, seen: Observation, z: Tensor) -> Tensor:
        """Prior mean image of a stage, from the estimate ``z`` of the one before it."""
        if kind == "upsample":
            return seen.psf.upsample(seen.y)
        if kind == "guided":
            return self.guide(z, seen.m, seen.origin)
        if len(seen.m) <= FEW_BANDS:
            return replace(self.guide, sigma=FINE)(z, seen.m)
        components = self.features(seen)
        return GuidedFilter(np.ones(len(components)), FINE, self.guide.ridge)(z, components)

    def arrays(self) -> dict[str, np.ndarray]:
        """All that was learned, by dotted names, for storage."""
        parts: dict[str, dict[str, np.ndarray]] = {
            "coordinates": self.coordinates.arrays(),
            "consistency": self.consistency.arrays(),
            "guide": {"scale": self.guide.scale, "sigma": np.array(self.guide.sigma), "ridge": np.array(self.guide.ridge)},
        }
        if self.classes is not None:
            parts["classes"] = self.classes.arrays()
        if self.shifts is not None:
            parts["shifts"] = {"shift": self.shifts.shift, "transfer": self.shifts.transfer}
        if self.geometry is not None:
            parts["geometry"] = {"psf": self.geometry}
        for k, stage in enumerate(self.stages):
            parts[f"stage{k}-{stage.kind}"] = {"covariance": stage.prior.covariance, "mean": stage.prior.mean, "share": stage.prior.share}
        return {f"{part}.{name}": array for part, members in parts.items() for name, array in members.items()}

    @staticmethod
    def from_arrays(arrays: dict[str, np.ndarray]) -> Gem:
        """Undo `arrays`."""
        parts: dict[str, dict[str, np.ndarray]] = {}
        for name, array in arrays.items():
            part, member = name.split(".", 1)
            parts.setdefault(part, {})[member] = array
        guide, geometry = parts["guide"], parts["geometry"]["psf"] if "geometry" in parts else None
        if geometry is not None and (geometry.shape != (4,) or not 0 < geometry[:2].min() <= geometry[:2].max() <= WIDEST):
            raise ValueError(f"the geometry of its estimator is {str(geometry)[:80]}")
        stages = sorted(part for part in parts if part.startswith("stage"))
        return Gem(
            Coordinates(**parts["coordinates"]),
            Consistency.from_arrays(parts["consistency"]),
            Classes.from_arrays(parts["classes"]) if "classes" in parts else None,
            GuidedFilter(guide["scale"], float(guide["sigma"]), float(guide["ridge"])),
            tuple(Stage(part.split("-", 1)[1], Prior(**parts[part])) for part in stages),
            BandShifts(**parts["shifts"]) if "shifts" in parts else None,
            geometry,
        )


def fit_closed_form(patches: Sequence[Patch], srf: np.ndarray, msi_offset: np.ndarray, ratio: float) -> Gem:
    """Fit the closed form: one class, prior mean the upsampled HSI, covariance from the HSI's own detail.

    Wei, Dobigeon and Tourneret 2015 (FUSE, doi:10.1109/TIP.2015.2458572), in noise-whitened coordinates. Parameters as for `fit_gem`.
    """
    coordinates = start_coordinates(patches, srf, msi_offset)
    seen = [encode(p, coordinates) for p in patches]
    covariance = detail_covariance(seen, ratio)
    consistency = replace(measure_consistency(seen, coordinates, covariance, harmonise=False), left=0.0)
    return Gem(coordinates, consistency, None, _guide(seen, ratio), (Stage("upsample", Prior.single(covariance)),))


def fit_gem(
    patches: Sequence[Patch],
    srf: np.ndarray,
    msi_offset: np.ndarray,
    ratio: float,
    *,
    harmonise: bool = True,
    seed: int = 0,
    tick: Callable[[str], None] = lambda stage: None,
) -> Gem:
    """Fit the estimator on a sample of the scene.

    Parameters
    ----------
    patches : sequence of Patch
    srf : ndarray, shape (M, B)
        Effective response.
    msi_offset : ndarray, shape (M,)
        MSI minus ``srf`` times HSI, reflectance.
    ratio : float
        Coarse over fine pixel size.
    harmonise : bool
        Whether the MSI may be moved towards the HSI where they contradict each other (see `measure_consistency`).
    seed : int
        For the classes.
    tick : callable
        Is given the name of each step when it begins.
    """
    tick("noise and subspace")
    start = start_coordinates(patches, srf, msi_offset)
    tick("prior covariance")
    coordinates, covariance = _calibrated(patches, start, ratio)
    tick("cross-sensor consistency")
    measured = measure_consistency([encode(p, coordinates) for p in patches], coordinates, covariance, harmonise)
    geometry, consistency = correct_geometry(patches, coordinates), measured
    if geometry is not None:  # what was calibrated under the wrong one is of no use
        patches = [p.at(geometry) for p in patches]
        coordinates, covariance = _calibrated(patches, start, ratio)
        right = measure_consistency([encode(p, coordinates) for p in patches], coordinates, covariance, harmonise)
        consistency = replace(right, rho=measured.rho)
    coordinates, covariance = inflate_hsi_noise(coordinates, covariance, consistency.left)
    coordinates, covariance = calibrate(patches, coordinates, covariance, rounds=8)
    seen = [harmonised(encode(p, coordinates), coordinates, consistency) for p in patches]
    centre = coordinates.srf @ coordinates.mean + coordinates.msi_offset
    classes = fit_classes(seen, coordinates.msi_sigma, centre, CLASSES, seed)
    gem = Gem(coordinates, consistency, classes, _guide(seen, ratio), (), geometry=geometry)
    return _fit_stages(gem, seen, covariance, tick)


def _calibrated(patches: Sequence[Patch], start: Coordinates, ratio: float) -> tuple[Coordinates, np.ndarray]:
    return calibrate(patches, start, detail_covariance([encode(p, start) for p in patches], ratio), rounds=20, held=10)


def _fit_stages(gem: Gem, seen: Sequence[Observation], covariance: np.ndarray, tick: Callable[[str], None]) -> Gem:
    weights = [gem.weights(s) for s in seen]
    pixels = sum(s.known_pixels for s in seen)
    share = np.sum([s.masked(w).sum((1, 2)).double().cpu().numpy() for s, w in zip(seen, weights, strict=True)], axis=0) / pixels
    images = [torch.empty(0)] * len(seen)
    # The first stage again once the bands lie on each other: what it found before was drawn with displaced ones.
    for kind in ("upsample", "upsample", "guided", "finer"):
        tick(f"stage {kind}")
        drafts = [gem.draft(kind, s, z) for s, z in zip(seen, images, strict=True)]
        start, rounds = covariance, FIRST_ROUNDS
        if kind != "upsample":
            scatter = np.sum([second_moment(d.seen.masked(d.z - d.base)) for d in drafts], axis=0) / pixels
            start, rounds = scatter + 0.1 * covariance, LATER_ROUNDS
        prior = Prior(np.repeat(start[None], len(share), 0), np.zeros((len(share), len(start))), share)
        if kind == "upsample" and gem.stages:
            prior, rounds = gem.stages[-1].prior, LATER_ROUNDS
        prior, solutions = refine_classes(
            [d.seen for d in drafts], [d.base for d in drafts], weights, prior, gem.coordinates.mixing, rounds, SHRINKAGE
        )
        images = [s.z if d.apart is None else s.z + d.apart for s, d in zip(solutions, drafts, strict=True)]
        gem = replace(gem, stages=(*gem.stages, Stage(kind, prior)))
        if gem.shifts is None:
            tick("displacement of the bands")
            c = gem.coordinates
            gem = replace(gem, shifts=fit_band_shifts(seen, images, weights, prior, c.mixing, c.basis, c.analysis))
    return gem


def _guide(seen: Sequence[Observation], ratio: float) -> GuidedFilter:
    pixels = sum(s.known_pixels for s in seen)
    mean = torch.stack([s.masked(s.m).sum((1, 2)) for s in seen]).sum(0) / pixels
    spread = [s.masked(s.m - mean[:, None, None]).square().sum((1, 2)).double().cpu().numpy() for s in seen]
    variance = np.sum(spread, axis=0) / pixels
    window, ridge = (FEW_WINDOW, FEW_RIDGE) if len(variance) <= FEW_BANDS else (MANY_WINDOW, MANY_RIDGE)
    return GuidedFilter(np.sqrt(np.maximum(variance, 1e-6)), window * ratio, ridge)


def inflate_hsi_noise(coordinates: Coordinates, covariance: np.ndarray, rho: float) -> tuple[Coordinates, np.ndarray]:
    """Inflate the HSI noise by ρ²Σ, absorbed in a change of coordinates after which it is white again."""
    value, vector = np.linalg.eigh(np.eye(len(covariance)) + rho**2 * covariance)
    forward, backward = (vector / np.sqrt(value)) @ vector.T, (vector * np.sqrt(value)) @ vector.T
    return coordinates.rotated(forward, backward), forward @ covariance @ forward
