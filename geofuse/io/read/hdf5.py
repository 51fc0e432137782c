"""HDF5 and NetCDF-4 files: the one place that opens them, as data that are not trusted.

A file may name others: external links, external storage and virtual datasets read any file of the machine. So only what is linked hard
within the file and stored in it is read, by filters that come with the library (HDF5 File Format Specification, version 3.0). Sizes are
claims: nothing is allocated before they were compared with the size of the file.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geofuse.errors import InvalidCube, RunError
from geofuse.io.read.base import check_extent
from geofuse.io.read.fingerprint import content_stamp
from geofuse.io.read.gdal import is_trusted
from geofuse.io.read.heap import heap_texts
from geofuse.io.read.raster import claims_too_much

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Of the library itself: deflate, shuffle, fletcher32, szip, n-bit, scale-offset. Others are loaded from wherever a variable points to.
_FILTERS = {1, 2, 3, 4, 5, 6}
# Bytes of a chunk, which is decoded as a whole, and of a coordinate or a list that is read as a whole.
_CHUNK_BYTES, _LIST_BYTES = 2**28, 2**20
_LINE_BYTES = 2**27
# Files that stay open for a while (`sharing`), by their path and state.
_shared: ContextVar[tuple[ExitStack, dict[Any, Any]] | None] = ContextVar("shared", default=None)
# Endings of HDF5 files, and how many are looked at, in a folder.
_SUFFIXES, _MOST_FILES = (".nc", ".nc4", ".h5", ".hdf5", ".he5"), 256


def is_hdf5(path: Path) -> bool:
    """Whether a file starts as an HDF5 file does; NetCDF-4 is HDF5."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_SIGNATURE)) == _SIGNATURE


def holds(path: Path, *names: str) -> bool:
    """Whether a file is an HDF5 file with these objects; True for any HDF5 file where h5py is missing, so that opening it says so."""
    try:
        if not is_hdf5(path):
            return False
        with open_hdf5(path) as file:
            return all(_linked(file, name) is not None for name in names)
    except InvalidCube as error:
        return isinstance(error.__cause__, ImportError)
    except (OSError, ValueError):
        return False


def granules(source: Path, *names: str) -> list[Path]:
    """The HDF5 files with these objects: in a folder, or the file itself."""
    if not source.is_dir():
        return [source] if holds(source, *names) else []
    files = sorted(path for path in source.iterdir() if path.suffix.lower() in _SUFFIXES)[:_MOST_FILES]
    return [path for path in files if holds(path, *names)]


def one_of(found: list[Path], kind: str) -> Path:
    """The one granule of a kind that was found.

    Raises
    ------
    InvalidCube
        There are several.
    """
    if len(found) != 1:
        raise InvalidCube(f"{len(found)} {kind} granules: {', '.join(path.name for path in found[:4])}; pass the file of one")
    return found[0]


@contextmanager
def reading(path: str, stamp: str | None) -> Iterator[Any]:
    """Open a file to read pixels of it, which must be the file that was described.

    Raises
    ------
    RunError
        It is damaged, or was changed.
    """
    try:
        with open_hdf5(path) as file:
            yield file
    except InvalidCube as error:
        raise RunError(f"{path}: pixels could not be read ({error})") from error
    if content_stamp(path) != stamp:
        raise RunError(f"{path} was replaced or changed while it was in use; run again once the inputs stay as they are")


def check_line(source: Any) -> None:
    """Reject a dataset one row of which would fill the memory.

    Raises
    ------
    InvalidCube
    """
    if (line := prod(source.shape[1:]) * source.dtype.itemsize) > _LINE_BYTES:
        raise InvalidCube(f"one row of {source.name} claims {line / 2**20:.0f} MiB; the product is damaged")


@contextmanager
def sharing() -> Iterator[None]:
    """Keep each file that is opened in the block open until its end: several readers look into a source before one of them describes it."""
    with ExitStack() as files:
        token = _shared.set((files, {})) if _shared.get() is None else None
        try:
            yield
        finally:
            if token is not None:
                _shared.reset(token)


