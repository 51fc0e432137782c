"""Write a cube as a Cloud-Optimized GeoTIFF: streamed, verified, complete or absent.

Tiles are computed a few at a time and go into an uncompressed draft, which GDAL then gives overviews and copies into the order
that makes it a COG. A checksum of every window is kept while streaming; after the copy every window is read back and compared,
because a COG with valid headers and no pixels passes every check of validity. All of it happens in a hidden folder beside the
output, which is removed whatever happens; the output appears by one rename.
"""

from __future__ import annotations

import hashlib
import os
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.shutil import copy
from rasterio.windows import Window

from geofuse.bands import BandTable
from geofuse.cube import check_cube, geobox
from geofuse.errors import RunFailed
from geofuse.io.output import check_output, scratch_folder
from geofuse.io.statistics import BandStatistics
from geofuse.io.stream import cut, tiles
from geofuse.progress import bar
from geofuse.values import StoredType

_GDAL_CACHE = 16 * 2**20
# The draft is uncompressed, so that windows that are not whole blocks can be written in place.
_OVERVIEWS_ADD = 4 / 3


@dataclass(frozen=True)
class CogReceipt:
    """What was written, and that it was read back.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    sha256 : str
        Of the file, lower-case hex.
    size : int
        Bytes of the file.
    windows_checked : int
        Windows (of one band each) that were read back from the finished file and found equal.
    clipped : int
        Values that did not fit the stored type and were set to its limit.
    valid_percent : float
        Share of values that are data, %.
    """

    path: Path
    sha256: str
    size: int
    windows_checked: int
    clipped: int
    valid_percent: float

    @property
    def multihash(self) -> str:
        """The checksum as STAC's file extension wants it: multihash code 12 (sha2-256), length 20, in hex."""
        return f"1220{self.sha256}"


def disk_space(shape: tuple[int, int, int], dtype: str = "int16") -> int:
    """Bytes that writing a cube of this shape takes at most: the draft and the output, both with overviews.

    Examples
    --------
    >>> disk_space((200, 2048, 2048)) / 1e9
    4.473924266
    """
    return int(2 * _OVERVIEWS_ADD * np.prod(shape, dtype=np.float64) * np.dtype(StoredType.named(dtype).dtype).itemsize)


