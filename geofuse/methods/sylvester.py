"""The closed form: one Gaussian prior around the upsampled HSI, solved exactly as a Sylvester equation.

Wei, Dobigeon and Tourneret 2015, "Fast fusion of multi-band images based on solving a Sylvester equation", doi:10.1109/TIP.2015.2458572;
here in noise-whitened coordinates, with noise and covariance estimated from the pair.
"""

from __future__ import annotations

from geofuse.methods.base import Cost, Tick
from geofuse.methods.gem.estimator import Gem, fit_closed_form
from geofuse.methods.gem.method import RANK, BayesianMethod, FittedGem, halo_of
from geofuse.pair.prepare import PreparedPair, Settings


class Sylvester(BayesianMethod):
    """The closed form of Wei, Dobigeon and Tourneret 2015."""

    name = "sylvester"
    summary = "closed form with one Gaussian prior, in the noise-whitened subspace"
    reference = "Wei, Dobigeon and Tourneret 2015, doi:10.1109/TIP.2015.2458572"

    def cost(self, ratio: float) -> Cost:
        """See `geofuse.methods.base.FusionMethod`."""
        return Cost(halo_of(ratio), images=5, channels=RANK, seconds=0.15e-6)

    def estimator(self, prepared: PreparedPair, settings: Settings, tick: Tick) -> Gem:
        """Fit the estimator alone."""
        tick("closed form")
        return fit_closed_form(prepared.patches, prepared.response.matrix, prepared.response.offset, prepared.pair.ratio)

    def fit(self, prepared: PreparedPair, settings: Settings, tick: Tick) -> FittedGem:
        """See `geofuse.methods.base.FusionMethod`."""
        return FittedGem(self.estimator(prepared, settings, tick), prepared.pair.ratio)


SYLVESTER = Sylvester()
