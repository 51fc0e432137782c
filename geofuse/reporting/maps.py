"""The placed pictures of a report: the scene, a part of it in detail, and maps of residuals, uncertainty and quality."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from geofuse.reporting.figures import BASELINE, INK
from geofuse.reporting.pictures import decoded, decoded_map

_PANEL = 3.0  # inches along the width of a panel
_TALLEST = 1.6  # times that
_TITLES = {"hsi": "hyperspectral (coarse)", "msi": "multispectral (fine)", "fused": "fused"}
_MAPS = {
    "hsi_residual": "residual, hyperspectral",
    "msi_residual": "residual, multispectral",
    "uncertainty": "standard deviation",
}
_FLAGS = {
    "nodata": "#e9edf0", "good": "#9fdcc6", "one image only": "#e69f00", "masked": "#8a949d", "outside the physical range": "#cc79a7",
    "far from both images": "#d55e00",
}  # fmt: skip
"""Colours of the quality layer, from what is good to what is worst: those of its flags in the order of their bits."""
PLACES = ("#0072b2", "#009e73", "#cc79a7", "#d55e00", "#e69f00", "#56b4e9")
"""Colours of places, those of Okabe and Ito."""

Extent = tuple[float, float, float, float]


class _Panel(NamedTuple):
    title: str
    draw: Callable[[Axes, Any], None]
    """Called with the axes, and where the picture lies."""


def draw_scene(report: Mapping[str, Any]) -> Figure | None:
    """The whole scene in both images and the fused one, as far as the report shows them, and where the part lies that it shows in detail."""
    scene = _dict(report, "scene")
    panels = _pictures(scene)
    figure = _figure(panels, scene)
    part = part_within(report)
    if figure is not None and part is not None:
        west, east, south, north = part
        box = [(west, west, east, east, west), (south, north, north, south, south)]
        for colour, width in (("white", 2.6), ("black", 1.2)):
            figure.axes[len(panels) - 1].plot(*box, color=colour, linewidth=width)
    return figure


def draw_part(report: Mapping[str, Any]) -> Figure | None:
    """A part of the scene in both images and the fused one; the places of the spectra are marked."""
    part = _dict(report, "pictures")
    panels = _pictures(part)
    figure = _figure(panels, part)
    if figure is not None and extent_of(part) is not None:
        for ax in figure.axes[: len(panels)]:
            mark_places(ax, report)
    return figure


def draw_residuals(report: Mapping[str, Any]) -> Figure | None:
    """Maps of the residuals of both images, and of the standard deviation, in the part of the scene."""
    part = _dict(report, "pictures")
    return _figure(_maps(part, _MAPS), part)


def draw_layers(report: Mapping[str, Any]) -> Figure | None:
    """Quality and standard deviation of the whole scene."""
    scene = _dict(report, "scene")
    quality, panels = decoded(scene.get("quality")), _maps(scene, {"uncertainty": _MAPS["uncertainty"]})
    if quality is not None:
        panels.append(_Panel("quality", lambda ax, extent: _draw_quality(ax, quality[..., 0], extent)))
    return _figure(panels, scene)


def mark_places(ax: Axes, report: Mapping[str, Any]) -> None:
    """Number the places of the spectra."""
    for number, (place, colour) in enumerate(zip(report.get("spectra") or [], PLACES, strict=False), start=1):
        if not all(isinstance(place.get(key), int | float) for key in "xy"):
            continue
        at = place["x"], place["y"]
        ax.plot(*at, "o", markersize=7, markerfacecolor="none", markeredgecolor="white", markeredgewidth=2.6)
        ax.plot(*at, "o", markersize=7, markerfacecolor="none", markeredgecolor=colour, markeredgewidth=1.4)
        text = ax.annotate(str(number), at, (5, 4), textcoords="offset points", fontsize=8, fontweight="bold", color=colour)
        text.set_bbox({"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.6})


def extent_of(part: Mapping[str, Any]) -> Extent | None:
    """West, east, south and north of a picture of a report; None where it says none."""
    values = part.get("extent")
    if not isinstance(values, list) or len(values) != 4 or not all(isinstance(v, int | float) for v in values):
        return None
    west, east, south, north = map(float, values)
    return (west, east, south, north) if west < east and south < north else None


def part_within(report: Mapping[str, Any]) -> Extent | None:
    """Where the part that is shown in detail lies, if it is a smaller one of the scene."""
    scene, part = (extent_of(_dict(report, key)) for key in ("scene", "pictures"))
    if scene is None or part is None:
        return None
    inside = part[0] >= scene[0] and part[1] <= scene[1] and part[2] >= scene[2] and part[3] <= scene[3]
    return part if inside and part[1] - part[0] < 0.9 * (scene[1] - scene[0]) else None


def _dict(report: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = report.get(key)
    return found if isinstance(found, dict) else {}


def _pictures(part: Mapping[str, Any]) -> list[_Panel]:
    """Coarse, fine and fused, as far as they are there."""

    def panel(title: str, image: NDArray[Any]) -> _Panel:
        return _Panel(title, lambda ax, extent: _show(ax, image, extent))

    known = {title: decoded(part.get(key)) for key, title in _TITLES.items()}
    return [panel(title, image) for title, image in known.items() if image is not None]


def _maps(part: Mapping[str, Any], titles: Mapping[str, str]) -> list[_Panel]:
    """Maps of numbers."""
    known = {title: decoded_map(part.get(key)) for key, title in titles.items()}

    def panel(title: str, values: NDArray[Any]) -> _Panel:
        return _Panel(title, lambda ax, extent: _draw_map(ax, values, extent))

    return [panel(title, values) for title, values in known.items() if values is not None]


def _figure(panels: Sequence[_Panel], part: Mapping[str, Any]) -> Figure | None:
    """Panels beside each other, with coordinates and a scale bar."""
    if not panels:
        return None
    extent = extent_of(part)
    aspect = 1.0 if extent is None else (extent[3] - extent[2]) / (extent[1] - extent[0])
    height = _PANEL * min(max(aspect, 0.3), _TALLEST)
    figure = Figure(figsize=(_PANEL * len(panels) + 0.4, height + 0.75), dpi=170, layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, panel in zip(axes, panels, strict=True):
        ax.set_title(panel.title, loc="left", fontsize=9, color=INK)
        panel.draw(ax, extent)
        _frame(ax, extent, first=ax is axes[0])
    if extent is not None:
        axes[0].set_ylabel(str(part.get("crs", ""))[:60].replace("$", r"\$"), fontsize=8, color=INK)
        _scale_bar(axes[-1], extent, _metres(part))
    return figure


def _show(ax: Axes, image: NDArray[Any], extent: Extent | None, **how: Any) -> Any:
    return ax.imshow(image, extent=extent, interpolation="nearest", **how)


def _metres(part: Mapping[str, Any]) -> float:
    """Metres of one unit of the CRS; 0 where it is an angle."""
    found = part.get("metres", 1.0)
    return float(found) if isinstance(found, int | float) else 0.0


def _frame(ax: Axes, extent: Extent | None, *, first: bool) -> None:
    ax.tick_params(labelsize=7, colors=INK)
    ax.spines[:].set_color(BASELINE)
    if extent is None:
        ax.set(xticks=[], yticks=[])
        return
    ax.set(xlim=extent[:2], ylim=extent[2:])
    ax.set_xticks(_round_steps(extent[0], extent[1]))
    ax.set_yticks(_round_steps(extent[2], extent[3]))
    ax.ticklabel_format(style="plain", useOffset=False)
    ax.tick_params(axis="y", labelrotation=90, labelleft=first)
    for label in ax.get_yticklabels():
        label.set_verticalalignment("center")


def _round_steps(low: float, high: float) -> NDArray[Any]:
    """A few round numbers between two."""
    step = _round(0.4 * (high - low))
    return np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step


def _round(length: float) -> float:
    """The largest of 1, 2, 5, 10, 20, … that is no longer."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(factor * power for factor in (1, 2, 5) if factor * power <= length * (1 + 1e-9)))


