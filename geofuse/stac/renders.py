"""How to show an image: colour composites as the render extension (version 2.0) has them, under the names of titiler's parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from geofuse.io.write.base import Written

# What is shown as red, green and blue, nm, and how far a band's centre may lie from it.
_COMPOSITES = {
    "true_colour": ("True colour", (660.0, 560.0, 485.0), 40.0),
    "cir": ("Colour infrared", (850.0, 660.0, 560.0), 40.0),
    "swir": ("Short-wave infrared", (2200.0, 850.0, 660.0), 60.0),
}
_SPREAD = 2.0  # standard deviations on either side of the mean that become black and white


def renders(written: Written) -> dict[str, Any]:
    """`renders` of an item: the composites for which the image has bands that are good.

    Each names its bands twice, by number (``bidx``) and by name (``bands``), and stretches the stored numbers (``rescale``) by the statistics
    of the image.

    Parameters
    ----------
    written : Written
        A GeoTIFF; the bands of a Zarr store are places along one array, which no tile server numbers.

    Returns
    -------
    dict
        By key: ``true_colour``, ``cir``, ``swir``; empty where the image has no such bands.
    """
    if written.variable is not None:
        return {}
    made = {key: _render(written, *about) for key, about in _COMPOSITES.items()}
    return {key: render for key, render in made.items() if render}


def _render(written: Written, title: str, shown: tuple[float, ...], within: float) -> dict[str, Any]:
    table = written.table
    usable = np.flatnonzero(np.isfinite(table.wavelength) & table.good)
    if not usable.size:
        return {}
    places = [int(usable[np.argmin(np.abs(table.wavelength[usable] - nm))]) for nm in shown]
    if any(abs(table.wavelength[place] - nm) > within for place, nm in zip(places, shown, strict=True)):
        return {}
    bands = [written.bands[place] for place in places]
    made = {
        "title": title,
        "assets": ["data"],
        "bidx": [place + 1 for place in places],
        "bands": [[table.names[place] for place in places]],
        "resampling": "bilinear",
    }
    if all({"mean", "stddev"} <= set(band.statistics) for band in bands):
        made["rescale"] = [_stretch(band.statistics["mean"], band.statistics["stddev"]) for band in bands]
    nodata = bands[0].nodata
    return made | ({"nodata": nodata if np.isfinite(nodata) else "nan"} if nodata is not None else {})


def _stretch(mean: float, stddev: float) -> list[float]:
    half = _SPREAD * stddev if stddev > 0 else max(abs(mean), 1.0)
    low = mean - half
    return [round(max(low, 0.0) if mean > 0 else low, 4), round(mean + half, 4)]
