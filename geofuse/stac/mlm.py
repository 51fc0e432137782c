"""What an item says of the model that made its image: the machine learning model extension (MLM, version 1.4).

That version asks for the fields of the model among the properties of the item, and for what its file is on the asset.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any

from safetensors import safe_open

MLM_EXTENSION = "https://stac-extensions.github.io/mlm/v1.4.0/schema.json"
MODEL_ASSET = {"mlm:artifact_type": "safetensors.numpy.save_file"}
MODEL_ROLES = ["mlm:model", "mlm:weights", "metadata"]
_DIMS = ["channel", "height", "width"]


def model_properties(path: Path, method: str, bands: int, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Properties of the item of an image whose model is an asset.

    Parameters
    ----------
    path : pathlib.Path
        The model, as `geofuse.Model.save` writes it; only its header is read.
    method : str
        The fusion method.
    bands : int
        Of the hyperspectral image, and of the fused one.
    parameters : mapping
        Plain values that the user decided.
    """
    sizes, msi_bands = {}, -1
    with safe_open(path, "numpy") as file:
        for name in file.keys():  # noqa: SIM118 (it is no mapping)
            shape = file.get_slice(name).get_shape()
            sizes[name] = prod(shape)
            msi_bands = shape[0] if name == "response.matrix" else msi_bands
    made: dict[str, Any] = {
        "mlm:name": f"geofuse-{method}",
        "mlm:architecture": method,
        "mlm:tasks": ["super-resolution"],
        "mlm:framework": "geofuse",
        "mlm:total_parameters": sum(sizes.values()),
        "mlm:memory_size": path.stat().st_size,
        "mlm:input": [
            _input("hsi", "Hyperspectral reflectance at coarse pixels", bands),
            _input("msi", "Multispectral reflectance at fine pixels", msi_bands),
        ],
        "mlm:output": [
            {
                "name": "fused",
                "description": "Reflectance: the bands of the first input at the pixels of the second",
                "tasks": ["super-resolution"],
                "result": _structure(bands),
            }
        ],
    }
    if re.fullmatch(r"\d+\.\d+\.\d+", version("geofuse")):  # the extension takes semantic versions only
        made["mlm:framework_version"] = version("geofuse")
    return made | ({"mlm:hyperparameters": dict(parameters)} if parameters else {})


def _input(name: str, description: str, bands: int) -> dict[str, Any]:
    return {"name": name, "description": description, "bands": [], "input": _structure(bands)}


def _structure(bands: int) -> dict[str, Any]:
    """Rows and columns are those of a tile, of any size."""
    return {"shape": [bands, -1, -1], "dim_order": _DIMS, "data_type": "float32"}