def _scale_bar(ax: Axes, extent: Extent, metres: float) -> None:
    """A bar of a round length in metres, at the lower right."""
    if metres <= 0:
        return
    width, height = extent[1] - extent[0], extent[3] - extent[2]
    length = _round(0.35 * width * metres)
    right, bottom = extent[1] - 0.05 * width, extent[2] + 0.05 * height
    ends = [right - length / metres, right]
    for colour, line in (("white", 5.0), ("black", 2.4)):
        ax.plot(ends, [bottom, bottom], color=colour, linewidth=line, solid_capstyle="butt", clip_on=False)
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5}
    ax.text(sum(ends) / 2, bottom + 0.025 * height, text, ha="center", va="bottom", fontsize=8, color="black", bbox=box)


def _draw_map(ax: Axes, values: NDArray[Any], extent: Extent | None) -> None:
    from matplotlib.colors import PowerNorm

    top = float(np.nanmax(values)) if np.isfinite(values).any() else 0.0
    shown = _show(ax, values, extent, cmap="cividis", norm=PowerNorm(0.5, 0, max(top, 1e-9)))  # a few places are far above the others
    bar = ax.figure.colorbar(shown, cax=ax.inset_axes((0, -0.13, 1, 0.035)), orientation="horizontal")
    bar.set_label("reflectance", fontsize=7, color=INK)
    bar.set_ticks([0, top / 16, top / 4, top], labels=[f"{value:.2g}" for value in (0, top / 16, top / 4, top)])
    bar.ax.tick_params(colors=INK, labelsize=7)
    bar.ax.minorticks_off()
    bar.outline.set_visible(False)


def _draw_quality(ax: Axes, quality: NDArray[np.uint8], extent: Extent | None) -> None:
    """Each pixel in the colour of the worst that is said of it."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    worst = np.zeros(quality.shape, int)
    for bit in range(8):
        worst[(quality >> bit) & 1 == 1] = bit + 1
    worst = np.minimum(worst, len(_FLAGS) - 1)
    colours = list(_FLAGS.values())
    _show(ax, worst, extent, cmap=ListedColormap(colours), vmin=-0.5, vmax=len(colours) - 0.5)
    seen = [Patch(facecolor=colours[k], edgecolor=BASELINE, label=name) for k, name in enumerate(_FLAGS) if (worst == k).any()]
    ax.legend(handles=seen, loc="upper left", bbox_to_anchor=(0, -0.08), frameon=False, fontsize=7)