@contextmanager
def open_hdf5(path: str | Path) -> Iterator[Any]:
    """Open an HDF5 file for the block.

    Yields
    ------
    h5py.File

    Raises
    ------
    InvalidCube
        h5py is missing, or the file, or what the block reads of it, is damaged.
    """
    try:
        import h5py
    except ImportError as error:
        raise InvalidCube(
            "this is an HDF5 or NetCDF-4 file, which needs the package h5py: pip install 'geofuse[sensors]'", code="missing-package"
        ) from error
    try:
        with ExitStack() as files:
            yield _shared_file(h5py, path) or files.enter_context(_opened(h5py, path))
    except InvalidCube:
        raise
    except (
        OSError,
        RuntimeError,
        ValueError,
        LookupError,
        TypeError,
        ArithmeticError,
        MemoryError,
    ) as error:  # whatever HDF5 makes of damaged files
        raise InvalidCube(f"it cannot be read as HDF5 ({_short(error)}); it is damaged or truncated, fetch it again") from error


def _shared_file(h5py: Any, path: str | Path) -> Any:
    """The file as it is shared; None where no files are (`sharing`)."""
    if (shared := _shared.get()) is None:
        return None
    status = Path(path).stat()
    key = str(Path(path).absolute()), status.st_size, status.st_mtime_ns, status.st_ino
    if key not in shared[1]:
        shared[1][key] = shared[0].enter_context(_opened(h5py, path))
    return shared[1][key]


def _opened(h5py: Any, path: str | Path) -> Any:
    """The file: with locks where the file system has them, and as the caller has it open already, because HDF5 wants both alike."""
    for locking in (None, False):
        try:
            return h5py.File(path, "r", locking=locking)
        except OSError as error:
            if "lock" not in str(error):
                raise
    return h5py.File(path, "r", locking=True)


def dataset(file: Any, name: str, ndim: int, kinds: str = "iuf") -> Any:
    """A dataset of numbers, once it is sure that reading a window of it is safe.

    Parameters
    ----------
    file : h5py.File
    name : str
        Path within the file.
    ndim : int
        Number of axes that it must have.
    kinds : str
        Kinds of numbers let in, as numpy's ``dtype.kind``.

    Raises
    ------
    InvalidCube
        Not there, of another shape or kind, stored in another file, by an unknown filter, or larger than the file can hold.
    """
    import h5py

    found = _linked(file, name)
    if not isinstance(found, h5py.Dataset):
        raise InvalidCube(f"it has no dataset {name}; the product is not complete, fetch it again")
    if found.dtype.kind not in kinds or found.ndim != ndim or 0 in found.shape:
        raise InvalidCube(f"{name} is {found.dtype} of shape {found.shape}; expected numbers on {ndim} axes")
    _check_storage(found, name)
    check_extent(*sorted(found.shape)[-2:] if ndim > 1 else (1, found.shape[0]))
    claimed = prod(found.shape) * found.dtype.itemsize
    if claims_too_much(claimed, Path(file.filename).stat().st_size):
        raise InvalidCube(f"{name} claims {claimed / 1e12:.1f} TB, which the file cannot hold; it is damaged")
    return found


def _check_storage(found: Any, name: str) -> None:
    """Reject a dataset that lies in another file, that needs an unknown filter, or whose chunks are too large to decode."""
    if found.is_virtual or found.external:
        raise InvalidCube(f"{name} lies in another file, which is not followed; copy the product with its content")
    properties = found.id.get_create_plist()
    filters = {properties.get_filter(number)[0] for number in range(properties.get_nfilters())}
    if filters - _FILTERS:
        raise InvalidCube(f"{name} is stored with the HDF5 filters {sorted(filters - _FILTERS)}; rewrite it with gzip, e.g. with h5repack")
    if found.chunks is not None and prod(found.chunks) * found.dtype.itemsize > _CHUNK_BYTES:
        raise InvalidCube(f"{name} has chunks of {prod(found.chunks) * found.dtype.itemsize / 2**30:.3g} GiB; rewrite it in smaller ones")


