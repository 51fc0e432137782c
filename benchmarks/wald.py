"""The README's table: geofuse with everything estimated, against the closed form that is told the truth.

Run from the repository root: ``python benchmarks/wald.py [--methods auto,gem,…] [--ratios 4,8] [--scenes jasper,la,ip]``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np
from affine import Affine

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from geofuse import api  # noqa: E402
from geofuse.cube import wrap  # noqa: E402
from geofuse.quality.metrics import score  # noqa: E402
from tests.scenes import Simulation, simulate  # noqa: E402

SHIFT = (0.4, -0.3)
RANK = 16
NAMES = {"jasper": "Jasper Ridge", "la": "LA airport", "ip": "Indian Pines"}
RESPONSES = {"qb4": "4 bands", "s2": "10 bands"}


def main() -> None:
    """Print one Markdown row a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default="auto")
    parser.add_argument("--ratios", default="4,8")
    parser.add_argument("--scenes", default="jasper,la,ip")
    options = parser.parse_args()
    methods = options.methods.split(",")
    folder = Path(os.environ.get("GEOFUSE_BENCHMARK_DATA", ROOT.parent / "shared" / "data"))
    print(f"| scene, MSI, ratio | bicubic | closed form, told the truth | {' | '.join(methods)} | seconds |")
    print("|---" * (4 + len(methods)) + "|")
    for name in options.scenes.split(","):
        for kind in RESPONSES:
            for ratio in map(int, options.ratios.split(",")):
                case = simulate(name, ratio, kind, folder, shift=SHIFT)
                cells = [_cell(case, api.fuse(*_cubes(case), method="bicubic", progress=False).values), _cell(case, told_closed_form(case))]
                start = time.monotonic()
                for method in methods:
                    fused = api.fuse(*_cubes(case), method=method, progress=False)
                    used = api.report(fused).to_dict()["method"]
                    cells.append(_cell(case, fused.values) + (f" ({used})" if method == "auto" else ""))
                seconds = time.monotonic() - start
                print(f"| {NAMES[name]}, {RESPONSES[kind]}, {ratio} | {' | '.join(cells)} | {seconds:.0f} |", flush=True)


def told_closed_form(case: Simulation) -> np.ndarray:
    """FUSE in the noise-whitened subspace, given PSF, response and noise levels (Wei, Dobigeon and Tourneret 2015); reflectance (B, H, W)."""
    _, h, w = case.hsi.shape
    height, width = case.msi.shape[1:]
    whitened = case.hsi / case.hsi_noise[:, None, None]
    mean = whitened.mean((1, 2))
    basis = np.linalg.svd((whitened - mean[:, None, None]).reshape(len(mean), -1), full_matrices=False)[0][:, :RANK]
    y = np.tensordot(basis.T, whitened - mean[:, None, None], 1)
    response = case.srf * case.hsi_noise
    m = (case.msi - (response @ mean)[:, None, None]) / case.msi_noise[:, None, None]
    mixing = response @ basis / case.msi_noise[:, None]
    base = _enlarge(y, height, width)
    small = y.reshape(RANK, h // 2, 2, w // 2, 2).mean((2, 4)) if h % 2 == w % 2 == 0 else y
    detail = (y - _enlarge(small, h, w)).reshape(RANK, -1)
    prior = np.linalg.inv(detail @ detail.T / detail.shape[1] + 1e-3 * np.eye(RANK))
    value, vector = np.linalg.eigh(prior + mixing.T @ mixing)
    (eh, vh), (ew, vw) = np.linalg.eigh(case.dh @ case.dh.T), np.linalg.eigh(case.dw @ case.dw.T)
    right = np.tensordot(vector.T, np.tensordot(prior, base, 1) + np.tensordot(mixing.T, m, 1), 1)
    right = (right + case.dh.T @ np.tensordot(vector.T, y, 1) @ case.dw) / value[:, None, None]
    coarse = vh.T @ (case.dh @ right @ case.dw.T) @ vw / (np.outer(eh, ew) + value[:, None, None])
    z = np.tensordot(vector, right - case.dh.T @ (vh @ coarse @ vw.T) @ case.dw, 1)
    return (np.tensordot(basis, z, 1) + mean[:, None, None]) * case.hsi_noise[:, None, None]


def _enlarge(image: np.ndarray, height: int, width: int) -> np.ndarray:
    from scipy.ndimage import zoom

    return np.stack(
        [zoom(band, (height / band.shape[0], width / band.shape[1]), order=3, mode="nearest", grid_mode=True) for band in image]
    )


def _cubes(case: Simulation):  # type: ignore[no-untyped-def]
    fine = Affine(4, 0, 500_000, 0, -4, 6_000_000)
    names = [f"band {i + 1}" for i in range(len(case.hsi))]
    hsi = wrap(
        case.hsi,
        transform=fine * Affine.scale(case.ratio),
        crs="EPSG:32633",
        names=names,
        wavelength=case.wavelength,
        good=np.ones(len(names), bool),
    )
    return hsi, wrap(case.msi, transform=fine, crs="EPSG:32633", names=[f"m{i + 1}" for i in range(len(case.msi))])


def _cell(case: Simulation, fused: np.ndarray) -> str:
    scores = score(case.truth, np.clip(fused, 0, 1), case.ratio)
    return f"{scores['psnr_db']:.2f} / {scores['sam_deg']:.2f}"


if __name__ == "__main__":
    main()
