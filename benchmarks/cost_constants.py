"""Measure the constants of the model of cost on this machine: ``python -m benchmarks.cost_model --measure``.

In processor seconds, which other work on the machine disturbs little, and on one core each. What is measured is what runs: the package's own
readers, fits, models and writer, on the embedded scene repeated to 1024² (and one tile of it to 2048²).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import torch
import xarray as xr

from benchmarks import watch
from benchmarks.cost_model import FIT_BANDS, MEANING, METHODS
from benchmarks.environment import commit, environment, remember
from benchmarks.ready import ready_made
from benchmarks.scale import scene
from benchmarks.simulate import Trial, apart
from geofuse import api, open_hsi, open_msi
from geofuse.io.read.fingerprint import file_sha256
from geofuse.io.write.cog import COG
from geofuse.io.write.engine import stage_tiles
from geofuse.io.write.workspace import workspace
from geofuse.methods.gem.filters import ComplementaryFilters
from geofuse.methods.gem.method import RANK, FittedGem
from geofuse.model import Model
from geofuse.pair.grid import Window
from geofuse.pair.scene import Scene
from geofuse.run.graph import windows_of
from geofuse.run.threads import torch_threads

SIDE, CORE = 1024, 512
FIT_SIDE = 2048  # the fit's sample of it is made of blocks, as that of any larger scene
MANY_BANDS = 177
DISK_BYTES = 10**9
Values = dict[str, float]


def write_constants(path: Path) -> None:
    """Measure all constants, and write them down with their environment."""
    begin = time.monotonic()
    warnings.simplefilter("ignore")  # the repeated scene contradicts itself a little, and says so
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as made, dask.config.set(scheduler="synchronous"):
        folder = Path(made)
        values: Values = {}
        for measure in (_reading, _fusing, _writing, _scheduling, _disk):
            values |= measure(folder)
            print(f"{time.monotonic() - begin:.0f} s: {', '.join(values)}", file=sys.stderr, flush=True)
    found = {
        "environment": remember(environment(), path.parent / "environment.json"),
        "commit": commit(),
        "measured_s": round(time.monotonic() - begin),
        "values": {name: float(f"{values[name]:.4g}") for name in MEANING},
    }
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def cpu_of(work: Callable[[], Any], times: int = 1) -> float:
    """Processor seconds, the least of a few times."""
    found = []
    for _ in range(times):
        begin = time.process_time()
        work()
        found.append(time.process_time() - begin)
    return min(found)


def _reading(folder: Path) -> Values:
    hsi, msi = scene(folder, SIDE, FIT_BANDS)
    start = watch.run([sys.executable, "-m", "geofuse", "fuse", str(hsi), str(msi), "-o", str(folder / "o.tif"), "--plan"]).cpu
    found = {"start": start}
    for name, cube in (("read_hsi", open_hsi(hsi)), ("read_msi", open_msi(msi))):
        cube.data.compute()  # the file is then in the system's cache, as far as it goes
        found[name] = cpu_of(cube.data.compute, 3) / cube.size
    return found


def _fusing(folder: Path) -> Values:
    def cubes(side: int, bands: int) -> tuple[xr.DataArray, xr.DataArray]:
        hsi, msi = scene(folder, side, bands)
        return open_hsi(hsi), open_msi(msi)

    small, large, many = cubes(SIDE, FIT_BANDS), cubes(FIT_SIDE, FIT_BANDS), cubes(FIT_SIDE, MANY_BANDS)
    api.fit(*small, method="sylvester", progress=False)  # loads what is loaded once
    found: Values = {}
    models: dict[str, Model] = {}

    def fit(method: str) -> None:
        models[method] = api.fit(*large, method=method, progress=False)

    for method in METHODS:
        found[f"fit_{method}"] = cpu_of(partial(fit, method))
    wide = cpu_of(lambda: api.fit(*many, method="sylvester", progress=False))
    found["fit_band"] = max(wide - found["fit_sylvester"], 0) / (MANY_BANDS - FIT_BANDS)
    return found | _applying(api.pair(*small), models)


def _applying(paired: Scene, models: dict[str, Model]) -> Values:
    """Solve and decode one tile with its halo; scaled to the number of coefficients that plans count with."""
    core = Window(SIDE // 4, SIDE // 4 + CORE, SIDE // 4, SIDE // 4 + CORE)
    models["gem"] = with_filters(models["gem"])
    found: Values = {}
    for method, model in models.items():
        coordinates = gem_of(model).gem.coordinates
        fine, coarse = windows_of(model, paired.pair, core)
        read = paired.read([(fine, coarse)])[0]
        images = torch.zeros(coordinates.rank, CORE, CORE)
        with torch_threads(1), torch.inference_mode():
            decode = cpu_of(partial(coordinates.decode, images), 3)
            whole = cpu_of(partial(model.apply, read.hsi, read.msi, paired.pair, fine, coarse, "cpu", core), 2)
        more = RANK / coordinates.rank
        found["decode"] = more * decode / (FIT_BANDS * CORE**2)
        found[f"solve_{method}"] = more * (whole - decode) / np.prod(fine.shape)
    return found


def with_filters(model: Model) -> Model:
    """With learned filters, which the embedded scene has no use for: they cost what they cost, whatever their weights."""
    fitted = gem_of(model)
    if fitted.filters is not None:
        return model
    rank, scale = fitted.gem.coordinates.rank, fitted.gem.guide.scale
    weight = 0.001 * np.random.default_rng(0).normal(size=(rank, 4 * (rank + len(scale))))
    return replace(model, fitted=replace(fitted, filters=ComplementaryFilters(weight, scale)))


def gem_of(model: Model) -> FittedGem:
    """What a model of `gem` or `sylvester` learned."""
    assert isinstance(model.fitted, FittedGem)
    return model.fitted


def _writing(folder: Path) -> Values:
    """The writer, stage by stage, on the fused embedded scene, four times."""
    hsi, msi = (opened(path) for opened, path in zip((open_hsi, open_msi), scene(folder, SIDE, FIT_BANDS), strict=True))
    fused = api.fuse(hsi, msi, method="sylvester", progress=False)
    quarter = da.from_array(fused.values[:, : SIDE - 1, : SIDE - 1], chunks=(-1, CORE, CORE), name=False)  # the overlap may lack a column
    data = da.concatenate([da.concatenate([quarter, quarter], axis=1)] * 2, axis=2).rechunk((-1, CORE, CORE))
    cube = ready_made(data.shape[1], FIT_BANDS).copy(data=data)
    target = folder / "written.tif"
    with workspace(target, {}, resume=False) as work:
        staged: list[Any] = []
        store = cpu_of(lambda: staged.append(stage_tiles(cube, work, COG, progress=False)))
        children = watch.cpu_of_children()
        finish = cpu_of(lambda: staged[0].finish({}, False))
        compress = watch.cpu_of_children() - children
        staged[0].publish()
    size = target.stat().st_size
    hashing = cpu_of(lambda: file_sha256(target), 3)
    verify = max(finish - hashing, 0)
    per_value = {"store": store, "compress": compress, "verify": verify, "stored": size}
    target.unlink()
    return {name: value / cube.size for name, value in per_value.items()} | {"hash": hashing / size}


def _scheduling(folder: Path) -> Values:
    threads, cluster = apart(Trial(64, 2, "threads", 0.0)), apart(Trial(32, 4, "distributed", 0.0))
    found = {"graph_memory": float(threads["memory"])}
    for row, suffix in ((threads, ""), (cluster, "_cluster")):
        found[f"graph{suffix}"] = (row["build"] + row["begin"]) / row["side"] ** 2
        found[f"schedule{suffix}"] = (row["schedule"] + row["merge"]) / row["side"] ** 2
    return found


def _disk(folder: Path) -> Values:
    piece = os.urandom(2**24)
    begin = time.monotonic()
    with (folder / "written").open("wb") as file:
        for _ in range(DISK_BYTES // len(piece)):
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.monotonic() - begin
    (folder / "written").unlink()
    return {"disk": DISK_BYTES / seconds}
