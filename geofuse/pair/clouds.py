"""What only one of the two images shows: clouds and their shadows, smoke, a field that was burnt in between.

A few per cent of the scene that contradict the rest pull registration, response and covariances away from it for every pixel. They are found
where the MSI, seen through the PSF, is far from what the effective response makes of the HSI: many robust deviations of that difference over
the scene, and more than the scene itself varies. The difference is averaged over 3 x 3 coarse pixels, in which the errors of a small shift
cancel and a cloud does not. The response behind it is fitted by trimmed least squares (Rousseeuw 1984, doi:10.1080/01621459.1984.10477105);
being non-negative, it cannot bend to a bright cloud over dark ground.

Which image is covered there? Both are spectra in the bands of the MSI: the one that is farther from all other spectra of the scene,
by Mahalanobis distance, is the one that is covered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch
from scipy.ndimage import binary_dilation, uniform_filter

from geofuse.pair.gaps import fill_gaps
from geofuse.pair.psf.builder import Psf, PsfBuilder
from geofuse.pair.response import non_negative_response
from geofuse.pair.scene import Sample

TRIMMINGS = 8
DEVIATIONS = 6.0  # robust standard deviations of the difference ...
VARIATIONS = 1.0  # ... and standard deviations of the scene, both root mean square over the MSI's bands
# What covers more is no accident of one image: the two differ in light or season, which is harmonised instead.
LARGEST_SHARE = 0.2
MIN_PIXELS = 60  # coarse pixels, to know what is usual
COMPLETE = 0.95  # share of a footprint


@dataclass(frozen=True)
class Clouds:
    """Frozen knowledge of what is usual in a scene.

    Attributes
    ----------
    matrix, offset : ndarray, shapes (M, B) and (M,)
        From the HSI to the MSI where both show the same.
    deviation : ndarray, shape (M,)
        Robust standard deviation of the smoothed difference, reflectance.
    mean, covariance : ndarray, shapes (M,) and (M, M)
        Of the spectra in the MSI's bands.
    bands : ndarray of bool
        Which bands of the MSI these are, where it has others that the HSI does not see; empty: all.
    """

    matrix: np.ndarray
    offset: np.ndarray
    deviation: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    bands: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))

    def arrays(self) -> dict[str, np.ndarray]:
        """All members by name, for storage."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def clear(self, sample: Sample, builder: PsfBuilder) -> tuple[Sample, np.ndarray]:
        """The sample without the pixels of either image that the other contradicts (NaN there), and where, (h, w): 1 in the MSI, 2 in the HSI."""
        seen = _Seen.of(replace(sample, msi=sample.msi[self.bands]) if self.bands.size else sample, builder)
        predicted = self._predicted(sample)
        core = self._far(_smooth(seen.msi - predicted, seen.used))
        if not core.any():
            return sample, np.zeros(core.shape, int)
        far = [self._distance(_smooth(image, seen.used)) for image in (seen.msi, predicted)]
        # The fringe belongs to the image to which the core next to it does.
        votes = [uniform_filter((core & covered).astype(float), 5, mode="constant") for covered in (far[0] >= far[1], far[0] < far[1])]
        fringe = binary_dilation(core, np.ones((3, 3), bool))
        where = np.where(fringe, np.where(votes[0] >= votes[1], 1, 2), 0)
        hidden = seen.psf.upsample(torch.as_tensor(where == 1)[None].float())[0].numpy() > 0.5
        hsi, msi = np.where(where == 2, np.nan, sample.hsi), np.where(hidden, np.nan, sample.msi)
        return replace(sample, hsi=hsi.astype(np.float32), msi=msi.astype(np.float32)), where

    def _predicted(self, sample: Sample) -> np.ndarray:
        return np.tensordot(self.matrix, np.nan_to_num(sample.hsi), 1) + self.offset[:, None, None]

    def _far(self, error: np.ndarray) -> np.ndarray:
        spread = np.sqrt(np.diag(self.covariance))
        by_deviation, by_spread = (np.sqrt(((error / s[:, None, None]) ** 2).mean(0)) for s in (self.deviation, spread))
        return (by_deviation > DEVIATIONS) & (by_spread > VARIATIONS)

    def _distance(self, image: np.ndarray) -> np.ndarray:
        centred = (image - self.mean[:, None, None]).reshape(len(image), -1)
        return (centred * np.linalg.solve(self.covariance, centred)).sum(0).reshape(image.shape[1:])


