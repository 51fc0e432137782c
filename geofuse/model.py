"""The model: everything that was estimated or learned from a scene, frozen, ready to be applied tile by tile."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from geofuse.errors import OutputRefused, RefusedInput
from geofuse.methods.baselines.scene import BASELINES, apply_baseline
from geofuse.methods.gem.estimator import Gem
from geofuse.methods.gem.filters import ComplementaryFilters
from geofuse.methods.gem.uncertainty import Uncertainty
from geofuse.methods.mossfuse.paper_scene import PaperScene
from geofuse.pair.clouds import Clouds
from geofuse.pair.grid import GridPair, Window
from geofuse.pair.patch import Patch, make_patch
from geofuse.pair.psf.builder import PsfBuilder
from geofuse.pair.registration import Registration
from geofuse.pair.response import EffectiveResponse
from geofuse.pair.scene import Sample
from geofuse.run.device import to_host

FORMAT = "geofuse-model-1"
# Beyond this many fine pixels a coarse pixel changes nothing that int16 reflectance could show (docs/design/tiles.md).
HALO_COARSE, HALO_FINE = 8.0, 56

Inner = tuple[slice, slice]
"""Rows and columns of a window."""


@dataclass(frozen=True, repr=False)
class Model:
    """A fitted fusion model.

    Attributes
    ----------
    method : str
        What it does: ``mossfuse``, ``gem``, ``fuse``, or a baseline.
    ratio : float
        Coarse over fine pixel size of the scene it was fitted on.
    bands : tuple of str
        Names of the HSI bands, and of the fused bands.
    geometry : Registration
    response : EffectiveResponse
    gem : Gem or None
        The frozen estimator; None for baselines.
    filters : ComplementaryFilters or None
        The learned step of ``mossfuse``.
    paper : PaperScene or None
        The network of ``mossfuse-paper``.
    uncertainty : Uncertainty or None
        Standard deviations, where they were asked for.
    clouds : Clouds or None
        How to know what only one image shows, where there is such a thing; the estimator leaves it out, and the other image decides.
    report : dict
        Plain JSON values: what the fit found.
    """

    method: str
    ratio: float
    bands: tuple[str, ...]
    geometry: Registration
    response: EffectiveResponse
    gem: Gem | None = None
    filters: ComplementaryFilters | None = None
    paper: PaperScene | None = None
    uncertainty: Uncertainty | None = None
    clouds: Clouds | None = None
    report: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return a line for people; the arrays would fill pages."""
        msi, hsi = self.response.matrix.shape
        known = ", with uncertainty" if self.uncertainty is not None else ""
        return f"<geofuse.Model: {self.method} for {hsi} HSI and {msi} MSI bands, pixels {self.ratio:.4g} times finer{known}>"

    @property
    def tiled(self) -> bool:
        """Whether the model is a local operator; others need the whole scene at once."""
        return self.gem is not None

    @property
    def halo(self) -> int:
        """Fine pixels that a tile must read around itself."""
        learned = self.filters.reach if self.filters is not None else 0
        return int(np.ceil(max(HALO_COARSE * self.ratio, HALO_FINE))) + learned

    def builder(self, pair: GridPair) -> PsfBuilder:
        """The PSF of the fitted geometry on a grid pair."""
        return PsfBuilder(pair, self.geometry.sigma, self.geometry.shift)

    def check(self, pair: GridPair, bands: int, msi_bands: int) -> None:
        """Refuse a scene that the model was not fitted for.

        Raises
        ------
        RefusedInput
            Other number of bands, or a pixel-size ratio that differs by more than 1 %.
        """
        expected = self.response.matrix.shape[::-1]
        if (bands, msi_bands) != expected:
            raise RefusedInput(
                f"The model was fitted on {expected[0]} HSI and {expected[1]} MSI bands; found {bands} and {msi_bands}. Fit a model for this pair."
            )
        if abs(pair.ratio / self.ratio - 1) > 0.01:
            raise RefusedInput(
                f"The model was fitted at a pixel-size ratio of {self.ratio:.4g}; found {pair.ratio:.4g}. Fit a model for this pair."
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

        Returns
        -------
        ndarray, shape (B, H, W), float32
            Reflectance of the core; NaN where either image has none.
        """
        return self._made(self.fuse_patch, Sample(hsi, msi, fine, coarse), pair, device, core)

    def deviation(
        self,
        hsi: np.ndarray,
        msi: np.ndarray,
        pair: GridPair,
        fine: Window,
        coarse: Window,
        device: str = "cpu",
        core: Window | None = None,
    ) -> np.ndarray:
        """Standard deviation of what `apply` returns for the same arguments, reflectance, shape (B, H, W), float32.

        Raises
        ------
        RefusedInput
            The model was fitted without uncertainty.
        """
        if self.gem is None or self.uncertainty is None:
            raise RefusedInput("The model was fitted without uncertainty; fit it with uncertainty=True.")
        return self._made(self._deviation_of, Sample(hsi, msi, fine, coarse), pair, device, core)

    def _deviation_of(self, patch: Patch, inner: Inner) -> torch.Tensor:
        assert self.gem is not None
        assert self.uncertainty is not None
        seen = self.gem.observe(patch)
        believed = (None if flags is None else flags[inner] for flags in (seen.valid, seen.known))
        return self.uncertainty.deviation(self.gem.weights(seen)[:, *inner].contiguous(), *believed)

    def _made(
        self, make: Callable[[Patch, Inner], torch.Tensor], sample: Sample, pair: GridPair, device: str, core: Window | None
    ) -> np.ndarray:
        """What is made of the core of a window, shape (B, H, W), float32; NaN where either image has no data."""
        fine, coarse = sample.fine, sample.coarse
        inner = (core or fine).offset(-fine.top, -fine.left).slices
        like = torch.zeros(1, dtype=torch.float32, device=device)
        with torch.inference_mode():
            given, believed = self._patches(sample, pair, like)
            out = np.ascontiguousarray(to_host(make(believed, inner)))
        valid = _valid(given, pair, fine, coarse)[inner]
        if not valid.all():
            out[:, ~valid] = np.nan
        return out

    def _patches(self, sample: Sample, pair: GridPair, like: torch.Tensor) -> tuple[Patch, Patch]:
        """A window as it is, and as the estimator believes it."""
        builder = self.builder(pair)

        def patch(s: Sample) -> Patch:
            return make_patch(s.hsi, s.msi, builder, s.fine, s.coarse, like)

        given = patch(sample)
        if self.clouds is None or self.gem is None:
            return given, given
        cleared, where = self.clouds.clear(sample, builder)
        return given, patch(cleared) if where.any() else given

    def fuse_patch(self, patch: Patch, inner: Inner = (slice(None), slice(None))) -> torch.Tensor:
        """Fused reflectance of the inner rows and columns of a patch, shape (B, H, W), before nodata is put back."""
        if self.paper is not None:
            return self.paper.apply(patch)[:, *inner]
        if self.gem is None:
            return apply_baseline(self.method, patch, self.response.matrix, seed=int(self.report.get("seed", 0)))[:, *inner]
        return self.gem.coordinates.decode(self.gem.apply(patch, self.filters)[:, *inner].contiguous())

    def __dask_tokenize__(self) -> str:
        """Name the model by what it would be stored as, and not by the objects that it is made of."""
        if self.paper is not None:
            return uuid.uuid4().hex
        arrays, header = self._parts()
        digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
        for name in sorted(arrays):
            digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
        return digest.hexdigest()

    def save(self, path: str | Path) -> Path:
        """Write the model as safetensors: arrays, and a JSON header with the rest.

        Raises
        ------
        RefusedInput
            For ``mossfuse-paper``, which is there to be compared with and is not stored; or for a folder that does not exist.
        OSError
            It could not be written, such as for a full disk.
        """
        if self.paper is not None:
            raise RefusedInput("Models of method 'mossfuse-paper' are not stored; fit 'mossfuse' or 'gem' to keep a model.")
        arrays, header = self._parts()
        header["report"] = dict(self.report)
        target = Path(path)
        if not target.parent.is_dir():
            raise OutputRefused(f"The folder {target.parent} does not exist; create it first, or save the model elsewhere.")
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
        }
        if self.gem is not None:
            arrays |= {f"gem.{k}": v for k, v in self.gem.arrays().items()}
        if self.filters is not None:
            arrays |= {f"filters.{k}": v for k, v in self.filters.arrays().items()}
        if self.uncertainty is not None:
            arrays |= {f"uncertainty.{k}": v for k, v in self.uncertainty.arrays().items()}
        if self.clouds is not None:
            arrays |= {f"clouds.{k}": v for k, v in self.clouds.arrays().items()}
        header = {
            "method": self.method,
            "ratio": self.ratio,
            "bands": list(self.bands),
            "geometry": {
                "sigma": self.geometry.sigma,
                "shift": self.geometry.shift,
                "unexplained": self.geometry.unexplained,
                "at_limit": bool(self.geometry.at_limit),
            },
            "response": self.response.method,
        }
        return arrays, header

    @staticmethod
    def load(path: str | Path) -> Model:
        """Read a model that `save` wrote.

        Raises
        ------
        RefusedInput
            The file is not such a model.
        """
        try:
            with safe_open(str(path), framework="numpy") as file:
                metadata = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            if metadata.get("format") != FORMAT:
                raise RefusedInput(f"{path} is not a geofuse model (format {metadata.get('format')!r}; expected {FORMAT!r}).")
            return _restore(json.loads(metadata["model"]), arrays)
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            if isinstance(error, RefusedInput):
                raise
            raise RefusedInput(
                f"{path} cannot be read as a geofuse model: {error}. Expected a .safetensors file that geofuse wrote."
            ) from error


def _restore(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Model:
    def part(prefix: str) -> dict[str, np.ndarray]:
        return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}

    geometry = header["geometry"]
    return Model(
        method=header["method"],
        ratio=float(header["ratio"]),
        bands=tuple(header["bands"]),
        geometry=Registration(tuple(geometry["sigma"]), tuple(geometry["shift"]), geometry["unexplained"], geometry["at_limit"]),
        response=EffectiveResponse(**part("response."), method=header["response"]),
        gem=Gem.from_arrays(part("gem.")) if header["method"] not in BASELINES else None,
        filters=ComplementaryFilters(**part("filters.")) if part("filters.") else None,
        uncertainty=Uncertainty.from_arrays(part("uncertainty.")) if part("uncertainty.") else None,
        clouds=Clouds(**part("clouds.")) if part("clouds.") else None,
        report=header["report"],
    )


def _valid(patch: Patch, pair: GridPair, fine: Window, coarse: Window) -> np.ndarray:
    """Fine pixels with data in the MSI, whose centre lies on a coarse pixel with data; bool, shape of ``fine``."""
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
    on_data = patch.hsi_valid.cpu().numpy()[np.clip(rows, 0, h - 1), np.clip(cols, 0, w - 1)]
    return inside & on_data & patch.msi_valid.cpu().numpy()
