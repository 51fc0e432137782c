"""What importing and looking costs: nothing beyond xarray, and neither torch nor dask.distributed nor zarr."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import geofuse

HEAVY = "torch", "distributed", "zarr"


def heavy_modules_after(code: str) -> list[str]:
    """Run code in a fresh interpreter; heavy modules that it loaded."""
    tell = f"import sys; print('\\n', *[m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{tell}"], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.splitlines()[-1].split()


def test_the_check_itself_can_fail() -> None:
    assert heavy_modules_after("import distributed") == ["distributed"]


def packages_beyond_xarray(code: str) -> set[str]:
    """Run code in a fresh interpreter; installed packages that it loaded and `import xarray` had not."""
    tell = "print('\\n', *{name.partition('.')[0] for name in set(sys.modules) - there} - sys.stdlib_module_names)"
    start = "import sys, xarray, pandas, numpy; there = set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", f"{start}\n{code}\n{tell}"], capture_output=True, text=True, timeout=120, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_import_loads_nothing_beyond_xarray() -> None:
    assert packages_beyond_xarray("import geofuse") <= {"geofuse", "lazy_loader", "packaging"}
    assert {"scipy", "rasterio"} <= packages_beyond_xarray("import geofuse; geofuse.fuse")  # the check can fail


def test_import_registers_the_accessors() -> None:
    code = "assert xarray.DataArray.mossfuse and xarray.DataArray.hsi and xarray.Dataset.mossfuse"
    assert packages_beyond_xarray(f"import geofuse; {code}") <= {"geofuse", "lazy_loader", "packaging"}


def test_the_functions_are_light() -> None:
    assert heavy_modules_after("import geofuse; geofuse.open_hsi, geofuse.fuse, geofuse.demo_data()") == []


def test_looking_is_light(berlin: tuple[Path, Path]) -> None:
    code = f"""
from geofuse.cli import main
for arguments in (["--help"], ["fuse", "--help"], ["info", {str(berlin[0])!r}]):
    try:
        main(arguments)
    except SystemExit as end:
        assert not end.code, (arguments, end.code)
"""
    assert heavy_modules_after(code) == []


def test_every_public_name_is_there() -> None:
    assert [name for name in geofuse.__all__ if not hasattr(geofuse, name)] == []
    with pytest.raises(AttributeError, match="attribute nonsense"):
        geofuse.nonsense  # noqa: B018


def test_no_module_takes_the_name_of_a_verb() -> None:
    """An imported submodule becomes an attribute of its package, whatever else had that name."""
    for module in pkgutil.walk_packages(geofuse.__path__, "geofuse."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    verbs = [name for name in geofuse.__all__ if inspect.isfunction(getattr(geofuse.api, name, None))]
    assert len(verbs) >= 9, verbs
    assert [name for name in verbs if not inspect.isfunction(getattr(geofuse, name))] == []
