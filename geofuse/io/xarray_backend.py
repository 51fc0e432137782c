"""``xarray.open_dataset(path, engine="geofuse")``: opens whatever `geofuse.open_hsi` and `geofuse.open_msi` read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import xarray as xr
from xarray.backends import BackendEntrypoint

from geofuse.errors import InvalidCube


class GeofuseBackend(BackendEntrypoint):
    """Rasters and products as datasets with the variable ``reflectance``, dims (band, y, x); see `geofuse.open_msi`."""

    description = "Hyperspectral and multispectral rasters and products of sensors, as reflectance"
    url = "https://github.com/geofuse/geofuse"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "bands", "resolution", "trust_input")

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        bands: Sequence[str | int] | str | int | None = None,
        resolution: float | None = None,
        trust_input: bool = False,
    ) -> xr.Dataset:
        """Open a source lazily, in chunks that suit the file; ``chunks=`` of `xarray.open_dataset` makes others.

        Parameters
        ----------
        filename_or_obj : str or os.PathLike
            As `geofuse.open_msi` takes it.
        drop_variables : str or iterable of str, optional
            Coordinates to leave out, such as ``mask``.
        bands, resolution, trust_input
            As in `geofuse.open_msi`.

        Raises
        ------
        InvalidCube
            As `geofuse.open_msi`.
        """
        from geofuse.io.read.open import open_msi

        if not isinstance(filename_or_obj, str | os.PathLike):
            raise InvalidCube(f"expected a path or an address, got {type(filename_or_obj).__name__}; pass the name of the file")
        cube = open_msi(filename_or_obj, bands=bands, resolution=resolution, trust_input=trust_input)
        left_out = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        made = cube.drop_vars([name for name in left_out if name in cube.coords]).to_dataset(name="reflectance")
        made.encoding["source"] = cube.encoding.get("source")
        return made

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """False: it is used where it is named, and takes no file from another engine."""
        return False