def write_cog(
    cube: xr.DataArray,
    path: str | os.PathLike[str],
    *,
    dtype: str = "int16",
    overwrite: bool = False,
    progress: bool = True,
    block: int = 512,
    extra_tags: dict[str, str] | None = None,
) -> CogReceipt:
    """Write a cube as a Cloud-Optimized GeoTIFF without ever holding it.

    Parameters
    ----------
    cube : xarray.DataArray
        A cube; dask chunks are computed once each, a few at a time, in rows from the north.
    path : str or path
        The output. It appears when it is complete and verified, or not at all.
    dtype : str
        ``"int16"`` (scale 1e-4, nodata -32768) or ``"float32"`` (nodata NaN).
    overwrite : bool
        Replace an existing file.
    progress : bool
        Show progress on stderr.
    block : int
        Pixels along the side of an internal tile: a power of two from 64 to 4096.
    extra_tags : dict, optional
        More tags for the file.

    Returns
    -------
    CogReceipt

    Raises
    ------
    InvalidCube
        ``cube`` is not a cube.
    OutputRefused
        See `check_output`; nothing was computed.
    RunFailed
        Writing failed, or what was read back differs. Nothing is left.

    Examples
    --------
    >>> import tempfile
    >>> from importlib.resources import files
    >>> from geofuse.io.open import open_msi
    >>> msi = open_msi(files("geofuse") / "data" / "berlin_hires_3p6m.tif")
    >>> folder = tempfile.TemporaryDirectory()
    >>> receipt = write_cog(msi[:, :64, :64], Path(folder.name) / "corner.tif", progress=False)
    >>> receipt.windows_checked, receipt.clipped, receipt.valid_percent
    (4, 0, 100.0)
    """
    check_cube(cube, "output")
    stored = StoredType.named(dtype)
    if block not in (64, 128, 256, 512, 1024, 2048, 4096):
        raise ValueError(f"block must be a power of two from 64 to 4096, not {block}")
    bands, rows, cols = cube.shape
    target = check_output(path, overwrite=overwrite, needed=disk_space((bands, rows, cols), dtype))
    # an image smaller than a block needs no block of that size: 177 bands of 60 x 80 pixels would fill 90 MB
    side = min(block, -(-max(rows, cols) // 16) * 16)
    with scratch_folder(target) as folder, rasterio.Env(GDAL_CACHEMAX=_GDAL_CACHE, GDAL_TIFF_OVR_BLOCKSIZE=str(block)):
        draft, final = folder / "draft.tif", folder / target.name
        written = _Draft(cube, stored, side, extra_tags or {})
        written.stream(draft, progress)
        with bar(3, desc="finishing", unit="step", enabled=progress) as steps:
            _finish(draft, final, side, stored)
            steps.update()
            written.verify(final)
            steps.update()
            with final.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            steps.update()
        share = written.statistics.valid_percent
        receipt = CogReceipt(target, sha256, final.stat().st_size, len(written.checksums), written.clipped, share)
        os.replace(final, target)
        for suffix in (".aux.xml", ".ovr", ".msk"):
            # what GDAL keeps beside a raster belonged to the pixels that were replaced
            target.with_name(target.name + suffix).unlink(missing_ok=True)
    if written.clipped:
        limit = np.inf if stored.dtype == "float32" else np.iinfo(stored.dtype).max * stored.scale
        message = f"{written.clipped} values beyond ±{limit:.4g} were clipped in {target.name}; dtype='float32' keeps finite ones"
        warnings.warn(message, UserWarning, stacklevel=2)
    return receipt


class _Draft:
    """The uncompressed draft of a COG: tiles streamed into it, and what is known of every window that was."""

    def __init__(self, cube: xr.DataArray, stored: StoredType, side: int, extra_tags: dict[str, str]) -> None:
        self.cube, self.stored, self.side, self.extra_tags = cube, stored, side, extra_tags
        self.table = BandTable.from_cube(cube)
        self.grid = geobox(cube)
        self.statistics = BandStatistics(len(self.table))
        self.checksums: dict[tuple[int, int, int, int, int], int] = {}
        """CRC-32 of the stored numbers by band, row, column, height and width."""
        self.clipped = 0

    def stream(self, path: Path, progress: bool) -> None:
        """Compute the cube tile by tile and write it."""
        profile = {
            **{"driver": "GTiff", "dtype": self.stored.dtype, "nodata": self.stored.nodata, "count": len(self.table)},
            **{"height": self.cube.sizes["y"], "width": self.cube.sizes["x"], "crs": self.cube.spatial_ref.attrs["crs_wkt"]},
            **{"transform": self.grid.transform, "interleave": "band", "bigtiff": "IF_SAFER", "photometric": "MINISBLACK", "alpha": "NO"},
            **{"tiled": True, "blockxsize": self.side, "blockysize": self.side},
        }
        with rasterio.open(path, "w", **profile) as file:
            total, computed = tiles(self.cube.data, self.side)
            with bar(total, desc="writing", unit="tile", enabled=progress) as steps:
                for top, left, tile in computed:
                    for window, part in cut(top, left, tile, self.side):
                        self._write(file, window, part)
                    steps.update()
                    del tile, part  # or they would be held while the next ones are computed
            self._describe(file)

    def _write(self, file: Any, window: Window, part: NDArray[np.float32]) -> None:
        key = (window.row_off, window.col_off, window.height, window.width)
        for band, plane in enumerate(part):
            numbers, valid, clipped = self.stored.encode(plane)
            file.write(numbers, band + 1, window=window)
            self.checksums[(band, *key)] = zlib.crc32(numbers.tobytes())
            self.statistics.add(band, numbers[valid], numbers.size)
            self.clipped += clipped

    def _describe(self, file: Any) -> None:
        """Write band names, wavelengths, scale and statistics; doubles by `repr`, which reads back as the same double."""
        table = self.table
        file.descriptions = table.names
        file.scales, file.offsets = [self.stored.scale] * len(table), [0.0] * len(table)
        # reflectance_scale says that the numbers of a float file are reflectance, whatever an extra tag seems to declare
        own = {"AREA_OR_POINT": "Area", "TIFFTAG_SOFTWARE": _software(), "reflectance_scale": f"{1 / self.stored.scale:.10g}"}
        file.update_tags(**{**self.extra_tags, **own})
        for band, (wavelength, fwhm, good) in enumerate(zip(table.wavelength.tolist(), table.fwhm.tolist(), table.good, strict=True)):
            known = {key: value for key, value in (("wavelength", wavelength), ("fwhm", fwhm)) if np.isfinite(value)}
            tags = {key: repr(value) for key, value in known.items()} | ({"wavelength_units": "nm"} if known else {})
            file.update_tags(band + 1, **tags, good=str(int(good)), **self.statistics.tags(band))
            imagery = {"wavelength": "CENTRAL_WAVELENGTH_UM", "fwhm": "FWHM_UM"}
            if known:
                file.update_tags(band + 1, ns="IMAGERY", **{imagery[key]: repr(value / 1000) for key, value in known.items()})

    def verify(self, path: Path) -> None:
        """Read every window of the finished file back and compare it with what was streamed.

        Raises
        ------
        RunFailed
            A window, the grid or the nodata value differs.
        """
        with rasterio.open(path) as file:
            same_nodata = file.nodata is not None and np.array_equal([file.nodata], [self.stored.nodata], equal_nan=True)
            if file.transform != self.grid.transform or not same_nodata:
                raise RunFailed(f"the grid or nodata value read back differs ({file.transform!r}, {file.nodata}); nothing was left")
            if file.crs != rasterio.crs.CRS.from_wkt(self.cube.spatial_ref.attrs["crs_wkt"]):
                warnings.warn(f"GeoTIFF cannot hold the CRS {self.grid.crs} exactly; check the one in the file", stacklevel=2)
        windows = sorted(self.checksums)
        workers = min(4, os.cpu_count() or 1)
        shares = [windows[len(windows) * i // workers : len(windows) * (i + 1) // workers] for i in range(workers)]
        with ThreadPoolExecutor(workers) as pool:
            wrong = [key for share in pool.map(lambda share: self._differing(path, share), shares) for key in share]
        if wrong:
            band, row, col, _, _ = wrong[0]
            where = f"first in band {band + 1} at row {row}, column {col}"
            raise RunFailed(f"{len(wrong)} of {len(windows)} windows read back differ from what was written, {where}; nothing was left")

    def _differing(self, path: Path, keys: list[tuple[int, int, int, int, int]]) -> list[tuple[int, int, int, int, int]]:
        with rasterio.open(path) as file:
            return [
                key
                for key in keys
                if zlib.crc32(file.read(key[0] + 1, window=Window(key[2], key[1], key[4], key[3]))) != self.checksums[key]
            ]


def _overview_factors(rows: int, cols: int, side: int) -> list[int]:
    """Halve until one block holds the image, or its shorter side is one pixel.

    Examples
    --------
    >>> _overview_factors(2048, 1000, 512), _overview_factors(400, 512, 512)
    ([2, 4], [])
    """
    factors = [2**power for power in range(1, 32)]
    return [factor for factor in factors if max(rows, cols) > side * factor // 2 and min(rows, cols) >= factor]


def _finish(draft: Path, final: Path, side: int, stored: StoredType) -> None:
    """Give the draft overviews, and copy it in the order of a COG: directories, smallest overview first, full image last."""
    with rasterio.open(draft, "r+") as file:
        if factors := _overview_factors(file.height, file.width, side):
            file.build_overviews(factors, Resampling.average)
    copy(
        draft,
        final,
        driver="GTiff",
        COPY_SRC_OVERVIEWS="YES",
        TILED="YES",
        BLOCKXSIZE=str(side),
        BLOCKYSIZE=str(side),
        COMPRESS="DEFLATE",
        PREDICTOR="3" if stored.dtype == "float32" else "2",
        INTERLEAVE="BAND",
        BIGTIFF="IF_SAFER",
        NUM_THREADS="ALL_CPUS",
    )


def _software() -> str:
    try:
        return f"geofuse {version('geofuse')}"
    except PackageNotFoundError:
        return "geofuse"
