"""GEM as a fusion method: the estimator, and the filters that it learned where held-out coarse pixels confirm them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from torch import Tensor

from geofuse.errors import Warned
from geofuse.methods.base import EVERYTHING, Arrays, Cost, Inner, PerBand, Role, Tick, Values
from geofuse.methods.gem.diagnostics import gem_warnings
from geofuse.methods.gem.estimator import Gem, fit_gem
from geofuse.methods.gem.filters import REACH, ComplementaryFilters, Learned, fit_filters
from geofuse.methods.gem.innovation import is_far
from geofuse.methods.gem.uncertainty import UNCHECKED, Uncertainty, calibration, posterior_uncertainty
from geofuse.pair.patch import Patch
from geofuse.pair.prepare import PreparedPair, Settings

# Beyond this many fine pixels a coarse pixel changes nothing that int16 reflectance could show (docs/explanation/tiles.md).
HALO_COARSE, HALO_FINE = 8.0, 56
RANK = 30  # coefficients at most, with up to ten MSI bands


def halo_of(ratio: float) -> int:
    """Fine pixels that a tile reads around itself, learned filters included."""
    return int(np.ceil(max(HALO_COARSE * ratio, HALO_FINE))) + REACH


@dataclass(frozen=True)
class FittedGem:
    """A frozen estimator.

    Attributes
    ----------
    gem : Gem
    ratio : float
    filters : ComplementaryFilters or None
        What it learned; None where nothing was confirmed.
    uncertainty : Uncertainty or None
        Standard deviations, where they were asked for.
    learned : Learned or None
        How the learning went; not part of the state.
    """

    gem: Gem
    ratio: float
    filters: ComplementaryFilters | None = None
    uncertainty: Uncertainty | None = None
    learned: Learned | None = None

    fills_gaps: Literal[True] = True

    @property
    def knows_errors(self) -> bool:
        """Whether it was given standard deviations."""
        return self.uncertainty is not None

    @property
    def noise(self) -> np.ndarray:
        """Standard deviation of the HSI's noise, reflectance, shape (B,)."""
        return self.gem.coordinates.sigma

    @property
    def halo(self) -> int:
        """Fine pixels that a tile reads around itself."""
        return halo_of(self.ratio)

    def apply(self, patch: Patch, inner: Inner = EVERYTHING) -> Tensor:
        """Fuse a patch; see `geofuse.methods.base.FittedMethod`."""
        return self.gem.coordinates.decode(self.gem.apply(patch, self.filters)[:, *inner].contiguous())

    def deviation(self, patch: Patch, inner: Inner = EVERYTHING) -> Tensor:
        """Standard deviation of what `apply` returns; see `geofuse.methods.base.KnowsErrors`."""
        assert self.uncertainty is not None
        seen = self.gem.observe(patch)
        weights = self.gem.weights(seen)
        valid, known = (None if flags is None else flags[inner] for flags in (seen.valid, seen.known))
        return self.uncertainty.deviation(weights[:, *inner].contiguous(), valid, known, self.gem.widening(seen, weights)[inner])

    def far(self, patch: Patch, inner: Inner = EVERYTHING) -> Tensor:
        """Where the spectrum is extrapolated; see `geofuse.methods.base.FlagsPixels`."""
        seen = self.gem.observe(patch)
        return is_far(self.gem.surprise(seen, self.gem.weights(seen))[inner], len(seen.m))

    def state(self) -> tuple[Arrays, Values]:
        """All that decides about the result; see `geofuse.methods.base.FittedMethod`."""
        parts = {"gem": self.gem.arrays()}
        if self.filters is not None:
            parts["filters"] = self.filters.arrays()
        if self.uncertainty is not None:
            parts["uncertainty"] = self.uncertainty.arrays()
        return {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}, {"ratio": self.ratio}

    def describe(self) -> dict[str, Any]:
        """What the fit found, for the report."""
        gem, c = self.gem, self.gem.coordinates
        found: dict[str, Any] = {
            "disagreement": {"rho": gem.consistency.rho, "rho_after": gem.consistency.left, "harmonised": bool(gem.consistency.gain.any())},
            "noise": {"hsi_sigma": PerBand("hsi", c.sigma), "msi_sigma": PerBand("msi", c.msi_sigma), "rank": c.rank},
            "prior_weights": {s.kind: [round(float(w), 4) for w in s.prior.share] for s in gem.stages},
        }
        if gem.shifts is not None:
            largest = float(np.abs(gem.shifts.shift).max())
            found["coregistration"] = {"band_shift_px": PerBand("hsi", np.round(gem.shifts.shift, 4)), "largest_px": largest}
        if self.uncertainty is not None:
            found["uncertainty"] = {"factor": round(self.uncertainty.factor, 4)}
        if self.learned is not None:
            found["learned"] = {
                "weights": 0 if self.filters is None else self.filters.weight.size,
                "held_out_gain": round(self.learned.held_out, 5),
                "coarse_pixels": self.learned.coarse_pixels,
            }
        return found

    def warnings(self, prepared: PreparedPair, bands: Sequence[str]) -> list[Warned]:
        """What a user should know before relying on the result."""
        return gem_warnings(prepared, self.gem, bands)


