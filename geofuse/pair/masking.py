"""Masked pixels: missing data that are known to be masked.

A masked value is a NaN with a payload of its own (IEEE 754-2008, 6.2.1), as R marks values that are not available. To everything that asks for
finite numbers it is missing data like any other, so that it takes no part in a fit and does not bleed, and it travels with the pixels through
windows, tasks and processes; who wants to know asks `is_masked`. Copies keep a payload; arithmetic need not, so there is none on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geofuse.cube.masks import MASK, UNUSABLE
from geofuse.cube.normalise import is_lazy
from geofuse.errors import InvalidCube, InvalidInput

if TYPE_CHECKING:
    from geofuse.pair.scene import Sample, Scene

Masked = Literal["nodata", "one-image"]
"""What comes out where one image is masked: nodata, or what the other image alone says, where the method can say it."""
_BITS = np.uint32(0x7FC04D53)  # a quiet NaN
MASKED: NDArray[np.float32] = np.array(_BITS).view(np.float32)


def is_masked(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where an image holds masked values; bool of its shape.

    Examples
    --------
    >>> is_masked(np.array([0.1, np.nan, MASKED], np.float32))
    array([False, False,  True])
    """
    return np.ascontiguousarray(values, np.float32).view(np.uint32) == _BITS


def check_masked(masked: str) -> None:
    """Reject what says nothing of masked pixels.

    Raises
    ------
    InvalidInput
    """
    if masked not in get_args(Masked):
        raise InvalidInput(f"What comes out of masked pixels is {masked!r}; expected {' or '.join(map(repr, get_args(Masked)))}.")


def with_masks(scene: Scene, hsi: Any = None, msi: Any = None) -> Scene:
    """The scene without what is masked: by the products' flags that make a pixel unusable, and by masks of each image where they are given.

    Parameters
    ----------
    scene : Scene
    hsi, msi : array of bool, optional
        Shapes (y, x) of the two cubes, numpy or dask; True is masked.
    """
    return replace(scene, masks=(_layers(scene.hsi, hsi), _layers(scene.msi, msi)))


def _layers(cube: xr.DataArray, mask: Any) -> tuple[Any, ...]:
    """What masks a cube, each (y, x) of bool or flags: lazy where the cube is, else in memory."""
    given = [each for each in (mask, cube.coords[MASK].data if MASK in cube.coords else None) if each is not None]
    if not is_lazy(cube.data):
        return tuple(np.asarray(each) for each in given)
    import dask.array as da

    return tuple(da.asarray(each) for each in given)


def hide(image: Any, masks: Sequence[Any]) -> Any:
    """A window of an image (band, y, x) with masked values where the masks of the window (y, x) say so, of bool or of flags.

    Windows are cut out before, so that of lazy images and masks no more is read than the window.
    """
    if not masks:
        return image
    if not is_lazy(image):
        return _hidden(image, *(mask[None] for mask in masks))
    import dask.array as da

    layers = [mask.rechunk(image.chunks[1:])[None] for mask in masks]
    return da.map_blocks(_hidden, image, *layers, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32))


def _hidden(image: NDArray[np.float32], *masks: NDArray[Any]) -> NDArray[np.float32]:
    """Missing data stay what they are."""
    unusable = [mask if mask.dtype == bool else (mask & np.uint8(UNUSABLE)) != 0 for mask in masks]
    return np.where(np.logical_or.reduce(unusable) & np.isfinite(image), MASKED, image)


def check_left(samples: Sequence[Sample]) -> None:
    """Reject a scene of which the masks leave nothing to learn from.

    Raises
    ------
    InvalidCube
        Some of it is masked, and nowhere are there data in both images.
    """
    if any(np.isfinite(s.hsi).any() and np.isfinite(s.msi).all(0).any() for s in samples):
        return
    shares = [np.mean([is_masked(getattr(s, role)).any(0).mean() for s in samples]) for role in ("hsi", "msi")]
    if any(shares):
        raise InvalidCube(
            f"The masks leave nothing to fuse: {100 * shares[0]:.0f} % of the HSI and {100 * shares[1]:.0f} % of the MSI are masked where the two "
            "overlap. Check which value of the mask means masked (any but 0), or drop the flags of a product that are wrong here: cube.drop_vars('mask').",
            code="all-masked",
        )
