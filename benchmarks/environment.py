"""What a figure depends on besides its case: the code, the libraries, the machine."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "benchmarks"  # where results go that no one sends elsewhere
# Modules that make files and pictures change no figure.
WITHOUT = ("__main__", "accessors", "catalogs", "cli", "cli_batch", "cli_options", "demo", "io", "markup", "reporting", "stac", "viewing")
MEASURING = ("benchmarks/measure.py",)
LIBRARIES = ("torch", "numpy", "scipy", "xarray", "dask", "geofuse")


def code_version(root: Path = ROOT, without: tuple[str, ...] = WITHOUT) -> str:
    """Twelve hexadecimal digits that change when the code behind the figures does, and not with comments, docstrings or layout.

    ``without`` names the modules that change no figure.
    """
    package = [
        p for p in sorted((root / "geofuse").rglob("*.py")) if p.relative_to(root / "geofuse").parts[0].removesuffix(".py") not in without
    ]
    digest = hashlib.sha256()
    for path in (*package, *(root / name for name in MEASURING)):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(bare(path.read_text(encoding="utf-8")).encode() + b"\0")
    return digest.hexdigest()[:12]


def bare(source: str) -> str:
    r"""Source code without comments, docstrings and layout.

    Examples
    --------
    >>> bare('def double(x):\n    "Twice."\n    return  x*2  # no more') == bare('def double(x): return x * 2')
    True
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def commit(root: Path = ROOT) -> str:
    """Abbreviated git commit, with ``+`` where the working tree differs from it; ``unknown`` outside a repository."""
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"], cwd=root, capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return run.stdout.strip()


def environment(device: str = "cpu", jobs: int = 1) -> dict[str, Any]:
    """Versions, processor, memory and threads; plain JSON values, and nothing that names a machine or a person."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": cores,
        "memory_gb": _memory_gb(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS", "not set"),
        "cases_at_a_time": jobs,
    }
    if device != "cpu":
        found["device"] = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
        found["cuda"] = torch.version.cuda
    return found


def remember(found: dict[str, Any], path: Path) -> str:
    """Write an environment to a JSON file beside those that are there; its name, which result lines carry."""
    name = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:8]
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if name not in known:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.part")
        scratch.write_text(json.dumps(known | {name: found}, indent=2) + "\n", encoding="utf-8")
        scratch.replace(path)
    return name


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (ValueError, OSError, AttributeError):
        return None
