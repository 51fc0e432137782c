"""The dry run: what a fusion would read, write and hold, from metadata alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import pyproj
import xarray as xr

from geofuse.cube.georef import crs_name
from geofuse.errors import InvalidInput
from geofuse.markup import facts
from geofuse.methods.base import Cost
from geofuse.pair.grid import GridPair
from geofuse.pair.scene import Scene
from geofuse.run.scheduling import Engine, engine
from geofuse.run.tiles import cuts

DEFAULT_MEMORY = 8 * 10**9
# Smaller ones spend their time on halos, larger ones on getting memory from the system. Not even whether the allocator keeps what is freed
# (`geofuse.run.allocator`) counts here: the same call plans the same tiles, and so the same numbers, wherever it is made.
TILES = (1024, 768, 512, 256, 128)
# A GPU wants more work at once, and its memory decides.
DEVICE_TILES = (2048,)
# Interpreter, libraries, metadata; and the sample of the fit, of which the allocator keeps what it held.
BASE_MEMORY = 900 * 10**6
GRAPH_MEMORY = 25_000  # a tile's part of the graph and of the scheduler's books (`benchmarks.simulate`, 4,096 to 40,000 tiles)
PROCESS_MEMORY = 450 * 10**6  # interpreter and libraries of a worker process
MOST_READ = 1.3  # pixels asked of each image, over its pixels: groups of tiles are large enough for this, as far as memory allows
# Processor seconds, to choose by, of a value that is decoded of the HSI and of the MSI (python -m benchmarks.cost_model --measure).
DECODE = (28e-9, 10e-9)
NEARLY = 1.02  # times the fastest: of such choices the one that takes least memory
MOST_GROUP = 8
GROUPS_HELD = 2.5  # the one that is worked on, and part of the next ones
WORKER_TOO_SMALL = "That is one worker of the cluster with all its threads: start workers with more memory or fewer threads. "
COARSE_RIM = 3  # coarse pixels around a window that interpolation and rounding ask for


@dataclass(frozen=True)
class Plan:
    """What would run.

    Attributes
    ----------
    shape : tuple of int
        Bands, rows and columns of the fused image.
    crs : str
        EPSG code, or WKT where it has none.
    pixel : float
        Fine pixel size, units of the CRS.
    ratio : float
        Coarse over fine pixel size.
    tile, tiles, group : int
        Fine pixels along each side of a tile; how many tiles; tiles along each side of a group, which are read together.
    halo : int
        Fine pixels that each tile reads around itself.
    bytes_read, bytes_written : int
        Uncompressed float32 pixels read, halos included; int16 pixels written.
    times_read : float
        Pixels read over pixels of the working grids, of the image of which that is more. (Files decode whole blocks: more than that.)
    memory_per_task, memory : int
        Bytes, at the peak; ``memory`` with ``workers`` tasks at once.
    workers : int
    device : str
    device_memory : int
        Bytes that a tile holds on the device at its peak, one tile at a time; 0 where the device is the processor.
    """

    shape: tuple[int, int, int]
    crs: str
    pixel: float
    ratio: float
    tile: int
    tiles: int
    group: int
    halo: int
    bytes_read: int
    times_read: float
    bytes_written: int
    memory_per_task: int
    memory: int
    workers: int
    device: str
    device_memory: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @property
    def _facts(self) -> dict[str, str]:
        """What people want to know of it."""
        bands, height, width = self.shape
        crs = crs_name(pyproj.CRS(self.crs))
        return {
            "output": f"{bands} bands, {height} x {width} pixels of {self.pixel:g}, {crs}",
            "ratio": f"{self.ratio:.4g} (coarse over fine pixel size)",
            "tiles": f"{self.tiles} of {self.tile} x {self.tile}, halo {self.halo} pixels, read in groups of {self.group} x {self.group}",
            "reads": f"{_size(self.bytes_read)} of pixels, each {self.times_read:.2f} times with the halos",
            "writes": f"{_size(self.bytes_written)} of pixels before compression",
            "memory": f"{_size(self.memory)} ({self.workers} tasks of {_size(self.memory_per_task)})",
            "device": f"{self.device}" + (f" ({_size(self.device_memory)})" if self.device_memory else ""),
        }

    def __str__(self) -> str:
        """Return a page for people."""
        return "\n".join(f"{name:8s} {value}" for name, value in self._facts.items())

    def _repr_html_(self) -> str:
        return facts("Plan of a fusion", self._facts.items())


Blocks = tuple[tuple[int, int], tuple[int, int]]


class _Choice(NamedTuple):
    """What is up to the plan."""

    tile: int
    workers: int
    group: int


@dataclass(frozen=True)
class _Cost:
    """What a choice of tiles costs, for one scene; sizes in bytes."""

    pair: GridPair
    bands: int
    msi_bands: int
    needs: Cost
    where: Engine
    blocks: Blocks
    """Rows and columns of a block of the HSI's file, and of the MSI's."""

    @cached_property
    def spans(self) -> Callable[[int], tuple[list[tuple[int, int]], list[tuple[int, int]]]]:
        """Fine rows, and columns, from and to, that squares of the output see with their halos."""
        return cache(self._spans)  # choices ask for the same few sides thousands of times

    def _spans(self, side: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        output, fine, halo = self.pair.output, self.pair.fine, self.needs.halo or 0
        rows, cols = (
            [(max(start + first - halo, 0), min(stop + first + halo, size)) for start, stop in cuts(length, side)]
            for length, first, size in zip(output.shape, (output.top, output.left), fine.shape, strict=True)
        )
        return rows, cols

    @cached_property
    def windows(self) -> Callable[[int], tuple[list[int], list[int]]]:
        """How many fine rows, and columns, these are."""
        return cache(self._windows)

    def _windows(self, side: int) -> tuple[list[int], list[int]]:
        rows, cols = ([stop - start for start, stop in spans] for spans in self.spans(side))
        return rows, cols

    def task(self, tile: int) -> int:
        """A tile being worked on: its part of both images, coefficients, and all bands of its core."""
        rows, cols = (min(tile, size) for size in self.pair.output.shape)
        seen = max(self.windows(tile)[0]) * max(self.windows(tile)[1])
        inputs = seen * (2 * self.msi_bands + 2 * self.bands / self.pair.ratio**2)
        return int(
            4 * (inputs + seen * self.needs.images * min(self.needs.channels or self.bands, self.bands) + 2 * self.bands * rows * cols)
        )

    def seconds(self, choice: _Choice, times: tuple[float, float]) -> float:
        """Time that solving and reading take, each image so many times; a scene of few tiles keeps few workers busy."""
        rows, cols = self.windows(choice.tile)
        tiles = len(rows) * len(cols)
        busy = max(-(-tiles // choice.workers) * sum(rows) * sum(cols) / tiles, max(rows) * max(cols))
        values = self.bands * float(np.prod(self.pair.coarse.shape)), self.msi_bands * float(np.prod(self.pair.fine.shape))
        return self.needs.seconds * busy + sum(t * n * v for t, n, v in zip(times, values, DECODE, strict=True)) / choice.workers

    def held(self, side: int) -> int:
        """Bytes of the largest square's part of both images."""
        rows, cols = (max(lengths) for lengths in self.windows(side))
        coarse = [
            min(int(np.ceil(n / self.pair.ratio)) + COARSE_RIM, size) for n, size in zip((rows, cols), self.pair.coarse.shape, strict=True)
        ]
        return int(4 * (rows * cols * self.msi_bands + np.prod(coarse) * self.bands))

    def times_read(self, side: int, blocks: Blocks = ((1, 1), (1, 1))) -> tuple[float, float]:
        """How often a pixel of the HSI, and of the MSI, is read when squares of the output are read one by one, whole blocks each time."""
        images = ((self.pair.ratio, COARSE_RIM - 1, blocks[0], self.pair.coarse.shape), (1.0, 0, blocks[1], self.pair.fine.shape))
        times = []
        for ratio, rim, own, shape in images:
            along = (
                sum(touched((start / ratio - rim, stop / ratio + rim), block, size) for start, stop in spans) / size
                for spans, block, size in zip(self.spans(side), own, shape, strict=True)
            )
            times.append(float(np.prod(list(along))))
        return times[0], times[1]

    def total(self, tile: int, workers: int, group: int = 1) -> int:
        """Peak memory of the run, all processes together; of one worker of a cluster that others have started."""
        task, read, graph = self.task(tile), GROUPS_HELD * self.held(tile * group), GRAPH_MEMORY * self.tiles(tile)
        if self.where.processes and not self.where.given:
            return int(BASE_MEMORY + graph + workers * (PROCESS_MEMORY + task + read))
        return int((PROCESS_MEMORY if self.where.given else BASE_MEMORY + graph) + workers * task + read)

    def tiles(self, tile: int) -> int:
        """How many there are."""
        rows, cols = self.pair.output.shape
        return -(-rows // tile) * -(-cols // tile)

    def choices(self, tiles: tuple[int, ...], counts: range, memory: int, *, apart: bool) -> list[_Choice]:
        """What fits into memory; ``apart`` where each tile reads for itself."""
        most = {t: 1 if apart else min(MOST_GROUP, -(-max(self.pair.output.shape) // t)) for t in tiles}
        return [_Choice(t, n, g) for t in tiles for n in counts for g in range(1, most[t] + 1) if self.total(t, n, g) <= memory]

    def best(self, choices: list[_Choice]) -> _Choice | None:
        """The fastest of those that ask for little twice; where memory allows none, reading more counts as slow in proportion."""
        asked, decoded = cache(self.times_read), cache(lambda side: self.times_read(side, self.blocks))
        times = {c: max(asked(c.tile * c.group)) for c in choices}
        little = [c for c in choices if times[c] <= MOST_READ]
        seconds = {c: self.seconds(c, decoded(c.tile * c.group)) * (1 if little else times[c]) for c in little or choices}
        fast = [c for c in seconds if seconds[c] <= NEARLY * min(seconds.values())]
        return min(fast, key=lambda c: self.total(*c), default=None)


def touched(span: tuple[float, float], block: int, size: int) -> int:
    """Pixels in the blocks that a span touches, of a row of ``size`` pixels.

    Examples
    --------
    >>> touched((100, 300), 256, 1000), touched((900, 990), 256, 1000)
    (512, 232)
    """
    first, last = max(int(np.floor(span[0])), 0) // block * block, -(-min(int(np.ceil(span[1])), size) // block) * block
    return min(last, size) - first


def make_plan(
    scene: Scene,
    needs: Cost,
    *,
    tile: int | Literal["auto"] = "auto",
    device: str = "cpu",
    memory: int = DEFAULT_MEMORY,
    device_memory: int | None = None,
) -> Plan:
    """Plan the fusion of a scene.

    Parameters
    ----------
    scene : Scene
    needs : Cost
        What the method asks for.
    tile : int or "auto"
        Fine pixels along each side of a tile.
    device : str
    memory : int
        Bytes that the run may use; on a cluster that others have started, each of its processes.
    device_memory : int, optional
        Bytes that are free on the device, where it is a GPU. It works on one tile at a time.

    Raises
    ------
    InvalidInput
        A tile size that is not positive, or a scene that cannot be fused within ``memory``.
    """
    if tile != "auto" and not (isinstance(tile, int | np.integer) and tile >= 16):
        raise InvalidInput(f"The tile size is {tile!r}; expected a whole number of pixels, 16 or more, or 'auto'.")
    if not isinstance(memory, int | float | np.number):
        raise InvalidInput(f"The memory is {memory!r}; expected a number of bytes, such as 4_000_000_000.")
    pair = scene.pair
    height, width = pair.output.shape
    whole, halo = needs.halo is None, needs.halo or 0
    where, blocks = engine(), (_block(scene.hsi), _block(scene.msi))
    cost = _Cost(pair, scene.hsi.sizes["band"], scene.msi.sizes["band"], needs, where, blocks)
    usual = TILES if device_memory is None else DEVICE_TILES + TILES
    candidates: tuple[int, ...] = (max(height, width),) if whole else usual if tile == "auto" else (tile,)
    if device_memory is not None:
        candidates = tuple(t for t in candidates if cost.task(t) <= device_memory) or candidates[-1:]
    allowed, counts = _choices(where, memory, whole)
    apart = whole or where.packs  # each tile reads for itself
    chosen = cost.best(cost.choices(candidates, counts, allowed, apart=apart))
    if chosen is None:
        raise InvalidInput(
            f"Fusing needs {_size(cost.total(candidates[-1], counts[-1]))} with tiles of {candidates[-1]} pixels, and {_size(allowed)} are "
            f"allowed. {WORKER_TOO_SMALL if where.given else ''}Allow more memory or choose smaller tiles (methods that are not local take the "
            "whole scene as one).",
            code="memory",
        )
    tile, workers, group = chosen
    copies, here = (where.processes, BASE_MEMORY + GRAPH_MEMORY * cost.tiles(tile)) if where.given else (1, 0)
    rows, cols = cost.windows(tile * group)
    seen = sum(rows) * sum(cols)
    box = pair.output_geobox
    return Plan(
        shape=(cost.bands, height, width),
        crs=_crs_name(box.crs),
        pixel=float(abs(box.affine.a)),
        ratio=pair.ratio,
        tile=tile,
        tiles=len(cuts(height, tile)) * len(cuts(width, tile)),
        group=group,
        halo=halo,
        bytes_read=int(4 * seen * (cost.msi_bands + cost.bands / pair.ratio**2)),
        times_read=round(max(cost.times_read(tile * group)), 3),
        bytes_written=2 * cost.bands * height * width,
        memory_per_task=cost.task(tile),
        memory=copies * cost.total(tile, workers, group) + here,
        workers=copies * workers,
        device=device,
        device_memory=0 if device_memory is None else cost.task(tile),
    )


def _crs_name(crs: Any) -> str:
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else crs.to_wkt(pretty=False)


def _block(cube: xr.DataArray) -> tuple[int, int]:
    """Rows and columns of a block of the cube's file, as far as its encoding says."""
    chunks = cube.encoding.get("preferred_chunks", {})
    rows, cols = (chunks.get(dim, 1) for dim in ("y", "x"))
    return (rows, cols) if isinstance(rows, int) and isinstance(cols, int) and min(rows, cols) > 0 else (1, 1)


def _choices(where: Engine, memory: int, whole: bool) -> tuple[int, range]:
    """Bytes that a plan may take, and how many tasks may run at once, most first; on a cluster of others, both of each of its processes."""
    if where.given:
        return min(memory, where.memory or memory), range(where.tasks, where.tasks - 1, -1)
    return memory, range(1 if whole else where.tasks * max(where.processes, 1), 0, -1)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
