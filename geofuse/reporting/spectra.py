"""The spectra of a report: at places that differ, and at the worst ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geofuse.cube.bands import drawn
from geofuse.reporting.figures import INK, MAIN, OTHER, msi_centres, numbers, plain_axes, wavelengths_of
from geofuse.reporting.maps import PLACES

MOST = len(PLACES)  # places that are drawn
_SIGMAS = 2


def draw_spectra(report: Mapping[str, Any]) -> Figure | None:
    """Spectra of both images and of the fused one at the places of the report, three in a row; where it is known with two standard deviations."""
    places = [place for place in report.get("spectra") or [] if isinstance(place, dict)][:MOST]
    if not places:
        return None
    columns = min(3, len(places))
    rows = -(-len(places) // columns)
    figure = Figure(figsize=(3.3 * columns, 2.5 * rows), dpi=170, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for number, (ax, place) in enumerate(zip(axes, places, strict=False), start=1):
        _draw_place(ax, report, place)
        ax.set_title(f"{number}  {_title(place)}", loc="left", fontsize=8, color=PLACES[number - 1], fontweight="bold")
        if (number - 1) % columns:
            ax.set_ylabel("")
        if number <= len(places) - columns:
            ax.set_xlabel("")
    for ax in axes[len(places) :]:
        ax.set_axis_off()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=7, labelcolor=INK)
    return figure


def _title(place: Mapping[str, Any]) -> str:
    return str(place.get("why", ""))[:60].replace("$", r"\$")


def _draw_place(ax: Axes, report: Mapping[str, Any], place: Mapping[str, Any]) -> None:
    fused, sigma = numbers(place.get("fused")), numbers(place.get("sigma"))
    axis, good = wavelengths_of(report), (report.get("bands") or {}).get("good")
    known = len(axis) == len(fused) and bool(np.isfinite(axis).all())
    x = axis if known else np.arange(1, len(fused) + 1)
    used = good if isinstance(good, list) and len(good) == len(fused) else None
    plain_axes(ax)
    coarse = numbers(place.get("hsi"))
    if len(coarse) == len(fused):
        ax.plot(*drawn(x, coarse, used), color=OTHER, linewidth=1.1, label="hyperspectral pixel")
    line = drawn(x, fused, used)
    if len(sigma) == len(fused):
        low, high = (drawn(x, fused + side * _SIGMAS * sigma, used)[1] for side in (-1, 1))
        ax.fill_between(line[0], low, high, color=MAIN, alpha=0.22, linewidth=0, label=f"± {_SIGMAS} standard deviations")
    ax.plot(*line, color=MAIN, linewidth=1.2, label="fused pixel")
    fine, centres = numbers(place.get("msi")), _msi_axis(report)
    if known and len(centres) == len(fine):
        ax.plot(centres, fine, "s", color=INK, markersize=3.5, label="multispectral pixel")
    top = np.nanmax([v for values in (coarse, fused, fine) for v in values] or [1.0])
    ax.set(
        xlabel="wavelength (nm)" if known else "band",
        ylabel="reflectance",
        ylim=(min(0.0, float(np.nanmin(fused, initial=0.0))), max(1.15 * float(top), 1e-3)),
    )
    ax.tick_params(labelsize=7)
    ax.xaxis.label.set_fontsize(8)
    ax.yaxis.label.set_fontsize(8)


def _msi_axis(report: Mapping[str, Any]) -> np.ndarray:
    """Wavelengths of the MSI's bands, as its file says, else where their effective responses lie."""
    named = numbers(((report.get("images") or {}).get("msi") or {}).get("wavelength_nm"))
    return named if len(named) and np.isfinite(named).all() else msi_centres(report)
