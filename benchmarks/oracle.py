"""How much is left above `gem`: regressors and priors that were shown the truth.

Run from the repository root: ``python -m benchmarks.oracle [--ratio 4] [--scenes jasper la]``. Regressors of the error are fitted on every other square of the scene
and judged on the rest, and the other way round; priors of the last stage are taken from the truth of the whole scene. True operators, noise 35/40 dB.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.cases import data_folder
from benchmarks.known import known_patch
from geofuse.evaluation.metrics import score
from geofuse.methods.gem.estimator import Gem, fit_gem
from geofuse.methods.gem.posterior import Prior, solve
from geofuse.pair.patch import Patch
from geofuse.simulate import RESPONSES, SCENES, simulate

SQUARE = 24  # pixels
RIDGES = (1e-3, 1e-2, 1e-1)


def main() -> None:
    """Print one Markdown row a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratio", type=int, default=4)
    parser.add_argument("--scenes", nargs="+", default=list(SCENES))
    asked = parser.parse_args()
    ratio, folder = asked.ratio, data_folder(asked.scenes)
    names = ("3 x 3 of the MSI", "3 x 3 of the estimate", "one slope a class", "prior covariance", "prior of each class")
    print(f"| ratio {ratio}: gem | {' | '.join(names)} |\n{'|---' * (1 + len(names))}|")
    for scene in asked.scenes:
        for kind in RESPONSES:
            case = simulate(scene, ratio, kind, folder)
            with torch.no_grad():
                _, patch = known_patch(case)
                gem = fit_gem([patch], case.srf, np.zeros(len(case.srf)), float(ratio))
                estimate = gem.apply(patch)
                truth = gem.coordinates.encode_hsi(torch.as_tensor(case.truth, dtype=torch.float32))
                images = [*_regressed(gem, patch, estimate, truth), *_with_prior_of(gem, patch, truth)]
                plain, *known = (score(case.truth, gem.coordinates.decode(z).clamp(0, 1).numpy(), ratio) for z in (estimate, *images))
            cells = [f"{s['psnr_db'] - plain['psnr_db']:+.2f} / x {s['sam_deg'] / plain['sam_deg']:.2f}" for s in known]
            print(f"| {scene} {kind}: {plain['psnr_db']:.2f} / {plain['sam_deg']:.2f} | {' | '.join(cells)} |", flush=True)


def _regressed(gem: Gem, patch: Patch, z: Tensor, truth: Tensor) -> list[Tensor]:
    seen = gem.observe(patch)
    estimate, msi = (image / image.flatten(1).std(1)[:, None, None] for image in (z, seen.m))
    both = torch.cat([estimate, msi])
    classes = torch.cat([w * torch.cat([both, torch.ones_like(both[:1])]) for w in gem.weights(seen)])
    return [z + _best(features, truth - z) for features in (_around(msi), _around(estimate), classes)]


def _around(image: Tensor) -> Tensor:
    """Every pixel with its eight neighbours, shape (9 c, H, W)."""
    return F.unfold(F.pad(image[None], (1,) * 4, mode="reflect"), 3)[0].reshape(-1, *image.shape[1:])


def _best(features: Tensor, error: Tensor) -> Tensor:
    return min((_predicted(features, error, ridge) for ridge in RIDGES), key=lambda p: float((error - p).square().mean()))


def _predicted(features: Tensor, error: Tensor, ridge: float) -> Tensor:
    rows, cols = torch.meshgrid(*(torch.arange(n) // SQUARE for n in error.shape[1:]), indexing="ij")
    flat, target = features.flatten(1).double(), error.flatten(1).double()
    flat = torch.cat([(flat - flat.mean(1, keepdim=True)) / (flat.std(1, keepdim=True) + 1e-9), torch.ones_like(flat[:1])])
    out = torch.zeros_like(target)
    for half in (0, 1):
        learn = ((rows + cols) % 2 == half).flatten()
        gram = flat[:, learn] @ flat[:, learn].T + ridge * learn.sum() * torch.eye(len(flat))
        out[:, ~learn] = torch.linalg.solve(gram, flat[:, learn] @ target[:, learn].T).T @ flat[:, ~learn]
    return out.reshape(error.shape).to(error.dtype)


def _with_prior_of(gem: Gem, patch: Patch, truth: Tensor) -> list[Tensor]:
    """The last stage solved with the covariance of the true deviations: one for all pixels, and one (with its mean) for each class."""
    seen, last = gem.observe(patch), gem.stages[-1]
    weights = gem.weights(seen)
    draft = gem.draft(last.kind, seen, replace(gem, stages=gem.stages[:-1]).run(seen))
    apart = 0 if draft.apart is None else draft.apart
    deviation = (truth - apart - draft.base).flatten(1).double().numpy()

    def moments(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = (deviation * weight).sum(1) / weight.sum()
        centred = deviation - mean[:, None]
        return mean, (centred * weight) @ centred.T / weight.sum() + 1e-3 * np.eye(len(mean))

    flat = weights.flatten(1).double().numpy()
    pooled = moments(np.ones(deviation.shape[1]))[1]
    means, covariances = (np.stack(m) for m in zip(*(moments(w) for w in flat), strict=True))
    priors = (
        Prior(np.repeat(pooled[None], len(flat), 0), np.zeros_like(means), last.prior.share),
        Prior(covariances, means, last.prior.share),
    )
    return [solve(draft.seen, draft.base, weights, p, gem.coordinates.mixing).z + apart for p in priors]


if __name__ == "__main__":
    main()