def _check_shapes(gem: Gem) -> None:
    """Raise ValueError where parts of coordinates from a file do not fit each other."""
    c = gem.coordinates
    (bands, rank), msi_bands = c.basis.shape, len(c.srf)
    expected = {
        "sigma": (bands,),
        "mean": (bands,),
        "analysis": (rank, bands),
        "srf": (msi_bands, bands),
        "msi_offset": (msi_bands,),
        "msi_sigma": (msi_bands,),
    }
    for name, shape in expected.items():
        if getattr(c, name).shape != shape:
            raise ValueError(f"{name} has shape {getattr(c, name).shape}; expected {shape}")


class BayesianMethod(ABC):
    """What methods share that end in `Gem`: they are saved alike, and know their posterior."""

    name: str
    role: Role = "estimator"
    quick = True

    @abstractmethod
    def estimator(self, prepared: PreparedPair, settings: Settings, tick: Tick) -> Gem:
        """Fit the estimator alone."""

    def restore(self, arrays: Arrays, values: Values) -> FittedGem:
        """Undo `FittedGem.state`."""

        def part(prefix: str) -> dict[str, np.ndarray]:
            return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}

        filters, uncertainty, gem = part("filters."), part("uncertainty."), Gem.from_arrays(part("gem."))
        _check_shapes(gem)
        return FittedGem(
            gem,
            float(values["ratio"]),
            ComplementaryFilters(**filters) if filters else None,
            Uncertainty.from_arrays(uncertainty) if uncertainty else None,
        )

    def with_deviation(
        self, fitted: FittedGem, prepared: PreparedPair, reduced: tuple[PreparedPair, np.ndarray] | None, settings: Settings
    ) -> FittedGem:
        """The fitted method with standard deviations; see `geofuse.methods.base.CalibratesErrors`."""
        uncertainty = replace(posterior_uncertainty(fitted.gem, prepared.patches), factor=UNCHECKED)
        if reduced is not None:
            pair, truth = reduced
            gem = self.estimator(pair, settings, lambda step: None)
            patch = pair.patches[0]
            fused = gem.coordinates.decode(gem.apply(patch)).cpu().numpy()
            fused = np.where(patch.msi_valid.cpu().numpy(), fused, np.nan)
            uncertainty = replace(uncertainty, factor=calibration(gem, patch, fused, truth, np.sqrt(uncertainty.floor)))
        return replace(fitted, uncertainty=uncertainty)


class GemMethod(BayesianMethod):
    """The estimator of geofuse."""

    name = "gem"
    summary = "guided EM-calibrated MAP, with filters that it learned from the scene where held-out pixels confirm them"
    reference = "geofuse; docs/explanation/method.md"

    def cost(self, ratio: float) -> Cost:
        """See `geofuse.methods.base.FusionMethod`."""
        return Cost(halo_of(ratio), images=14, channels=RANK, seconds=3.3e-6)

    def estimator(self, prepared: PreparedPair, settings: Settings, tick: Tick) -> Gem:
        """Fit the estimator alone."""
        response = prepared.response
        return fit_gem(
            prepared.patches,
            response.matrix,
            response.offset,
            prepared.pair.ratio,
            harmonise=prepared.harmonise,
            seed=settings.seed,
            tick=tick,
        )

    def fit(self, prepared: PreparedPair, settings: Settings, tick: Tick) -> FittedGem:
        """See `geofuse.methods.base.FusionMethod`."""
        gem = self.estimator(prepared, settings, tick)
        tick("learning")
        learned = fit_filters(gem, prepared.patches, settings.seed)
        return FittedGem(gem, prepared.pair.ratio, learned.filters, learned=learned)


GEM = GemMethod()
