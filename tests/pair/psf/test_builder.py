"""The operators against dense algebra, Pillow and polynomials."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from affine import Affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from PIL import Image
from pyproj import Transformer
from scipy.ndimage import gaussian_filter

from geofuse.pair.grid import GridPair, Window, pair_grids
from geofuse.pair.psf.builder import Psf, PsfBuilder
from geofuse.pair.psf.operators import SeparablePsf, WarpedPsf
from tests.pairs import CRS, NORTH, WEST, naive_operator, tensor, uncropped, whole

LIKE = torch.zeros(1, dtype=torch.float64)
ratios = st.floats(1.5, 12)
seeds = st.integers(0, 2**16)


def build(
    pair: GridPair,
    sigma: tuple[float, float],
    shift: tuple[float, float] = (0.0, 0.0),
    valid: np.ndarray | None = None,
    like: torch.Tensor = LIKE,
) -> Psf:
    valid = np.ones(pair.coarse.shape, bool) if valid is None else valid
    return PsfBuilder(pair, sigma, shift).build(whole(pair.fine.shape), whole(pair.coarse.shape), valid, like)


def warped(pair: GridPair) -> GridPair:
    """The same pair, sent through the code for grids whose axes differ."""
    other = replace(pair)
    other.__dict__["aligned"] = False
    return other


def turned_pair() -> GridPair:
    """A coarse grid in the neighbouring zone, turned by 1.6° against the fine one; ratio 5."""
    x, y = Transformer.from_crs(CRS, "EPSG:32632", always_xy=True).transform(WEST + 30, NORTH - 30)
    coarse = GeoBox((9, 8), Affine(5, 0, x - 20, 0, -5, y + 22.5), "EPSG:32632")
    return pair_grids(coarse, GeoBox((60, 64), Affine(1, 0, WEST, 0, -1, NORTH), CRS))


def random_images(psf: Psf, channels: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return tensor(rng.normal(size=(channels, *psf.shape))), tensor(rng.normal(size=(channels, *psf.observed.shape)))


def check_adjoint(psf: Psf, seed: int) -> None:
    x, y = random_images(psf, 2, seed)
    left, right = float((psf.forward(x) * y).sum()), float((x * psf.adjoint(y)).sum())
    assert left == pytest.approx(right, rel=1e-11, abs=1e-11)


@settings(max_examples=40, deadline=None)
@given(
    ratio=ratios,
    sigma=st.tuples(st.floats(0.2, 1.2), st.floats(0.2, 1.2)),
    shift=st.tuples(st.floats(-9, 9), st.floats(-9, 9)),
    seed=seeds,
)
def test_adjoint(ratio: float, sigma: tuple[float, float], shift: tuple[float, float], seed: int) -> None:
    pair = uncropped((4, 5), ratio=ratio)
    valid = np.random.default_rng(seed).random((4, 5)) < 0.8
    check_adjoint(build(pair, (sigma[0] * ratio, sigma[1] * ratio), shift, valid), seed)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (1.3, -2.1)])
def test_adjoint_of_turned_grids(shift: tuple[float, float]) -> None:
    psf = build(turned_pair(), (2.5, 3.1), shift)
    assert isinstance(psf, WarpedPsf)
    assert float(psf.observed.sum()) > 40
    for seed in range(5):
        check_adjoint(psf, seed)


@settings(max_examples=25, deadline=None)
@given(ratio=st.floats(1.5, 6), first=st.tuples(st.floats(-0.4, 4), st.floats(-0.4, 4)), seed=seeds)
def test_forward_against_the_dense_operator(ratio: float, first: tuple[float, float], seed: int) -> None:
    pair = uncropped((4, 3), ratio=ratio, first=first)
    sigma, shift = (0.5 * ratio, 0.43 * ratio), (0.31, -0.17)
    for f, s, n, d in zip(first, sigma, (4, 3), shift, strict=True):
        # Positions come from coordinates of millions of metres: keep clear of weights that rounding puts on either side of the cut.
        distance = np.abs(np.arange(-80, 80)[:, None] - (f + d + ratio * np.arange(n)))
        assume(np.abs(distance / s - 4).min() > 1e-7)
    psf = build(pair, sigma, shift)
    x, _ = random_images(psf, 2, seed)
    expected = (naive_operator(pair, sigma, shift) @ x.flatten(1).numpy().T).T.reshape(2, 4, 3) * psf.observed.numpy()
    np.testing.assert_allclose(psf.forward(x).numpy(), expected, atol=1e-7)


def test_unobserved_pixels_take_no_part() -> None:
    pair = uncropped((5, 6))
    valid = np.ones((5, 6), bool)
    valid[1, 2] = valid[4, 5] = False
    psf = build(pair, (2.1, 2.1), valid=valid)
    assert np.array_equal(psf.observed.numpy() > 0, valid)
    x, y = random_images(psf, 1, 0)
    assert not psf.forward(x)[:, ~valid].any()
    garbage = y.clone()
    garbage[:, ~valid] = 1e9
    assert torch.equal(psf.adjoint(garbage), psf.adjoint(y * psf.observed))


def test_a_pixel_centred_off_the_scene_is_not_observed() -> None:
    """The MSI ends before the third coarse row's centre, at 9.5."""
    psf = build(uncropped((3, 3), (9, 12)), (2.0, 2.0))
    assert (psf.observed.numpy() > 0).tolist() == [[True] * 3, [True] * 3, [False] * 3]
    psf = build(uncropped((3, 3), (10, 12)), (2.0, 2.0))  # and now on its last pixel's outer edge
    assert bool((psf.observed > 0).all())


