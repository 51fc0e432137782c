"""Run the tiles of a lazy array on the active dask scheduler, and report each as it is done."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import dask.base
import dask.multiprocessing
import numpy as np

from geofuse.errors import RunInterrupted
from geofuse.run.scheduling import active_client

# As often as dask.distributed lets a task end workers before it gives up.
_LOST_POOLS = 3

Place = tuple[int, int]
"""Row and column of a tile among the tiles."""


def as_tiles(data: Any, side: int) -> Any:
    """The array in dask chunks of all bands; one in memory is cut into squares of ``side`` pixels."""
    import dask.array as da

    if not hasattr(data, "__dask_graph__"):
        return da.from_array(data, chunks=(-1, side, side), name=False)
    return data.rechunk({0: -1})


def starts(data: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """First rows and first columns of the tiles."""
    tops, lefts = (tuple(np.concatenate([[0], np.cumsum(sizes)[:-1]]).tolist()) for sizes in data.chunks[1:])
    return tops, lefts


def run_tiles(
    data: Any, work: Callable[[np.ndarray, int, int], Any], wanted: Collection[Place], done: Callable[[Place, Any], None]
) -> None:
    """Compute tiles, work on each where it is computed, and hand over what comes of it.

    The whole graph goes to the scheduler at once, which is what schedulers are made for: no worker waits for another one's tile, and what
    neighbours share is read once. Memory stays flat because tiles end in ``work``, whose result should be small.

    Parameters
    ----------
    data : dask.array.Array
        Shape (B, H, W), one chunk along the bands.
    work : callable
        ``work(tile, top, left)``; picklable.
    wanted : collection of (row, column)
        Tiles to compute, by their place among the tiles.
    done : callable
        Called with each tile and its result, in the order of completion, in this thread.
    """
    tops, lefts = starts(data)
    results = data.map_blocks(
        _worked, work, tops, lefts, dtype=object, meta=np.empty((0, 0, 0), object), chunks=((1,), (1,) * len(tops), (1,) * len(lefts))
    )
    keys = [(results.name, 0, *place) for place in sorted(wanted)]
    if not keys:
        return
    graph = results.__dask_optimize__(results.__dask_graph__(), keys)
    client = active_client()
    if client is None:
        _run_here(dask.base.get_scheduler(collections=[results]), graph, keys, done)
    else:
        _run_there(client, graph, keys, done)


def _worked(tile: np.ndarray, work: Callable[[np.ndarray, int, int], Any], tops: Any, lefts: Any, block_id: Any = None) -> np.ndarray:
    out = np.empty((1, 1, 1), object)
    out[0, 0, 0] = work(tile, tops[block_id[1]], lefts[block_id[2]])
    return out


def _run_here(get: Any, graph: Any, keys: list[Any], done: Callable[[Place, Any], None]) -> None:
    """Threads, processes, or neither."""
    from dask.callbacks import Callback

    awaited = set(keys)

    def after(key: Any, value: Any, *_: Any) -> None:
        if key in awaited:
            done(key[2:], value[0, 0, 0])
            awaited.discard(key)
            value[0, 0, 0] = None  # the scheduler holds it to the end

    with Callback(posttask=after):
        if get is dask.multiprocessing.get:
            _run_in_pools(graph, keys, awaited)
        else:
            get(graph, keys)


def _run_in_pools(graph: Any, keys: list[Any], awaited: set[Any]) -> None:
    """Processes; where one is killed its pool is lost, and what it has not done goes to another one, as workers of a cluster are replaced.

    A tile that ends one pool after the other would do so for ever: so many in a row, without a tile between them, end the run.
    """
    lost = 0
    while awaited:
        before = len(awaited)
        try:
            # One task at a time: dask sends six to a process at once, whose inputs would all be packed at the same moment.
            dask.multiprocessing.get(graph, [key for key in keys if key in awaited], chunksize=1)
        except BrokenProcessPool as error:
            lost = lost + 1 if len(awaited) == before else 1
            if lost > _LOST_POOLS:
                raise RunInterrupted(
                    f"Processes that tried a tile were killed {lost} times in a row, likely for want of memory: give them more, or less work "
                    "each (--memory-limit)"
                ) from error


def _run_there(client: Any, graph: Any, keys: list[Any], done: Callable[[Place, Any], None]) -> None:
    """A cluster; every result is let go as soon as it is here."""
    from distributed import CancelledError, KilledWorker, as_completed
    from distributed.comm import CommClosedError

    try:
        futures = client.get(graph, keys, sync=False)
        batches = as_completed(futures).batches()
        del futures
        for batch in batches:
            for future, value in zip(batch, client.gather(batch), strict=True):
                done(future.key[2:], value[0, 0, 0])
                future.release()
    except KilledWorker as error:
        raise RunInterrupted(
            f"A tile ended the workers that tried it, likely for want of memory: give them more, or less work each ({_on_one_line(error)})"
        ) from error
    except (CancelledError, CommClosedError) as error:
        raise RunInterrupted(f"The dask scheduler was lost ({_on_one_line(error)})") from error


def _on_one_line(error: Exception) -> str:
    return " ".join(str(error).split())