def text(file: Any, name: str) -> str:
    """One text of fixed length, such as the description of a structure.

    Raises
    ------
    InvalidCube
        Not there, no such text, too long, or stored as `dataset` does not read it.
    """
    import h5py

    found = _linked(file, name)
    if (
        not isinstance(found, h5py.Dataset)
        or found.shape not in ((), (1,))
        or found.dtype.kind != "S"
        or found.dtype.itemsize > _LIST_BYTES
    ):
        raise InvalidCube(f"{name} is no text of fixed length; the product is damaged")
    _check_storage(found, name)
    return plain(np.ravel(found[()])[0])


def numbers(file: Any, name: str) -> NDArray[np.float64]:
    """A list of numbers, such as wavelengths, as float64.

    Raises
    ------
    InvalidCube
        As `dataset`; also where it is too long to be one.
    """
    found = dataset(file, name, 1)
    if found.shape[0] * 8 > _LIST_BYTES:
        raise InvalidCube(f"{name} claims {found.shape[0]} numbers; it is damaged")
    return np.asarray(found[:], np.float64)


def texts(file: Any, name: str) -> list[str]:
    """A list of texts, such as names of bands.

    Raises
    ------
    InvalidCube
        As `dataset`.
    """
    found = dataset(file, name, 1, "OS")
    if found.shape[0] > 1024:
        raise InvalidCube(f"{name} claims {found.shape[0]} texts; it is damaged")
    return [text.strip("\0 ") for text in heap_texts(found)] if found.dtype.kind == "O" else [plain(value) for value in found[:]]


def attribute(holder: Any, name: str) -> Any:
    """A number, a text or a list of numbers among the attributes of a file or dataset; None where it is not there.

    A text of variable length, which NetCDF does not make of plain ASCII, is read from trusted files only: of a damaged one the HDF5
    library may never return (`geofuse.io.read.heap`). Elsewhere it counts as missing, with a warning.

    Raises
    ------
    InvalidCube
        It is something else, or too long.
    """
    if name not in holder.attrs:
        return None
    kind = holder.attrs.get_id(name)
    if prod(kind.shape) * kind.dtype.itemsize > _LIST_BYTES or kind.dtype.kind not in "iufOS":
        raise InvalidCube(f"its attribute {name} is {kind.dtype} of shape {kind.shape}; expected numbers or a text")
    if kind.dtype.kind == "O" and not is_trusted():
        warnings.warn(
            f"{name} is a text of variable length and was left out; read it with trust_input=True, --trust-input", UserWarning, stacklevel=8
        )
        return None
    found = holder.attrs[name]
    if isinstance(found, np.ndarray) and found.dtype.kind in "iuf":
        return found.ravel()[0].item() if found.size == 1 else np.asarray(found.ravel(), np.float64)
    if isinstance(found, np.ndarray):
        found = found.ravel()[0] if found.size else ""
    return found.item() if isinstance(found, np.number) else plain(found)


def numeric(holder: Any, name: str) -> float:
    """One number among the attributes.

    Raises
    ------
    InvalidCube
        It is not there, no number, or not finite.
    """
    found = attribute(holder, name)
    if not isinstance(found, int | float) or not np.isfinite(found):
        raise InvalidCube(f"its attribute {name} is {str(found)[:40]!r}; expected a number")
    return float(found)


def listed(holder: Any, name: str) -> NDArray[np.float64]:
    """A list of numbers among the attributes.

    Raises
    ------
    InvalidCube
        It is not there, or no list of numbers.
    """
    found = attribute(holder, name)
    if not isinstance(found, np.ndarray | int | float):
        raise InvalidCube(f"its attribute {name} is {str(found)[:40]!r}; expected a list of numbers")
    return np.atleast_1d(np.asarray(found, np.float64))


def plain(value: Any) -> str:
    """A text of HDF5, which is bytes or a str, without the padding of fixed lengths."""
    raw = (
        bytes(value) if isinstance(value, bytes | np.bytes_) else str(value).encode("utf-8", "surrogateescape")
    )  # as h5py keeps what is no UTF-8
    return raw.decode("utf-8", "replace").strip("\0 ")


def _linked(file: Any, name: str) -> Any:
    """The object at a path all of whose links are hard; None where there is none."""
    import h5py

    found = file
    for step in name.split("/"):
        if not isinstance(found, h5py.Group) or not isinstance(found.get(step, getlink=True), h5py.HardLink):
            return None
        found = found[step]
    return found


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"
