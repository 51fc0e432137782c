"""What a reader is.

A *reader* recognises sources of one format or of one sensor's product by their content, and describes what it recognised: bands, grid,
and an array that reads pixels when it is indexed. Selection of bands, checks, chunks and the cube are the same for all readers and are
done in `geofuse.io.read.open`. To add one, see ``docs/how-to/add-a-reader.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from geofuse.cube.bands import BandTable
from geofuse.errors import InvalidCube

# Pixels along a side: more than the Earth has at 10 m; every one of them is a coordinate in memory.
LONGEST_AXIS = 2**22


class FlagArray(Protocol):
    """Flags of pixels (`geofuse.cube.masks.Mask`) that are read when they are indexed by rows and columns; as a `PixelArray` otherwise."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def ndim(self) -> int:
        """Two."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8."""

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        """Flags of rows and columns, each a slice."""


class PixelArray(Protocol):
    """Pixels that are read when they are indexed. Picklable, and holds nothing open: dask sends it to threads and other processes."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows and columns."""

    @property
    def ndim(self) -> int:
        """Three."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32."""

    def take(self, bands: NDArray[np.intp]) -> PixelArray:
        """The bands at these positions, in this order; nothing is read."""

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        """Read reflectance (1.0 = 100 %), float32, NaN where there is no data.

        Parameters
        ----------
        key : tuple
            Bands, rows and columns, each an integer or a slice, bands also a list; each axis by itself.
        """


class PlaceArray(Protocol):
    """True places of pixels, that are read when they are indexed; as a `PixelArray` otherwise."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Two (y and x), rows and columns."""

    @property
    def ndim(self) -> int:
        """Three."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """float64."""

    def __getitem__(self, key: Any) -> NDArray[np.float64]:
        """Read y, x or both of rows and columns, each axis by itself."""


@dataclass(frozen=True)
class BandHints:
    """What a STAC item says about the bands of an asset; it counts where the file itself says nothing. One value a band, or None."""

    names: Sequence[str | None] = ()
    wavelength_um: Sequence[float | None] = ()
    fwhm_um: Sequence[float | None] = ()
    scale: Sequence[float | None] = ()
    offset: Sequence[float | None] = ()
    nodata: Sequence[float | None] = ()

    def fitted(self, count: int) -> BandHints:
        """The hints for a file of ``count`` bands: items leave out its last ones, such as an alpha band.

        Raises
        ------
        InvalidCube
            The item describes more bands than the file has.
        """
        columns = {key: list(getattr(self, key)) for key in self.__dataclass_fields__}
        described = max(map(len, columns.values()))
        if described > count:
            raise InvalidCube(
                f"its STAC item describes {described} bands and the file has {count}; correct the item, or open the file itself"
            )
        return BandHints(**{key: column and column + [None] * (count - len(column)) for key, column in columns.items()})


@dataclass(frozen=True)
class Request:
    """What a caller of `geofuse.open_hsi` or `geofuse.open_msi` asks for. Bands and chunks are chosen after `Reader.describe`.

    Attributes
    ----------
    role : {"HSI", "MSI"}
        An HSI has a wavelength for all bands or for none.
    bands : list of str or int, optional
        As `geofuse.open_hsi` takes them.
    resolution : float, optional
        Pixel size, in units of the CRS, onto which to bring files that differ in it.
    chunks : Any
        As `geofuse.open_hsi` takes them.
    hints : BandHints, optional
        What the item that names the source says of its bands.
    beside : int
        Bands of other files that are joined with those of this one: chunks leave room for them.
    crs : Any
        What to take for the CRS of a file that has none, to look at it further; None rejects such a file.
    """

    role: Literal["HSI", "MSI"]
    bands: list[str | int] | None = None
    resolution: float | None = None
    chunks: Any = "auto"
    hints: BandHints | None = None
    beside: int = 0
    crs: Any = None


@dataclass(frozen=True)
class Description:
    """An image as its metadata describe it, all bands of it; no pixel was read.

    Attributes
    ----------
    place : str
        Path or address of the pixels.
    array : PixelArray
        All bands, rows and columns in the order in which they are stored.
    table : BandTable
        One row a band.
    transform : affine.Affine
        As the rows are stored; they may run north, or be turned against the axes of the CRS.
    crs : Any
        Anything that pyproj understands, or a rasterio CRS; None is rejected.
    block : tuple of int
        Rows and columns that are decoded at once; chunks are made of whole blocks.
    sensor : str, optional
        Sensor and product, such as ``"EnMAP L2A"``, where the reader knows them.
    sequential : bool
        Pixels can only be read from the start of the file, band after band.
    spectral : numpy.ndarray, optional
        Bool, shape ``(band,)``: bands that show the ground, which are those taken by default. All, where it is left out.
    attrs : dict
        Metadata to keep; only plain JSON values are.
    encoding : dict
        How the numbers are stored, in xarray's words: ``dtype``, ``scale_factor``, ``add_offset``, ``_FillValue`` (the last three a number,
        or an array of one a band), ``masks`` (names of the flags that the product gives, or of the layers that decide about nodata).
    centres : PlaceArray, optional
        Of a swath that is shown on a grid: true y and x of the centre of the raw pixel shown at each pixel of the grid, float64, shape
        ``(2, row, column)``, in units of the CRS. NaN where there is none, and where a nearer pixel of the grid shows the same raw pixel, so
        that each raw pixel counts once.
    coords : dict
        Pixel centres ``y`` (running south) and ``x``, where they are known to the last bit.
    about : dict
        ``datetime`` of the acquisition (RFC 3339), ``gsd`` in metres, ``id`` of the scene, where they are known.
    mask : FlagArray, optional
        What the product says of each pixel, rows and columns as those of ``array``. Name its layers in ``encoding["masks"]``.
    """

    place: str
    array: PixelArray
    table: BandTable
    transform: Affine
    crs: Any
    block: tuple[int, int]
    sensor: str | None = None
    sequential: bool = False
    spectral: NDArray[np.bool_] | None = None
    attrs: dict[str, Any] = field(default_factory=dict)
    encoding: dict[str, Any] = field(default_factory=dict)
    coords: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    mask: FlagArray | None = None
    centres: PlaceArray | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows and columns."""
        return self.array.shape

    def take(self, bands: NDArray[np.intp]) -> Description:
        """The bands at these positions, in this order."""
        encoding = {key: value[bands] if isinstance(value, np.ndarray) else value for key, value in self.encoding.items()}
        spectral = None if self.spectral is None else self.spectral[bands]
        return replace(self, array=self.array.take(bands), table=self.table.take(bands), encoding=encoding, spectral=spectral)


