"""What fusion is worth to those who use the image: a classification and a map of an absorption, on coarse, fine and fused, scored on the truth.

Run from the repository root: ``python -m benchmarks.downstream [--scenes town jasper] [--ratio 4] [--picture FILE.png]``. Wald's protocol, noise 35/40 dB (drawn
scenes: their own), everything estimated; prints one Markdown row a case.

Classes are the materials of which drawn scenes are made (the one with the largest share of a pixel), and groups of spectra of the *true* image (k-means) in real
ones. A classifier learns from up to 40 pixels of each class in the left half of the very image that it then classifies, and is scored on the right half; for each
image it is the better, by cross-validation on those pixels, of a linear discriminant analysis with shrinkage and a support-vector machine.

The absorption is the continuum-removed depth (Clark and Roush 1984, doi:10.1029/JB089iB07p06329) at 2207 nm (clay) and, where there is no short-wave infrared, at
975 nm (water in leaves). The fine image has no such band: its map is a random forest from the MSI's bands, learned on coarse pixels.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from benchmarks.cases import data_folder
from geofuse import api
from geofuse.simulate import DRAWN, RESPONSES, SCENES, Simulation, composition, cubes, simulate

SHOWN = ("town", "fields", "coast", "jasper", "sb", "ip", "berlin")
FEATURES = ((2120.0, 2207.0, 2270.0), (920.0, 975.0, 999.0))  # shoulder, centre, shoulder, nm
TRAINED, CLUSTERS, COMPONENTS, DROPPED = 40, 8, 20, 0.2


@dataclass(frozen=True)
class Images:
    """The images of one scene on its fine grid, each (bands, H, W), and the standard deviation of the fused one."""

    coarse: np.ndarray
    fine: np.ndarray
    fused: np.ndarray
    truth: np.ndarray
    deviation: np.ndarray


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", nargs="+", default=list(SHOWN), choices=[*SCENES, *DRAWN])
    parser.add_argument("--responses", nargs="+", default=list(RESPONSES), choices=list(RESPONSES))
    parser.add_argument("--ratio", type=int, default=4)
    parser.add_argument("--picture", type=Path, help="maps of the first case")
    asked = parser.parse_args()
    folder = data_folder([scene for scene in asked.scenes if scene in SCENES])
    sources, maps = (
        ("coarse", "fine", "fused", "fused, certain", "truth"),
        ("coarse", "fine", "fused", "fused, certain", "coarse, same pixels"),
    )
    print(
        f"| scene, MSI | classes | {' | '.join(f'accuracy: {s}' for s in sources)} | depth at | {' | '.join(f'RMSE: {m}' for m in maps)} |"
    )
    print("|" + "---|" * (3 + 2 * len(sources)))
    for scene in asked.scenes:
        for response in asked.responses:
            pair = simulate(scene, asked.ratio, response, folder)
            images, classes = images_of(pair), classes_of(scene, pair)
            print(f"| {scene}, {response} | {row(pair, images, classes)} |", flush=True)
            if asked.picture is not None:
                draw(asked.picture, pair, images, classes)
                asked.picture = None


def images_of(pair: Simulation) -> Images:
    """The MSI, the HSI interpolated, and both fused, everything estimated."""
    hsi, msi = cubes(pair)
    fused = api.fuse(hsi, msi, method="gem", uncertainty=True, progress=False)
    coarse = api.fuse(hsi, msi, method="bicubic", progress=False)
    assert isinstance(fused, xr.Dataset)
    return Images(coarse.values, pair.msi, fused["reflectance"].values, pair.truth, fused["uncertainty"].values)


def classes_of(scene: str, pair: Simulation) -> np.ndarray:
    """The class of every fine pixel, (H, W)."""
    if scene in DRAWN:
        return np.asarray(composition(DRAWN[scene])[0].argmax(0))
    spectra = pair.truth.reshape(len(pair.truth), -1).T
    groups = KMeans(CLUSTERS, n_init=3, random_state=0).fit_predict(PCA(10, random_state=0).fit_transform(spectra))
    return np.asarray(groups.reshape(pair.truth.shape[1:]))


def row(pair: Simulation, images: Images, classes: np.ndarray) -> str:
    """Both scores of one case, as cells of the table."""
    right = np.arange(classes.shape[1]) >= classes.shape[1] // 2
    shared = np.isin(classes, np.intersect1d(classes[:, right], classes[:, ~right])) & right
    certain = shared & kept(images.deviation.mean(0), shared)
    correct = {name: classified(getattr(images, name), classes) == classes for name in ("coarse", "fine", "fused", "truth")}
    scores = [
        correct["coarse"][shared],
        correct["fine"][shared],
        correct["fused"][shared],
        correct["fused"][certain],
        correct["truth"][shared],
    ]
    cells = [str(len(np.unique(classes[shared]))), *(f"{100 * s.mean():.1f} %" for s in scores)]
    feature = feature_of(pair.wavelength)
    if feature is None:
        return " | ".join([*cells, *["-"] * 5])
    truth, maps = depth(images.truth, pair.wavelength, feature), depth_maps(pair, images, feature)
    everywhere = np.ones(truth.shape, bool)
    sure = kept(depth_deviation(images, pair.wavelength, feature), everywhere)
    error = {name: (found - truth) ** 2 for name, found in maps.items()}
    found = [error["coarse"], error["fine"], error["fused"], error["fused"][sure], error["coarse"][sure]]
    return " | ".join([*cells, f"{feature[1]:.0f} nm", *(f"{np.sqrt(e.mean()):.4f}" for e in found)])


def classified(image: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Class of every pixel by a classifier that learned from pixels of the left half, (H, W)."""
    spectra, labels = image.reshape(len(image), -1).T, classes.ravel()
    left = np.broadcast_to(np.arange(classes.shape[1]) < classes.shape[1] // 2, classes.shape).ravel()
    rng = np.random.default_rng(0)
    taught = np.concatenate([rng.permutation(np.flatnonzero(left & (labels == c)))[:TRAINED] for c in np.unique(labels[left])])
    machines = [
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
        make_pipeline(PCA(min(COMPONENTS, len(image)), whiten=True, random_state=0), SVC(C=10)),
    ]
    search = GridSearchCV(Pipeline([("scale", StandardScaler()), ("machine", machines[0])]), {"machine": machines}, cv=3)
    return np.asarray(search.fit(spectra[taught], labels[taught]).predict(spectra).reshape(classes.shape))


def kept(deviation: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Pixels without the fifth, among some, whose deviation is largest."""
    return np.asarray(deviation <= np.quantile(deviation[among], 1 - DROPPED))


def feature_of(wavelength: np.ndarray) -> tuple[float, float, float] | None:
    """The first absorption that the bands reach."""
    return next((f for f in FEATURES if all(np.abs(wavelength - nm).min() < 15 for nm in f)), None)


def _bands(wavelength: np.ndarray, feature: tuple[float, float, float]) -> tuple[list[int], float]:
    """Bands at the left shoulder, the centre and the right shoulder, and the weight of the left one in the continuum."""
    found = [int(np.abs(wavelength - nm).argmin()) for nm in feature]
    left, centre, right = wavelength[found]
    return found, float((right - centre) / (right - left))


def depth(image: np.ndarray, wavelength: np.ndarray, feature: tuple[float, float, float]) -> np.ndarray:
    """Depth of an absorption below the line between its shoulders, (H, W).

    Examples
    --------
    >>> float(depth(np.array([0.4, 0.15, 0.2])[:, None, None], np.array([920.0, 975.0, 999.0]), FEATURES[1]).round(3)[0, 0])
    0.425
    """
    (left, centre, right), weight = _bands(wavelength, feature)
    continuum = weight * image[left] + (1 - weight) * image[right]
    return np.asarray(1 - image[centre] / np.maximum(continuum, 0.02))


def depth_deviation(images: Images, wavelength: np.ndarray, feature: tuple[float, float, float]) -> np.ndarray:
    """Standard deviation of the depth to first order, errors of bands taken as independent, (H, W)."""
    (left, centre, right), weight = _bands(wavelength, feature)
    continuum = np.maximum(weight * images.fused[left] + (1 - weight) * images.fused[right], 0.02)
    share, sd = images.fused[centre] / continuum, images.deviation
    squares = sd[centre] ** 2 + share**2 * ((weight * sd[left]) ** 2 + ((1 - weight) * sd[right]) ** 2)
    return np.asarray(np.sqrt(squares) / continuum)


def depth_maps(pair: Simulation, images: Images, feature: tuple[float, float, float]) -> dict[str, np.ndarray]:
    """The map of each image, (H, W)."""
    (rows, cols), r = pair.hsi.shape[1:], pair.ratio
    blocks = pair.msi[:, : rows * r, : cols * r].reshape(len(pair.msi), rows, r, cols, r).mean((2, 4))
    known = depth(pair.hsi, pair.wavelength, feature)
    forest = RandomForestRegressor(100, min_samples_leaf=3, random_state=0).fit(blocks.reshape(len(blocks), -1).T, known.ravel())
    learned = forest.predict(pair.msi.reshape(len(pair.msi), -1).T).reshape(pair.msi.shape[1:])
    return {
        "coarse": depth(images.coarse, pair.wavelength, feature),
        "fine": learned,
        "fused": depth(images.fused, pair.wavelength, feature),
    }


def draw(path: Path, pair: Simulation, images: Images, classes: np.ndarray) -> None:
    """Both maps of each image beside the truth."""
    feature = feature_of(pair.wavelength)
    assert feature is not None
    names = ("truth", "coarse", "fine", "fused")
    depths = depth_maps(pair, images, feature) | {"truth": depth(images.truth, pair.wavelength, feature)}
    low, high = np.percentile(depths["truth"], [1, 99])
    figure, axes = plt.subplots(2, len(names), figsize=(11, 5.6), layout="constrained")
    for name, top, bottom in zip(names, *axes, strict=True):
        found = classes if name == "truth" else classified(getattr(images, name), classes)
        top.imshow(found, cmap="nipy_spectral", vmin=0, vmax=classes.max(), interpolation="nearest")
        bottom.imshow(depths[name], cmap="viridis", vmin=low, vmax=high)
        top.set_title(name)
        for axis in (top, bottom):
            axis.set(xticks=[], yticks=[])
    axes[0, 0].set_ylabel("materials")
    axes[1, 0].set_ylabel(f"depth at {feature[1]:.0f} nm")
    figure.savefig(path, dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    main()