@pytest.mark.parametrize("form", ["separable", "forced", "turned"])
def test_constants_stay(form: str) -> None:
    pair = turned_pair() if form == "turned" else uncropped((6, 5), ratio=25 / 3)
    psf = build(warped(pair) if form == "forced" else pair, (2.7, 2.2), (0.4, 0.2))
    assert isinstance(psf, SeparablePsf if form == "separable" else WarpedPsf)
    observed = psf.observed > 0
    fine, coarse = torch.ones(1, *psf.shape, dtype=torch.float64), torch.ones(1, *psf.observed.shape, dtype=torch.float64)
    np.testing.assert_allclose(psf.forward(fine)[:, observed].numpy(), 1, atol=1e-12)
    np.testing.assert_allclose(psf.upsample(coarse).numpy(), 1, atol=1e-12)


def test_turned_blur_of_a_polynomial() -> None:
    """A Gaussian of standard deviation s adds s² to x² and moves nothing linear: exact in the interior, whatever the grids."""
    pair, sigma, shift = turned_pair(), (1.3, 1.7), (0.6, -0.3)
    psf = build(pair, sigma, shift)
    rows, cols = np.mgrid[: psf.shape[0], : psf.shape[1]].astype(float)
    r, c = np.mgrid[: pair.coarse.shape[0], : pair.coarse.shape[1]].astype(float)
    back = Transformer.from_crs("EPSG:32632", CRS, always_xy=True)
    east, north = back.transform(*(pair.coarse.affine * (c + 0.5, r + 0.5)))
    row = NORTH - north - 0.5 - pair.fine_window.top + shift[0]
    col = east - WEST - 0.5 - pair.fine_window.left + shift[1]
    inner = (row > 7) & (row < psf.shape[0] - 8) & (col > 7) & (col < psf.shape[1] - 8)
    assert inner.sum() > 20
    found = psf.forward(tensor(np.stack([rows, cols, rows * rows, cols * cols, rows * cols]))).numpy()[:, inner]
    expected = np.stack([row, col, row**2 + sigma[0] ** 2, col**2 + sigma[1] ** 2, row * col])[:, inner]
    # Sampled and cut at four sigma, a Gaussian has a hair less variance and moves by a hundredth of a pixel at most.
    np.testing.assert_allclose(found[:2], expected[:2], atol=5e-3)
    np.testing.assert_allclose(found[2:], expected[2:], atol=0.3)
    np.testing.assert_allclose((found[2:4] - found[:2] ** 2).mean(1), np.square(sigma), rtol=5e-3)


