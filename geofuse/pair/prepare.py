"""What every method needs: samples, geometry, response, and how the two images disagree."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch

from geofuse.errors import InvalidPair
from geofuse.pair.clouds import Clouds, find_clouds
from geofuse.pair.faults import Fault
from geofuse.pair.gaps import fill_gaps, masked_mean
from geofuse.pair.grid import GridPair
from geofuse.pair.local import register_locally
from geofuse.pair.patch import Patch, patch_of
from geofuse.pair.psf.builder import PsfBuilder
from geofuse.pair.registration import Registration, geometric_share, register
from geofuse.pair.response import EffectiveResponse, estimate_response, scaled_table, with_guides
from geofuse.pair.scene import Sample
from geofuse.pair.screen import Screen

# Above this share the contradiction between the images is a matter of geometry, and the MSI is left as it is.
GEOMETRIC = 0.25
# A constant near ±0.1 between the sensors is Sentinel-2's processing-baseline offset, applied twice or not at all.
BASELINE_OFFSET = (0.06, 0.14)
REGISTRATIONS = ("global", "local", "none")
MAP_SIDE = 64  # cells along the longer side of the map of disagreement


@dataclass(frozen=True)
class Settings:
    """What a fit is asked to do; see `geofuse.fit`. Where ``srf`` or ``geometry`` is given it is taken as it is, and not estimated.

    ``srf_prior`` (M, B) is what the files say of the response, which is estimated around it, and ``srf_source`` where that comes from.
    ``guides`` (M,) are MSI bands that the HSI does not see: used where detail is drawn along the MSI, and in nothing that compares both images.
    ``register`` is one of `REGISTRATIONS`: one shift; a displacement field too, where the pair confirms it; or the georeference as it is.
    ``train_seconds`` bounds the training of a network; None: the method's own bound.
    """

    method: str = "auto"
    srf: np.ndarray | None = None
    srf_name: str = "estimated"
    seed: int = 0
    device: str = "cpu"
    progress: bool = True
    train_seconds: float | None = None
    uncertainty: bool = False
    geometry: Registration | None = None
    srf_prior: np.ndarray | None = None
    srf_source: str = ""
    register: str = "global"
    guides: np.ndarray | None = None


@dataclass(frozen=True)
class PreparedPair:
    """What every method needs: samples, geometry, response, and how the two images disagree.

    ``geometric`` is the share of the disagreement that looks like a wrong geometry; ``where`` maps its relative size over the scene, coarse
    pixels (or survey windows, where there are several) in rows. Samples and patches are without the pixels that only one image shows (``clouds``,
    a share ``covered`` of the scene, mapped like ``where`` in ``covers``), and without the ``faults`` that the ``screen`` found.
    """

    pair: GridPair
    samples: list[Sample]
    patches: list[Patch]
    geometry: Registration
    response: EffectiveResponse
    geometric: float
    where: list[list[float]]
    clouds: Clouds | None = None
    covered: float = 0.0
    covers: list[list[float]] = field(default_factory=list)
    screen: Screen | None = None
    faults: tuple[Fault, ...] = ()

    def cleared(self, sample: Sample) -> Sample:
        """A raw sample without what is wrong in it, and without the pixels that only one image shows."""
        sample = sample if self.screen is None else self.screen.clear(sample)
        return sample if self.clouds is None else self.clouds.clear(sample, self.builder)[0]

    @property
    def builder(self) -> PsfBuilder:
        """The PSF of the geometry."""
        return self.geometry.builder(self.pair)

    @property
    def harmonise(self) -> bool:
        """Whether the contradiction is radiometric and not geometric."""
        return self.geometric < GEOMETRIC


def prepare_pair(
    pair: GridPair,
    survey: list[Sample],
    sample: list[Sample],
    settings: Settings,
    tick: Callable[[str], None],
    good: np.ndarray | None = None,
    geometry: Registration | None = None,
) -> PreparedPair:
    """Estimate geometry and response from the survey, and prepare the sample for the estimator."""
    tick("registering")
    guides = np.zeros(len(sample[0].msi), bool) if settings.guides is None else settings.guides
    survey = [replace(s, msi=s.msi[~guides]) for s in survey]
    geometry, clouds, covered = locate(pair, survey, geometry, settings.register)
    builder = geometry.builder(pair)
    covers: list[list[float]] = []
    if clouds is not None:
        cleared = [clouds.clear(s, builder) for s in survey]
        covers = map_of([(where > 0).astype(float) for _, where in cleared], [s.fine.top for s in survey])
        clouds = replace(clouds, bands=~guides)
        survey, sample = [s for s, _ in cleared], [clouds.clear(s, builder)[0] for s in sample]
    like = torch.zeros(1, dtype=torch.float32, device=settings.device)

    def patch(s: Sample) -> Patch:
        return patch_of(s, builder, like)

    tick("effective response")
    surveyed = [patch(s) for s in survey]
    hsi, msi = colocated(surveyed)
    table, prior = (None if rows is None else rows[~guides] for rows in (settings.srf, settings.srf_prior))
    response = (
        replace(estimate_response(hsi, msi, good, settings.seed, prior), prior=settings.srf_source)
        if table is None
        else scaled_table(table, hsi, msi, settings.srf_name)
    )
    _reject_baseline_offset(response, msi)
    share = geometric_share(pair, survey, geometry, response.matrix, response.offset)
    where = disagreement_map(surveyed, [s.fine.top for s in survey], response)
    if guides.any():
        response = with_guides(
            response, ~guides, np.nanmean(np.concatenate([s.msi.reshape(len(guides), -1) for s in sample], axis=1), axis=1)
        )
    return PreparedPair(pair, sample, [patch(s) for s in sample], geometry, response, share, where, clouds, covered, covers)


def locate(
    pair: GridPair, survey: list[Sample], known: Registration | None = None, how: str = "global"
) -> tuple[Registration, Clouds | None, float]:
    """Geometry, and what only one image shows: each is found better once the other is known; ``how`` is one of `REGISTRATIONS`."""
    if known is not None:
        return known, *find_clouds(survey, known.builder(pair))
    find = register_locally if how == "local" else partial(register, fixed=how == "none")
    nominal = PsfBuilder(pair, (pair.ratio / 2,) * 2)
    # Displaced by pixels every edge looks like a cloud: what finds a field needs no help against these.
    rough = None if how == "local" else find_clouds(survey, nominal)[0]
    geometry = find(pair, survey if rough is None else [rough.clear(s, nominal)[0] for s in survey])
    builder = geometry.builder(pair)
    clouds, covered = find_clouds(survey, builder)
    if rough is not None or (how == "local" and clouds is not None):
        geometry = find(pair, survey if clouds is None else [clouds.clear(s, builder)[0] for s in survey])
    return geometry, clouds, covered


def colocated(patches: Iterable[Patch]) -> tuple[np.ndarray, np.ndarray]:
    """Spectra of the observed coarse pixels (B, N), and the MSI seen through the PSF there (M, N)."""
    left, right = [], []
    for p in patches:
        seen, used = coarse_msi(p)
        left.append(p.hsi[:, used].double().cpu().numpy())
        right.append(seen[:, used].double().cpu().numpy())
    return np.concatenate(left, axis=1), np.concatenate(right, axis=1)


def coarse_msi(patch: Patch) -> tuple[torch.Tensor, torch.Tensor]:
    """The MSI seen through the PSF (M, h, w), and where that can be compared with the HSI (h, w)."""
    mean = masked_mean(patch.msi, patch.msi_valid)
    seen = patch.psf.forward(fill_gaps(patch.msi - mean, patch.msi_valid)) + mean
    complete = patch.psf.forward(patch.msi_valid[None].to(patch.msi.dtype))[0] > 0.95
    return seen, (patch.psf.observed > 0) & complete


def disagreement_map(patches: Sequence[Patch], tops: Sequence[int], response: EffectiveResponse) -> list[list[float]]:
    """Relative difference of the two images at the coarse scale: per block of coarse pixels, or per window where there are several."""
    images = []
    for p in patches:
        seen, used = coarse_msi(p)
        matrix, offset = (torch.as_tensor(a, dtype=seen.dtype, device=seen.device) for a in (response.matrix, response.offset))
        error = torch.einsum("mb,bhw->mhw", matrix, p.hsi) + offset[:, None, None] - seen
        level = seen[:, used].square().mean(1).clamp(min=1e-12)
        squared = (error.square() / level[:, None, None]).mean(0)
        images.append(torch.where(used, squared, torch.nan).double().cpu().numpy())
    return [[float(np.sqrt(v)) for v in row] for row in map_of(images, tops)]


def map_of(images: Sequence[np.ndarray], tops: Sequence[int]) -> list[list[float]]:
    """Means of coarse images: per block of pixels, or per window (in rows of equal ``tops``) where there are several; NaN where there is nothing."""
    if len(images) == 1:
        return [[float(v) for v in row] for row in block_mean(images[0], MAP_SIDE)]
    rows: dict[int, list[float]] = {}
    for image, top in zip(images, tops, strict=True):
        rows.setdefault(top, []).append(float(np.nanmean(image)) if np.isfinite(image).any() else float("nan"))
    return list(rows.values())


def block_mean(image: np.ndarray, side: int) -> np.ndarray:
    """Mean over square blocks, so that neither side exceeds ``side``; NaN where a block holds nothing."""
    step = -(-max(image.shape) // side)
    rows, cols = (np.arange(0, n, step) for n in image.shape)
    total, count = (np.add.reduceat(np.add.reduceat(a, rows, 0), cols, 1) for a in (np.nan_to_num(image), np.isfinite(image).astype(float)))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _reject_baseline_offset(response: EffectiveResponse, msi: np.ndarray) -> None:
    low, high = BASELINE_OFFSET
    offset = float(np.median(response.offset))
    if low <= abs(offset) <= high and np.sign(response.offset).sum() == np.sign(offset) * len(msi):
        raise InvalidPair(
            f"The MSI is a constant {offset:+.3f} reflectance away from what the HSI predicts in every band; expected about 0. Sentinel-2 products since "
            "processing baseline 04.00 carry an offset of -1000 counts (-0.1): apply it exactly once, then fuse again.",
            code="constant-offset",
        )
