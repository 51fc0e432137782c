"""Any method of geofuse on a pair as papers on fusion hand them around: arrays in a ``.mat`` or ``.npz`` file, or ``.npy`` files in a folder.

Run from the repository root: ``python -m benchmarks.adapter FILE [--methods gem hysure] [--names hsi=HS truth=REF] [--save FUSED.npz]``. Images are (rows, columns,
bands), as in the toolbox of Yokoya, Grohnfeldt and Chanussot (2017, doi:10.1109/MGRS.2016.2637824); ``--bands-first`` where they are (bands, rows, columns).

========  =============================  ==========================================================================
array     shape                          what
========  =============================  ==========================================================================
hsi       (h, w, B)                      coarse image, of any unit
msi       (H, W, M)                      fine image, of the same unit; H / h is the ratio
truth     (H, W, B), optional            reference; without it nothing is scored
srf       (M, B), optional               responses; rows are normalised. Estimated where it is missing
psf       (k, k), optional               kernel on the fine grid: its standard deviations are taken, and the place of its centre. Estimated where missing
========  =============================  ==========================================================================

Scores are those of that toolbox: PSNR with the peak of each band of the reference, mean over bands; SAM in degrees; ERGAS with 100 / ratio. None of them depends
on the unit.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from scipy.io import loadmat

from geofuse.cube.schema import wrap
from geofuse.errors import InvalidInput
from geofuse.evaluation.metrics import score
from geofuse.pair.prepare import Settings
from geofuse.pair.registration import Registration
from geofuse.pipeline.apply import apply
from geofuse.pipeline.fit import fit_scene
from geofuse.pipeline.pair import pair as make_pair
from geofuse.pipeline.plan import plan_scene

NAMES = {
    "hsi": ("hsi", "hs", "lrhsi", "lr_hsi"),
    "msi": ("msi", "ms", "hrmsi", "hr_msi"),
    "truth": ("truth", "ref", "i_ref", "gt", "hrhsi", "hr_hsi"),
    "srf": ("srf", "r", "response"),
    "psf": ("psf", "kernel", "b"),
}


@dataclass(frozen=True)
class ArrayPair:
    """A pair without a georeference, its images divided by ``unit``.

    Attributes
    ----------
    hsi, msi : ndarray, shapes (B, h, w), (M, H, W)
    unit : float
        The largest value of both.
    truth : ndarray, shape (B, H, W), or None
    srf : ndarray, shape (M, B), or None
    psf : ndarray, shape (k, k), or None
    """

    hsi: np.ndarray
    msi: np.ndarray
    unit: float
    truth: np.ndarray | None = None
    srf: np.ndarray | None = None
    psf: np.ndarray | None = None

    @property
    def ratio(self) -> float:
        """Coarse over fine pixel size."""
        return self.msi.shape[1] / self.hsi.shape[1]

    @property
    def geometry(self) -> Registration | None:
        """Standard deviations and displacement of the kernel in fine pixels, (rows, columns); the middle of its array is that of a coarse pixel."""
        if self.psf is None:
            return None
        weight = self.psf / self.psf.sum()
        axes = [np.arange(n) - (n - 1) / 2 for n in weight.shape]
        along = [weight.sum(1 - k) for k in range(2)]
        centre = [float(w @ a) for w, a in zip(along, axes, strict=True)]
        sigma = [float(np.sqrt(w @ (a - c) ** 2)) for w, a, c in zip(along, axes, centre, strict=True)]
        return Registration((sigma[0], sigma[1]), (centre[0], centre[1]), float("nan"))


def main() -> None:
    """Print one Markdown row a method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--methods", nargs="+", default=["bicubic", "gsa", "hysure", "sylvester", "gem"])
    parser.add_argument("--names", nargs="*", default=[], metavar="WHAT=NAME", help=f"names of the arrays: {', '.join(NAMES)}")
    parser.add_argument("--bands-first", action="store_true")
    parser.add_argument("--save", type=Path, help=".npz with the image of each method, in the layout and unit of the source")
    asked = parser.parse_args()
    pair = read(asked.source, dict(name.split("=", 1) for name in asked.names), bands_first=asked.bands_first)
    print("| method | PSNR, own peaks | SAM | ERGAS | seconds |\n|---|---|---|---|---|")
    images = {}
    for method in asked.methods:
        start = time.perf_counter()
        image = fused(pair, method)
        scores = "- | - | -" if pair.truth is None else " | ".join(f"{v:.3f}" for v in scored(pair, image).values())
        print(f"| {method} | {scores} | {time.perf_counter() - start:.1f} |", flush=True)
        images[method] = image * pair.unit if asked.bands_first else np.moveaxis(image * pair.unit, 0, -1)
    if asked.save is not None:
        np.savez_compressed(asked.save, **images)  # type: ignore[arg-type]