@pytest.mark.parametrize(("ratio", "first"), [(4.0, (1.5, 1.5)), (25 / 3, (4.0, 4.3333)), (3.7, (0.2, 2.9))])
def test_warped_form_equals_separable_form(ratio: float, first: tuple[float, float]) -> None:
    pair = uncropped((6, 7), ratio=ratio, first=first)
    sigma, shift = (0.523 * ratio, 0.611 * ratio), (0.41, -0.33)
    separable, other_form = build(pair, sigma, shift), build(warped(pair), sigma, shift)
    assert isinstance(separable, SeparablePsf)
    assert isinstance(other_form, WarpedPsf)
    assert torch.equal(separable.observed, other_form.observed)
    x, y = random_images(separable, 3, 1)
    weight = tensor(np.array([0.0, 0.5, 20.0]))
    calls = {"forward": (x,), "adjoint": (y,), "upsample": (y,), "inverse": (y, weight), "sandwich": (y, lambda v, rows: 2 * v)}
    for name, arguments in calls.items():
        one, other = (getattr(psf, name)(*arguments) for psf in (separable, other_form))
        # The warped form interpolates the blurred image; on white noise, its worst case, that is good to 2e-4 of the noise.
        tolerance = 1e-7 if name in ("upsample", "inverse") else 2e-4
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=0, atol=tolerance, err_msg=name)
    np.testing.assert_allclose(separable.spectrum.numpy(), other_form.spectrum.numpy(), atol=1e-7)


def weights_of(psf: Psf) -> torch.Tensor:
    """The PSF of every coarse pixel, as an image: (h, w, H, W)."""
    h, w = psf.observed.shape
    impulses = torch.eye(h * w, dtype=torch.float64).reshape(h * w, h, w)
    return psf.adjoint(impulses).reshape(h, w, *psf.shape)


