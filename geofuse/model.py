"""The model: everything that was estimated or learned from a scene, frozen, ready to be applied tile by tile.

A model is what every method needs (ratio, geometry, response, what is wrong in either image) and one fitted method.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from geofuse.cube.flags import Quality, plane_of
from geofuse.errors import InvalidInput, InvalidOutput
from geofuse.markup import facts
from geofuse.methods.base import EVERYTHING, FillsGaps, FittedMethod, FlagsPixels, Inner, KnowsErrors
from geofuse.methods.limits import fuse_within_limits
from geofuse.methods.registry import get_method
from geofuse.pair.clouds import Clouds
from geofuse.pair.grid import GridPair, Window
from geofuse.pair.masking import is_masked
from geofuse.pair.patch import Patch, patch_of
from geofuse.pair.psf.builder import PsfBuilder
from geofuse.pair.registration import CUTOFFS, EXPONENTS, WIDEST, Registration
from geofuse.pair.response import EffectiveResponse
from geofuse.pair.scene import Sample
from geofuse.pair.screen import Screen
from geofuse.run.device import to_host

FORMAT = "geofuse-model-3"


@dataclass(frozen=True, repr=False)
class Model:
    """A fitted fusion model.

    Attributes
    ----------
    method : str
        Name of the method (`geofuse.methods.registry`).
    fitted : FittedMethod
        What it learned, frozen.
    ratio : float
        Coarse over fine pixel size of the scene it was fitted on.
    bands : tuple of str
        Names of the HSI bands, and of the fused bands.
    geometry : Registration
    response : EffectiveResponse
    noise : ndarray, shape (B,)
        Standard deviation of the HSI's noise in the bands in use, reflectance: how far below zero a value may be.
    clouds : Clouds or None
        How to know what only one image shows, where there is such a thing.
    screen : Screen or None
        How to know gaps, outliers and impossible values, and the bands that hold data; None: all is well. Everything else is of these bands.
    report : dict
        Plain JSON values: what the fit found.
    fills_masked : bool
        Where one image is masked give what the other alone says, if the method can; else nodata.
    """

    method: str
    fitted: FittedMethod
    ratio: float
    bands: tuple[str, ...]
    geometry: Registration
    response: EffectiveResponse
    noise: np.ndarray
    clouds: Clouds | None = None
    screen: Screen | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    fills_masked: bool = False

    def __repr__(self) -> str:
        """Return a line for people; the arrays would fill pages."""
        hsi, msi = self._counts
        known = ", with uncertainty" if self.knows_errors else ""
        return f"<geofuse.Model: {self.method} for {hsi} HSI and {msi} MSI bands, pixels {self.ratio:.4g} times finer{known}>"

    def _repr_html_(self) -> str:
        hsi, msi = self._counts
        (down, right), (sy, sx) = self.geometry.shift, self.geometry.sigma
        shape = f"optics of cut-off {self.geometry.cutoff:.2f}" if self.geometry.cutoff else f"exponent {self.geometry.exponent:.2f}"
        counts = f"{hsi} HSI and {msi} MSI bands" + ("" if self.filled.all() else f", {int((~self.filled).sum())} of the HSI without data")
        rows = {
            "method": self.method + ("" if self.tiled else ", of whole scenes"),
            "bands": counts,
            "ratio": f"{self.ratio:.4g} (coarse over fine pixel size)",
            "shift": f"{down:.2f} rows down, {right:.2f} columns right, fine pixels",
            "PSF": f"standard deviation {sy:.2f} x {sx:.2f} fine pixels, {shape}",
            "response": self.response.method,
            "uncertainty": "yes" if self.knows_errors else "no",
            "fitted in": f"{self.report['seconds']['fit']:.0f} s" if "seconds" in self.report else "",
        }
        return facts("Fusion model", ((name, value) for name, value in rows.items() if value))

    @property
    def _counts(self) -> tuple[int, int]:
        """Bands of the HSI, and of the MSI, those without data included."""
        if self.screen is None:
            return self.response.matrix.shape[1], self.response.matrix.shape[0]
        return len(self.screen.hsi_bands), len(self.screen.msi_bands)

    @property
    def filled(self) -> np.ndarray:
        """Bands of the fused image that hold data; bool, shape (B,)."""
        return np.ones(self._counts[0], bool) if self.screen is None else self.screen.hsi_bands

    @property
    def tiled(self) -> bool:
        """Whether the model is a local operator; others need the whole scene at once."""
        return self.fitted.halo is not None

    @property
    def halo(self) -> int:
        """Fine pixels that a tile must read around itself."""
        return self.fitted.halo or 0

    @property
    def knows_errors(self) -> bool:
        """Whether it can estimate standard deviations."""
        return isinstance(self.fitted, KnowsErrors) and self.fitted.knows_errors

    def builder(self, pair: GridPair) -> PsfBuilder:
        """The PSF of the fitted geometry on a grid pair."""
        return self.geometry.builder(pair)

    def check(self, pair: GridPair, bands: int, msi_bands: int) -> None:
        """Reject a scene that the model was not fitted for.

        Raises
        ------
        InvalidInput
            Other number of bands, a pixel-size ratio that differs by more than 1 %, or a displacement field of another scene.
        """
        expected = self._counts
        if (bands, msi_bands) != expected:
            raise InvalidInput(
                f"The model was fitted on {expected[0]} HSI and {expected[1]} MSI bands; found {bands} and {msi_bands}. Fit a model for this pair."
            )
        if abs(pair.ratio / self.ratio - 1) > 0.01:
            raise InvalidInput(
                f"The model was fitted at a pixel-size ratio of {self.ratio:.4g}; found {pair.ratio:.4g}. Fit a model for this pair."
            )
        local = self.geometry.local
        if local is not None and local.field.shape != tuple(pair.fine.shape):
            raise InvalidInput(
                f"The model holds a displacement field of {local.field.shape[0]} x {local.field.shape[1]} fine pixels; found an overlap of "
                f"{pair.fine.shape[0]} x {pair.fine.shape[1]}. Fit a model for this pair, or one with register='global'."
            )

    def apply(
        self,
        hsi: np.ndarray,
        msi: np.ndarray,
        pair: GridPair,
        fine: Window,
        coarse: Window,
        device: str = "cpu",
        core: Window | None = None,
        quality: bool = False,
        centres: np.ndarray | None = None,
    ) -> np.ndarray:
        """Fuse one window.

        Parameters
        ----------
        hsi : ndarray, shape (B, h, w)
        msi : ndarray, shape (M, H, W)
            Reflectance of the window and its halo, NaN where there is no data.
        pair : GridPair
        fine, coarse : Window
            Where they lie on the working grids.
        device : str
            Torch device.
        core : Window, optional
            The part of ``fine`` that is wanted; the bands of its surroundings are never made.
        quality : bool
            Add the quality layer (`geofuse.cube.flags`) as a last plane.
        centres : ndarray, shape (2, h, w), optional
            True centres of the HSI's pixels, y and x in units of its CRS; see `geofuse.cube.schema.wrap`.

        Returns
        -------
        ndarray, shape (B, H, W) or (B + 1, H, W), float32
            Reflectance of the core, within physical limits; NaN where either image has none.
        """
        sample = _sample(hsi, msi, pair, fine, coarse, centres)
        return self._made(self._with_flags if quality else self.fuse_patch, sample, pair, device, core, quality)

    def deviation(
        self,
        hsi: np.ndarray,
        msi: np.ndarray,
        pair: GridPair,
        fine: Window,
        coarse: Window,
        device: str = "cpu",
        core: Window | None = None,
        centres: np.ndarray | None = None,
    ) -> np.ndarray:
        """Standard deviation of what `apply` returns for the same arguments, reflectance, shape (B, H, W), float32.

        Raises
        ------
        InvalidInput
            The model was fitted without uncertainty.
        """
        if not (isinstance(self.fitted, KnowsErrors) and self.fitted.knows_errors):
            raise InvalidInput("The model was fitted without uncertainty; fit it with uncertainty=True.")
        return self._made(self.fitted.deviation, _sample(hsi, msi, pair, fine, coarse, centres), pair, device, core)

    def _made(
        self,
        make: Callable[[Patch, Inner], torch.Tensor],
        sample: Sample,
        pair: GridPair,
        device: str,
        core: Window | None,
        quality: bool = False,
    ) -> np.ndarray:
        """What is made of the core of a window, shape (B, H, W), float32; NaN where either image has no data.

        With ``quality`` the last plane holds flags, which say so where only one of the images is used, and 0 where there is no data.
        """
        fine, coarse = sample.fine, sample.coarse
        inner = (core or fine).offset(-fine.top, -fine.left).slices
        like = torch.zeros(1, dtype=torch.float32, device=device)
        with torch.inference_mode():
            given, cleared = self._patches(sample if self.screen is None else self.screen.clear(sample), pair, like)
            out = np.ascontiguousarray(to_host(make(cleared, inner)))
        near, inside = _coarse_pixels(pair, fine, coarse)
        rows, cols = (index[inner] for index in np.broadcast_arrays(*near))
        hidden = np.any(is_masked(sample.hsi), 0), np.any(is_masked(sample.msi), 0)
        masked = hidden[0][rows, cols], hidden[1][inner]
        both = inside[inner] & _both_valid(given, rows, cols, inner)
        valid = both
        if self.fills_masked and isinstance(self.fitted, FillsGaps):
            valid = inside[inner] & _either_valid(given, hidden, rows, cols, inner)
        if not valid.all():
            out[:, ~valid] = np.nan
        if given.gaps is not None:
            gaps = given.gaps & ~hidden[0]
            for band, missing in zip(out, gaps, strict=False):  # behind the bands there may be a plane of flags
                band[missing[rows, cols]] = np.nan
        if quality:
            both = both if cleared is given else inside[inner] & _both_valid(cleared, rows, cols, inner)
            outside, far = ((np.nan_to_num(out[-1]).astype(np.uint8) & flag) > 0 for flag in (Quality.OUTSIDE_RANGE, Quality.FAR))
            flags = {"one_image": ~both, "outside_range": outside, "far": far & both}
            out[-1] = plane_of(valid, masked=inside[inner] & (masked[0] | masked[1]), **flags)
        return out if self.filled.all() else _spread(out, np.append(self.filled, True) if quality else self.filled)

    def _patches(self, sample: Sample, pair: GridPair, like: torch.Tensor) -> tuple[Patch, Patch]:
        """A window as it is, and without the pixels that only one image shows."""
        builder = self.builder(pair)

        def patch(s: Sample) -> Patch:
            return patch_of(s, builder, like)

        given = patch(sample)
        if self.clouds is None or not isinstance(self.fitted, FillsGaps):
            return given, given
        clear, where = self.clouds.clear(sample, builder)
        return given, patch(clear) if where.any() else given

    def fuse_patch(self, patch: Patch, inner: Inner = EVERYTHING) -> torch.Tensor:
        """Fused reflectance of the inner rows and columns of a patch, within physical limits, shape (B, H, W), before nodata is put back."""
        return fuse_within_limits(self.fitted, patch, self.noise, inner)[0]

    def _with_flags(self, patch: Patch, inner: Inner) -> torch.Tensor:
        """As `fuse_patch`, with one plane more: the flags that the numbers themselves call for."""
        image, outside = fuse_within_limits(self.fitted, patch, self.noise, inner)
        flags = outside * float(Quality.OUTSIDE_RANGE)
        if isinstance(self.fitted, FlagsPixels):
            flags = flags + self.fitted.far(patch, inner) * float(Quality.FAR)
        return torch.cat([image, flags[None]])

    def __dask_tokenize__(self) -> str:
        """Name the model by what it would be stored as, and not by the objects that it is made of."""
        arrays, header = self._parts()
        digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
        for name in sorted(arrays):
            digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
        return digest.hexdigest()

    def save(self, path: str | Path) -> Path:
        """Write the model as safetensors: arrays, and a JSON header with the rest.

        Raises
        ------
        InvalidInput
            For a folder that does not exist.
        OSError
            It could not be written, such as for a full disk.
        """
        arrays, header = self._parts()
        header["report"] = dict(self.report)
        target = Path(path)
        if not target.parent.is_dir():
            raise InvalidOutput(f"The folder {target.parent} does not exist; create it first, or save the model elsewhere.")
        scratch = target.with_name(f".{target.name}.part")
        try:
            save_file(
                {k: np.asarray(v, order="C") for k, v in arrays.items()}, scratch, metadata={"format": FORMAT, "model": json.dumps(header)}
            )
            return scratch.replace(target)
        except SafetensorError as error:  # what the disk says, in an exception of its own
            raise OSError(f"The model cannot be written to {target}: {error}") from error
        finally:
            scratch.unlink(missing_ok=True)

    def _parts(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """All that decides about the fused image: arrays by name, and plain values."""
        arrays = {
            "response.matrix": self.response.matrix,
            "response.offset": self.response.offset,
            "response.residual": self.response.residual,
            "noise": self.noise,
        }
        own, values = self.fitted.state()
        arrays |= {f"fitted.{k}": v for k, v in own.items()}
        if self.clouds is not None:
            arrays |= {f"clouds.{k}": v for k, v in self.clouds.arrays().items()}
        if self.geometry.local is not None:
            arrays["field"] = self.geometry.local.field.coefficients
        if self.screen is not None:
            arrays |= {f"screen.{k}": v for k, v in self.screen.arrays().items()}
        header = {
            "method": self.method,
            "fitted": dict(values),
            "ratio": self.ratio,
            "bands": list(self.bands),
            "geometry": self.geometry.values(),
            "response": self.response.method,
            "fills_masked": self.fills_masked,
        }
        return arrays, header

    @staticmethod
    def load(path: str | Path) -> Model:
        """Read a model that `save` wrote.

        Raises
        ------
        InvalidInput
            The file is not such a model.
        """
        try:
            with safe_open(str(path), framework="numpy") as file:
                metadata = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            if metadata.get("format") != FORMAT:
                raise InvalidInput(f"{path} is not a geofuse model (format {metadata.get('format')!r}; expected {FORMAT!r}).")
            return _checked(_restore(json.loads(metadata["model"]), arrays), arrays)
        except InvalidInput:
            raise
        except (OSError, SafetensorError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            reason = str(error).partition("\n")[0][:200] or type(error).__name__
            raise InvalidInput(
                f"{path} cannot be read as a geofuse model: {reason}. Expected a .safetensors file that geofuse wrote."
            ) from error


def _checked(model: Model, arrays: dict[str, np.ndarray]) -> Model:
    """The model, once it is sure that its numbers are finite and that its parts are of one size; else ValueError says what is not."""
    for name, array in arrays.items():
        known = array.dtype == bool or (np.issubdtype(array.dtype, np.number) and np.isfinite(array).all())
        if not known and name != "response.residual":
            raise ValueError(f"{name} holds what is no finite number")
    geometry = (*model.geometry.sigma, *model.geometry.shift, model.geometry.exponent, model.geometry.cutoff)
    known = len(geometry) == 6 and all(isinstance(v, int | float) and np.isfinite(v) for v in geometry)
    wide = not known or not 0 < min(geometry[:2]) <= max(geometry[:2]) <= WIDEST
    if wide or not EXPONENTS[0] <= geometry[4] <= EXPONENTS[1] or not 0 <= geometry[5] <= CUTOFFS[1]:
        raise ValueError(f"its geometry is {str(geometry)[:80]}")
    if not (
        np.isfinite(model.ratio) and model.ratio > 0 and isinstance(model.report, dict) and all(isinstance(b, str) for b in model.bands)
    ):
        raise ValueError("its ratio, report or band names are not what they should be")
    sizes = {"M": model.response.matrix.shape[0], "B": model.response.matrix.shape[1]}
    for name, dims in _SHAPES.items():
        expected = tuple(sizes[dim] for dim in dims)
        if name in arrays and arrays[name].shape != expected:
            raise ValueError(f"{name} has shape {arrays[name].shape}; expected {expected}")
    return model


# Sizes of what every method needs: MSI bands and HSI bands in use.
_SHAPES = {"response.matrix": "MB", "response.offset": "M", "response.residual": "M", "noise": "B"}


def _restore(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Model:
    def part(prefix: str) -> dict[str, np.ndarray]:
        return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}

    return Model(
        method=header["method"],
        ratio=float(header["ratio"]),
        bands=tuple(header["bands"]),
        geometry=Registration.restored(header["geometry"], arrays.get("field")),
        response=EffectiveResponse(arrays["response.matrix"], arrays["response.offset"], arrays["response.residual"], header["response"]),
        fitted=get_method(header["method"]).restore(part("fitted."), header["fitted"]),
        noise=arrays["noise"],
        clouds=Clouds(**part("clouds.")) if part("clouds.") else None,
        screen=Screen.from_arrays(part("screen.")) if part("screen.") else None,
        report=header["report"],
        fills_masked=header["fills_masked"] is True,
    )


def _sample(hsi: np.ndarray, msi: np.ndarray, pair: GridPair, fine: Window, coarse: Window, centres: np.ndarray | None) -> Sample:
    return Sample(hsi, msi, fine, coarse, positions=None if centres is None else pair.true_positions(centres, coarse))


def _coarse_pixels(pair: GridPair, fine: Window, coarse: Window) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Row and column in ``coarse`` of the coarse pixel on which the centre of each fine pixel lies, and whether it lies on one."""
    if pair.aligned:
        row_axis, col_axis = pair.axes
        rows = np.floor((np.arange(fine.top, fine.bottom) - row_axis.first) / row_axis.ratio + 0.5 + 1e-6).astype(int)[:, None]
        cols = np.floor((np.arange(fine.left, fine.right) - col_axis.first) / col_axis.ratio + 0.5 + 1e-6).astype(int)[None]
    else:
        grid = np.mgrid[fine.slices].astype(float)
        r, c = pair.to_coarse(grid[0], grid[1])
        rows, cols = np.floor(r + 0.5 + 1e-6).astype(int), np.floor(c + 0.5 + 1e-6).astype(int)
    rows, cols = rows - coarse.top, cols - coarse.left
    h, w = coarse.shape
    inside = (rows >= 0) & (rows < h) & (cols >= 0) & (cols < w)
    return (np.clip(rows, 0, h - 1), np.clip(cols, 0, w - 1)), inside


def _both_valid(patch: Patch, rows: np.ndarray, cols: np.ndarray, inner: Inner) -> np.ndarray:
    """Fine pixels with data in the MSI, and in the coarse pixel of the HSI on which they lie."""
    return np.asarray(patch.hsi_valid.cpu().numpy()[rows, cols] & patch.msi_valid.cpu().numpy()[inner])


def _either_valid(patch: Patch, masked: tuple[np.ndarray, np.ndarray], rows: np.ndarray, cols: np.ndarray, inner: Inner) -> np.ndarray:
    """As `_both_valid`, but with masked pixels of one image where the other has data."""
    hsi, msi = patch.hsi_valid.cpu().numpy()[rows, cols], patch.msi_valid.cpu().numpy()[inner]
    return np.asarray((hsi & (msi | masked[1][inner])) | (msi & masked[0][rows, cols]))


def _spread(image: np.ndarray, bands: np.ndarray) -> np.ndarray:
    """The image with bands of NaN where there are none."""
    out = np.full((len(bands), *image.shape[1:]), np.nan, np.float32)
    out[bands] = image
    return out
