"""What the writer asks of an output format: all that distinguishes a GeoTIFF from a Zarr store is behind one protocol.

The engine (`geofuse.io.write.engine`) stages the stored numbers, keeps the journal, verifies and publishes, and knows no format; a format makes
its file, or its folder, of a complete staging raster, and reads it back. Which formats there are says `geofuse.io.write.formats`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.crs import CRS

from geofuse.cube.bands import BandTable
from geofuse.io.write.staging import Corner, StagingRaster
from geofuse.io.write.statistics import BandStatistics

BAND_STATISTICS = ("minimum", "maximum", "mean", "stddev", "valid_percent")
"""What a written raster may say of a band's stored numbers."""

GDAL_SIDECARS = (".aux.xml", ".ovr", ".msk")
"""What GDAL keeps beside a raster, by what is added to its name."""


class OutputFormat(Protocol):
    """A format that an image can be written in.

    Attributes
    ----------
    name : str
        In messages, behind "a".
    suffixes : tuple of str
        How names of such outputs end, lower case, the usual one first.
    root : str or None
        Of a format whose outputs are folders, the file in it without which it is none; None where an output is one file.
    sidecars : tuple of str
        What other programs keep beside an output, by what is added to its name; it goes when the output is replaced.
    """

    name: str
    suffixes: tuple[str, ...]
    root: str | None = None
    sidecars: tuple[str, ...] = GDAL_SIDECARS

    @property
    def folder(self) -> bool:
        """Whether an output is a folder."""
        return self.root is not None

    def check(self, path: str | os.PathLike[str], options: Mapping[str, str]) -> None:
        """Reject an output that cannot be written for its name, its options, or want of a library.

        Raises
        ------
        InvalidOutput
        """

    def recognises(self, path: Path) -> bool:
        """Whether what lies there is an output of this format, which another one may replace."""

    def finalize(
        self,
        final: Path,
        staging: StagingRaster,
        cube: xr.DataArray,
        statistics: BandStatistics,
        tags: Mapping[str, str],
        options: Mapping[str, str],
    ) -> None:
        """Make the output of a complete staging raster; what lies at its place goes.

        Parameters
        ----------
        final : pathlib.Path
        staging : StagingRaster
            With all its overviews.
        cube : xarray.DataArray
            Of which the grid and the band table are taken.
        statistics : BandStatistics
            Of the stored numbers.
        tags : mapping
            Of the output, beside what says where it lies.
        options : mapping
            Of the format, as `check` takes them.
        """

    def check_metadata(self, final: Path, staging: StagingRaster, cube: xr.DataArray) -> None:
        """Read back what an output says of itself; its pixels are compared by the engine.

        Raises
        ------
        RunError
            It says something else than what was written.
        """

    def windows(self, final: Path, corners: Sequence[Corner]) -> Iterator[Iterable[NDArray[Any]]]:
        """Stored numbers of some windows of the image: of one after the other, the planes of its bands, to be read before the next."""

    def run_of(self, path: Path) -> str | None:
        """What an output says of the run that wrote it (`geofuse.io.write.output.RUN_TAG`); None where it says nothing, or is not whole."""

    def describe(self, path: Path) -> Written:
        """Read what an output says of itself; no pixel is read.

        Raises
        ------
        InvalidCube
            It cannot be read, has no CRS, or wavelengths that cannot be read.
        """


@dataclass(frozen=True)
class WrittenBand:
    """How one band is stored; statistics are those of the stored numbers."""

    dtype: str
    nodata: float | None
    scale: float
    offset: float
    unit: str
    statistics: Mapping[str, float]


@dataclass(frozen=True)
class Written:
    """A raster as it is on file, whatever its format.

    Attributes
    ----------
    geobox : GeoBox
    crs : rasterio.crs.CRS
    table : BandTable
    bands : tuple of WrittenBand
    tags : mapping of str to str
        Of the file.
    variable : str, optional
        Of a Zarr store: the array that the bands are in.
    """

    geobox: GeoBox
    crs: CRS
    table: BandTable
    bands: tuple[WrittenBand, ...]
    tags: Mapping[str, str]
    variable: str | None = None