@pytest.mark.parametrize("turned", [False, True])
def test_a_window_equals_the_whole(turned: bool) -> None:
    """For every coarse pixel that the window observes; one that reaches over the window's edge is not observed."""
    pair = turned_pair() if turned else uncropped((20, 18), ratio=25 / 3, first=(4.0, 4.33))
    builder = PsfBuilder(pair, (2.1, 1.9) if turned else (3.7, 4.4), (0.7, -0.4))
    everything = build(pair, builder.sigma, builder.shift)
    x, y = random_images(everything, 2, 0)
    step = pair.fine.shape[0] // 5
    seen_once = np.zeros(pair.coarse.shape, bool)
    for fine in (Window(0, 4 * step, 0, 4 * step), Window(step, 5 * step, step // 2, pair.fine.shape[1]), whole(pair.fine.shape)):
        coarse = builder.coarse_window(fine)
        psf = builder.build(fine, coarse, np.ones(coarse.shape, bool), LIKE)
        observed = psf.observed.numpy() > 0
        seen_once[coarse.slices] |= observed
        (fr, fc), (cr, cc) = fine.slices, coarse.slices
        if not turned:  # the very same weights, and none left out
            ours, theirs = weights_of(psf)[observed], weights_of(everything)[cr, cc][observed]
            assert torch.equal(ours, theirs[:, fr, fc])
            theirs[:, fr, fc] = 0
            assert not theirs.any()
        part, all_of_it = psf.forward(x[:, fr, fc]), everything.forward(x)[:, cr, cc]
        np.testing.assert_allclose(part[:, observed].numpy(), all_of_it[:, observed].numpy(), atol=1e-12)
        inner = Window(fine.top + (0 if fine.top == 0 else 2 * step // 3), fine.bottom, fine.left, fine.right)
        up, up_all = psf.upsample(y[:, cr, cc]).numpy(), everything.upsample(y).numpy()[:, fr, fc]
        np.testing.assert_allclose(up[:, inner.top - fine.top :], up_all[:, inner.top - fine.top :], atol=1e-12)
    assert np.array_equal(seen_once, everything.observed.numpy() > 0)


@pytest.mark.parametrize("turned", [False, True])
def test_sandwich(turned: bool) -> None:
    """Taller than a stripe, with a middle that differs from row to row."""
    psf = build(turned_pair() if turned else uncropped((18, 5), ratio=4.7), (2.1, 1.9))
    _, y = random_images(psf, 3, 2)
    row_weight = tensor(np.random.default_rng(3).random((psf.shape[0], 1)))
    matrix = tensor(np.random.default_rng(4).normal(size=(3, 3)))

    def middle(fine: torch.Tensor, rows: slice) -> torch.Tensor:
        return torch.einsum("dc,chw->dhw", matrix, fine) * row_weight[rows]

    np.testing.assert_allclose(psf.sandwich(y, middle).numpy(), psf.forward(middle(psf.adjoint(y), slice(None))).numpy(), atol=1e-12)
    np.testing.assert_allclose(psf.square(y).numpy(), psf.forward(psf.adjoint(y)).numpy(), atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(ratio=ratios, weight=st.lists(st.floats(0, 1e4), min_size=2, max_size=2), seed=seeds)
def test_inverse_against_dense_solve(ratio: float, weight: list[float], seed: int) -> None:
    pair = uncropped((4, 3), ratio=ratio)
    psf = build(pair, (0.5 * ratio, 0.7 * ratio))
    assert bool((psf.observed > 0).all())
    a = weights_of(psf).reshape(12, -1).numpy()
    _, y = random_images(psf, 2, seed)
    found = psf.inverse(y, tensor(np.array(weight)))
    for k, w in enumerate(weight):
        expected = np.linalg.solve(w * a @ a.T + np.eye(12), y[k].flatten().numpy())
        np.testing.assert_allclose(found[k].flatten().numpy(), expected, atol=1e-9)
    np.testing.assert_allclose(np.sort(psf.spectrum.flatten().numpy()), np.linalg.eigvalsh(a @ a.T), atol=1e-12)
    assert psf.gain == pytest.approx((a**2).sum(1).mean())


def test_interpolation_against_pillow() -> None:
    image = np.random.default_rng(0).random((12, 10)).astype(np.float32)
    expected = np.asarray(Image.fromarray(image).resize((40, 48), Image.Resampling.BICUBIC))  # Pillow's bicubic has a = -1/2 as well
    psf = build(uncropped((12, 10)), (2.0, 2.0), like=torch.zeros(1))
    np.testing.assert_allclose(psf.upsample(torch.as_tensor(image)[None])[0].numpy()[8:-8, 8:-8], expected[8:-8, 8:-8], atol=1e-5)


def test_shift_moves_both_directions_the_same_way() -> None:
    """A smooth picture, seen through a displaced PSF and interpolated back with the same displacement, stays in its place."""
    pair = uncropped((24, 24))
    rows, cols = np.mgrid[:96, :96]
    picture = tensor(np.sin(rows / 9)[None] * np.cos(cols / 11)[None])
    errors = {}
    for shift in (0.0, 2.0):
        psf = build(pair, (0.8, 0.8), (2.0, -1.0))
        back = build(pair, (0.8, 0.8), (shift, -shift / 2)).upsample(psf.forward(picture))
        errors[shift] = float((back - picture)[:, 12:-12, 12:-12].abs().max())
    assert errors[2.0] < 0.02
    assert errors[0.0] > 0.1


def test_single_precision_follows_double() -> None:
    pair = uncropped((8, 8), ratio=25 / 3)
    double, single = build(pair, (4.2, 4.2)), build(pair, (4.2, 4.2), like=torch.zeros(1))
    x, y = random_images(double, 2, 0)
    assert single.forward(x.float()).dtype == torch.float32
    np.testing.assert_allclose(single.forward(x.float()).numpy(), double.forward(x).numpy(), atol=1e-5)
    np.testing.assert_allclose(single.adjoint(y.float()).numpy(), double.adjoint(y).numpy(), atol=1e-5)


def displaced(seed: int = 0) -> tuple[GridPair, np.ndarray]:
    """An aligned pair whose pixels lie up to half a coarse pixel off, and their positions; every eighth has none."""
    pair = replace(uncropped((12, 11), ratio=4.2), displaced=True)
    rng = np.random.default_rng(seed)
    positions = np.stack(pair.to_fine(*np.mgrid[:12, :11].astype(float))) + rng.uniform(-2.1, 2.1, (2, 12, 11))
    positions[:, rng.random((12, 11)) < 1 / 8] = np.nan
    return pair, positions


def test_displaced_pixels_see_what_lies_around_their_true_centres() -> None:
    """Against sums of the Gaussian's weights, pixel by pixel."""
    pair, positions = displaced()
    everything, valid = (whole(pair.fine.shape), whole(pair.coarse.shape)), np.ones(pair.coarse.shape, bool)
    psf = PsfBuilder(pair, (2.2, 1.9), (0.4, -0.3)).build(*everything, valid, LIKE, positions)
    assert isinstance(psf, WarpedPsf)
    centres = positions + np.array([0.4, -0.3])[:, None, None]
    edge = np.array(pair.fine.shape)[:, None, None] - 0.5
    expected = np.isfinite(positions[0]) & (centres > -0.5).all(0) & (centres < edge).all(0)
    assert np.array_equal(psf.observed.numpy() > 0, expected)
    fine = gaussian_filter(np.random.default_rng(1).random((2, *pair.fine.shape)), (0, 1, 1))
    seen = psf.forward(tensor(fine)).numpy()
    padded = np.pad(fine, ((0, 0), (12, 12), (12, 12)), mode="symmetric")
    row, col = np.mgrid[-12 : pair.fine.shape[0] + 12, -12 : pair.fine.shape[1] + 12]
    for i, j in np.argwhere(expected):
        weight = np.exp(-0.5 * (((row - centres[0, i, j]) / 2.2) ** 2 + ((col - centres[1, i, j]) / 1.9) ** 2))
        np.testing.assert_allclose(seen[:, i, j], (padded * weight).sum((1, 2)) / weight.sum(), atol=1e-4)
    assert not seen[:, ~expected].any()


def test_displaced_pixels_are_preconditioned_by_their_own_energy() -> None:
    """Away from the edges, where the PSF is not reflected: the diagonal of AAᵀ, by the dense operator."""
    pair, positions = displaced()
    everything, valid = (whole(pair.fine.shape), whole(pair.coarse.shape)), np.ones(pair.coarse.shape, bool)
    psf = PsfBuilder(pair, (0.8, 0.6)).build(*everything, valid, LIKE, positions)
    diagonal = (weights_of(psf).reshape(*pair.coarse.shape, -1).numpy() ** 2).sum(-1)
    found = psf.inverse(torch.ones(1, *pair.coarse.shape, dtype=LIKE.dtype), tensor(np.array([30.0])))[0].numpy()
    inner = np.zeros(pair.coarse.shape, bool)
    inner[2:-2, 2:-2] = psf.observed.numpy()[2:-2, 2:-2] > 0
    np.testing.assert_allclose(found[inner], 1 / (1 + 30 * diagonal[inner]), rtol=2e-2)
    assert np.ptp(diagonal[inner]) > 0.1 * diagonal[inner].mean(), "so sharp a PSF sees another part of the pixels in every place"


def test_displaced_pixels_are_upsampled_from_their_true_centres() -> None:
    """A smooth image comes back, five times nearer than if the grid were true."""
    pair, positions = displaced()
    row, col = np.mgrid[: pair.fine.shape[0], : pair.fine.shape[1]].astype(float)

    def image(r: np.ndarray, c: np.ndarray) -> np.ndarray:
        return np.asarray(np.sin(r / 5) + np.cos((r + c) / 7))

    everything, valid = (whole(pair.fine.shape), whole(pair.coarse.shape)), np.ones(pair.coarse.shape, bool)
    seen, builder = tensor(np.where(np.isfinite(positions[0]), image(*positions), 0.5)[None]), PsfBuilder(pair, (2.1, 2.1))
    ups = [builder.build(*everything, valid, LIKE, given).upsample(seen)[0].numpy() for given in (positions, None)]
    errors = [float(np.sqrt(((up - image(row, col))[12:-12, 12:-12] ** 2).mean())) for up in ups]
    assert errors[0] < 0.2 * errors[1]


def test_a_window_of_displaced_pixels_equals_the_whole() -> None:
    pair, positions = displaced()
    builder, valid = PsfBuilder(pair, (1.1, 1.2), (0.7, -0.4)), np.ones(pair.coarse.shape, bool)
    everything = builder.build(whole(pair.fine.shape), whole(pair.coarse.shape), valid, LIKE, positions)
    x, y = random_images(everything, 2, 0)
    fine = Window(14, 44, 10, 40)
    coarse = builder.coarse_window(fine)
    (fr, fc), (cr, cc) = fine.slices, coarse.slices
    part = builder.build(fine, coarse, valid[cr, cc], LIKE, positions[:, cr, cc])
    observed = part.observed.numpy() > 0
    assert observed.sum() > 10
    np.testing.assert_allclose(part.forward(x[:, fr, fc])[:, observed], everything.forward(x)[:, cr, cc][:, observed], atol=1e-12)
    np.testing.assert_allclose(part.upsample(y[:, cr, cc])[:, 4:-4, 4:-4], everything.upsample(y)[:, fr, fc][:, 4:-4, 4:-4], atol=1e-12)
    _, v = random_images(part, 2, 1)
    np.testing.assert_allclose((part.adjoint(v) * x[:, fr, fc]).sum(), (v * part.forward(x[:, fr, fc])).sum(), rtol=1e-9)
