"""A raster file as a lazy array of reflectance: each dask task opens the file, reads its window, decodes it, and closes.

A handle a task makes reading safe in any number of threads and processes, with no lock: GDAL handles must not be shared, and
opening a 177-band file takes milliseconds against the second that a tile of all its bands takes.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window

from geofuse.cube.values import decode
from geofuse.errors import InvalidCube, RunError
from geofuse.io.read.access import Access, accessing
from geofuse.io.read.base import PixelArray
from geofuse.io.read.fingerprint import content_stamp, fingerprint
from geofuse.io.read.gdal import open_raster
from geofuse.io.read.windows import selected
from geofuse.redact import redact

# A chunk of all bands, decoded. Large enough for sequential reads, small enough that a few workers fit in a laptop.
CHUNK_BYTES = 128 * 2**20
# A header may claim any size. Above this, local files must hold at least one byte for each 2000 claimed (DEFLATE reaches 1032).
_LARGE = 2**40
_MOST_COMPRESSED = 2000


@dataclass(frozen=True)
class RasterArray:
    """Selected bands of a raster file as an array-like of float32 reflectance, NaN where there is no data.

    Picklable; holds no open file. Indexing reads only the bands and the window that are asked for.
    """

    path: str = field(repr=False)  # an address may hold credentials
    indexes: tuple[int, ...]
    height: int
    width: int
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    nodata: tuple[float, ...]
    has_mask: bool = False
    """The file brings a mask of its own (an alpha band or a .msk file)."""
    alpha: int | None = None
    """Number of the band that is zero where there is no data, of a type that GDAL takes for no mask."""
    trusted: bool = False
    """Open it with every driver of GDAL."""
    stamp: str | None = None
    """What `content_stamp` said of the file when it was opened; None where it says nothing."""
    access: Access | None = field(default=None, repr=False)
    """What the catalog may lead to that names the file; None where none does."""

    dtype = np.dtype(np.float32)
    ndim = 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows and columns."""
        return len(self.indexes), self.height, self.width

    def take(self, bands: NDArray[np.intp]) -> Self:
        """Some of the bands."""
        columns: Any = {key: tuple(getattr(self, key)[i] for i in bands) for key in ("indexes", "scale", "offset", "nodata")}
        return replace(self, **columns)

    def __dask_tokenize__(self) -> Any:
        """Name the array by its file as it is now: another content under the same path is another array."""
        return astuple(replace(self, access=None)), sorted(fingerprint(self.path).items())

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        """Read and decode what is selected: an integer, slice or list along each axis, each axis by itself."""
        return selected(key, self.shape, np.float32, lambda bands, rows, cols: self._read(bands, Window.from_slices(rows, cols)))

    def _read(self, bands: NDArray[np.intp], window: Window) -> NDArray[np.float32]:
        indexes = [self.indexes[band] for band in bands]
        try:
            with accessing(self.access), open_raster(self.path, trusted=self.trusted) as source:
                raw = source.read(indexes, window=window)
                mask = source.read_masks(indexes, window=window) if self.has_mask else None
                mask = mask if self.alpha is None else np.broadcast_to(source.read(self.alpha, window=window), raw.shape)
        except (RasterioError, OSError, InvalidCube) as error:
            (top, bottom), (left, right) = window.toranges()
            where = f"rows {top}-{bottom}, columns {left}-{right}"
            reason = RasterioError(redact(str(error)))
            raise RunError(f"{self.path}: could not read {where} ({error}); the file is damaged or was changed while in use") from reason
        self._check_unchanged()
        values = decode(raw, *([column[band] for band in bands] for column in (self.scale, self.offset, self.nodata)))
        if mask is not None:
            values[mask == 0] = np.nan
        return values

    def _check_unchanged(self) -> None:
        """Reject pixels of another file than the one that was opened: an image would be made of both."""
        if self.stamp is not None and content_stamp(self.path) != self.stamp:
            raise RunError(f"{self.path} was replaced or changed while it was in use; run again once the inputs stay as they are")


def claims_too_much(claimed: int, held: int) -> bool:
    """Whether a header claims more bytes of pixels than a file of so many bytes can hold."""
    return claimed > max(_LARGE, held * _MOST_COMPRESSED)


def natural_chunks(shape: tuple[int, int, int], block: tuple[int, int], *, sequential: bool = False) -> tuple[int, int, int]:
    """Chunk of about `CHUNK_BYTES` that suits how the file lies on disk.

    Parameters
    ----------
    shape : tuple of int
        Bands, rows, columns.
    block : tuple of int
        Rows and columns of a block (a tile or strip) of the file.
    sequential : bool
        The file can only be read from its start (compressed as a whole, band after band): whole frames of few bands.

    Returns
    -------
    tuple of int
        Bands, rows, columns. All bands together, whole blocks, at least one; whole frames where ``sequential``.

    Examples
    --------
    >>> natural_chunks((200, 4096, 4096), (512, 512)), natural_chunks((4, 660, 494), (2, 494))
    ((200, 512, 512), (4, 660, 494))
    """
    bands, height, width = shape
    if sequential:
        return min(bands, max(1, CHUNK_BYTES // (4 * height * width))), height, width
    pixels = CHUNK_BYTES // (4 * bands)
    rows, cols = min(block[0], height), min(block[1], width)
    if cols == width:
        return bands, min(height, max(1, pixels // (width * rows)) * rows), width
    side = max(1, math.isqrt(pixels // (rows * cols)))
    return bands, min(height, side * rows), min(width, side * cols)


def first_data(array: PixelArray, chunk: tuple[int, int, int], budget: int = 2**30) -> NDArray[np.float32] | None:
    """Return the first block with data that is found, or None where no pixel holds any.

    Blocks are tried in scattered order, eight bands of the file first: a scene with data answers after one or two blocks. Only a
    scene that is empty nearly everywhere is read far, and after ``budget`` decoded bytes it has the benefit of the doubt.
    """
    count, height, width = array.shape
    bands = list(dict.fromkeys(np.linspace(0, count - 1, 8).astype(int).tolist()))
    corners = [(top, left) for top in range(0, height, chunk[1]) for left in range(0, width, chunk[2])]
    order = np.random.default_rng(0).permutation(len(corners))
    for chosen in (bands, sorted(set(range(count)) - set(bands))):
        for place in order:
            top, left = corners[place]
            for band in chosen:
                part = array[band, top : top + chunk[1], left : left + chunk[2]]
                budget -= part.nbytes
                if budget < 0 or np.isfinite(part).any():
                    return part
    return None


def lazy(array: PixelArray, chunks: Any, natural: tuple[int, int, int]) -> Any:
    """Return the array as dask, or as numpy for ``chunks=None``.

    Parameters
    ----------
    array : PixelArray
        What to read.
    chunks : Any
        ``"auto"`` for the file's natural chunks, a dict by dim name, anything else that dask understands, or None to read now.
    natural : tuple of int
        Result of `natural_chunks`, which fills what ``chunks`` leaves out.
    """
    if chunks is None:
        return array[:, :, :]
    import dask.array as da

    if isinstance(chunks, str) and chunks == "auto":
        chunks = natural
    elif isinstance(chunks, dict):
        chunks = tuple(chunks.get(dim, size) for dim, size in zip(("band", "y", "x"), natural, strict=True))
    elif isinstance(chunks, int):
        chunks = (natural[0], chunks, chunks)
    # fancy=True is what lets dask push a selection down into the read
    return da.from_array(array, chunks=chunks, lock=False, asarray=False, fancy=True, meta=np.empty((0, 0, 0), np.float32))
