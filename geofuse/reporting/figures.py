"""The pictures of a report: one function for each panel, drawn on the axes that it is given.

Nothing here touches pyplot, so no window, backend or global style is involved and threads may draw at the same time.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine

from geofuse.cube.bands import drawn
from geofuse.pair.grid import Axis
from geofuse.pair.psf.weights import GAUSSIAN, banded_psf

if TYPE_CHECKING:
    from PIL import Image

INK, FAINT, MAIN, OTHER, BASELINE = "#22313f", "#d5dbe1", "#0067a3", "#b85000", "#a9b4bd"
"""Those of the style sheet: what is fused is MAIN, what is coarse OTHER."""

_PAGE_DPI, _MARGIN = 96, 8  # pixels
MOST_REACH = 200  # fine pixels: reports come from anywhere

Draw = Callable[[Axes, Mapping[str, Any]], None]


def panels(report: Mapping[str, Any]) -> list[tuple[str, str, Draw]]:
    """Return key, caption and drawing function of every panel that the report holds the data for.

    Parameters
    ----------
    report : mapping
        The plain dict of a `geofuse.Report`.

    Returns
    -------
    list of (str, str, callable)
        In the order in which they are shown.
    """
    disagreement, noise = _dict(report, "disagreement"), _dict(report, "noise")
    found: list[tuple[bool, str, str, Draw]] = [
        (bool(scored(report)), "validation", "Test on this scene one resolution step down: higher is better", _draw_validation),
        (bool(_dict(report, "response").get("matrix")), "response", "Effective response, as this pair shows it", _draw_response),
        (bool(_dict(report, "geometry").get("psf_sigma_yx_px")), "psf", "Point spread of a hyperspectral pixel, and its shift", _draw_psf),
        (bool(disagreement.get("per_band")), "disagreement", "Where the two images disagree, by band", _draw_disagreement),
        (bool(disagreement.get("map")), "map", "Where the two images disagree, on the ground", _draw_map),
        (bool(_dict(disagreement, "only_one_image").get("map")), "only-one-image", "What only one of the two images shows", _draw_only_one),
        (bool(_dict(_dict(report, "geometry"), "local").get("arrows")), "local", "Local displacement of the two images", _draw_local),
        (bool(noise.get("hsi_sigma") or noise.get("msi_sigma")), "noise", "Estimated noise", _draw_noise),
    ]
    return [(key, caption, draw) for available, key, caption, draw in found if available]


def draw_panel(draw: Draw, report: Mapping[str, Any]) -> Figure:
    """Draw one panel on a figure of its own."""
    figure = Figure(figsize=(6.4, 3.5), dpi=150, layout="constrained")
    draw(figure.subplots(), report)
    return figure


def draw_all(report: Mapping[str, Any]) -> Figure:
    """Draw every available panel on one figure, two in a row."""
    drawn = panels(report)
    rows = max(1, (len(drawn) + 1) // 2)
    figure = Figure(figsize=(13, 3.9 * rows + 0.3), dpi=110, layout=ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.12))
    axes = figure.subplots(rows, 2, squeeze=False).ravel()
    for ax, (_, caption, draw) in zip(axes, drawn, strict=False):
        draw(ax, report)
        ax.set_title(caption, loc="left", fontsize=11, color=INK)
    for ax in axes[len(drawn) :]:
        ax.set_axis_off()
    if not drawn:
        axes[0].text(0, 0.5, "Nothing to draw yet: the report holds no validation, response, disagreement or noise.", color=INK)
    return figure


class Picture(NamedTuple):
    """A drawn figure, ready to stand in a page."""

    address: str
    """A ``data:`` address."""
    width: int
    height: int
    """Pixels of the page, so that type is of one size in all figures."""


def to_picture(figure: Figure, kind: str = "png") -> Picture:
    """Store a figure; the same figure gives the same text.

    Parameters
    ----------
    figure : Figure
    kind : {"png", "jpeg"}
        Drawings are stored in 256 colours (PNG), photographs as JPEG.
    """
    from PIL import Image

    canvas, small = FigureCanvasAgg(figure), io.BytesIO()
    canvas.draw()  # once: a tight box would draw it again
    full = _cropped(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
    if kind == "jpeg":
        full.save(small, "JPEG", quality=88, optimize=True)
    else:
        full.quantize(256, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    address = f"data:image/{kind};base64," + base64.b64encode(small.getvalue()).decode("ascii")
    width, height = (round(size * _PAGE_DPI / figure.dpi) for size in full.size)
    return Picture(address, width, height)


def _cropped(image: Image.Image) -> Image.Image:
    """The picture without its blank margin."""
    from PIL import ImageChops

    blank = ImageChops.invert(image).getbbox()
    if blank is None:
        return image
    left, top, right, bottom = blank
    return image.crop(
        (max(left - _MARGIN, 0), max(top - _MARGIN, 0), min(right + _MARGIN, image.width), min(bottom + _MARGIN, image.height))
    )


def scored(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the validation table that have a PSNR, best first."""
    rows = [row for row in report.get("validation") or [] if row.get("psnr_db") is not None]
    return sorted(rows, key=lambda row: -row["psnr_db"])


