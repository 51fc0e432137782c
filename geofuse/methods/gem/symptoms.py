"""What the residuals of the HSI say about the instrument: stripes, and bands that are hardly more than noise.

Nothing here changes the estimate; it is what the report warns of.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import median_filter

from geofuse.methods.gem.coordinates import Coordinates
from geofuse.pair.patch import Patch

STRIPED = 2.0  # variance of line means, over what independent pixels would give
NOISY = 0.2  # signal-to-noise ratio of a band, relative to the median band's
LOUDER, AROUND = 3.0, 41  # times the noise of that many bands around
MIN_LINE = 8  # pixels, for a line to have a mean


def striping(patches: Sequence[Patch], coordinates: Coordinates) -> tuple[float, float]:
    """Variance of column and of row means of the spectral residual, relative to independent noise: about 1 without stripes.

    The spectral residual is what the subspace leaves of each spectrum. A detector of a pushbroom instrument that is off in one band stays
    there, the scene does not.

    Parameters
    ----------
    patches : sequence of Patch
    coordinates : Coordinates

    Returns
    -------
    tuple of float
        Along columns and along rows.
    """
    means: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    squares, count = 0.0, 0
    outside = np.eye(len(coordinates.sigma)) - coordinates.basis @ coordinates.analysis
    for p in patches:
        valid = p.hsi_valid.cpu().numpy()
        white = (p.hsi.double().cpu().numpy() - coordinates.mean[:, None, None]) / coordinates.sigma[:, None, None]
        left = np.tensordot(outside, white, 1) * valid
        squares += float((left**2).sum())
        count += int(valid.sum()) * len(left)
        for axis, found in ((0, means[0]), (1, means[1])):
            length = valid.sum(axis)
            long = length >= MIN_LINE
            found.append((left.sum(axis + 1)[:, long] ** 2 / length[long]).ravel())
    variance = max(squares / max(count, 1), 1e-20)
    columns, rows = (float(np.concatenate(m).mean()) / variance if sum(map(len, m)) else 1.0 for m in means)
    return columns, rows


def noisy_bands(patches: Sequence[Patch], coordinates: Coordinates) -> np.ndarray:
    """Bands whose signal-to-noise ratio is far below the others', and whose noise is far above its neighbours'; bool (B,)."""
    power = np.mean([p.hsi[:, p.hsi_valid].double().square().mean(1).cpu().numpy() for p in patches if bool(p.hsi_valid.any())], axis=0)
    ratio = np.sqrt(power) / coordinates.sigma
    # A band with next to no signal is dark, not noisy.
    louder = coordinates.sigma > LOUDER * median_filter(coordinates.sigma, AROUND, mode="nearest")
    return np.asarray((ratio < NOISY * np.median(ratio)) & louder)
