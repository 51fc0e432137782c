"""What a fit found, in plain JSON values: the beginning of the report."""

from __future__ import annotations

from typing import Any

import numpy as np

from geofuse.methods.base import Describes, PerBand
from geofuse.model import Model
from geofuse.pair.diagnostics import pair_warnings
from geofuse.pair.prepare import PreparedPair
from geofuse.pair.registration import Registration
from geofuse.pair.response import EffectiveResponse

ARROWS = 12  # along each side of the map of a displacement field


def describe(prepared: PreparedPair, model: Model, prior: np.ndarray | None = None) -> dict[str, Any]:
    """What the fit found, in plain JSON values; ``prior`` is what the files say of the response, (M, B), rows of zeros where nothing is known."""
    geometry, response = prepared.geometry, prepared.response
    used = {"hsi": model.filled, "msi": np.ones(len(response.matrix), bool) if prepared.screen is None else prepared.screen.msi_bands}

    def among_all(matrix: np.ndarray) -> np.ndarray:
        return _among(used["hsi"], _among(used["msi"], matrix, 0.0, axis=0), 0.0)

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        return _plain(_among(used[value.image], value.values)) if isinstance(value, PerBand) else value

    found: dict[str, Any] = {
        "method": model.method,
        "geometry": _local(geometry)
        | {
            "ratio": prepared.pair.ratio,
            "shift_px": list(geometry.shift),
            "psf_sigma_px": float(np.sqrt(geometry.sigma[0] * geometry.sigma[1])),
            "psf_sigma_yx_px": list(geometry.sigma),
            "psf_exponent": round(geometry.exponent, 3),
            "unexplained": geometry.unexplained,
            "aligned": prepared.pair.aligned,
            "true_centres": prepared.pair.displaced,
        },
        "response": {
            "matrix": _plain(among_all(response.matrix)),
            "offset": PerBand("msi", response.offset),
            "method": response.method,
            **(
                {"prior": response.prior, "moved": PerBand("msi", response.moved)}
                | ({} if prior is None else {"prior_matrix": _plain(among_all(prior).round(6))})
                if response.moved is not None
                else {}
            ),
        },
        "radiometry": _radiometry(response),
        "disagreement": _disagreement(prepared),
        "noise": {},
        "coregistration": {},
        "uncertainty": {},
        "prior_weights": {},
        "sample": {"windows": len(prepared.samples), "fine_pixels": int(sum(np.prod(s.fine.shape) for s in prepared.samples))},
        "warnings": pair_warnings(prepared, model.bands),
    }
    if isinstance(model.fitted, Describes):
        for key, value in model.fitted.describe().items():
            found[key] = found.get(key, {}) | value
        names = [name for name, filled in zip(model.bands, model.filled, strict=True) if filled]
        found["warnings"] += model.fitted.warnings(prepared, names)
    described: dict[str, Any] = plain(found)
    return described


def _radiometry(response: EffectiveResponse) -> dict[str, Any]:
    """Gain and offset of the MSI: towards what its response makes of the HSI; where none is known they are part of what was estimated."""
    found = response.radiometry
    if found is None:
        seen = response.matrix.any(1)
        gain, offset = (np.where(seen, values, np.nan) for values in (response.matrix.sum(1), response.offset))
        return {"against": None, "gain": PerBand("msi", gain), "offset": PerBand("msi", offset)}
    figures = {"gain": found.gain, "offset": found.offset, "gain_error": found.gain_error, "offset_error": found.offset_error}
    rounded = {key: PerBand("msi", np.round(values, 5)) for key, values in figures.items()}
    return {"against": response.prior or response.method, **rounded, "applied": PerBand("msi", found.applied)}


def _local(geometry: Registration) -> dict[str, Any]:
    """The displacement field, its figures and arrows on a mesh of its places: row, column, down, right, fine pixels."""
    if geometry.local is None:
        return {}
    local, (height, width) = geometry.local, geometry.local.field.shape
    places = np.stack(np.meshgrid(*(np.linspace(0, n - 1, ARROWS) for n in (height, width)), indexing="ij")).reshape(2, -1)
    arrows = np.concatenate([places, local.field.at(*places)]).T.round(3).tolist()
    figures = {"max_px": local.largest, "rms_px": local.rms, "explained": local.explained}
    return {"local": {key: round(value, 4) for key, value in figures.items()} | {"arrows": arrows}}


def _disagreement(prepared: PreparedPair) -> dict[str, Any]:
    found: dict[str, Any] = {
        "relative": float(np.sqrt(np.nanmean(prepared.response.residual**2))),
        "per_band": PerBand("msi", prepared.response.residual),
        "geometric_share": round(prepared.geometric, 3),
        "map": [[round(v, 4) if np.isfinite(v) else None for v in row] for row in prepared.where],
    }
    if prepared.clouds is not None:
        found["only_one_image"] = {"share": round(prepared.covered, 4), "map": [[round(v, 3) for v in row] for row in prepared.covers]}
    return found


def _among(bands: np.ndarray, values: np.ndarray, absent: float = np.nan, axis: int = -1) -> np.ndarray:
    """Values of the bands in use (along one axis) at their places among all bands; flags are not set of the others."""
    if bands.all():
        return values
    absent = False if values.dtype == bool else absent
    out = np.full([len(bands) if k == axis % values.ndim else n for k, n in enumerate(values.shape)], absent)
    np.moveaxis(out, axis, -1)[..., bands] = np.moveaxis(values, axis, -1)
    return out


def _plain(values: np.ndarray) -> list[Any]:
    """Nested lists, None where there is nothing."""
    plain = values.astype(object)
    plain[np.isnan(values)] = None
    found: list[Any] = plain.tolist()
    return found