def is_baseline(row: Mapping[str, Any]) -> bool:
    """Whether a row of the validation table is that of a method to compare with."""
    return row.get("role") == "baseline"


def _dict(report: Mapping[str, Any], key: str) -> dict[str, Any]:
    return report.get(key) or {}


def numbers(values: Any) -> np.ndarray:
    """Floats from a plain list, None becoming NaN, which matplotlib leaves out."""
    return np.array([np.nan if v is None else v for v in values or []], dtype=float)


def wavelengths_of(report: Mapping[str, Any]) -> np.ndarray:
    """Centres of the hyperspectral bands in nm."""
    return numbers(_dict(report, "bands").get("wavelength_nm"))


def _band_axis(report: Mapping[str, Any], count: int, ax: Axes) -> np.ndarray:
    """Wavelengths where the report knows them for every band of this quantity, otherwise band numbers."""
    wavelengths = wavelengths_of(report)
    if len(wavelengths) == count and np.isfinite(wavelengths).all():
        ax.set_xlabel("wavelength (nm)")
        return wavelengths
    ax.set_xlabel("band")
    return np.arange(1, count + 1)


def msi_centres(report: Mapping[str, Any]) -> np.ndarray:
    """Centres of gravity of the effective responses, in nm: where on the axis the bands of the MSI belong."""
    wavelengths = wavelengths_of(report)
    matrix = np.array([numbers(row) for row in _dict(report, "response").get("matrix") or []])
    if matrix.ndim != 2 or matrix.shape[1] != len(wavelengths) or not np.isfinite(wavelengths).all():
        return np.array([])
    weights = np.nan_to_num(matrix) ** 2  # squared, so that small weights far away do not pull the centre
    return weights @ wavelengths / np.maximum(weights.sum(axis=1), 1e-30)


