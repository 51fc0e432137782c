"""Which dask scheduler runs the tiles: the ones that exist, never one of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dask

from geofuse.errors import RefusedInput

LOCAL = ("threads", "processes", "synchronous")


@contextmanager
def scheduler_of(name: str) -> Iterator[None]:
    """Run the block on a scheduler: ``threads``, ``processes``, ``synchronous``, or the address of a dask.distributed one.

    Raises
    ------
    RefusedInput
        An unknown name, dask.distributed not installed, or no scheduler at the address.
    """
    if name in LOCAL:
        with dask.config.set(scheduler=name):
            yield
        return
    if "://" not in name:
        raise RefusedInput(f"There is no scheduler {name!r}; expected {', '.join(LOCAL)}, or an address such as tcp://127.0.0.1:8786.")
    try:
        from distributed import Client
    except ImportError as error:
        raise RefusedInput("A scheduler address needs dask.distributed: pip install 'geofuse[distributed]'.") from error
    try:
        # Not the default: a default client that does not come about stays it, and all later computing waits for it.
        client = Client(name, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as error:  # nobody there, or an address that is none
        raise RefusedInput(
            f"No dask scheduler answers at {name}: {error}. Start one with 'dask scheduler', or use --scheduler threads."
        ) from error
    with client, client.as_current():
        yield
