"""What the scene looks like: a part of it as the coarse, the fine and the fused image show it, small enough to travel in a report.

The part is cut and drawn when a model is fitted, from pixels that are in memory then. So a report has its picture wherever it goes, without
reading a pixel, and grows by some tens of kilobytes.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

SIDE = 192  # pixels along the longer side of a stored picture
LARGEST = 1024  # of one that is drawn: reports come from anywhere
INK = "#22313f"
_QUALITY = 80
_ENCODED = re.compile(r"data:image/(?:png|jpeg);base64,([A-Za-z0-9+/=]{1,1000000})")
_STRETCH = (2, 98)  # percentiles that become black and white
_TITLES = {"hsi": "hyperspectral (coarse)", "msi": "multispectral (fine)", "fused": "fused"}
_BITS = {
    "nodata": "#ffffff", "good": "#dfeee4", "one image only": "#e07b39", "masked": "#8d99a6", "outside the physical range": "#b3261e",
    "far from both images": "#7b3fa0",
}  # fmt: skip
"""Colours of the quality layer, from what is good to what is worst: those of its flags in the order of their bits."""


def excerpt(
    hsi: NDArray[Any], msi: NDArray[Any], fused: NDArray[Any], extent: tuple[float, float, float, float], crs: str
) -> dict[str, Any]:
    """Red, green and blue of one part of the scene in three images, as plain values for a report.

    Parameters
    ----------
    hsi, msi, fused : ndarray, shape (3, H, W)
        Reflectance on the same fine pixels, NaN where there is no data; the coarse image repeated.
    extent : tuple of float
        West, east, south and north, in the units of the CRS.
    crs : str
        Name of the CRS.

    Returns
    -------
    dict
        ``extent``, ``crs``, and the three pictures as ``data:`` addresses (JPEG).
    """
    alike = _limits(fused)  # the same stretch for both: they are meant to show the same radiometry
    images = {"hsi": _encoded(hsi, alike), "msi": _encoded(msi, _limits(msi)), "fused": _encoded(fused, alike)}
    return {"extent": [float(v) for v in extent], "crs": crs, **images}


def _limits(picture: NDArray[Any]) -> NDArray[Any]:
    flat = picture.reshape(3, -1)
    flat = flat[:, np.isfinite(flat).all(0)]
    return np.tile((0.0, 1.0), (3, 1)) if flat.size == 0 else np.percentile(flat, _STRETCH, axis=1).T


def _encoded(picture: NDArray[Any], limits: NDArray[Any]) -> str:
    from PIL import Image

    low, high = limits[:, :1, None], limits[:, 1:, None]
    shown = np.clip((picture - low) / np.maximum(high - low, 1e-6), 0, 1)
    shown = np.where(np.isfinite(picture).all(0), shown, 1.0)  # white where there is no data
    stream = io.BytesIO()
    Image.fromarray((255 * shown.transpose(1, 2, 0)).round().astype(np.uint8)).save(stream, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def decoded(address: Any) -> NDArray[np.uint8] | None:
    """Pixels (H, W, 3) of a picture in a report; None for what is no small picture."""
    from PIL import Image

    found = _ENCODED.fullmatch(address) if isinstance(address, str) else None
    if found is None:
        return None
    try:
        with Image.open(io.BytesIO(base64.b64decode(found[1])), formats=("JPEG", "PNG")) as image:
            return np.asarray(image.convert("RGB")) if max(image.size) <= LARGEST else None
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def draw_pictures(report: Mapping[str, Any], quality: NDArray[np.uint8] | None = None) -> Figure | None:
    """Coarse, fine and fused side by side with coordinates and a scale bar, and the quality layer where there is one.

    Parameters
    ----------
    report : mapping
        The plain dict of a `geofuse.Report`.
    quality : ndarray of uint8, shape (H, W), optional
        The quality layer of the whole scene at the size of a picture: 0 no data, 1 good, higher bits what is amiss.
    """
    part = report.get("pictures") or {}
    images = {key: decoded(part.get(key)) for key in _TITLES}
    known = [(title, images[key]) for key, title in _TITLES.items() if images[key] is not None]
    count = len(known) + (quality is not None)
    if not count:
        return None
    extent = _extent(part.get("extent"))
    figure = Figure(figsize=(3.0 * count, 3.5), dpi=170, layout="constrained")
    axes = figure.subplots(1, count, squeeze=False)[0]
    for ax, (title, image) in zip(axes, known, strict=False):
        ax.imshow(image, extent=extent, interpolation="nearest")
        ax.set_title(title, loc="left", fontsize=10, color=INK)
        _frame(ax, extent, first=ax is axes[0])
    if known and extent is not None:
        axes[0].set_ylabel(str(part.get("crs", ""))[:60].replace("$", r"\$"), fontsize=8, color=INK)
        _scale_bar(axes[len(known) - 1], extent, _metres(report))
    if quality is not None:
        _draw_quality(axes[-1], quality)
    return figure


def _extent(values: Any) -> tuple[float, float, float, float] | None:
    if not isinstance(values, list) or len(values) != 4 or not all(isinstance(v, int | float) for v in values):
        return None
    west, east, south, north = map(float, values)
    return (west, east, south, north) if west < east and south < north else None


def _metres(report: Mapping[str, Any]) -> float:
    """Metres of one unit of the CRS; 0 where it is an angle."""
    found = (report.get("pictures") or {}).get("metres", 1.0)
    return float(found) if isinstance(found, int | float) else 0.0


def _frame(ax: Axes, extent: Any, *, first: bool) -> None:
    ax.tick_params(labelsize=7, colors=INK)
    ax.spines[:].set_color("#a9b4bd")
    if extent is None:
        ax.set(xticks=[], yticks=[])
        return
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


def _scale_bar(ax: Axes, extent: tuple[float, float, float, float], metres: float) -> None:
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


def _draw_quality(ax: Axes, quality: NDArray[np.uint8]) -> None:
    """Each pixel in the colour of the worst that is said of it."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    worst = np.zeros(quality.shape, int)
    for bit in range(8):
        worst[(quality >> bit) & 1 == 1] = bit + 1
    worst = np.minimum(worst, len(_BITS) - 1)
    colours = list(_BITS.values())
    ax.imshow(worst, cmap=ListedColormap(colours), vmin=-0.5, vmax=len(colours) - 0.5, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.set_title("quality (whole scene)", loc="left", fontsize=10, color=INK)
    seen = [Patch(facecolor=colours[k], edgecolor="#a9b4bd", label=name) for k, name in enumerate(_BITS) if (worst == k).any()]
    ax.legend(handles=seen, loc="upper left", bbox_to_anchor=(0, -0.02), frameon=False, fontsize=7, ncols=2)
