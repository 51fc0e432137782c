"""Pictures of a scene and maps of numbers, encoded small enough to travel in a report as plain values, and decoded again.

Reports come from anywhere: what is decoded is checked first.
"""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 192  # pixels along the longer side of the part of a scene that is stored
LARGEST = 1024  # of a picture that is drawn
_QUALITY = 80
_MAP_QUALITY = 92  # numbers are read off its colours
_ENCODED = re.compile(r"data:image/(?:png|jpeg);base64,([A-Za-z0-9+/=]{1,1000000})")
STRETCH = (2, 98)  # percentiles that become black and white
_TOP = 99  # percentile of a map that becomes its last colour


def excerpt(
    hsi: NDArray[Any] | None, msi: NDArray[Any] | None, fused: NDArray[Any], extent: tuple[float, float, float, float], crs: str
) -> dict[str, Any]:
    """Red, green and blue of a scene, or a part of it, in up to three images, as plain values for a report.

    Parameters
    ----------
    hsi, msi, fused : ndarray, shape (3, H, W)
        Reflectance on the same pixels, NaN where there is no data; the coarse image repeated. None: that image is not shown.
    extent : tuple of float
        West, east, south and north, in the units of the CRS.
    crs : str
        Name of the CRS.

    Returns
    -------
    dict
        ``extent``, ``crs``, and the pictures as ``data:`` addresses (JPEG).
    """
    alike = limits_of(fused)  # the same stretch for both: they are meant to show the same radiometry
    images = {"hsi": (hsi, alike), "msi": (msi, None), "fused": (fused, alike)}
    found = {
        key: _encoded(image, limits_of(image) if limits is None else limits) for key, (image, limits) in images.items() if image is not None
    }
    return {"extent": [float(v) for v in extent], "crs": crs, **found}


def encoded_map(values: NDArray[Any]) -> dict[str, Any]:
    """A map of numbers from 0 upwards, (H, W), NaN where there is none: their square roots in 255 steps, ``image`` (JPEG), of which ``top`` is the last.

    Beside it stands ``valid``, where there are numbers (PNG), unless they are everywhere. Numbers above the percentile 99 are drawn as that.

    Examples
    --------
    >>> stored = encoded_map(np.linspace(0, 0.2, 6400).reshape(80, 80))
    >>> round(stored["top"], 3), bool(np.abs(decoded_map(stored) - np.linspace(0, 0.2, 6400).reshape(80, 80)).max() < 0.005)
    (0.198, True)
    """
    valid = np.isfinite(values)
    top = float(np.percentile(values[valid], _TOP)) if valid.any() else 0.0
    steps = np.clip(np.where(valid, values, 0) / max(top, 1e-12), 0, 1)
    stored: dict[str, Any] = {"top": top, "image": _address(np.sqrt(steps), "JPEG")}
    return stored if valid.all() else stored | {"valid": _address(valid.astype(float), "PNG")}


def decoded_map(stored: Any) -> NDArray[np.float64] | None:
    """Numbers (H, W) of a map in a report, NaN where there are none; None for what is no map."""
    if not isinstance(stored, dict) or not isinstance(stored.get("top"), int | float):
        return None
    image = decoded(stored.get("image"))
    if image is None:
        return None
    valid = decoded(stored["valid"]) if "valid" in stored else np.full_like(image, 255)
    if valid is None or valid.shape != image.shape:
        return None
    return np.where(valid[..., 0] > 127, (image[..., 0] / 255) ** 2 * stored["top"], np.nan)


def encoded_flags(quality: NDArray[np.uint8]) -> str:
    """A quality layer (H, W) as a ``data:`` address (PNG), to the bit."""
    return _address(quality / 255, "PNG")


def metres_of(crs: Any) -> float:
    """Metres of one unit of a CRS (of pyproj); 0 where it is an angle."""
    return 0.0 if crs.is_geographic else float(crs.axis_info[0].unit_conversion_factor)


def limits_of(picture: NDArray[Any], percentiles: tuple[float, float] = STRETCH) -> NDArray[Any]:
    """Black and white of each channel of a picture (channels, H, W), shape (channels, 2); 0 and 1 where it holds no data."""
    flat = picture.reshape(len(picture), -1)
    flat = flat[:, np.isfinite(flat).all(0)]
    return np.tile((0.0, 1.0), (len(picture), 1)) if flat.size == 0 else np.percentile(flat, percentiles, axis=1).T


def stretched(picture: NDArray[Any], limits: NDArray[Any]) -> NDArray[Any]:
    """A picture (channels, H, W) from 0, black, to 1, white; NaN where a channel holds no data."""
    low, high = limits[:, :1, None], limits[:, 1:, None]
    shown: NDArray[Any] = np.clip((picture - low) / np.maximum(high - low, 1e-6), 0, 1)
    return shown


def _encoded(picture: NDArray[Any], limits: NDArray[Any]) -> str:
    shown = np.where(np.isfinite(picture).all(0), stretched(picture, limits), 1.0)  # white where there is no data
    return _address(shown.transpose(1, 2, 0), "JPEG", _QUALITY)


def _address(values: NDArray[Any], kind: str, quality: int = _MAP_QUALITY) -> str:
    """Numbers from 0 to 1, (H, W) or (H, W, 3), as a ``data:`` address."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray((255 * values).round().astype(np.uint8)).save(stream, kind, quality=quality, optimize=True)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(stream.getvalue()).decode("ascii")


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
