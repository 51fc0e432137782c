"""The network of MossFuse as a fusion method for any pair: `gem`, and a network of the scene where held-out coarse pixels confirm it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from geofuse.errors import Warned, warned
from geofuse.methods.base import EVERYTHING, Arrays, Cost, Inner, Tick, Values
from geofuse.methods.gem.estimator import Filters, Gem
from geofuse.methods.gem.filters import REACH
from geofuse.methods.gem.method import GEM, RANK, BayesianMethod, FittedGem, halo_of
from geofuse.methods.mossfuse.scene_network import SceneNetwork, make_network
from geofuse.methods.mossfuse.train import Outcome, fit_network
from geofuse.pair.patch import Patch
from geofuse.pair.prepare import PreparedPair, Settings

PART = "mossfuse."
SHOWN = 200  # values of the loss that the report holds


@dataclass(frozen=True)
class Together:
    """Learned steps whose changes add up."""

    parts: tuple[Filters, ...]

    def change(self, z: Tensor, m: Tensor) -> Tensor:
        """What they add to an estimate (K, H, W), beside the whitened MSI (M, H, W)."""
        first, *others = (part.change(z, m) for part in self.parts)
        return sum(others, first)


@dataclass(frozen=True)
class FittedMossFuse(FittedGem):
    """A frozen estimator with a network.

    Attributes
    ----------
    network : SceneNetwork or None
        What moves the last prior mean, beside the learned filters; None where it was not confirmed: the result is that of `gem`.
    outcome : Outcome or None
        How its training went; not part of the state.
    """

    network: SceneNetwork | None = None
    outcome: Outcome | None = None

    @property
    def halo(self) -> int:
        """Fine pixels that a tile reads around itself."""
        return halo_of(self.ratio) + (0 if self.network is None else max(self.network.reach - REACH, 0))

    def apply(self, patch: Patch, inner: Inner = EVERYTHING) -> Tensor:
        """Fuse a patch; see `geofuse.methods.base.FittedMethod`."""
        if self.network is None:
            return super().apply(patch, inner)
        learned = Together(tuple(part for part in (self.filters, self.network) if part is not None))
        return self.gem.coordinates.decode(self.gem.apply(patch, learned)[:, *inner].contiguous())

    def state(self) -> tuple[Arrays, Values]:
        """All that decides about the result; see `geofuse.methods.base.FittedMethod`."""
        arrays, values = super().state()
        own = {} if self.network is None else self.network.arrays()
        return dict(arrays) | {PART + name: array for name, array in own.items()}, values

    def describe(self) -> dict[str, Any]:
        """What the fit found, for the report."""
        found, outcome = super().describe(), self.outcome
        if outcome is not None:
            losses = outcome.losses[:: max(1, math.ceil(len(outcome.losses) / SHOWN))]
            found["network"] = {
                "used": self.network is not None,
                "held_out_gain": round(outcome.gain, 5),
                "held_out_gain_error": round(outcome.error, 5),
                "held_out_pixels": outcome.pixels,
                "amplitude": round(outcome.amplitude, 3),
                "steps": len(outcome.losses),
                "planned_steps": outcome.planned,
                "seconds": round(outcome.seconds, 1),
                "loss": [round(float(v), 5) if np.isfinite(v) else None for v in losses],
            }
        return found

    def warnings(self, prepared: PreparedPair, bands: Sequence[str]) -> list[Warned]:
        """What a user should know before relying on the result."""
        return [*super().warnings(prepared, bands), *_network_warnings(self.outcome)]


def _network_warnings(outcome: Outcome | None) -> list[Warned]:
    if outcome is None:
        return []
    found = []
    if outcome.network is None:
        if not outcome.planned:
            why = f"There are too few coarse pixels to train a network and to judge it ({outcome.pixels} could be held out)"
        else:
            why = f"Of what the HSI says beyond the estimate the network explains {100 * outcome.gain:.2f} ± {100 * outcome.error:.2f} %"
            why += f" in {outcome.pixels} coarse pixels held out from training, which does not confirm it"
        found.append(warned("network-not-confirmed", f"{why}: the result is that of 'gem'."))
    if outcome.cut_short:
        found.append(
            warned(
                "training-cut-short",
                f"The training ended after {len(outcome.losses)} of {outcome.planned} steps, because its time was up: another run may learn something "
                "else. Give it more seconds of training for a result that can be repeated.",
            )
        )
    return found


class MossFuseMethod(BayesianMethod):
    """`gem`, with a network of the scene where held-out coarse pixels confirm it."""

    name = "mossfuse"
    summary = "gem, with the network of MossFuse on subspace coefficients where held-out pixels confirm it"
    reference = "after Du et al., arXiv:2412.04802; docs/explanation/method.md"
    quick = False

    def cost(self, ratio: float) -> Cost:
        """See `geofuse.methods.base.FusionMethod`."""
        return Cost(halo_of(ratio) + max(make_network(RANK, 4).reach - REACH, 0), images=18, channels=RANK, seconds=11e-6)

    def estimator(self, prepared: PreparedPair, settings: Settings, tick: Tick) -> Gem:
        """Fit the estimator alone."""
        return GEM.estimator(prepared, settings, tick)

    def fit(self, prepared: PreparedPair, settings: Settings, tick: Tick) -> FittedMossFuse:
        """See `geofuse.methods.base.FusionMethod`."""
        plain = GEM.fit(prepared, settings, tick)
        tick("training the network")
        outcome = fit_network(
            plain.gem,
            plain.filters,
            prepared.patches,
            seconds=settings.train_seconds,
            seed=settings.seed,
            progress=settings.progress,
        )
        return FittedMossFuse(**vars(plain), network=outcome.network, outcome=outcome)

    def restore(self, arrays: Arrays, values: Values) -> FittedMossFuse:
        """Undo `FittedMossFuse.state`."""
        own = {name.removeprefix(PART): array for name, array in arrays.items() if name.startswith(PART)}
        plain = super().restore({name: array for name, array in arrays.items() if not name.startswith(PART)}, values)
        network = SceneNetwork.from_arrays(own) if own else None
        expected = plain.gem.coordinates.rank, len(plain.gem.coordinates.srf)
        if network is not None and (found := (len(network.scaling.z), len(network.scaling.m))) != expected:
            raise ValueError(f"the network is for {found} coefficients and MSI bands; expected {expected}")
        return FittedMossFuse(**vars(plain), network=network)


MOSSFUSE = MossFuseMethod()
