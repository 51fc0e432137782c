"""The scripts behind the tables of docs/: each runs, and prints a whole table."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from benchmarks import ablation, compression, network
from benchmarks.results import read_rows
from benchmarks.robustness import psnr
from geofuse.io.write.cog import write_cog
from tests.crops import few_cubes

PAIR = ["--scenes", "jasper", "--responses", "qb4"]


@pytest.mark.parametrize(
    ("script", "arguments", "rows"),
    [
        ("baselines", ["--scenes", "jasper", "--ratios", "4", "--methods", "bicubic,raw gsa,sylvester,gem"], 4),
        ("footprints", [*PAIR[:2], "--methods", "bicubic"], 1),
        ("geometry", PAIR, 6),
        ("noise", [*PAIR, "--ratios", "4"], 1),
        ("oracle", PAIR[:2], 2),
        ("paper", ["--seconds", "1"], 1),
        ("registration", [*PAIR[:2], "--amounts", "0", "1", "--troubles", "cloud"], 2),
        ("robustness", [*PAIR, "--troubles", "none", "cloud in the MSI"], 2),
        ("uncertainty", ["--method", "gem", *PAIR[:2]], 4),
    ],
)
@pytest.mark.slow
def test_a_script_prints_its_table(
    script: str, arguments: list[str], rows: int, tiny_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GEOFUSE_BENCHMARK_DATA", str(tiny_data))
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    import_module(f"benchmarks.{script}").main()
    header, rule, *lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(lines) == rows
    assert {line.count("|") for line in (header, rule, *lines)} == {header.count("|")}
    assert "nan" not in "".join(lines)


def test_the_viewer_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["viewer", "--size", "96", "--bands", "40"])
    import_module("benchmarks.viewer").main()
    rows = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("|")][2:]
    assert rows == [
        "stretch of three bands", "tile of three bands, 1:1", "tile of NDVI, 1:1", "spectrum, first in its blocks", "spectrum, beside the last one",
    ]  # fmt: skip


def test_compression_is_measured_on_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    hsi, _ = few_cubes()
    path = write_cog(hsi, tmp_path / "a.tif", progress=False).path
    (tmp_path / "r.json").write_text(json.dumps({"noise": {"hsi_sigma": [0.01] * hsi.sizes["band"]}}))
    monkeypatch.setattr(sys, "argv", ["compression", str(path), "--report", str(tmp_path / "r.json")])
    compression.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")][2:]
    megabytes = [float(line.split("|")[2]) for line in lines]
    assert len(lines) == len(compression.WAYS) + 2
    assert 0 < megabytes[-1] <= megabytes[-2] <= megabytes[1], "coarser numbers take less"


def row(seed: int, variant: str, psnr_db: float, sam_deg: float = 1.0) -> dict[str, str]:
    values = ("jasper", "qb4", "4", str(seed), variant, str(psnr_db), str(sam_deg), "")
    return dict(zip(ablation.COLUMNS, values, strict=True))


def test_ablation_is_against_the_same_draw_of_noise() -> None:
    rows = [row(0, ablation.CONTROL, 40.0, 2.0), row(0, ablation.LEARNED, 41.0), row(0, ablation.NO_SHIFTS, 40.0)]
    rows += [row(1, ablation.CONTROL, 30.0), row(1, ablation.LEARNED, 29.5), row(1, ablation.NO_SHIFTS, 30.0)]
    learned, shifts = ablation.by_variant(rows, "4").splitlines()[2:]
    assert learned == "| gem | +0.250 | -0.50 … +1.00 | 50 % | 50 % | × 0.750 | 2 |"
    assert shifts == "| without filters and without displaced bands | +0.000 | +0.00 … +0.00 | 0 % | 0 % | × 0.750 | 2 |"
    assert ablation.by_scene(rows, "4").splitlines()[2:] == ["| jasper, qb4 | 35.00 / 1.00 | 35.00 / 1.50 | 35.25 / 1.00 |"]


def test_a_stopped_ablation_goes_on(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def run(name: str, kind: str, ratio: int, seed: int, folder: Path) -> list[tuple[object, ...]]:
        asked.append(seed)
        return [(variant, 40.0, 1.0, "") for variant in (ablation.CONTROL, ablation.LEARNED, ablation.NO_SHIFTS)]

    monkeypatch.setenv("GEOFUSE_BENCHMARK_DATA", str(tiny_data))
    monkeypatch.setattr(ablation, "TABLE", tmp_path / "ablation.csv")
    monkeypatch.setattr(ablation, "_run", run)
    for seeds in ("1", "2"):
        monkeypatch.setattr(sys, "argv", ["ablation", "--ratios", "4", "--seeds", seeds])
        ablation.main()
    assert asked == [0] * 12 + [1] * 12


def of_network(seed: int, variant: str, psnr_db: float, confirmed: str = "", seconds: float = 2.0) -> dict[str, str]:
    values = ("jasper", "qb4", "4", str(seed), variant, str(psnr_db), "2.0", confirmed, "0.01", "0.002", "0.5", "20", str(seconds), "1.5")
    return dict(zip(network.COLUMNS, values, strict=True))


def test_of_a_network_that_is_not_confirmed_nothing_is_left() -> None:
    rows = [of_network(0, network.CONTROL, 40.0), of_network(0, network.WHOLE, 41.0, "1", 10.0)]
    rows += [of_network(1, network.CONTROL, 30.0), of_network(1, network.WHOLE, 29.5, "0", 20.0)]
    judged = "+0.500 | +0.000 … +1.000; gains 50 %, loses 0 %"
    unjudged = "+0.250 | -0.500 … +1.000; gains 50 %, loses 50 %"
    assert network.by_variant(rows, "4").splitlines()[2:] == [f"| mossfuse | 1 of 2 | {judged} | {unjudged} | × 1.000 |"]
    rows += [of_network(0, network.BOTH_SIDES, 39.0, "1")]
    margins = [line.split(" | ")[:3] for line in network.by_margin(rows, "4").splitlines()[2:]]
    assert margins[0] == ["| mossfuse, 0", "2 of 2", "+0.250"]
    assert margins[-1] == [f"| {network.BOTH_SIDES}, 3", "1 of 1", "-1.000"]
    scene = "| jasper, qb4 | 35.00 / 2.00 | +0.250 / × 1.000 | +1.00 ± 0.20 % | 1 of 2 | 15 s | × 1.0 |"
    assert network.by_scene(rows, "4").splitlines()[2:] == [scene]


def test_the_network_is_measured_part_by_part(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And not again where it was."""
    monkeypatch.setenv("GEOFUSE_BENCHMARK_DATA", str(tiny_data))
    monkeypatch.setattr(network, "TABLE", tmp_path / "network.csv")
    monkeypatch.setattr(network, "RESPONSES", ("qb4",))
    arguments = ["--scenes", "jasper", "--ratios", "4", "--seeds", "1", "--steps", "1"]
    monkeypatch.setattr(sys, "argv", ["network", *arguments])
    network.main()
    rows = read_rows(network.TABLE)
    assert [row["variant"] for row in rows] == [network.CONTROL, *network.DESIGNS]
    assert {row["steps"] for row in rows[1:]} == {"1"}
    assert len({row["held_out_gain"] for row in rows[1:]}) > 3, "each is another network"
    monkeypatch.setattr(network, "_run", None)
    network.main()
    assert "nan" not in capsys.readouterr().out


def test_psnr_of_some_pixels() -> None:
    truth, image = np.zeros((2, 1, 4)), np.zeros((2, 1, 4))
    image[0, 0] = [0.1, 0.1, 0.5, np.nan]
    image[1, 0] = [0.01, 0.01, 0.5, 0.01]
    where = np.array([[True, True, False, True]])
    assert psnr(truth, image, where) == pytest.approx((20 + 40) / 2)
