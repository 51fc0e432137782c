"""The frozen model: applied, stored, and rejected where it does not belong."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine
from dask.base import tokenize
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

import geofuse
from geofuse.cube.flags import Quality
from geofuse.errors import InvalidInput, InvalidOutput
from geofuse.methods.base import FittedMethod
from geofuse.methods.baselines.methods import BICUBIC, FittedBaseline
from geofuse.methods.baselines.mlp import mlp
from geofuse.methods.gem.estimator import Gem, fit_closed_form, fit_gem
from geofuse.methods.gem.filters import REACH, ComplementaryFilters
from geofuse.methods.gem.method import HALO_COARSE, HALO_FINE, FittedGem, halo_of
from geofuse.methods.gem.uncertainty import posterior_uncertainty
from geofuse.methods.limits import noise_of
from geofuse.model import FORMAT, Model
from geofuse.pair.grid import Window, pair_grids
from geofuse.pair.patch import Patch
from geofuse.pair.psf.builder import PsfBuilder
from geofuse.pair.registration import Registration
from geofuse.pair.response import EffectiveResponse
from geofuse.pair.scene import Sample
from tests.crops import small_cubes
from tests.pairs import CRS, NORTH, WEST, Pair, bell_responses, made_up_scene, simulated, uncropped

BANDS = 24
TILE_REQUIREMENT = 1e-4  # reflectance


@cache
def scene(ratio: float = 4.0, side: int = 24) -> Pair:
    return simulated(made_up_scene(BANDS, round(side * ratio), round(side * ratio)), bell_responses(BANDS, 4), (side, side), ratio)


@cache
def model(method: str = "gem", ratio: float = 4.0, side: int = 24) -> Model:
    pair = scene(ratio, side)
    geometry = Registration(pair.sigma, (0.1, -0.2), 0.001)
    response = EffectiveResponse(pair.srf, np.zeros(4), np.full(4, 0.005))
    names = tuple(f"band {k}" for k in range(BANDS))
    patch = pair.patch(geometry.sigma, geometry.shift)
    name = method.partition(" ")[0]
    with torch.no_grad():
        fitted = fitted_to(patch, name, pair, filters="filters" in method)
    return Model(
        name,
        fitted,
        ratio,
        names,
        geometry,
        response,
        noise_of(fitted, [patch]),
        report={"shift": [0.1, -0.2], "nested": {"is": "kept"}},
    )


def fitted_to(patch: Patch, name: str, pair: Pair, *, filters: bool) -> FittedMethod:
    if name == "bicubic":
        return FittedBaseline(BICUBIC.make, pair.srf, seed=0)
    gem = (fit_closed_form if name == "sylvester" else fit_gem)([patch], pair.srf, np.zeros(4), pair.grids.ratio)
    return FittedGem(gem, pair.grids.ratio, shaken_filters(gem) if filters else None)


def estimator(model: Model) -> FittedGem:
    assert isinstance(model.fitted, FittedGem)
    return model.fitted


def shaken_filters(gem: Gem) -> ComplementaryFilters:
    """Filters that do something."""
    rank, bands = gem.coordinates.rank, len(gem.guide.scale)
    return ComplementaryFilters(0.05 * np.random.default_rng(0).normal(size=(rank, 4 * (rank + bands))), gem.guide.scale)


def apply(fitted: Model, pair: Pair, fine: Window | None = None) -> np.ndarray:
    fine = fine or pair.windows[0]
    coarse = fitted.builder(pair.grids).coarse_window(fine)
    (fr, fc), (cr, cc) = fine.slices, coarse.slices
    return fitted.apply(pair.hsi[:, cr, cc].astype(np.float32), pair.msi[:, fr, fc].astype(np.float32), pair.grids, fine, coarse)


@pytest.mark.parametrize("method", ["gem", "sylvester", "gem with filters", "bicubic"])
def test_saved_and_loaded_it_gives_the_same_numbers(tmp_path: Path, method: str) -> None:
    fitted = model(method)
    path = fitted.save(tmp_path / "model.safetensors")
    again = Model.load(path)
    assert np.array_equal(apply(again, scene()), apply(fitted, scene()))
    assert (again.method, again.ratio, again.bands, again.geometry) == (fitted.method, 4.0, fitted.bands, fitted.geometry)
    assert again.report == fitted.report
    assert again.response.method == fitted.response.method
    assert np.array_equal(again.response.matrix, fitted.response.matrix)
    assert again.halo == fitted.halo
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]  # no scratch file is left
    assert fitted.save(path) == path  # and it may be written again


def test_filters_change_the_result() -> None:
    assert np.abs(apply(model("gem with filters"), scene()) - apply(model("gem"), scene())).max() > 1e-4


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('executed')",)


@pytest.mark.parametrize(
    "content", ["junk", "empty", "pickle", "torch", "truncated", "elsewhere", "other format", "no header", "part missing"]
)
def test_what_is_not_a_model_is_rejected(tmp_path: Path, content: str) -> None:
    """And never executed."""
    path = tmp_path / "model.safetensors"
    good = model().save(tmp_path / "good.safetensors")
    if content == "junk":
        path.write_bytes(np.random.default_rng(0).bytes(5000))
    elif content == "empty":
        path.write_bytes(b"")
    elif content == "pickle":
        path.write_bytes(pickle.dumps(Evil()))
    elif content == "torch":
        torch.save({"weights": torch.ones(3)}, path)
    elif content == "truncated":
        path.write_bytes(good.read_bytes()[:-100])
    elif content == "elsewhere":
        save_file({"a": np.ones(3)}, path)
    elif content == "other format":
        save_file({"a": np.ones(3)}, path, metadata={"format": "geofuse-model-0"})
    elif content == "no header":
        save_file(load_file(good), path, metadata={"format": FORMAT, "model": "{"})
    elif content == "part missing":
        arrays = load_file(good)
        del arrays["response.matrix"]
        from safetensors import safe_open

        with safe_open(str(good), framework="numpy") as file:
            save_file(arrays, path, metadata=file.metadata())
    with pytest.raises(InvalidInput, match=r"model\.safetensors"):
        Model.load(path)


@pytest.mark.parametrize("of", ["model", "estimator"])
def test_a_psf_that_would_fill_the_memory_is_rejected(tmp_path: Path, of: str) -> None:
    fitted = model("gem")
    if of == "model":
        claimed = replace(fitted, geometry=replace(fitted.geometry, sigma=(1e8, 2.0)))
    else:
        inner = estimator(fitted)
        claimed = replace(fitted, fitted=replace(inner, gem=replace(inner.gem, geometry=np.array([2.0, 1e8, 0.0, 0.0]))))
    with pytest.raises(InvalidInput, match="geometry"):
        Model.load(claimed.save(tmp_path / "wide.safetensors"))


def test_a_missing_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nowhere\.safetensors"):
        Model.load(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize(
    ("ratio", "bands", "msi_bands", "message"),
    [
        (4.0, BANDS + 1, 4, r"fitted on 24 HSI and 4 MSI bands; found 25 and 4.*Fit a model"),
        (4.0, BANDS, 5, r"found 24 and 5"),
        (4.2, BANDS, 4, r"ratio of 4; found 4\.2"),
    ],
)
def test_another_scene_is_rejected(ratio: float, bands: int, msi_bands: int, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        model().check(uncropped((10, 10), ratio=ratio), bands, msi_bands)


def test_a_like_scene_is_accepted() -> None:
    model().check(uncropped((10, 12), ratio=4.02), BANDS, 4)


@pytest.mark.parametrize(("ratio", "side"), [(4.0, 40), (25 / 3, 24)])
@pytest.mark.parametrize("gaps", [False, True])
def test_a_window_with_its_halo_gives_the_numbers_of_the_whole(ratio: float, side: int, gaps: bool) -> None:
    """In the middle and at the edge, and with half of the MSI missing."""
    fitted, pair = model("gem", ratio, side), scene(ratio, side)
    size = pair.grids.fine.shape[0]
    if gaps:
        rows, cols = np.mgrid[:size, :size]
        pair = replace(pair, msi=np.where(rows + cols > 1.1 * size, np.nan, pair.msi))
    whole = apply(fitted, pair)
    for core in (Window(size // 2 - 8, size // 2 + 8, size // 2 - 10, size // 2 + 5), Window(0, 12, 20, 40)):
        fine = core.grown(fitted.halo, pair.windows[0])
        rows_, cols_ = core.offset(-fine.top, -fine.left).slices
        tile = apply(fitted, pair, fine)[:, rows_, cols_]
        expected = whole[:, core.slices[0], core.slices[1]]
        assert np.array_equal(np.isnan(tile), np.isnan(expected))
        assert np.nanmax(np.abs(tile - expected)) < TILE_REQUIREMENT


def test_halo() -> None:
    """A number of coarse pixels, of fine ones at least, and what the filters reach."""
    for method in ("gem", "sylvester", "gem with filters"):
        assert model(method).halo == HALO_FINE + REACH
    assert halo_of(25 / 3) == int(np.ceil(HALO_COARSE * 25 / 3)) + REACH
    assert model("bicubic").halo == 0
    assert not model("bicubic").tiled


def test_nodata() -> None:
    """Fine pixels without MSI, and those whose centre lies on a coarse pixel without HSI; no others."""
    pair = scene()
    hsi, msi = pair.hsi.copy(), pair.msi.copy()
    hsi[3, 5, 7] = np.nan  # one band is enough
    hsi[:, 20:, 0] = np.nan
    msi[2, 11, 13] = np.nan
    fused = apply(model(), replace(pair, hsi=hsi, msi=msi))
    expected = np.zeros((96, 96), bool)
    expected[20:24, 28:32] = expected[80:, 0:4] = expected[11, 13] = True
    assert np.array_equal(np.isnan(fused), np.broadcast_to(expected, fused.shape))
    assert fused.dtype == np.float32


def test_nodata_of_turned_grids() -> None:
    """Pyproj says on which coarse pixel every fine centre lies."""
    x, y = Transformer.from_crs(CRS, "EPSG:32632", always_xy=True).transform(WEST + 40, NORTH - 40)
    low = GeoBox((16, 16), Affine(4, 0, x - 32, 0, -4, y + 32), "EPSG:32632")
    grids = pair_grids(low, GeoBox((80, 80), Affine(1, 0, WEST, 0, -1, NORTH), CRS))
    assert not grids.aligned
    truth = made_up_scene(BANDS, *grids.fine.shape)
    fine, coarse = (Window(0, shape[0], 0, shape[1]) for shape in (grids.fine.shape, grids.coarse.shape))
    msi = np.tensordot(bell_responses(BANDS, 4), truth, 1).astype(np.float32)
    psf = PsfBuilder(grids, (2.0, 2.0)).build(fine, coarse, np.ones(coarse.shape, bool), torch.zeros(1))
    hsi = psf.forward(torch.as_tensor(truth, dtype=torch.float32)).numpy() + 0.2 * (psf.observed.numpy() == 0)
    hsi[:, 8, 6] = np.nan
    msi[:, 30, 31] = np.nan
    fused = model().apply(hsi, msi, grids, fine, coarse)
    rows, cols = np.mgrid[: grids.fine.shape[0], : grids.fine.shape[1]]
    east, north = grids.fine.affine.c + cols + 0.5, grids.fine.affine.f - rows - 0.5
    u, v = Transformer.from_crs(CRS, "EPSG:32632", always_xy=True).transform(east, north)
    row = np.floor((grids.coarse.affine.f - v) / 4).astype(int)
    col = np.floor((u - grids.coarse.affine.c) / 4).astype(int)
    expected = (row < 0) | (col < 0) | (row >= coarse.shape[0]) | (col >= coarse.shape[1]) | ((row == 8) & (col == 6))
    expected[30, 31] = True
    assert 10 < expected.sum() < expected.size / 2
    assert np.array_equal(np.isnan(fused[0]), expected)


def test_an_offset_between_the_sensors_is_taken_out() -> None:
    """The same MSI, 0.05 brighter all over, with a response that says so: the same result."""
    pair = scene()
    brighter = Sample(pair.hsi, pair.msi + 0.05, *pair.windows)
    results = []
    for msi, offset in ((pair.msi, np.zeros(4)), (brighter.msi, np.full(4, 0.05))):
        patch = replace(pair, msi=msi).patch()
        with torch.no_grad():
            gem = fit_gem([patch], pair.srf, offset, 4.0)
            results.append(gem.coordinates.decode(gem.apply(patch)).numpy())
    assert np.abs(results[1] - results[0]).max() < 2e-3


def test_a_model_is_a_line_in_a_notebook() -> None:
    assert repr(model("gem")) == "<geofuse.Model: gem for 24 HSI and 4 MSI bands, pixels 4 times finer>"


def test_where_a_model_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is the system's failure, which a job can be run again after; a missing folder is the user's."""
    with pytest.raises(InvalidOutput, match=r"folder .*nowhere does not exist; create it"):
        model("sylvester").save(tmp_path / "nowhere" / "m.safetensors")

    def full(_: object, path: Path, **__: object) -> None:
        path.write_bytes(b"half of")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("geofuse.model.save_file", full)
    with pytest.raises(OSError, match=r"m\.safetensors.*No space left"):
        model("sylvester").save(tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_seed_belongs_to_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods draw random numbers when they are applied: another seed is another image, and another name in a graph."""
    monkeypatch.setattr("geofuse.methods.baselines.methods.mlp", partial(mlp, steps=20))
    models = [geofuse.fit(*small_cubes(), method="mlp", seed=seed, progress=False) for seed in (0, 1)]
    assert [m.fitted.state()[1]["seed"] for m in models] == [0, 1]
    assert tokenize(models[0]) != tokenize(models[1])
    again = Model.load(models[1].save(tmp_path / "model.safetensors"))
    assert again.fitted.state()[1]["seed"] == 1
    assert tokenize(again) == tokenize(models[1])


POOL = 50, 61


def with_a_pool(pair: Pair) -> Pair:
    """The scene with four pixels that no class knows: very bright in the first band of the MSI, black in the others."""
    msi = pair.msi.copy()
    row, col = POOL
    msi[0, row : row + 2, col : col + 2] += 0.8
    msi[1:, row : row + 2, col : col + 2] = 0.02
    return replace(pair, msi=msi)


def flagged(fitted: Model, pair: Pair, fine: Window | None = None) -> np.ndarray:
    fine = fine or pair.windows[0]
    coarse = fitted.builder(pair.grids).coarse_window(fine)
    (fr, fc), (cr, cc) = fine.slices, coarse.slices
    images = pair.hsi[:, cr, cc].astype(np.float32), pair.msi[:, fr, fc].astype(np.float32)
    return fitted.apply(*images, pair.grids, fine, coarse, quality=True)


@pytest.mark.parametrize("method", ["gem", "sylvester"])
def test_a_spectrum_unlike_any_other_is_bounded_flagged_and_uncertain(method: str) -> None:
    fitted, pair = model(method), with_a_pool(scene())
    row, col = POOL
    with torch.no_grad():
        wild = fitted.fitted.apply(pair.patch(fitted.geometry.sigma, fitted.geometry.shift)).numpy()
    assert wild[:, row, col].min() < -0.05, "linear extrapolation"
    out = flagged(fitted, pair)
    image, flags = out[:-1], out[-1].astype(int)
    lowest = -estimator(fitted).gem.coordinates.sigma[:, None, None]
    assert (image >= lowest - 1e-6).all()
    assert image.max() <= max(1, pair.msi.max()) + 1e-6
    assert flags[row, col] == Quality.OUTSIDE_RANGE | Quality.FAR
    good = flags == Quality.GOOD
    assert good.mean() > 0.8
    assert np.abs(image - wild)[:, (flags & Quality.OUTSIDE_RANGE) == 0].max() < 1e-6, "nothing else changes"
    patch = pair.patch(fitted.geometry.sigma, fitted.geometry.shift)
    known = replace(fitted, fitted=replace(estimator(fitted), uncertainty=posterior_uncertainty(estimator(fitted).gem, [patch])))
    fine, coarse = pair.windows[0], fitted.builder(pair.grids).coarse_window(pair.windows[0])
    deviation = known.deviation(pair.hsi.astype(np.float32), pair.msi.astype(np.float32), pair.grids, fine, coarse)
    assert (deviation[:, row, col] > 2 * np.median(deviation, axis=(1, 2))).all()
    assert not (image < -3 * deviation).any()


def test_a_window_has_the_flags_of_the_whole() -> None:
    fitted, pair = model("gem", 4.0, 40), with_a_pool(scene(4.0, 40))
    pair.msi[:, 20:25, 100:110] = np.nan
    whole = flagged(fitted, pair)
    assert set(np.unique(whole[-1])) >= {0, 1, 24}
    for core in (Window(44, 60, 50, 70), Window(0, 30, 90, 120)):
        fine = core.grown(fitted.halo, pair.windows[0])
        tile = flagged(fitted, pair, fine)[(slice(None), *core.offset(-fine.top, -fine.left).slices)]
        expected = whole[(slice(None), *core.slices)]
        assert np.nanmax(np.abs(tile[:-1] - expected[:-1])) < TILE_REQUIREMENT
        assert (tile[-1] != expected[-1]).mean() < 0.005, "but where a value lies on its limit to rounding"


def test_baselines_are_bounded_alike() -> None:
    fitted, pair = model("bicubic"), scene()
    dark = replace(pair, hsi=pair.hsi.copy())
    dark.hsi[:, 5, 5] = 0.9  # and cubic interpolation falls below zero beside it
    dark.hsi[:, 5, 6:9] = 0.0
    patch = dark.patch(fitted.geometry.sigma, fitted.geometry.shift)
    lowest = -fitted.noise[:, None, None]
    with torch.no_grad():
        below = (fitted.fitted.apply(patch).numpy() < lowest).any(0)
    out = flagged(fitted, dark)
    assert 5 < below.sum() < 500
    assert np.array_equal(out[-1] == Quality.OUTSIDE_RANGE, below)
    assert (out[:-1] >= lowest - 1e-6).all()
    assert np.array_equal(out[:-1], apply(fitted, dark))
