"""geofuse: hyperspectral bands at multispectral pixels, from the scene itself.

>>> import geofuse
>>> hsi = geofuse.open_hsi(geofuse.demo_data().hsi)
>>> msi = geofuse.open_msi(geofuse.demo_data().msi)
>>> print(hsi.mossfuse.plan(msi).ratio.__round__(3))
8.333

Importing it registers the accessors ``.mossfuse`` and ``.hsi`` and loads neither torch nor dask.distributed.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from geofuse.accessors import HsiAccessor, MossFuseAccessor
from geofuse.api import compare, evaluate, fit, fuse, plan, report, to_cog, to_stac, to_zarr
from geofuse.demo import demo_data
from geofuse.errors import GeofuseError, InvalidCube, OutputRefused, PairMismatch, RefusedInput, RunFailed
from geofuse.io.read.open import open_hsi, open_msi
from geofuse.report.report import Report
from geofuse.run.plan import Plan

if TYPE_CHECKING:
    from geofuse.model import Model

__version__ = version("geofuse")
__all__ = [
    "GeofuseError",
    "HsiAccessor",
    "InvalidCube",
    "Model",
    "MossFuseAccessor",
    "OutputRefused",
    "PairMismatch",
    "Plan",
    "RefusedInput",
    "Report",
    "RunFailed",
    "compare",
    "demo_data",
    "evaluate",
    "fit",
    "fuse",
    "open_hsi",
    "open_msi",
    "plan",
    "report",
    "to_cog",
    "to_stac",
    "to_zarr",
]


def __getattr__(name: str) -> Any:
    """Load `Model`, which needs torch, when it is first asked for."""
    if name == "Model":
        from geofuse.model import Model

        return Model
    raise AttributeError(f"module 'geofuse' has no attribute {name!r}")