@dataclass(frozen=True)
class Part:
    """One file to open, and which of its bands (1-based; None for all)."""

    href: str
    hints: BandHints | None = None
    indexes: tuple[int, ...] | None = None


@dataclass(frozen=True)
class MaskPart:
    """A file of a product that is a layer of classes, and the name under which `geofuse.cube.masks` understands it."""

    href: str
    name: str
    band: int | None = None
    """Number (from 1) of the band that is the layer; all of the file are, where it is None."""


@dataclass(frozen=True)
class Parts:
    """What a source names instead of holding it: files, each described by the reader that recognises it.

    Attributes
    ----------
    parts : tuple of Part
        One file, or files of one band each, which are joined in this order on one grid.
    names : tuple of str
        A name a part, where there are several.
    about : dict
        As that of a `Description`, with the ``href`` of the source; counts before what the files say.
    sensor : str, optional
        As that of a `Description`.
    masks : tuple of MaskPart
        Layers of classes that make the cube's mask, of any pixel size in the CRS of the bands.
    """

    parts: tuple[Part, ...]
    names: tuple[str, ...] = ()
    about: dict[str, Any] = field(default_factory=dict)
    sensor: str | None = None
    masks: tuple[MaskPart, ...] = ()


@runtime_checkable
class Reader(Protocol):
    """Recognises and describes sources of one kind. Rasters are opened by `geofuse.io.read.gdal.open_raster` only, which lets in what is safe."""

    name: str
    """What ``geofuse info`` shows, such as ``"GeoTIFF"``."""

    def recognises(self, source: str) -> bool:
        """Whether this is a source of its kind, by its first bytes or, of a folder, by what lies in it. Quick; never raises.

        Parameters
        ----------
        source : str
            Path of a file or folder that exists, or an address.
        """

    def describe(self, source: str, request: Request) -> Description | Parts:
        """Describe what it recognised; no pixel is read.

        Raises
        ------
        InvalidCube
            It cannot be used; the message says what was found, what was expected and what to do. The path is put before it.
        """


@runtime_checkable
class NamesFiles(Protocol):
    """A reader of sources that consist of several files. A run is not resumed where one of them has changed."""

    def files(self, source: str, request: Request) -> list[str]:
        """Paths or addresses of all files that are read for a source, itself among them."""


def check_extent(height: int, width: int) -> None:
    """Reject an image with more pixels along a side than coordinates are made for.

    Raises
    ------
    InvalidCube
    """
    if max(height, width) > LONGEST_AXIS:
        raise InvalidCube(f"its header claims {height} x {width} pixels; expected at most {LONGEST_AXIS} along a side, cut it first")


def check_place(crs: Any, transform: Affine) -> None:
    """Reject an image whose pixels have no place.

    Raises
    ------
    InvalidCube
    """
    if crs is None:
        raise InvalidCube(
            "no CRS, so its pixels have no place; write one into the file, e.g. with gdal_edit.py -a_srs EPSG:…", code="no-crs"
        )
    if transform == Affine.identity():
        raise InvalidCube("no geotransform, so its pixels have no place; warp it to a grid first, e.g. with gdalwarp")
    if not (np.isfinite(transform[:6]).all() and transform.determinant):
        raise InvalidCube(f"its geotransform {tuple(transform)[:6]} gives pixels no place; correct it, e.g. with gdal_edit.py -a_ullr")


def is_turned(transform: Affine) -> bool:
    """Whether rows or columns do not run along the axes of the CRS, or columns run west."""
    return bool(transform.b or transform.d or transform.a <= 0)


def check_description(description: Description) -> None:
    """Reject a description that cannot be that of a cube; metadata only.

    Raises
    ------
    InvalidCube
    """
    bands, height, width = description.shape
    if len(description.table) != bands:
        raise InvalidCube(f"{bands} bands of pixels, but {len(description.table)} in the band table; correct the reader")
    if 0 in (bands, height, width):
        raise InvalidCube(f"no pixel: {bands} bands, {height} x {width} pixels")
    if description.mask is not None and tuple(description.mask.shape) != (height, width):
        raise InvalidCube(f"{height} x {width} pixels, but a mask of {description.mask.shape}; correct the reader")
    check_extent(height, width)
    check_place(description.crs, description.transform)
    if description.centres is not None and tuple(description.centres.shape) != (2, height, width):
        raise InvalidCube(f"{height} x {width} pixels, but centres of {description.centres.shape}; correct the reader")
