"""A simulated pair as the images that users have."""

from __future__ import annotations

import numpy as np
import xarray as xr
from affine import Affine

from geofuse.cube.schema import wrap
from geofuse.simulate.pairs import Simulation


def cubes(pair: Simulation) -> tuple[xr.DataArray, xr.DataArray]:
    """A simulated pair as georeferenced cubes.

    Parameters
    ----------
    pair : Simulation

    Returns
    -------
    hsi, msi : DataArray, dims (band, y, x)
        In EPSG:32633, the MSI's pixels 4 m wide and its wavelengths unknown; the georeference knows nothing of a shift.

    Examples
    --------
    >>> from pathlib import Path
    >>> from geofuse.simulate import simulate
    >>> hsi, msi = cubes(simulate("berlin", 4, "qb4", Path()))
    >>> dict(hsi.sizes), dict(msi.sizes)
    ({'band': 177, 'y': 20, 'x': 14}, {'band': 4, 'y': 80, 'x': 56})
    """
    fine = Affine(4, 0, 500_000, 0, -4, 6_000_000)
    names = [f"band {i + 1}" for i in range(len(pair.hsi))]
    hsi = wrap(
        pair.hsi,
        transform=fine * Affine.scale(pair.ratio),
        crs="EPSG:32633",
        names=names,
        wavelength=pair.wavelength,
        good=np.ones(len(names), bool),
    )
    return hsi, wrap(pair.msi, transform=fine, crs="EPSG:32633", names=[f"m{i + 1}" for i in range(len(pair.msi))])
