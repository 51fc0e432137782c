from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from benchmarks import scale
from benchmarks.ready import ready_made
from benchmarks.scale import COARSE, FINE, HSI, READY, Row, cases_of, main, rows_of, scene
from benchmarks.scale_report import exponents, report
from geofuse import api, open_hsi, open_msi


def test_the_scene_repeats_the_embedded_one(tmp_path: Path) -> None:
    hsi, msi = scene(tmp_path, 700, 64)
    with rasterio.open(hsi) as made, rasterio.open(HSI) as source:
        whole, last = made.read(64), source.read(177)
        assert made.shape == (84, 84)
        assert np.array_equal(whole[: COARSE[0], : COARSE[1]], last[: COARSE[0], : COARSE[1]])
        assert np.array_equal(whole[COARSE[0] :, :20], whole[: 84 - COARSE[0], :20])
        assert np.array_equal(whole[:, COARSE[1] :], whole[:, : 84 - COARSE[1]])
    with rasterio.open(msi) as made:
        assert np.array_equal(made.read(1)[FINE[0] :], made.read(1)[: 700 - FINE[0]])
    assert api.plan(open_hsi(hsi), open_msi(msi)).ratio == pytest.approx(25 / 3, rel=1e-6)


def test_bands_that_the_file_lacks_lie_between_its_own(tmp_path: Path) -> None:
    with rasterio.open(scene(tmp_path, 300, 224)[0]) as made:
        wavelengths = [float(made.tags(band)["wavelength"]) for band in made.indexes]
        assert made.count == 224
        assert len(set(made.descriptions)) == 224
        assert np.all(np.diff(wavelengths) > 0)
        below, between, above = (made.read(b).astype(float) for b in (1, 2, 3))
    assert np.all((np.minimum(below, above) - 300 <= between) & (between <= np.maximum(below, above) + 300))


def test_the_ready_made_array_is_lazy_and_of_its_size() -> None:
    cube = ready_made(600, 24)
    assert cube.shape == (24, 600, 600)
    assert cube.chunks is not None
    assert np.isfinite(cube[:, 500:520, 500:520].values).all()


def a_row(side: int, seconds: float, **more: object) -> Row:
    stages = {"open": 1.0, "fit": 5.0, "apply": seconds / 2, "write": seconds / 2}
    return Row(side, 64, "sylvester", seconds=seconds + 6, cpu=seconds, stages=stages, **more)  # type: ignore[arg-type]


def test_exponents() -> None:
    rows = [a_row(side, 1e-5 * float(side) ** 2.2) for side in (1024, 2048, 4096)]
    line = exponents(rows).splitlines()[-1]
    assert line.startswith("| 64 | `sylvester` | threads | 1024, 2048, 4096 |")
    everything, cpu, alone = (float(cell) for cell in line.split("|")[5:8])
    assert alone == cpu == 1.10
    assert everything < 1.1  # start and fit weigh more where there are fewer pixels


def test_the_report_shows_what_the_last_code_did() -> None:
    rows = [a_row(1024, 50, code="old"), a_row(1024, 10, code="new"), replace(a_row(2048, 40, code="new"), method=READY, stages={})]
    text = report(rows, {"": {"cores": 2}})
    assert "| 1024 | 64 | `sylvester` | threads | 16.0 |" in text
    assert "56.0" not in text
    assert "cores 2" in text
    assert "Nothing is measured" in report([], {})


def test_a_run_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a torn last line, as a kill leaves it."""
    runs: list[scale.Case] = []

    def run(folder: Path, case: scale.Case) -> dict[str, float]:
        if len(runs) == 2:
            raise KeyboardInterrupt
        runs.append(case)
        return {"seconds": 1.0}

    monkeypatch.setattr(scale, "fused", run)
    monkeypatch.setattr(scale, "written", run)
    ask = ["--sizes", "64x8,128x8", "--methods", "sylvester,gem", "--out", str(tmp_path)]
    with pytest.raises(KeyboardInterrupt):
        main(ask)
    path = tmp_path / "scale.jsonl"
    path.write_text(path.read_text() + json.dumps(asdict(a_row(64, 1)))[:40])
    first, runs[:] = list(runs), []
    monkeypatch.setattr(scale, "fused", lambda folder, case: runs.append(case) or {"seconds": 2.0})
    monkeypatch.setattr(scale, "written", lambda folder, case: runs.append(case) or {"seconds": 2.0})
    assert main(ask) == 0
    assert first + runs == cases_of("64x8,128x8", "sylvester,gem", "threads", "4GB")
    assert len(rows_of(path)) == 6
    assert "`gem`" in (tmp_path / "scale.md").read_text(encoding="utf-8")
