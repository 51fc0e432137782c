"""A run pairs its two cubes once, opens each of them once, and looks at the pixels of each once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geofuse
import geofuse.io.read.open
import geofuse.pair.scene
import geofuse.pair.selection
from geofuse.cli import main
from tests.crops import small_files

BANDS = ",".join(str(k) for k in range(1, 178, 9))

WATCHED = {
    "paired": (geofuse.pair.scene, "pair_grids"),
    "opened": (geofuse.io.read.open, "_read"),
    "looked": (geofuse.pair.selection, "constant_bands"),
}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often cubes were paired, files opened, and pixels looked at."""
    found: Counter[str] = Counter()

    def watch(name: str, genuine: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            found[name] += 1
            return genuine(*arguments, **options)

        return counted

    for name, (module, function) in WATCHED.items():
        monkeypatch.setattr(module, function, watch(name, getattr(module, function)))
    return found


def cubes() -> tuple[Any, Any]:
    hsi, msi = small_files()
    return geofuse.open_hsi(hsi, bands=BANDS), geofuse.open_msi(msi)


@cache
def model() -> geofuse.Model:
    return geofuse.fit(*cubes(), method="sylvester", progress=False)


def fuse_and_write(folder: Path) -> None:
    hsi, msi = cubes()
    hsi.mossfuse.fuse(msi, method="sylvester", progress=False).mossfuse.to_cog(folder / "out.tif", progress=False)


def fuse_with_layers(folder: Path) -> None:
    hsi, msi = cubes()
    hsi.mossfuse.fuse(msi, method="sylvester", uncertainty=True, progress=False).mossfuse.to_cog(folder / "out.tif", progress=False)


def fuse_with_a_model(_: Path) -> None:
    geofuse.fuse(*cubes(), model=model(), quality=True, progress=False)


def fit(_: Path) -> None:
    geofuse.fit(*cubes(), method="sylvester", progress=False)


def evaluate(_: Path) -> None:
    geofuse.evaluate(*cubes(), methods="bicubic", progress=False)


def job(folder: Path, *options: str) -> None:
    given = [*map(str, small_files()), "--hsi-bands", BANDS, "-o", str(folder / "out.tif"), "--method", "sylvester", "-q"]
    with pytest.raises(SystemExit) as end:
        main(["fuse", *given, *options])
    if end.value.code == 130:
        raise KeyboardInterrupt
    assert end.value.code == 0


def job_with_everything(folder: Path) -> None:
    job(folder, "--uncertainty", "--report", str(folder / "r.json"), "--report", str(folder / "r.html"))


def job_with_a_model(folder: Path) -> None:
    job(folder, "--model", str(model().save(folder / "m.safetensors")))


@pytest.mark.parametrize(
    "run", [fuse_and_write, fuse_with_layers, fuse_with_a_model, fit, evaluate, job, job_with_everything, job_with_a_model]
)
def test_a_run_pairs_once_and_opens_each_image_once(run: Callable[[Path], None], tmp_path: Path, calls: Counter[str]) -> None:
    model()
    calls.clear()
    run(tmp_path)
    assert calls == {"paired": 1, "opened": 2, "looked": 2}


@pytest.mark.parametrize("run", [lambda _: geofuse.plan(*cubes()), lambda folder: job(folder, "--plan")])
def test_a_plan_pairs_once_and_looks_at_no_pixel(run: Callable[[Path], None], tmp_path: Path, calls: Counter[str]) -> None:
    run(tmp_path)
    assert calls == {"paired": 1, "opened": 2}


def test_a_resumed_run_pairs_once(tmp_path: Path, calls: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geofuse.cli.signal.signal", lambda *_: None)  # an interrupted command lets the next Ctrl-C end the process
    with monkeypatch.context() as patch:
        patch.setattr("geofuse.pipeline.job.write_quality_once", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            job(tmp_path)
    calls.clear()
    job(tmp_path)
    assert calls == {"paired": 1, "opened": 2, "looked": 2}
    assert np.isfinite(geofuse.open_hsi(tmp_path / "out.tif")).any()
