"""What `geofuse` offers; the one list of public names, which `geofuse/__init__.py` reads (lazy_loader) and type checkers too."""

from . import api, cube, errors, simulate
from .accessors import HsiAccessor, MossFuseAccessor
from .api import compare, doctor, evaluate, fit, fuse, plan, report, to_cog, to_stac, to_zarr
from .catalogs import batch, search_pairs
from .demo import demo_data
from .errors import GeofuseError, InvalidCube, InvalidInput, InvalidOutput, InvalidPair, RunError
from .io.read.open import open_hsi, open_msi
from .model import Model
from .reporting.diagnosis import Diagnosis
from .reporting.report import Report
from .run.plan import Plan
from .run.usage import show_versions
from .viewing.server.show import View, view

__version__: str
__all__ = [
    "Diagnosis",
    "GeofuseError",
    "HsiAccessor",
    "InvalidCube",
    "InvalidInput",
    "InvalidOutput",
    "InvalidPair",
    "Model",
    "MossFuseAccessor",
    "Plan",
    "Report",
    "RunError",
    "View",
    "api",
    "batch",
    "compare",
    "cube",
    "demo_data",
    "doctor",
    "errors",
    "evaluate",
    "fit",
    "fuse",
    "open_hsi",
    "open_msi",
    "plan",
    "report",
    "search_pairs",
    "show_versions",
    "simulate",
    "to_cog",
    "to_stac",
    "to_zarr",
    "view",
]
