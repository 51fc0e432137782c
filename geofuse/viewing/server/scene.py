"""What is viewed: the fused image with the images it was made from, its quality layer and its standard deviations."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox
from shapely import box as rectangle

from geofuse.cube.georef import crs_name
from geofuse.cube.normalise import MAIN_VARIABLE
from geofuse.cube.schema import check_cube
from geofuse.errors import InvalidCube, InvalidInput, InvalidPair
from geofuse.io.read.fingerprint import local_name
from geofuse.io.read.gdal import is_address
from geofuse.io.read.open import cube_of, open_hsi, open_msi
from geofuse.io.write.layer import beside
from geofuse.viewing.server.layers import Layer, layer_of, unscaled

Image = str | os.PathLike[str] | xr.DataArray | xr.Dataset
IMAGES = ("hsi", "msi", "fused")
"""Layers that can be compared, by the names that addresses use."""


class NotThere(LookupError):
    """What was asked for does not exist: a tile, a pixel, a band."""


@dataclass(frozen=True)
class Scene:
    """A fused image, and what is shown with it."""

    title: str
    fused: Layer
    hsi: Layer | None = None
    msi: Layer | None = None
    uncertainty: Layer | None = None
    quality: Layer | None = None

    def images(self) -> dict[str, Layer]:
        """The images that can be compared, by name, coarse, fine and fused."""
        found = {name: getattr(self, name) for name in IMAGES}
        return {name: layer for name, layer in found.items() if layer is not None}

    def layers(self) -> list[Layer]:
        """All layers that there are."""
        return [layer for layer in (*self.images().values(), self.uncertainty, self.quality) if layer is not None]

    @property
    def box(self) -> GeoBox:
        """The grid of the map: that of the fused image."""
        return self.fused.box


def open_scene(
    fused: Image, hsi: Image | None = None, msi: Image | None = None, uncertainty: Image | None = None, *, trust_input: bool = False
) -> Scene:
    """Open what is to be viewed; only metadata are read.

    Parameters
    ----------
    fused : str, path, DataArray or Dataset
        A raster that geofuse wrote, or any that `geofuse.open_hsi` reads; its layers ``OUT_quality`` and ``OUT_uncertainty`` are taken from
        beside it, if they fit. Or an image in memory, or a Dataset of one with its layers.
    hsi, msi : str, path or DataArray, optional
        The images that it was made from, whatever `geofuse.open_hsi` and `geofuse.open_msi` read, in any CRS.
    uncertainty : str, path or DataArray, optional
        Standard deviations on the grid of the fused image.
    trust_input : bool
        As for `geofuse.open_hsi`.

    Raises
    ------
    InvalidInput
        Something cannot be opened, does not lie where the fused image does, has other bands, or is not computed yet.
    """
    main = _opened(fused, "fused image", open_hsi, trust_input)
    found = _layers_with(fused)
    if uncertainty is not None:
        found.pop("uncertainty", None)
    layers = {name: _beside(name, source, main, trust_input) for name, source in found.items()}
    if uncertainty is not None:
        layers["uncertainty"] = named = _opened(uncertainty, "uncertainty", open_hsi, trust_input)
        _check_same_grid("uncertainty", named, main)
    for name, source, open_image in (("hsi", hsi, open_hsi), ("msi", msi, open_msi)):
        if source is not None:
            layers[name] = named = _opened(source, name.upper(), open_image, trust_input)
            _check_overlap(main, named, name.upper())
    return Scene(_title(fused), main, **layers)


def _beside(name: str, source: Any, main: Layer, trust_input: bool) -> Layer | None:
    """A layer that nobody named; None, with a warning, where it does not fit, as that of a whole image does not fit a part of it."""
    try:
        if name == "quality":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # flags are no reflectance, and have no scale
                layer = unscaled(_opened(source, name, open_msi, trust_input))
        else:
            layer = _opened(source, name, open_hsi, trust_input)
        _check_same_grid(name, layer, main)
    except InvalidInput as error:
        warnings.warn(f"the layer {name} is left out: {error}", UserWarning, stacklevel=4)
        return None
    return layer


def _opened(source: Image, role: str, open_image: Callable[..., xr.DataArray], trust_input: bool) -> Layer:
    """The layer of a path, or of an image that is in memory or can be read again by windows."""
    if isinstance(source, xr.DataArray | xr.Dataset):
        cube = _as_plane(source) if role == "quality" else _as_cube(source, role)
        check_cube(cube, role)
        if not isinstance(cube.data, np.ndarray) and "reader" not in cube.encoding:
            raise InvalidInput(
                f"{role}: the image is not computed yet, and each look at it would compute it anew. Write it first, with to_cog('fused.tif'), and view "
                "the file; or call .compute(), if it is small."
            )
        return layer_of(cube)
    place = os.fspath(source)
    return layer_of(open_image(place, trust_input=trust_input), _spelt(place))


def _as_cube(source: xr.DataArray | xr.Dataset, role: str) -> xr.DataArray:
    """A cube of an image: as it is where geofuse opened it, since its encoding says from where."""
    image = source[MAIN_VARIABLE] if isinstance(source, xr.Dataset) and MAIN_VARIABLE in source else source
    return image if isinstance(image, xr.DataArray) and "reader" in image.encoding else cube_of(image, role)


def _as_plane(quality: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """A quality layer in memory as a cube of one band; 0, no data, as NaN."""
    if not isinstance(quality, xr.DataArray) or quality.ndim != 2:
        raise InvalidCube("quality: expected a DataArray with dims (y, x), as geofuse.fuse returns it")
    plane = quality.astype("float32").where(quality != 0).expand_dims(band=["quality"])
    plane = plane.assign_coords({key: ("band", [np.nan]) for key in ("wavelength", "fwhm")} | {"good": ("band", [True])})
    return plane.transpose("band", "y", "x")


def _spelt(place: str) -> str:
    name = local_name(place)
    return name if is_address(name) else str(Path(name).expanduser())


def _layers_with(fused: Image) -> dict[str, Any]:
    """Layers that belong to an image: in its Dataset, or in files beside its own."""
    if isinstance(fused, xr.Dataset):
        return {name: fused[name] for name in ("uncertainty", "quality") if name in fused and MAIN_VARIABLE in fused}
    place = fused.encoding.get("source", "") if isinstance(fused, xr.DataArray) else _spelt(os.fspath(fused))
    files = {name: beside(place, name) for name in ("uncertainty", "quality")} if place and not is_address(place) else {}
    # flags in a Zarr store are none that `open_msi` reads
    return {name: file for name, file in files.items() if Path(file).is_file() or (name != "quality" and Path(file).exists())}


def _title(fused: Image) -> str:
    """What to call it: the name of its file."""
    place = fused.encoding.get("source", "") if isinstance(fused, xr.DataArray | xr.Dataset) else os.fspath(fused)
    return " ".join(Path(place).name.split()) or "image in memory"


def _check_overlap(fused: Layer, other: Layer, role: str) -> None:
    crs = fused.box.crs
    assert crs is not None  # `geobox` rejects cubes without one
    extents = [rectangle(*layer.box.extent.to_crs(crs).boundingbox) for layer in (fused, other)]
    if not extents[0].intersects(extents[1]):
        raise InvalidPair(
            f"{role}: it does not lie where the fused image does: {_where(other)}, and the fused image {_where(fused)}; give the image that it was made from"
        )


def _check_same_grid(name: str, layer: Layer, fused: Layer) -> None:
    bands = 1 if name == "quality" else len(fused.table)
    same = layer.box.shape == fused.box.shape and layer.box.affine.almost_equals(fused.box.affine, 1e-6 * abs(fused.box.affine.a))
    if not same or len(layer.table) != bands:
        raise InvalidInput(
            f"{name}: {len(layer.table)} bands, {_where(layer)}; expected {bands} on the grid of the fused image, {_where(fused)}. Give the file "
            "that was written with it."
        )


def _where(layer: Layer) -> str:
    left, bottom, right, top = layer.box.boundingbox
    rows, columns = layer.box.shape
    return f"{rows} x {columns} pixels, x {left:.8g} to {right:.8g}, y {bottom:.8g} to {top:.8g} in {crs_name(layer.crs)}"
