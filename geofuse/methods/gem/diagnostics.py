"""What the estimator found out about the pair that a user should know before relying on the result."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geofuse.errors import Warned, warned
from geofuse.methods.gem.consistency import WARNING_RHO
from geofuse.methods.gem.estimator import Gem
from geofuse.methods.gem.symptoms import STRIPED, noisy_bands, striping
from geofuse.pair.prepare import PreparedPair

GEOMETRIC_RHO = 0.03  # where the contradiction is plainly geometric


def gem_warnings(prepared: PreparedPair, gem: Gem, names: Sequence[str]) -> list[Warned]:
    """Contradiction of the images, a geometry that was corrected, and symptoms of the instrument."""
    return [*_contradiction(prepared, gem), *_instrument(prepared, gem, names)]


def _contradiction(prepared: PreparedPair, gem: Gem) -> list[Warned]:
    found, rho = [], gem.consistency.rho
    if gem.geometry is not None:
        sy, sx, dy, dx = gem.geometry
        found.append(
            warned(
                "geometry-replaced",
                f"The two images contradict each other (rho {rho:.2f}) at the PSF and shift that were given or first found; used instead: standard "
                f"deviations of ({sy:.2f}, {sx:.2f}) and a shift of ({dy:.2f}, {dx:.2f}) fine pixels (rows, columns).",
            )
        )
        rho = gem.consistency.left
    if not prepared.harmonise and rho > GEOMETRIC_RHO:
        found.append(
            warned(
                "geometric-contradiction",
                f"The two images contradict each other (rho {rho:.2f}, above {GEOMETRIC_RHO}) in the way a wrong PSF or registration would: the PSF may be "
                "of another shape than those that are tried, or the registration may vary over the scene.",
            )
        )
    elif rho > WARNING_RHO:
        found.append(
            warned(
                "contradiction",
                f"The two images contradict each other (rho {rho:.2f}, above {WARNING_RHO}) beyond noise and what PSF and shift explain: other light, "
                "other date or other calibration. Radiometry is taken from the HSI and detail from the MSI.",
            )
        )
    return found


def _instrument(prepared: PreparedPair, gem: Gem, names: Sequence[str]) -> list[Warned]:
    found = []
    columns, rows = striping(prepared.patches, gem.coordinates)
    if max(columns, rows) > STRIPED:
        lines = "columns" if columns >= rows else "rows"
        found.append(
            warned(
                "striped-hsi",
                f"The HSI is striped along its {lines}: their means vary {max(columns, rows):.1f} times as much as noise would make them. "
                "Stripes are taken for noise; destripe the HSI before fusing.",
            )
        )
    noisy = np.flatnonzero(noisy_bands(prepared.patches, gem.coordinates))
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
