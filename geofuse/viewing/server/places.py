"""What the images say of one place: spectra, standard deviations, quality; as JSON and as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from geofuse.viewing.server.layers import Layer, transformer
from geofuse.viewing.server.pictures import words
from geofuse.viewing.server.scene import NotThere, Scene

COLUMNS = ("image", "band", "name", "wavelength_nm", "fwhm_nm", "usable", "reflectance", "standard_deviation")


def describe_place(scene: Scene, x: float, y: float) -> dict[str, Any]:
    """What is known of a place, in plain JSON values.

    Parameters
    ----------
    scene : Scene
    x, y : float
        In the CRS of the fused image.

    Returns
    -------
    dict
        ``x``, ``y``, ``lon``, ``lat`` (WGS 84), ``row`` and ``column`` of the fused pixel, ``quality`` (``value`` and ``words``) or None,
        ``spectra``: reflectance of every band by image, None where there is no data; ``deviation`` of the fused one, or None.

    Raises
    ------
    NotThere
        The place lies outside the fused image.
    """
    pixel = scene.fused.pixel_at(x, y, scene.fused.crs)
    if pixel is None:
        raise NotThere("the place lies outside the fused image")
    lon, lat = transformer(scene.fused.crs.to_wkt(), "EPSG:4326").transform(x, y)
    flags = None if scene.quality is None else _spectrum(scene.quality, scene, x, y)
    value = None if flags is None else int(flags[0] or 0)
    return {
        "x": x,
        "y": y,
        "lon": _number(lon),
        "lat": _number(lat),
        "row": pixel[0],
        "column": pixel[1],
        "quality": None if value is None else {"value": value, "words": words(value)},
        "spectra": {name: _spectrum(layer, scene, x, y) for name, layer in scene.images().items()},
        "deviation": None if scene.uncertainty is None else _spectrum(scene.uncertainty, scene, x, y),
    }


def _spectrum(layer: Layer, scene: Scene, x: float, y: float) -> list[float | None] | None:
    """Values of a layer at a place; None where the layer does not reach."""
    pixel = layer.pixel_at(x, y, scene.fused.crs)
    return None if pixel is None else plain(layer.spectrum(*pixel))


def plain(values: ArrayLike) -> list[float | None]:
    """Numbers as JSON has them: None for NaN; rounded to what float32 holds."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in np.asarray(values, float)]


def _number(value: float) -> float | None:
    return round(float(value), 8) if np.isfinite(value) else None


def as_csv(scene: Scene, x: float, y: float) -> str:
    """The spectra of a place as a table, one row a band of each image, with the place in lines that begin with ``#``."""
    found = describe_place(scene, x, y)
    text = io.StringIO()
    text.write(f"# {scene.title}\n# x {x:.10g}, y {y:.10g}; longitude {found['lon']}, latitude {found['lat']}\n")
    if found["quality"]:
        text.write(f"# quality {found['quality']['value']}: {'; '.join(found['quality']['words'])}\n")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for name, layer in scene.images().items():
        values = found["spectra"][name] or []
        deviations = (found["deviation"] if name == "fused" else None) or [None] * len(values)
        for k, (value, deviation) in enumerate(zip(values, deviations, strict=True)):
            bands = layer.table
            numbers = [*plain([bands.wavelength[k], bands.fwhm[k]]), int(bands.good[k]), value, deviation]
            table.writerow([name, k + 1, _as_text(bands.names[k]), *("" if number is None else number for number in numbers)])
    return text.getvalue()


def _as_text(name: str) -> str:
    """A name from a file, which no spreadsheet takes for a formula."""
    return f"'{name}" if name[:1] in ("=", "+", "-", "@", "\t", "\r") else name
