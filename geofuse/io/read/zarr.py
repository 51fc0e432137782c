"""Reader of Zarr stores: what one holds, and its pixels read window by window.

Understood are stores that geofuse wrote, their levels, and any group of version 3 with one variable of dims (band, y, x). A store comes
from anywhere and is not trusted: what it claims is checked as plain JSON before a library acts on it. Only codecs of numbers and text
are let in (none that unpickles), no chunk and no coordinate that would fill the memory, no path that leaves the folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from rasterio.windows import Window

from geofuse.cube.bands import BandTable
from geofuse.cube.georef import CENTRES, lattice
from geofuse.cube.masks import MASK
from geofuse.cube.normalise import parts
from geofuse.cube.values import decode
from geofuse.errors import InvalidCube, RunError
from geofuse.io.read.base import LONGEST_AXIS, Description, Request
from geofuse.io.read.fingerprint import content_size
from geofuse.io.read.gdal import is_address
from geofuse.io.read.raster import RasterArray, claims_too_much
from geofuse.io.read.windows import of_runs, selected

_METADATA_BYTES = 64 * 2**20
_CHUNK_BYTES, _CHUNKS_IN_SHARD = 2**30, 2**20
_CODECS = {"bytes", "blosc", "zstd", "gzip", "crc32c", "transpose", "vlen-utf8", "sharding_indexed"}
_NUMBERS = {"bool", *(f"{kind}{bits}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64))}
_COORDINATE_BYTES = 2**28
# Bytes that one text may take in memory.
_TEXT_BYTES = 4096
_ABOUT_THE_STORE = ("spatial:", "proj:", "zarr_conventions", "multiscales")
_BY_YOURSELF = "open it with xarray.open_zarr, and pass the DataArray"


@dataclass(frozen=True)
class StoreArray(RasterArray):
    """Selected bands of an array of a Zarr store, as `RasterArray` is of a raster file; holds nothing open either."""

    name: str = ""
    """Path of the array within the store."""

    def _read(self, bands: NDArray[np.intp], window: Window) -> NDArray[np.float32]:
        indexes = np.array([self.indexes[band] - 1 for band in bands])
        rows, cols = window.toslices()
        with _reading(self.path, self.name, rows, cols) as array:
            raw = of_runs(indexes, lambda run: np.asarray(array[run, rows, cols]))
        return decode(raw, *([column[band] for band in bands] for column in (self.scale, self.offset, self.nodata)))


@dataclass(frozen=True)
class StoreFlags:
    """Flags beside the image of a store; a `geofuse.io.read.base.FlagArray`."""

    path: str
    name: str
    shape: tuple[int, int]

    dtype = np.dtype(np.uint8)
    ndim = 2

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        """Read what is selected."""
        return selected(key, self.shape, self.dtype, lambda rows, cols: _plane(self.path, self.name, rows, cols))


@dataclass(frozen=True)
class StoreCentres:
    """True centres beside the image of a store; a `geofuse.io.read.base.PlaceArray`."""

    path: str
    names: tuple[str, ...]
    """Of the y and of the x."""
    size: tuple[int, int]

    dtype = np.dtype(np.float64)
    ndim = 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """Two, rows and columns."""
        return 2, *self.size

    def __getitem__(self, key: Any) -> NDArray[np.float64]:
        """Read what is selected."""
        return selected(
            key, self.shape, self.dtype, lambda along, rows, cols: np.stack([_plane(self.path, self.names[k], rows, cols) for k in along])
        )


def _plane(path: str, name: str, rows: slice, cols: slice) -> NDArray[Any]:
    with _reading(path, name, rows, cols) as array:
        return np.asarray(array[rows, cols])


@contextmanager
def _reading(path: str, name: str, rows: slice, cols: slice) -> Iterator[Any]:
    """An array of a store, opened anew."""
    import zarr

    try:
        yield zarr.open_array(path, path=name, mode="r", zarr_format=3)
    except Exception as error:  # codecs raise what they like
        where = f"rows {rows.start}-{rows.stop}, columns {cols.start}-{cols.stop}"
        raise RunError(f"{path}: could not read {where} ({error}); the store is damaged or was changed while in use") from error


@dataclass(frozen=True)
class Store(Description):
    """The image in a store, of all bands and with one scale."""

    array: StoreArray


class ZarrReader:
    """Stores in local folders."""

    name = "Zarr"

    def recognises(self, source: str) -> bool:
        """Whether it is a folder with the metadata of a store, or an address that ends in ``.zarr``."""
        try:
            return is_store(Path(source)) or (source.lower().endswith(".zarr") and is_address(source))
        except (OSError, ValueError):
            return False

    def describe(self, source: str, request: Request) -> Description:
        """Read the metadata."""
        if is_address(source):
            raise InvalidCube("a Zarr store is read from a local folder only; open it with xarray.open_zarr, and pass the Dataset")
        return describe_store(Path(source))


ZARR = ZarrReader()


def describe_store(folder: Path) -> Store:
    """Read the metadata of the image in a store.

    Parameters
    ----------
    folder : pathlib.Path
        The store (its finest level is taken), or the group of one level.

    Raises
    ------
    InvalidCube
        No Zarr of version 3, no image of dims (band, y, x), or metadata that are not safe to act on.
    """
    try:
        import zarr  # noqa: F401
    except ImportError:
        raise InvalidCube("this is a Zarr store, which needs the package zarr: pip install 'geofuse[zarr]'") from None
    group = finest_group(folder)
    chunks = {node.name: checked_chunk(node) for node in sorted(group.iterdir()) if (node / "zarr.json").is_file()}
    name = group.relative_to(folder).as_posix()
    options: Any = {"consolidated": False, "mask_and_scale": False, "decode_times": False, "chunks": None}
    try:
        with xr.open_zarr(folder, group=None if name == "." else name, **options) as dataset:
            return _described(folder, name, dataset, chunks)
    except InvalidCube:
        raise
    except Exception as error:  # whatever xarray and zarr make of odd metadata
        raise InvalidCube(f"xarray cannot open {group} as a dataset ({type(error).__name__}: {error})") from error


def _described(folder: Path, group: str, dataset: xr.Dataset, chunks: dict[str, tuple[int, ...]]) -> Store:
    layers = {name: dataset[name] for name in (*CENTRES, MASK) if name in dataset.variables}
    dataset = dataset.drop_vars(layers)
    known = parts(dataset)
    names = [str(name) for name, variable in dataset.data_vars.items() if variable.dims == ("band", "y", "x")]
    encoding = known["encoding"]
    if len(names) != 1 or (dataset[names[0]].dtype.kind in "iu" and "scale_factor" not in encoding):
        raise InvalidCube(f"expected one variable of dims (band, y, x) with one scale; {_BY_YOURSELF}")
    variable = dataset[names[0]]
    transform = lattice(variable)
    if transform.a < 0:
        raise InvalidCube(f"columns run west; {_BY_YOURSELF}")
    bands, height, width = variable.shape
    storage = {
        "scale": encoding.get("scale_factor", 1.0),
        "offset": encoding.get("add_offset", 0.0),
        "nodata": encoding.get("_FillValue", np.nan),
    }
    columns: dict[str, Any] = {key: (float(value),) * bands for key, value in storage.items()}
    array = StoreArray(
        str(folder.absolute()), tuple(range(1, bands + 1)), height, width, **columns, name=f"{group}/{names[0]}".removeprefix("./")
    )
    table = BandTable.make(*(known.get(key) for key in ("names", "wavelength", "fwhm", "good")))  # type: ignore[arg-type]
    attrs = {key: value for key, value in known["attrs"].items() if not str(key).startswith(_ABOUT_THE_STORE)}
    rows, cols = chunks[names[0]][1:]
    coords: dict[str, Any] = {dim: known[dim] for dim in ("y", "x") if dim in known}
    encoding = {**encoding, "dtype": variable.dtype.name, "source": str(folder)}
    store = Store(str(folder), array, table, transform, known["crs"], (rows, cols), attrs=attrs, encoding=encoding, coords=coords)
    return _with_layers(store, layers)


def _with_layers(store: Store, layers: dict[str, xr.DataArray]) -> Store:
    """The store with its true centres and its mask, where it has them as geofuse writes them."""
    size = store.shape[1:]
    place, group = store.array.path, store.array.name.rpartition("/")[0]
    kinds = dict.fromkeys(CENTRES, "f8") | {MASK: "u1"}
    found = {
        name: f"{group}/{name}".removeprefix("/")
        for name, layer in layers.items()
        if layer.dims == ("y", "x") and layer.shape == size and layer.dtype.str[1:] == kinds[name]
    }
    if found.keys() >= set(CENTRES):
        store = replace(store, centres=StoreCentres(place, tuple(found[name] for name in CENTRES), size))
    if MASK in found:
        store = replace(store, mask=StoreFlags(place, found[MASK], size), encoding=store.encoding | {"masks": [MASK]})
    return store


def finest_group(folder: Path) -> Path:
    """The group that holds the image: the first of the `multiscales` layout that is made from no other, or the folder itself.

    Raises
    ------
    InvalidCube
        The layout leads out of the store, or something in it is a link.
    """
    for path in folder.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise InvalidCube(f"{path} is a link or a device, which a store from elsewhere must not hold; copy the store with its content")
    attributes = _metadata(folder).get("attributes")
    scales = attributes.get("multiscales") if isinstance(attributes, dict) else None
    layout = scales.get("layout") if isinstance(scales, dict) else None
    levels = [level for level in layout if isinstance(level, dict)] if isinstance(layout, list) else []
    asset = next((level.get("asset") for level in levels if "derived_from" not in level), "")
    steps = str(asset).split("/") if asset else []
    if any(step in ("", ".", "..") or "\\" in step or "\0" in step for step in steps):
        raise InvalidCube(f"its multiscales layout names {asset!r}, which is no place in the store")
    group = folder.joinpath(*steps)
    if not (group / "zarr.json").is_file():
        raise InvalidCube(f"its multiscales layout names {asset!r}, which is not there; the store is not complete")
    if _metadata(group).get("node_type") == "array":
        if not steps:
            raise InvalidCube("this is an array of a store, without the coordinates beside it; pass the group that it is in")
        group = group.parent
    return group


def checked_chunk(node: Path) -> tuple[int, ...]:
    """Shape of the chunks of an array that are read as a whole, once it is sure that opening and reading it is safe.

    Raises
    ------
    InvalidCube
        A codec, a type or a size that is not let in.
    """
    metadata = _metadata(node)
    if metadata.get("node_type") != "array":
        return ()
    shape = _lengths(node, metadata.get("shape"))
    grid = metadata.get("chunk_grid")
    outer = _lengths(node, _configuration(grid).get("chunk_shape"))
    itemsize = _itemsize(node, metadata.get("data_type"))
    inner = _checked_codecs(node, metadata.get("codecs"), outer)
    if metadata.get("storage_transformers") or len(outer) != len(shape):
        raise InvalidCube(f"{node.name} has storage transformers or an odd grid of chunks; {_BY_YOURSELF}")
    if max(shape, default=0) > LONGEST_AXIS or (len(shape) < 2 and prod(shape) * itemsize > _COORDINATE_BYTES):
        raise InvalidCube(f"{node.name} claims a shape of {shape}; expected at most {LONGEST_AXIS} pixels along a side")
    if prod(inner) * itemsize > _CHUNK_BYTES:
        raise InvalidCube(f"{node.name} has chunks of {prod(inner) * itemsize / 1e9:.1f} GB; expected at most {_CHUNK_BYTES / 1e9:.1f} GB")
    if claims_too_much(prod(shape) * itemsize, content_size(node)):
        raise InvalidCube(f"{node.name} claims {prod(shape) * itemsize / 1e12:.1f} TB, which its files cannot hold; it is damaged")
    return inner


def _checked_codecs(node: Path, codecs: Any, outer: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the innermost chunks, all codecs on the way there being known ones."""
    inner = outer
    for codec in codecs if isinstance(codecs, list) else [None]:
        name = codec if isinstance(codec, str) else codec.get("name") if isinstance(codec, dict) else None
        if not isinstance(name, str) or name not in _CODECS:
            raise InvalidCube(f"{node.name} is stored with the codec {name!r}; expected one of {', '.join(sorted(_CODECS))}")
        if name == "sharding_indexed":
            within = _configuration(codec)
            shape = _lengths(node, within.get("chunk_shape"))
            if len(shape) != len(outer) or prod(-(-a // b) for a, b in zip(outer, shape, strict=True)) > _CHUNKS_IN_SHARD:
                raise InvalidCube(f"{node.name} has shards of {outer} in chunks of {shape}, which are too many; {_BY_YOURSELF}")
            _checked_codecs(node, within.get("index_codecs"), shape)
            inner = _checked_codecs(node, within.get("codecs"), shape)
    return inner


def _itemsize(node: Path, data_type: Any) -> int:
    if isinstance(data_type, str) and data_type in _NUMBERS:
        return np.dtype(data_type).itemsize
    if data_type == "string":
        return _TEXT_BYTES // 64
    length = _configuration(data_type).get("length_bytes")
    named = isinstance(data_type, dict) and data_type.get("name") == "fixed_length_utf32"
    if named and isinstance(length, int) and 0 < length <= _TEXT_BYTES:
        return length
    raise InvalidCube(f"{node.name} holds {str(data_type)[:80]!r}; expected numbers or text")


def _configuration(named: Any) -> dict[str, Any]:
    found = named.get("configuration") if isinstance(named, dict) else None
    return found if isinstance(found, dict) else {}


def _lengths(node: Path, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(length) is int and length > 0 for length in value):
        raise InvalidCube(f"{node.name} has a shape or chunks of {str(value)[:80]}; expected positive whole numbers")
    return tuple(value)


def _metadata(node: Path) -> dict[str, Any]:
    file = node / "zarr.json"
    if not file.is_file():
        raise InvalidCube(f"a Zarr store of version 2 (no {file.name}); {_BY_YOURSELF}")
    if file.stat().st_size > _METADATA_BYTES:
        raise InvalidCube(f"{file} has {file.stat().st_size / 1e6:.0f} MB of metadata; it is damaged")
    try:
        found = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InvalidCube(f"{file} is no JSON ({error}); it is damaged") from None
    if not isinstance(found, dict) or found.get("zarr_format") != 3:
        raise InvalidCube(f"{file} is not Zarr of version 3; {_BY_YOURSELF}")
    return found


def is_store(folder: Path) -> bool:
    """Whether a folder is a node of a Zarr store, of any version."""
    return any((folder / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))