def plain_axes(ax: Axes) -> None:
    """Axes without what distracts: two spines, a faint grid."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(BASELINE)
    ax.tick_params(colors=INK, labelsize=9)
    ax.xaxis.label.set_color(INK)
    ax.yaxis.label.set_color(INK)
    ax.grid(axis="y", color=FAINT, linewidth=0.7)
    ax.set_axisbelow(True)


def _draw_validation(ax: Axes, report: Mapping[str, Any]) -> None:
    rows = scored(report)[::-1]
    psnr = numbers([row["psnr_db"] for row in rows])
    colours = [MAIN if row is rows[-1] else BASELINE if is_baseline(row) else "#7fb2d0" for row in rows]
    ax.barh(range(len(rows)), psnr, color=colours, height=0.68)
    for at, row in enumerate(rows):
        sam = "" if row.get("sam_deg") is None else f", SAM {row['sam_deg']:.2f}°"
        ax.annotate(
            f"{row['psnr_db']:.2f} dB{sam}", (row["psnr_db"], at), (4, 0), textcoords="offset points", va="center", fontsize=9, color=INK
        )
    plain_axes(ax)
    ax.grid(visible=False)
    ax.set_yticks(range(len(rows)), [_escape(row.get("method", "?")) for row in rows])
    # Bars of decibels have no natural zero: start below the worst, and leave space for the figures on the right.
    span = max(psnr.max() - psnr.min(), 1.0)
    ax.set_xlim(psnr.min() - 0.35 * span, psnr.max() + 0.75 * span)
    ax.set_xlabel("PSNR (dB); the axis does not start at zero")


def _draw_response(ax: Axes, report: Mapping[str, Any]) -> None:
    matrix = [numbers(row) for row in report["response"]["matrix"]]
    named = [numbers(row) for row in report["response"].get("prior_matrix") or []]
    wavelengths = wavelengths_of(report)
    known = len(wavelengths) == len(matrix[0]) and bool(np.isfinite(wavelengths).all())
    x = wavelengths if known else np.arange(1, len(matrix[0]) + 1)
    for at, row in enumerate(matrix):
        colour = colormaps["turbo"](0.1 + 0.8 * at / max(1, len(matrix) - 1))
        line = _line(report, x, row)
        ax.fill_between(*line, color=colour, alpha=0.12, linewidth=0)
        ax.plot(*line, color=colour, linewidth=1.5, label=f"band {at + 1}")
        if len(named) == len(matrix) and len(named[at]) == len(row) and np.nansum(named[at]) > 0:  # of the same area: gain is no shape
            ax.plot(*_line(report, x, named[at] * np.nansum(row) / np.nansum(named[at])), color=INK, linewidth=0.9, linestyle=":")
    # The multispectral image sees a part of the spectrum: show that part, where any weight is above a tenth of its largest.
    seen = x[np.any([row > 0.1 * np.nanmax(row) for row in matrix], axis=0)]
    if len(seen):
        margin = 0.1 * max(np.ptp(seen), 1.0)
        ax.set_xlim(seen.min() - margin, seen.max() + margin)
    plain_axes(ax)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("wavelength (nm)" if known else "band")
    ax.set_ylabel("weight per hyperspectral band")
    look: dict[str, Any] = {"frameon": False, "fontsize": 8, "labelcolor": INK, "title_fontsize": 8, "alignment": "left"}
    ax.legend(title="multispectral", loc="upper left", bbox_to_anchor=(1, 1), **look)


def _draw_psf(ax: Axes, report: Mapping[str, Any]) -> None:
    geometry = report["geometry"]
    sigma, ratio = geometry["psf_sigma_yx_px"], geometry.get("ratio") or 1.0
    down, right = geometry.get("shift_px") or (0.0, 0.0)
    reach = int(min(np.ceil(max(1.5 * ratio, 3 * max(sigma))), MOST_REACH))
    axis = Axis(ratio, float(reach), 1, 2 * reach + 1)
    rows, cols = (
        banded_psf(axis, s, 0.0, slice(0, 1), slice(0, 2 * reach + 1), geometry.get("psf_exponent") or GAUSSIAN)[0] for s in sigma
    )
    half = reach + 0.5
    extent = (right - half, right + half, down + half, down - half)
    shown = ax.imshow(100 * np.outer(rows, cols), cmap="cividis", extent=extent, interpolation="nearest")
    corner = np.array([-1, 1, 1, -1, -1]) * ratio / 2, np.array([-1, -1, 1, 1, -1]) * ratio / 2
    ax.plot(*corner, color="white", linewidth=1.2, linestyle="--")
    ax.plot([], [], color=BASELINE, linewidth=1.2, linestyle="--", label="pixel, by the file")  # white is not seen beside the picture
    ax.plot(0, 0, "+", color="white", markersize=9)
    ax.plot(right, down, "x", color=OTHER, markersize=8, markeredgewidth=2, label="its centre, as found")
    _colour_bar(ax, shown, "weight of a fine pixel (%)")
    ax.set_facecolor(shown.cmap(0.0))
    ax.tick_params(colors=INK, labelsize=9)
    ax.set(xlabel="fine pixels to the right", ylabel="fine pixels down", xlim=(-half, half), ylim=(half, -half))
    ax.legend(loc="upper left", bbox_to_anchor=(1.32, 1), frameon=False, fontsize=8, labelcolor=INK)


def _draw_only_one(ax: Axes, report: Mapping[str, Any]) -> None:
    _draw_image(ax, 100 * np.array([numbers(row) for row in report["disagreement"]["only_one_image"]["map"]]), "share of the area (%)", 100)


def _draw_disagreement(ax: Axes, report: Mapping[str, Any]) -> None:
    percent = 100 * numbers(report["disagreement"]["per_band"])
    centres = msi_centres(report)
    if len(centres) == len(percent):  # one value for each multispectral band: name the bands by where they look
        ax.bar(range(len(percent)), percent, color=MAIN, width=0.6)
        ax.set_xticks(range(len(percent)), [f"band {at + 1}\n{centre:.0f} nm" for at, centre in enumerate(centres)])
        ax.set_xlabel("multispectral band")
    else:
        x = _band_axis(report, len(percent), ax)
        ax.plot(*_line(report, x, percent), color=MAIN, linewidth=1.4)
    overall = report["disagreement"].get("relative")
    if overall is not None:
        ax.axhline(100 * overall, color=OTHER, linewidth=1, linestyle="--")
        text = ax.annotate(f"all bands {100 * overall:.1f} %", (0.995, 100 * overall), (0, 4), ("axes fraction", "data"), "offset points")
        text.set(ha="right", fontsize=8, color=OTHER)
    plain_axes(ax)
    ax.set_ylim(bottom=0)
    ax.set_ylabel("relative RMSE (%)")


def _draw_map(ax: Axes, report: Mapping[str, Any]) -> None:
    image = 100 * np.array([numbers(row) for row in report["disagreement"]["map"]])
    top = float(np.nanpercentile(image, 98)) if np.isfinite(image).any() else 1.0
    _draw_image(ax, image, "relative RMSE (%)", top)


def _draw_image(ax: Axes, image: np.ndarray, what: str, top: float) -> None:
    shown = ax.imshow(image, cmap="cividis", vmin=0, vmax=top, interpolation="nearest")
    ax.set_axis_off()
    _colour_bar(ax, shown, what)


def _colour_bar(ax: Axes, shown: AxesImage, what: str) -> None:
    """Beside a picture, which moves to the left."""
    ax.set_anchor("W")
    bar = ax.figure.colorbar(shown, cax=ax.inset_axes((1.04, 0.05, 0.05, 0.9)))
    bar.set_label(what, fontsize=9, color=INK)
    bar.ax.tick_params(colors=INK, labelsize=9)
    bar.outline.set_visible(False)


def _draw_local(ax: Axes, report: Mapping[str, Any]) -> None:
    local = report["geometry"]["local"]
    row, col, down, right = np.array(local["arrows"], dtype=float).T
    arrows = ax.quiver(col, row, right, down, np.hypot(down, right), angles="xy", cmap=colormaps["cividis"], width=0.004)
    ax.figure.colorbar(arrows, ax=ax, label="fine pixels")
    ax.set_aspect("equal")
    ax.invert_yaxis()
    ax.set(xlabel="fine pixels to the right", ylabel="fine pixels down")


def _draw_noise(ax: Axes, report: Mapping[str, Any]) -> None:
    noise = report["noise"]
    hsi, msi = numbers(noise.get("hsi_sigma")), numbers(noise.get("msi_sigma"))
    x = _band_axis(report, len(hsi), ax)
    if len(hsi):
        ax.plot(*_line(report, x, hsi), color=OTHER, linewidth=1.4, label="hyperspectral")
    centres = msi_centres(report)
    if len(msi) and len(centres) == len(msi) and ax.get_xlabel().startswith("wavelength"):
        ax.plot(centres, msi, "s", color=INK, markersize=5, label="multispectral")
    elif len(msi) and not len(hsi):
        ax.plot(np.arange(1, len(msi) + 1), msi, "s", color=INK, markersize=5, label="multispectral")
    plain_axes(ax)
    ax.set_ylim(bottom=0)
    ax.set_ylabel("σ (reflectance)")
    ax.legend(frameon=False, fontsize=8)


def _line(report: Mapping[str, Any], x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    good = _dict(report, "bands").get("good")
    return drawn(x, y, good if isinstance(good, list) and len(good) == len(y) else None)


def _escape(text: object) -> str:
    """Matplotlib reads dollar signs as mathematics; names from files are just names."""
    return str(text).replace("$", r"\$")
