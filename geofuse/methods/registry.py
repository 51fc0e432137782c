"""The methods that exist: those of geofuse, and those that installed packages declare under the entry points ``geofuse.methods``.

Names are known without importing any of them; a method is imported, and torch with it, when it is first asked for.
"""

from __future__ import annotations

import warnings
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from geofuse.errors import InvalidInput
from geofuse.methods.base import CalibratesErrors, FusionMethod

GROUP = "geofuse.methods"
AUTO = "auto"
STANDARD = "gem"
"""What ``auto`` takes unless another estimator does better on the scene."""
# The one list of methods; what they are is said where they are.
_OWN = {
    "gem": "geofuse.methods.gem.method:GEM",
    "mossfuse": "geofuse.methods.mossfuse.method:MOSSFUSE",
    "mossfuse-paper": "geofuse.methods.mossfuse.paper_method:PAPER",
    "sylvester": "geofuse.methods.sylvester:SYLVESTER",
    "hysure": "geofuse.methods.baselines.methods:HYSURE",
    "cnmf": "geofuse.methods.baselines.methods:CNMF",
    "gsa": "geofuse.methods.baselines.methods:GSA",
    "regression": "geofuse.methods.baselines.methods:REGRESSION",
    "mlp": "geofuse.methods.baselines.methods:MLP",
    "bicubic": "geofuse.methods.baselines.methods:BICUBIC",
}


@cache
def _plug_ins() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        if entry.name in _OWN or entry.name in found or entry.name == AUTO:
            warnings.warn(f"The method {entry.name!r} of {entry.value} is left out: there is one of that name already.", stacklevel=2)
        else:
            found[entry.name] = entry
    return found


def method_names() -> tuple[str, ...]:
    """Names of all methods, those of geofuse first; nothing is imported."""
    return (*_OWN, *_plug_ins())


@cache
def get_method(name: str) -> FusionMethod:
    """Return the method of this name.

    Raises
    ------
    InvalidInput
        There is none, or the package that declares it cannot be imported.
    """
    check_name(name)
    if name in _OWN:
        module, _, attribute = _OWN[name].partition(":")
        return getattr(import_module(module), attribute)
    entry = _plug_ins()[name]
    try:
        found = entry.load()
        method: FusionMethod = found() if isinstance(found, type) else found
    except Exception as error:  # whatever an installed package does when it is imported
        raise InvalidInput(f"The method {name!r} cannot be imported from {entry.value}: {error}. Repair or remove that package.") from error
    return method


def all_methods() -> dict[str, FusionMethod]:
    """All methods by name; one whose package cannot be imported is left out, and it is said."""
    found = {}
    for name in method_names():
        try:
            found[name] = get_method(name)
        except InvalidInput as error:
            warnings.warn(str(error), stacklevel=2)
    return found


def check_name(name: str) -> None:
    """Reject the name of a method that does not exist.

    Raises
    ------
    InvalidInput
    """
    if name not in method_names():
        raise InvalidInput(f"There is no method {name!r}; expected one of {', '.join((AUTO, *method_names()))}.")


def check_method(name: str, uncertainty: bool = False) -> None:
    """Reject a method that does not exist, and one that does not estimate its errors where these are asked for.

    Raises
    ------
    InvalidInput
    """
    if name == AUTO:
        return
    check_name(name)
    if uncertainty and not isinstance(get_method(name), CalibratesErrors):
        able = [other for other, method in all_methods().items() if isinstance(method, CalibratesErrors)]
        raise InvalidInput(
            f"The method {name!r} does not estimate its errors; expected one of {', '.join((AUTO, *able))} with uncertainty."
        )
