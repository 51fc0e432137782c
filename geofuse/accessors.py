"""The xarray accessors: thin, stateless; they find the cube and call the public verbs.

`import geofuse` loads this module, and this module only xarray: a method imports what it calls.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    import pandas as pd
    import pystac
    from matplotlib.axes import Axes

    from geofuse.model import Model
    from geofuse.reporting.report import Report
    from geofuse.run.plan import Plan
    from geofuse.viewing.server.show import View

Cube = xr.DataArray | xr.Dataset


@xr.register_dataarray_accessor("mossfuse")
@xr.register_dataset_accessor("mossfuse")
class MossFuseAccessor:
    """``hsi.mossfuse.fuse(msi)`` and its relatives; see the functions of the same names in `geofuse`."""

    def __init__(self, cube: Cube) -> None:
        self._cube = cube

    def fuse(self, msi: Cube, **options: Any) -> xr.DataArray:
        """Fuse with a multispectral image; see `geofuse.fuse`."""
        from geofuse import api

        return api.fuse(self._cube, msi, **options)

    def fit(self, msi: Cube, **options: Any) -> Model:
        """Fit without applying; see `geofuse.fit`."""
        from geofuse import api

        return api.fit(self._cube, msi, **options)

    def plan(self, msi: Cube, **options: Any) -> Plan:
        """Say what `fuse` would do; see `geofuse.plan`."""
        from geofuse import api

        return api.plan(self._cube, msi, **options)

    def evaluate(self, msi: Cube, **options: Any) -> pd.DataFrame:
        """Compare methods on this scene; see `geofuse.evaluate`."""
        from geofuse import api

        return api.evaluate(self._cube, msi, **options)

    def report(self) -> Report:
        """Report of a fused image; see `geofuse.report`."""
        from geofuse import api

        return api.report(self._cube)

    def to_cog(self, path: str | Path, **options: Any) -> Path | str:
        """Write a Cloud-Optimized GeoTIFF; see `geofuse.to_cog`."""
        from geofuse import api

        return api.to_cog(self._cube, path, **options)

    def to_zarr(self, store: str | Path, **options: Any) -> Path | str:
        """Write a Zarr store; see `geofuse.to_zarr`."""
        from geofuse import api

        return api.to_zarr(self._cube, store, **options)

    def to_stac(self, raster: str | Path, **options: Any) -> pystac.Item:
        """Write the STAC item of a written image; see `geofuse.to_stac`."""
        from geofuse import api

        return api.to_stac(self._cube, raster, **options)

    def view(self, **options: Any) -> View:
        """Look at a fused image in a notebook or a browser; see `geofuse.view`."""
        from geofuse.viewing.server.show import view

        return view(self._cube, **options)


@xr.register_dataarray_accessor("hsi")
class HsiAccessor:
    """Looking at cubes: pictures, bands by wavelength, spectra."""

    def __init__(self, array: xr.DataArray) -> None:
        self._array = array  # made a cube when it is used: `hasattr(array, 'hsi')` must not raise

    @cached_property
    def _cube(self) -> xr.DataArray:
        from geofuse.io.read.open import cube_of

        return cube_of(self._array, "DataArray")

    def rgb(self, percentiles: tuple[float, float] = (2, 98)) -> xr.DataArray:
        """Red, green and blue, stretched to 0 … 1 between two percentiles; dims (y, x, rgb)."""
        from geofuse.viewing.quicklook import rgb

        return rgb(self._cube, percentiles)

    def sel_wavelength(self, nm: float) -> xr.DataArray:
        """The band nearest to a wavelength in nm; dims (y, x)."""
        from geofuse.cube.bands import BandTable

        return self._cube.isel(band=BandTable.from_cube(self._cube).nearest(nm))

    def resample_spectral(self, srf: ArrayLike) -> xr.DataArray:
        """Bands of another sensor: ``srf`` (M, B) times the spectra, its rows normalised; dims (band, y, x)."""
        from geofuse.viewing.spectra import resample_spectral

        return resample_spectral(self._cube, srf)

    def plot_spectrum(self, x: float, y: float, ax: Axes | None = None) -> Axes:
        """Plot the spectrum of the pixel at (x, y), in the units of the CRS."""
        from geofuse.viewing.spectra import plot_spectrum

        return plot_spectrum(self._cube, x, y, ax)
