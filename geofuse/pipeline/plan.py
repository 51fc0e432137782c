"""The plan of a run: what `geofuse.run.plan` makes of a scene and of what is asked for. No pixel is read.

Whatever can be rejected without reading pixels is rejected here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from geofuse.errors import InvalidInput
from geofuse.pair.scene import Scene
from geofuse.pair.srf import response_table
from geofuse.run.plan import DEFAULT_MEMORY, Plan, make_plan

if TYPE_CHECKING:
    from geofuse.model import Model


def plan_scene(
    scene: Scene,
    *,
    method: str = "auto",
    srf: Any = "auto",
    model: Model | None = None,
    tile: int | Literal["auto"] = "auto",
    device: str = "auto",
    memory: int = DEFAULT_MEMORY,
    uncertainty: bool = False,
    seed: int = 0,
    train_seconds: float | None = None,
    register: str = "global",
) -> Plan:
    """Plan the fusion of a scene.

    Parameters
    ----------
    scene : Scene
    method, srf, model, tile, device, memory, uncertainty, seed, train_seconds, register
        As for `geofuse.fuse`.

    Raises
    ------
    InvalidInput
        Whatever `geofuse.fuse` rejects before it reads pixels.
    """
    from geofuse.methods.registry import AUTO, STANDARD, check_method, get_method
    from geofuse.run.device import memory_of, torch_device

    check_method(method, uncertainty and model is None)
    check_seed(seed)
    check_train_seconds(train_seconds)
    check_register(register)
    if model is None:
        response_table(srf, scene)
    else:
        _check_model(model)
        model.check(scene.pair, scene.hsi.sizes["band"], scene.msi.sizes["band"])
        if uncertainty:
            check_knows_errors(model)
        method = model.method
    device = torch_device(device)
    needs = get_method(STANDARD if method == AUTO else method).cost(scene.pair.ratio)
    return make_plan(scene, needs, tile=tile, device=device, memory=memory, device_memory=memory_of(device))


def check_seed(seed: int) -> None:
    """Reject what is no seed.

    Raises
    ------
    InvalidInput
    """
    if not (isinstance(seed, int | np.integer) and seed >= 0):
        raise InvalidInput(f"The seed is {seed!r}; expected a whole number, 0 or more.")


def check_train_seconds(seconds: float | None) -> None:
    """Reject what bounds no training.

    Raises
    ------
    InvalidInput
    """
    if seconds is not None and not (isinstance(seconds, int | float | np.number) and 0 < seconds < np.inf):
        raise InvalidInput(f"The seconds of training are {seconds!r}; expected a number above 0, or None for those of the method.")


def check_register(register: str) -> None:
    """Reject what is no way to register a pair.

    Raises
    ------
    InvalidInput
    """
    from geofuse.pair.prepare import REGISTRATIONS  # with torch

    if register not in REGISTRATIONS:
        raise InvalidInput(f"The registration is {register!r}; expected one of {', '.join(REGISTRATIONS)}.")


def check_knows_errors(model: Model) -> None:
    """Reject a model without standard deviations.

    Raises
    ------
    InvalidInput
    """
    if not model.knows_errors:
        raise InvalidInput("The model was fitted without uncertainty; expected one of fit(..., uncertainty=True), or no model.")


def _check_model(model: Any) -> None:
    from geofuse.model import Model

    if not isinstance(model, Model):
        raise InvalidInput(f"The model is {model!r}; expected a geofuse.Model: load it from its file with geofuse.Model.load(path).")
