"""Arrays from elsewhere, read as cubes: other names of dims, other conventions for bands, scale, nodata and CRS.

Nothing is computed: renaming, turning and decoding are lazy where the data are.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from affine import Affine

from geofuse.cube.bands import in_nm, named_wavelengths, nm_per_unit, plain_name
from geofuse.cube.georef import CENTRES, COORDINATE_TAGS, CRS_COORD, crs_of, labels_corners, lattice
from geofuse.cube.masks import MASK, attributes, flags_of, is_flags, is_mask, is_understood
from geofuse.cube.values import SCALE_KEYS, decode, integer_scale
from geofuse.errors import InvalidCube

_DIM_NAMES = {
    "band": ("band", "bands", "wavelength", "wavelengths", "wl", "lambda", "channel", "channels", "spectral", "variable"),
    "y": ("y", "lat", "latitude", "northing"),
    "x": ("x", "lon", "long", "longitude", "easting"),
}
_WAVELENGTH = ("wavelength", "wavelengths", "center_wavelength", "central_wavelength", "wl", "lambda")
_FWHM = ("fwhm", "full_width_half_max")
_GOOD = ("good", "good_wavelengths", "bbl")
# The one that is meant where a Dataset holds several cubes: products keep uncertainty and quality beside it, as geofuse does.
MAIN_VARIABLE = "reflectance"
REPORT_ATTRIBUTE = "geofuse_report"  # of a fused image
_STORAGE = ("scale_factor", "add_offset", "_FillValue", "dtype", "source")
_NAMES = ("band", "bands", "channel", "channels", "variable", "band_name", "band_names", "name", "long_name")
# Consumed here, or about the source's storage: they would contradict the cube.
_DROPPED_ATTRS = {
    *("scale_factor", "add_offset", "scales", "offsets", "_FillValue", "missing_value", "nodata", "grid_mapping", "crs", "transform"),
    *("res", "is_tiled", "nodatavals", "long_name", "standard_name", "units"),
    *("wavelength", "wavelengths", "wavelength_units", "fwhm", "bbl", *SCALE_KEYS, *COORDINATE_TAGS),
}


def parts(obj: xr.DataArray | xr.Dataset) -> dict[str, Any]:
    """Return what `geofuse.cube.schema.wrap` needs to make a cube of an array: data, transform, crs, coordinates, band columns, attrs, encoding."""
    if isinstance(obj, xr.Dataset):
        obj = only_array(obj)
    if not isinstance(obj, xr.DataArray):
        raise InvalidCube(
            f"expected an xarray DataArray or Dataset, found {type(obj).__name__}; open files with geofuse.open_hsi or open_msi"
        )
    array, columns = _named_dims(obj)
    if array.size == 0:
        raise InvalidCube(f"no pixel: shape {array.shape}; check the selection that was made")
    crs = crs_of(array)
    if crs is None:
        raise InvalidCube("the array has no CRS; add one with array.rio.write_crs('EPSG:…')", code="no-crs")
    array, transform = _north_up(array)
    data, encoding = _reflectance(array)
    attrs = {key: value for key, value in array.attrs.items() if key not in _DROPPED_ATTRS}
    return {
        **{"data": data, "transform": transform, "crs": crs, "attrs": attrs, "encoding": encoding},
        **{"time": _time(array), "mask": array.coords[MASK].data if MASK in array.coords else None, **_own_coordinates(array), **columns},
        **{name: _left_on_disk(array.coords[name], "auto").data for name in CENTRES if name in array.coords},
    }


def plane(array: xr.DataArray) -> tuple[Any, Affine, Any]:
    """Return one layer of numbers as it is (y, x), rows running south, its transform and CRS; of an array with dims as `parts` knows them."""
    array, _ = _named_dims(array)
    if array.sizes["band"] != 1:
        raise InvalidCube(f"{array.sizes['band']} layers; expected one, select it")
    crs = crs_of(array)
    if crs is None:
        raise InvalidCube("the array has no CRS; add one with array.rio.write_crs('EPSG:…')", code="no-crs")
    array, transform = _north_up(array)
    return _left_on_disk(array, "auto").isel(band=0).data, transform, crs


def _own_coordinates(array: xr.DataArray) -> dict[str, Any]:
    """Pixel centres of the array itself, which must not be rounded in any other way; none where it labels corners."""
    if labels_corners(array):
        warnings.warn(
            "the coordinates of the array are those of pixel corners (as stackstac makes them by default), and become those of centres; "
            "stack with xy_coords='center' for coordinates that stay the same",
            UserWarning,
            stacklevel=4,
        )
        return {}
    return {dim: _floats(array[dim].values) for dim in ("y", "x") if dim in array.coords}


def _time(array: xr.DataArray) -> np.datetime64 | None:
    time = array.coords.get("time")
    if time is None or time.ndim or time.dtype.kind != "M" or np.isnat(time.values):
        return None
    return time.values.astype("datetime64[ns]")


def _floats(centres: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return centres.astype(np.float64) if centres.dtype.kind in "iu" else centres


def only_array(dataset: xr.Dataset) -> xr.DataArray:
    """Return the one cube that a Dataset holds: one variable, or one variable a band; layers of classes beside it become its mask."""
    # netCDF keeps the grid mapping as a variable
    mappings = [name for name, v in dataset.data_vars.items() if v.ndim == 0 and {"crs_wkt", "spatial_ref"} & set(v.attrs)]
    dataset = _without_single_dims(dataset.set_coords([*mappings, *(name for name in CENTRES if name in dataset.data_vars)]))
    dims = {name: set(_roles(variable.dims)) for name, variable in dataset.data_vars.items()}
    cubes = [name for name, roles in dims.items() if roles == {"band", "y", "x"}]
    planes = [name for name, roles in dims.items() if roles == {"y", "x"}]
    cubes = [MAIN_VARIABLE] if MAIN_VARIABLE in cubes else cubes
    own = len(cubes) == 1 and REPORT_ATTRIBUTE in dataset[cubes[0]].attrs  # whose quality layer says nothing new of it
    classes = [] if own else _class_layers(dataset[planes], alone=not cubes)
    if len(cubes) == 1:
        # wavelengths and widths may be variables beside the cube
        band = _roles(dataset[cubes[0]].dims)["band"]
        array = dataset.set_coords([name for name, v in dataset.data_vars.items() if v.dims == (band,)])[cubes[0]]
    elif cubes or len(planes) == len(classes):
        raise InvalidCube(
            f"expected a Dataset with one (band, y, x) variable or with (y, x) variables, found {[str(n) for n in cubes] or 'neither'} "
            f"among {[str(name) for name in dataset.data_vars]}; pass the DataArray that you mean"
        )
    else:
        array = _stack(dataset[[name for name in planes if name not in classes]])
    return _with_mask(array, {str(name): dataset[name] for name in classes})


def _without_single_dims(dataset: xr.Dataset) -> xr.Dataset:
    """Without the dims of length one that play no role, such as the ``time`` of one acquisition; they stay as scalar coordinates."""
    extra = [dim for role, dim in _roles(dataset.dims).items() if role.startswith("?") and dataset.sizes[dim] == 1]
    long = [
        dim
        for role, dim in _roles(dataset.dims).items()
        if role == "?time" and dataset.sizes[dim] > 1 and any(dim in v.dims for v in dataset.data_vars.values())
    ]
    if long:
        raise InvalidCube(
            f"the Dataset holds {dataset.sizes[long[0]]} times; select one with dataset.isel({long[0]}=0), or take their median"
        )
    return dataset.squeeze(extra, drop=False)


def _class_layers(planes: xr.Dataset, *, alone: bool) -> list[Hashable]:
    """Names of the variables that hold classes: by name or flags, or bytes among bands of wider numbers (``alone``: no cube beside them)."""
    wide = any(variable.dtype.itemsize > 1 for variable in planes.data_vars.values()) or not alone
    return [
        name
        for name, variable in planes.data_vars.items()
        if is_mask(str(name), variable.dtype, variable.attrs) or (wide and variable.dtype.itemsize == 1)
    ]


def _with_mask(array: xr.DataArray, layers: Mapping[str, xr.DataArray]) -> xr.DataArray:
    """Give the array what is known of unusable pixels, as a coordinate, and say which layers are no bands."""
    if not layers:
        return array
    known = [name for name in layers if is_understood(name)]
    unread = [name for name in layers if name not in known]
    said = [f"{', '.join(known)} used as a mask (clouds, their shadows and defects take no part in a fusion)"] if known else []
    said += [f"{', '.join(unread)} left out; give it as mask= to the fusion, if it is one"] if unread else []
    warnings.warn(f"layers of classes are no bands: {'; '.join(said)}", UserWarning, stacklevel=5)
    for name in known:
        layer = xr.apply_ufunc(partial(_flags, name), layers[name], dask="parallelized", output_dtypes=[np.uint8]).variable
        before = array.coords.get(MASK)
        array = array.assign_coords({MASK: layer if before is None else before.variable | layer})
        array.coords[MASK].attrs = attributes()
    return array


def _flags(name: str, layer: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return flags_of(name, layer[None])


def _stack(planes: xr.Dataset) -> xr.DataArray:
    """Stack one variable a band, each decoded by its own scale and nodata, into one array."""
    bands = [_left_on_disk(planes[name], "auto") for name in planes.data_vars]
    storage = ("scale_factor", "add_offset", "_FillValue", "nodata", "missing_value")
    undecoded = [key for key in storage if any(key in band.attrs for band in bands)]
    stacked = xr.concat([band.drop_attrs(deep=False) for band in bands], dim="band", combine_attrs="drop")
    stacked = stacked.assign_coords(band=[str(name) for name in planes.data_vars])
    for key in ("wavelength", "fwhm"):
        numbers = [_number(band.attrs.get(key)) for band in bands]
        if not np.isnan(numbers).all():
            stacked = stacked.assign_coords({key: ("band", numbers, {"units": bands[0].attrs.get("wavelength_units")})})
    per_band = {key: [band.attrs.get(key) for band in bands] for key in undecoded}
    stacked.attrs = {**planes.attrs, **{key: values[0] if len(set(values)) == 1 else values for key, values in per_band.items()}}
    stacked.encoding = dict(bands[0].encoding)
    return stacked


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _roles(dims: Iterable[Any]) -> dict[str, Any]:
    """Which dimension plays ``band``, ``y`` and ``x``; a dimension in no role is listed under its own name."""
    words = {word: role for role, names in _DIM_NAMES.items() for word in names}
    return {words.get(str(dim).lower(), f"?{dim}"): dim for dim in dims}


def _named_dims(array: xr.DataArray) -> tuple[xr.DataArray, dict[str, Any]]:
    """Return the array with dims ``(band, y, x)`` and the columns of its band table."""
    extra = [dim for role, dim in _roles(array.dims).items() if role.startswith("?")]
    if any(array.sizes[dim] != 1 for dim in extra):
        raise InvalidCube(f"dims {array.dims} are not (band, y, x); select one {' and one '.join(map(str, extra))}, or rename the dims")
    array = array.squeeze(extra, drop=False)
    roles = _roles(array.dims)
    if set(roles) - {"band"} != {"y", "x"} or len(roles) != array.ndim:
        raise InvalidCube(f"dims {array.dims} are not (band, y, x); rename them, or warp to a regular grid first")
    if "band" not in roles:
        name = str(array.name) if array.name is not None else ""
        coords = {key: value for key, value in array.coords.items() if key in (*_WAVELENGTH, *_FWHM) and value.ndim == 0}
        array = array.drop_vars([*coords, "band"], errors="ignore").expand_dims(band=[name])
        array = array.assign_coords({key: ("band", [value.item()], value.attrs) for key, value in coords.items()})
        roles["band"] = "band"
    array = _masks_taken_out(array, roles["band"])
    columns = _columns(array, roles["band"])
    keep = {
        CRS_COORD,
        *CENTRES,
        roles["y"],
        roles["x"],
        *(name for name, coord in array.coords.items() if coord.ndim == 0 or _holds_flags(name, coord)),
    }
    array = array.drop_vars([name for name in array.coords if name not in keep])
    array = array.rename({dim: role for role, dim in roles.items() if role != dim})
    return array.transpose("band", "y", "x"), columns


def _holds_flags(name: Hashable, coord: xr.DataArray) -> bool:
    return name == MASK and set(_roles(coord.dims)) == {"y", "x"} and is_flags(coord.dtype, coord.attrs)


def _masks_taken_out(array: xr.DataArray, dim: Any) -> xr.DataArray:
    """Without the bands that are named as layers of classes; of those that are understood the mask is kept."""
    names = array.coords[dim].values if dim in array.coords else np.array([], dtype=object)
    layers = [k for k, name in enumerate(names) if isinstance(name, str) and is_mask(name)]
    if not layers or len(layers) == len(names):
        return array
    bands = array.isel({dim: [k for k in range(len(names)) if k not in layers]})
    for key, value in array.attrs.items():
        if isinstance(value, list | tuple) and len(value) == len(names):
            bands.attrs[key] = [item for k, item in enumerate(value) if k not in layers]
    return _with_mask(bands, {str(names[k]): array.isel({dim: k}) for k in layers})


def _columns(array: xr.DataArray, dim: Any) -> dict[str, Any]:
    """Columns of the band table: coordinates along the band dimension first, attributes with one value a band next."""
    count = array.sizes[dim]
    found: dict[str, tuple[Any, str | None]] = {}
    for key, value in array.attrs.items():
        values = [value] if count == 1 and np.ndim(value) == 0 else value
        if isinstance(values, list | tuple | np.ndarray) and len(values) == count:
            found[str(key).lower()] = (np.asarray(values), array.attrs.get("wavelength_units"))
    for name, coord in array.coords.items():
        if coord.dims == (dim,):
            found[str(name).lower()] = (coord.values, coord.attrs.get("units") or array.attrs.get("wavelength_units"))
    names = next((found[key][0] for key in _NAMES if key in found and found[key][0].dtype.kind in "UTO"), [""] * count)
    columns: dict[str, Any] = {"names": ["" if name is None else plain_name(str(name)) for name in names]}
    wavelength, units = next((found[key] for key in _WAVELENGTH if key in found), (None, None))
    if wavelength is None:
        columns["wavelength"], columns["fwhm"] = named_wavelengths([str(name) for name in names]), None
    else:
        centre = _numeric(wavelength, "wavelength")
        factor = nm_per_unit(centre, units)
        columns["wavelength"] = in_nm(centre, factor)
        fwhm = next((found[key][0] for key in _FWHM if key in found), None)
        columns["fwhm"] = None if fwhm is None else in_nm(_numeric(fwhm, "fwhm"), factor)
    good = next((found[key][0] for key in _GOOD if key in found), None)
    columns["good"] = None if good is None else _numeric(good, "good") != 0  # text too, of which "0" is no less true than "1"
    return columns


def _numeric(values: Any, what: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    try:
        return np.asarray(values).astype(np.float64)
    except (TypeError, ValueError):
        raise InvalidCube(f"{what} of the bands is not numeric: {list(values)[:3]}; correct the coordinate") from None


def _north_up(array: xr.DataArray) -> tuple[xr.DataArray, Affine]:
    """Turn the array so that rows run south and columns east; slicing, so nothing is read."""
    grid = lattice(array)
    if grid.e > 0:
        array = array.isel(y=slice(None, None, -1))
        grid = Affine(grid.a, 0.0, grid.c, 0.0, -grid.e, grid.f + array.sizes["y"] * grid.e)
    if grid.a < 0:
        array = array.isel(x=slice(None, None, -1))
        grid = Affine(-grid.a, 0.0, grid.c + array.sizes["x"] * grid.a, 0.0, grid.e, grid.f)
    return array, grid


def _reflectance(array: xr.DataArray) -> tuple[Any, dict[str, Any]]:
    """Return the data as reflectance, and how the source stored it."""
    if array.dtype.kind not in "iuf":
        raise InvalidCube(f"expected numbers, found {array.dtype}; convert to floating-point reflectance")
    array = _left_on_disk(array, {"band": -1, "y": "auto", "x": "auto"})
    attrs, encoding = array.attrs, array.encoding
    on_disk = np.dtype(encoding.get("rasterio_dtype", encoding.get("dtype", array.dtype)))
    # xarray moves scale and fill value to `encoding` when it applies them. They stay in `attrs` when it has not, but arithmetic
    # keeps attrs too: for floats they count only while the array is as rioxarray opened it.
    undecoded = array.dtype.kind in "iu" or "rasterio_dtype" in encoding
    scale = _per_band(array, ("scale_factor", "scales") if undecoded else (), 1.0)
    offset = _per_band(array, ("add_offset", "offsets") if undecoded else (), 0.0)
    nodata = _per_band(array, ("_FillValue", "nodata", "missing_value"), np.nan)
    declared = (scale != 1).any() or (offset != 0).any() or encoding.get("scale_factor", 1.0) != 1.0
    if undecoded and on_disk.kind in "iu" and not declared:
        scale = np.full_like(scale, integer_scale(attrs, "the array"))
    storage = plain_attrs({key: encoding[key] for key in _STORAGE if key in encoding})
    if not np.isnan(nodata[0]):
        storage["_FillValue"] = float(nodata[0])
    if (scale == 1).all() and (offset == 0).all() and np.isnan(nodata).all():
        return array.data, storage
    if len(set(scale)) == len(set(offset)) == 1 and undecoded:
        storage |= {"scale_factor": float(scale[0]), "add_offset": float(offset[0]), "dtype": on_disk.name}
    return _decoded(array.data, scale, offset, nodata), storage


def _per_band(array: xr.DataArray, keys: tuple[str, ...], default: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    value = next((array.attrs[key] for key in keys if array.attrs.get(key) is not None), default)
    filled = [default if item is None else item for item in value] if isinstance(value, list | tuple) else value
    return np.broadcast_to(np.asarray(filled, dtype=np.float64), (array.sizes["band"],))


def _left_on_disk(array: xr.DataArray, chunks: Any) -> xr.DataArray:
    """Return an array that was opened without chunks as a dask array, so that it is read only where it is needed."""
    in_memory = getattr(array.variable, "_in_memory", True)  # private, but the only way to ask without reading
    return array if in_memory or array.chunks else array.chunk(chunks)


def is_lazy(data: Any) -> bool:
    """Whether an array is a dask array."""
    return hasattr(data, "__dask_graph__")


def _decoded(data: Any, *columns: np.ndarray[Any, np.dtype[np.float64]]) -> Any:
    if not is_lazy(data):
        return decode(data, *columns)
    import dask.array as da

    per_band = [da.from_array(np.array(column)[:, None, None], chunks=(data.chunks[0], 1, 1)) for column in columns]
    return da.map_blocks(decode, data, *per_band, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32))


def plain_attrs(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the attributes that are plain JSON values, numpy numbers and small arrays turned into such, the rest left out."""
    plain: dict[str, Any] = {}
    for key, value in attrs.items():
        try:
            plain[str(key)] = _plain(value)
        except TypeError:
            continue
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    raise TypeError(type(value).__name__)