def read(source: Path, names: Mapping[str, str] | None = None, *, bands_first: bool = False) -> ArrayPair:
    """Read a pair.

    Parameters
    ----------
    source : Path
        A ``.mat`` file (up to version 7.2), an ``.npz`` file, or a folder of ``.npy`` files.
    names : mapping, optional
        Names of the arrays, by the keys of `NAMES`, where they are none of those.
    bands_first : bool
        Images are (bands, rows, columns).

    Raises
    ------
    InvalidInput
        An array is missing, or the shapes do not make a pair.
    """
    arrays = _arrays(source)
    found = {what: _named(arrays, what, (names or {}).get(what)) for what in NAMES}
    for what in ("hsi", "msi", "truth"):
        image = found[what]
        if image is None and what != "truth":
            raise InvalidInput(f"{source} holds {', '.join(arrays)}; expected an array for {what}. Say which: --names {what}=NAME.")
        if image is not None:
            found[what] = np.asarray(image, float) if bands_first else np.moveaxis(np.asarray(image, float), -1, 0)
    hsi, msi = found["hsi"], found["msi"]
    assert hsi is not None
    assert msi is not None
    _check(hsi, msi, found["truth"], found["srf"])
    unit = float(max(hsi.max(), msi.max()))
    return ArrayPair(hsi / unit, msi / unit, unit, None if found["truth"] is None else found["truth"] / unit, found["srf"], found["psf"])


def _arrays(source: Path) -> dict[str, np.ndarray]:
    if source.is_dir():
        return {path.stem: np.load(path, allow_pickle=False) for path in sorted(source.glob("*.npy"))}
    if source.suffix == ".npz":
        with np.load(source, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    return {name: value for name, value in loadmat(source).items() if isinstance(value, np.ndarray) and value.dtype.kind in "fiu"}


def _named(arrays: Mapping[str, np.ndarray], what: str, name: str | None) -> np.ndarray | None:
    wanted = NAMES[what] if name is None else (name.lower(),)
    found = [array for key, array in arrays.items() if key.lower() in wanted]
    if name is not None and not found:
        raise InvalidInput(f"No array {name!r} for {what}; there are {', '.join(arrays)}.")
    return found[0] if found else None


def _check(hsi: np.ndarray, msi: np.ndarray, truth: np.ndarray | None, srf: np.ndarray | None) -> None:
    ratios = msi.shape[1] / hsi.shape[1], msi.shape[2] / hsi.shape[2]
    if ratios[0] != ratios[1] or len(hsi) <= len(msi):
        raise InvalidInput(
            f"The HSI is {hsi.shape}, the MSI {msi.shape} (bands, rows, columns); expected one ratio of sizes and more bands in the HSI. "
            "Are the bands the first axis? --bands-first."
        )
    if truth is not None and truth.shape != (len(hsi), *msi.shape[1:]):
        raise InvalidInput(f"The truth is {truth.shape} (bands, rows, columns); expected {(len(hsi), *msi.shape[1:])}.")
    if srf is not None and srf.shape != (len(msi), len(hsi)):
        raise InvalidInput(f"The responses are {srf.shape}; expected (MSI bands, HSI bands), {(len(msi), len(hsi))}.")


def fused(pair: ArrayPair, method: str) -> np.ndarray:
    """The pair fused, (B, H, W), in units of its largest value."""
    fine = Affine(1, 0, 500_000, 0, -1, 6_000_000)
    named = [[f"{kind}{k + 1}" for k in range(len(image))] for kind, image in (("h", pair.hsi), ("m", pair.msi))]
    hsi = wrap(pair.hsi, transform=fine * Affine.scale(pair.ratio), crs="EPSG:32633", names=named[0], good=np.ones(len(pair.hsi), bool))
    msi = wrap(pair.msi, transform=fine, crs="EPSG:32633", names=named[1])
    scene = make_pair(hsi, msi)
    srf = None if pair.srf is None else pair.srf / pair.srf.sum(1, keepdims=True)
    model = fit_scene(scene, Settings(method, srf, "given" if srf is not None else "", progress=False, geometry=pair.geometry))
    return np.asarray(apply(scene, model, plan_scene(scene, model=model), progress=False).values)


def scored(pair: ArrayPair, image: np.ndarray) -> dict[str, float]:
    """Scores as the toolbox defines them: ``psnr_own_peak`` in dB, ``sam_deg``, ``ergas``."""
    assert pair.truth is not None
    error = ((pair.truth - image) ** 2).mean((1, 2))
    found = score(pair.truth, image, pair.ratio)
    own = float((10 * np.log10(pair.truth.max((1, 2)) ** 2 / error)).mean())
    return {"psnr_own_peak": own, "sam_deg": found["sam_deg"], "ergas": found["ergas"]}


if __name__ == "__main__":
    main()
