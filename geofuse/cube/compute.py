"""Lazy pixels brought into this process."""

from __future__ import annotations

from typing import Any

PROCESSES = ("processes", "multiprocessing")
"""Names by which dask knows its scheduler of processes, which packs whatever one task hands to another."""


def compute_here(*values: Any) -> tuple[Any, ...]:
    """Compute dask values: in threads where dask would use processes, which would only pack and unpack the pixels on their way here."""
    import dask

    here = "threads" if dask.config.get("scheduler", None) in PROCESSES else None
    computed: tuple[Any, ...] = dask.compute(*values, scheduler=here)
    return computed