def find_clouds(samples: Sequence[Sample], builder: PsfBuilder) -> tuple[Clouds | None, float]:
    """Learn what is usual, and whether anything is not.

    Parameters
    ----------
    samples : sequence of Sample
        Windows of the scene.
    builder : PsfBuilder
        The geometry as far as it is known; an error of half a coarse pixel does no harm.

    Returns
    -------
    Clouds or None
        None where nothing contradicts the rest, or so much that it is no accident, or where there are too few pixels to decide.
    float
        Share of the comparable coarse pixels that do.
    """
    seen = [_Seen.of(s, builder) for s in samples]
    hsi = np.concatenate([s.hsi[:, v.used] for s, v in zip(samples, seen, strict=True)], axis=1)
    msi = np.concatenate([v.msi[:, v.used] for v in seen], axis=1)
    keep = np.ones(hsi.shape[1], bool)
    found = None
    for _ in range(TRIMMINGS):
        if keep.sum() < max(MIN_PIXELS, (1 - LARGEST_SHARE) * len(keep)):
            return None, 0.0
        found = _usual(samples, seen, hsi[:, keep], msi[:, keep])
        errors = [_smooth(v.msi - found._predicted(s), v.used) for s, v in zip(samples, seen, strict=True)]
        # A neighbour of what is far may be touched by it already.
        far = np.concatenate([binary_dilation(found._far(e), np.ones((3, 3), bool))[v.used] for e, v in zip(errors, seen, strict=True)])
        if np.array_equal(far, ~keep):
            break
        keep = ~far
    share = float(1 - keep.mean())
    return (found, share) if 0 < share <= LARGEST_SHARE else (None, 0.0)


def _usual(samples: Sequence[Sample], seen: Sequence[_Seen], hsi: np.ndarray, msi: np.ndarray) -> Clouds:
    matrix = non_negative_response(hsi, msi)
    offset = np.median(msi - matrix @ hsi, axis=1)
    covariance = np.atleast_2d(np.cov(msi)) + 1e-8 * np.eye(len(msi))
    blank = Clouds(matrix, offset, np.ones(len(msi)), msi.mean(1), covariance)
    errors = [_smooth(v.msi - blank._predicted(s), v.used)[:, v.used] for s, v in zip(samples, seen, strict=True)]
    deviation = 1.4826 * np.median(np.abs(np.concatenate(errors, axis=1)), axis=1)
    return Clouds(matrix, offset, np.maximum(deviation, 1e-6), msi.mean(1), covariance)


@dataclass(frozen=True)
class _Seen:
    """The MSI through the PSF (M, h, w), where it can be compared with the HSI (h, w), and the operator."""

    msi: np.ndarray
    used: np.ndarray
    psf: Psf

    @staticmethod
    def of(sample: Sample, builder: PsfBuilder) -> _Seen:
        valid = np.isfinite(sample.msi).all(0)
        mean = np.nan_to_num(sample.msi[:, valid].mean(1)) if valid.any() else np.zeros(len(sample.msi))
        image = torch.as_tensor(np.where(valid, sample.msi - mean[:, None, None], 0), dtype=torch.float32)
        psf = builder.build(sample.fine, sample.coarse, np.isfinite(sample.hsi).all(0), image, sample.positions)
        flags = torch.as_tensor(valid)
        used = (psf.observed > 0) & (psf.forward(flags[None].float())[0] > COMPLETE)
        seen = psf.forward(fill_gaps(image, flags)).double().numpy() + mean[:, None, None]
        return _Seen(seen, used.numpy(), psf)


def _smooth(image: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Mean over the comparable ones of 3 x 3 pixels; zero where there are none."""
    weight = uniform_filter(used.astype(float), 3, mode="constant")
    total = np.stack([uniform_filter(np.where(used, band, 0), 3, mode="constant") for band in image])
    return np.where(weight > 1e-6, total / np.maximum(weight, 1e-6), 0)
