"""The command line from outside: exit status, one message, and nothing left behind."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio

import geofuse
from geofuse.cli import main
from geofuse.errors import RunError
from geofuse.pipeline.job import Job
from tests.crops import NODATA, Raster, few_files, few_model, small_files, small_model, small_pair

Arguments = list[str]
ARBITRARY = 'LOCAL_CS["Arbitrary",UNIT["metre",1]]'


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too, with its bytes; folders end in a slash."""
    found = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)) + "/" * p.is_dir(): b"" if p.is_dir() else p.read_bytes() for p in found}


def run(arguments: Arguments, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run the command line in this process: exit status, standard output, standard error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(arguments)
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def pair(folder: Path, hsi: Raster | None = None, msi: Raster | None = None) -> Arguments:
    """Paths of the small pair, one or both of them replaced."""
    coarse, fine = small_files()
    return [
        str(coarse if hsi is None else hsi.write(folder / "hsi.tif")),
        str(fine if msi is None else msi.write(folder / "msi.tif")),
    ]


def existing(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(b"precious")
    return path


def missing(folder: Path) -> Arguments:
    return [str(folder / "nowhere.tif"), str(small_files()[1])]


def not_a_raster(folder: Path) -> Arguments:
    (folder / "notes.tif").write_text("these are notes, not pixels\n" * 100)
    return [str(folder / "notes.tif"), str(small_files()[1])]


def truncated(folder: Path) -> Arguments:
    whole = small_files()[0].read_bytes()
    (folder / "half.tif").write_bytes(whole[: len(whole) // 2])
    return [str(folder / "half.tif"), str(small_files()[1])]


def without_crs(folder: Path) -> Arguments:
    return pair(folder, hsi=replace(small_pair()[0], crs=None))


def far_away(folder: Path) -> Arguments:
    msi = small_pair()[1]
    return pair(folder, msi=replace(msi, transform=type(msi.transform).translation(5000, 0) * msi.transform))


def too_few_bands(folder: Path) -> Arguments:
    return pair(folder, hsi=small_pair()[0].bands(0, 10, 20))


def as_many_bands(folder: Path) -> Arguments:
    return pair(folder, hsi=small_pair()[0].bands(0, 10, 20, 30))


def swapped(folder: Path) -> Arguments:
    return pair(folder)[::-1]


def coarse_msi(folder: Path) -> Arguments:
    """More bands in the first image, but finer pixels too."""
    hsi, msi = small_pair()
    return pair(folder, hsi=msi, msi=hsi.bands(5, 25, 45))


def empty_hsi(folder: Path) -> Arguments:
    hsi = small_pair()[0]
    return pair(folder, hsi=replace(hsi, values=np.full_like(hsi.values, NODATA)))


def empty_msi(folder: Path) -> Arguments:
    msi = small_pair()[1]
    return pair(folder, msi=replace(msi, values=np.full_like(msi.values, NODATA)))


def empty_where_they_overlap(folder: Path) -> Arguments:
    """The MSI is twice as wide, and holds data only where the HSI does not reach."""
    msi = small_pair()[1]
    width = msi.values.shape[2]
    return pair(folder, msi=replace(msi, values=np.concatenate([np.full_like(msi.values, NODATA), msi.values[:, :, : width // 2]], axis=2)))


def never_both(folder: Path) -> Arguments:
    """HSI in the west only, MSI in the east only."""
    hsi, msi = small_pair()
    everything = slice(None)
    return pair(folder, hsi.holed((everything, slice(6, None))), msi.holed((everything, slice(0, 70))))


def unreadable_wavelengths(folder: Path) -> Arguments:
    return pair(folder, hsi=small_pair()[0].tagged(lambda tags: tags | {"wavelength": "blue-ish"}))


def impossible_wavelengths(folder: Path) -> Arguments:
    return pair(folder, hsi=small_pair()[0].tagged(lambda tags: tags | {"wavelength": "-460"}))


def a_local_crs(folder: Path) -> Arguments:
    """As ENVI writes it where no projection was set."""
    return pair(folder, hsi=replace(small_pair()[0], crs=ARBITRARY))


def two_local_crs(folder: Path) -> Arguments:
    """They could be fused; their STAC item could not be written."""
    return pair(folder, *(replace(image, crs=ARBITRARY) for image in small_pair()))


def counts(folder: Path) -> Arguments:
    """Floats that are reflectance times 10000, which no tag says: as int16 all of them would be the largest there is."""
    hsi = small_pair()[0]
    return pair(folder, hsi=replace(hsi, values=hsi.values.astype("float32"), file_tags={}))


def percent(folder: Path) -> Arguments:
    hsi = small_pair()[0]
    return pair(folder, hsi=replace(hsi, values=(hsi.values / 100).astype("float32"), file_tags={}))


def another_place(folder: Path) -> Arguments:
    """The HSI with its pixels shuffled: right grid, wrong content."""
    hsi = small_pair()[0]
    flat = hsi.values.reshape(len(hsi.values), -1)
    order = np.random.default_rng(0).permutation(flat.shape[1])
    return pair(folder, hsi=replace(hsi, values=flat[:, order].reshape(hsi.values.shape)))


INPUTS: dict[Callable[[Path], Arguments], str] = {
    missing: "no such file",
    not_a_raster: "cannot read it as a raster",
    truncated: "truncated|incomplete|bytes",
    without_crs: "no CRS",
    far_away: "do not overlap",
    too_few_bands: "more bands in the HSI",
    as_many_bands: "more bands in the HSI",
    swapped: "[Ss]wap",
    coarse_msi: "[Ss]wap",
    empty_hsi: "no data",
    empty_msi: "no data",
    empty_where_they_overlap: "no data|in common|do not show the same thing",
    never_both: "in the same place|in common|do not show the same thing",
    unreadable_wavelengths: "wavelength",
    impossible_wavelengths: "wavelength",
    counts: r"hsi\.tif: values around [\d.]+ are not reflectance.*--dtype float32",
    percent: r"hsi\.tif: values around [\d.]+ are not reflectance.*--dtype float32",
    another_place: "do not show the same thing",
    a_local_crs: "Nothing leads from the CRS 'EPSG:32633' .* to 'Arbitrary'",
    two_local_crs: r"longitude and latitude.*'Arbitrary'.*--no-stac",
}


@pytest.mark.parametrize(("spoil", "message"), INPUTS.items(), ids=lambda v: v.__name__ if callable(v) else "")
def test_refused_input(spoil: Callable[[Path], Arguments], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = spoil(tmp_path)
    before = content(tmp_path)
    status, out, err = run(["fuse", *given, "-o", str(tmp_path / "out.tif"), "--method", "sylvester", "-q"], capsys)
    assert status == 2
    assert out == ""
    assert_one_message(err, message)
    assert content(tmp_path) == before


def assert_one_message(err: str, pattern: str) -> None:
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("geofuse: ")
    assert len(lines[0]) > 40, "a message says what was found, what was expected and what to do"
    assert re.search(pattern, lines[0]), lines[0]


# What is asked for, in a folder that holds "taken.tif", "noted.json" and "beside.json"; None stands for the pair.
OPTIONS: dict[str, tuple[Arguments, str]] = {
    "existing output": (["-o", "taken.tif"], "taken.tif exists"),
    "existing item": (["-o", "beside.tif"], "beside.json exists.*STAC item.*--no-stac"),
    "missing folder": (["-o", "no/such/out.tif"], "does not exist"),
    "a file as folder": (["-o", "taken.tif/out.tif"], "does not exist|cannot write"),
    "a folder as output": (["-o", "folder.tif"], "is a folder"),
    "no output suffix": (["-o", "out"], r"\.tif"),
    "json output": (["-o", "out.json"], r"\.tif"),
    "png output": (["-o", "out.png", "--no-stac"], r"\.tif"),
    "unknown method": (["-o", "out.tif", "--method", "magic"], "no method 'magic'.*gem"),
    "unknown scheduler": (["-o", "out.tif", "--scheduler", "cron"], "no scheduler 'cron'.*threads"),
    "unknown protocol": (["-o", "out.tif", "--scheduler", "carrier://pigeon"], "carrier://pigeon"),
    "tile in words": (["-o", "out.tif", "--tile", "large"], "tile size is 'large'"),
    "tile too small": (["-o", "out.tif", "--tile", "2"], "tile size is 2"),
    "negative tile": (["-o", "out.tif", "--tile", "-512"], "tile size is -512"),
    "memory in words": (["-o", "out.tif", "--memory-limit", "plenty"], "memory limit is 'plenty'"),
    "endless memory": (["-o", "out.tif", "--memory-limit", "1e999GB"], "memory limit is '1e999GB'"),
    "little memory": (["-o", "out.tif", "--memory-limit", "10MB"], "10 MB are allowed"),
    "negative memory": (["-o", "out.tif", "--memory-limit", "-4GB"], "memory limit is '-4GB'"),
    "unknown type": (["-o", "out.tif", "--dtype", "uint3"], "'uint3'.*int16"),
    "unknown device": (["-o", "out.tif", "--device", "abacus"], "'abacus' cannot be used"),
    "unknown response": (["-o", "out.tif", "--srf", "Hubble"], "Hubble"),
    "missing response": (["-o", "out.tif", "--srf", "nowhere.csv"], "nowhere.csv"),
    "junk model": (["-o", "out.tif", "--model", "taken.tif"], "cannot be read as a geofuse model"),
    "missing model": (["-o", "out.tif", "--model", "nowhere.safetensors"], "cannot be read as a geofuse model"),
    "report of unknown kind": (["-o", "out.tif", "--report", "r.docx"], r"\.json or \.html"),
    "report in the item's place": (["-o", "out.tif", "--report", "out.json"], "Two outputs would be"),
    "model in the image's place": (["-o", "out.tif", "--save-model", "out.tif"], "must end in .safetensors"),
    "another storage": (["-o", "gs://bucket/out.tif"], "Nothing can be written to gs://bucket/out.tif.*s3://"),
    "report into a storage": (["-o", "out.tif", "--report", "s3://bucket/r.json"], "Nothing can be written to s3:/"),
    "report in a missing folder": (["-o", "out.tif", "--report", "no/r.json"], "does not exist"),
}


@pytest.mark.parametrize(("options", "message"), OPTIONS.values(), ids=list(OPTIONS))
def test_refused_options(
    options: Arguments, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    existing(tmp_path, "taken.tif")
    existing(tmp_path, "beside.json")
    (tmp_path / "folder.tif").mkdir()
    before = content(tmp_path)
    monkeypatch.chdir(tmp_path)
    status, out, err = run(["fuse", *map(str, small_files()), *options, "-q"], capsys)
    assert status == 2
    assert out == ""
    assert_one_message(err, message)
    assert content(tmp_path) == before


@pytest.mark.parametrize("which", [0, 1])
def test_an_input_is_never_overwritten(which: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = pair(tmp_path, *small_pair())
    before = content(tmp_path)
    status, _, err = run(["fuse", *given, "-o", given[which], "--overwrite", "-q"], capsys)
    assert status == 2
    assert_one_message(err, "one of the inputs")
    assert content(tmp_path) == before


def test_the_second_output_does_not_replace_an_input_either(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    msi = small_pair()[1].write(tmp_path / "scene_uncertainty.tif")
    before = content(tmp_path)
    given = [str(small_files()[0]), str(msi), "-o", str(tmp_path / "scene.tif")]
    status, _, err = run(["fuse", *given, "--uncertainty", "--overwrite", "-q"], capsys)
    assert status == 2
    assert_one_message(err, "scene_uncertainty.tif is one of the inputs")
    assert content(tmp_path) == before


@pytest.mark.parametrize("name", ["my scene.tif", "100%25.tif"])
def test_an_input_named_by_address_is_found_and_not_overwritten(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hsi = small_pair()[0].write(tmp_path / name)
    given = [hsi.as_uri(), str(small_files()[1])]
    before = content(tmp_path)
    status, _, err = run(["fuse", *given, "-o", str(hsi), "--overwrite", "-q"], capsys)
    assert status == 2
    assert_one_message(err, "one of the inputs")
    assert content(tmp_path) == before
    assert run(["info", hsi.as_uri()], capsys)[0] == 0


def test_home_is_found_where_no_shell_has_seen_the_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    few_model().save(tmp_path / "m.safetensors")
    for path, name in zip(few_files(), ("h.tif", "m.tif"), strict=True):
        (tmp_path / name).write_bytes(path.read_bytes())
    arguments = ["fuse", "~/h.tif", "~/m.tif", "-o", "~/o.tif", "--model", "~/m.safetensors", "--report", "~/r.json", "-q"]
    status, _, err = run(arguments, capsys)
    assert status == 0, err
    assert {"o.tif", "o.json", "r.json"} <= set(content(tmp_path))
    links = json.loads((tmp_path / "o.json").read_text())["links"]
    assert [link["href"] for link in links if link["rel"] == "derived_from"] == ["./h.tif", "./m.tif"]


@pytest.mark.skipif(os.name == "nt" or not Path("/proc").is_dir(), reason="needs a folder that nobody may write into")
def test_unwritable_folder(capsys: pytest.CaptureFixture[str]) -> None:
    """Not by permissions: those do not hold for user 0."""
    status, _, err = run(["fuse", *map(str, small_files()), "-o", "/proc/out.tif", "-q"], capsys)
    assert status == 2
    assert_one_message(err, "cannot write into /proc")


USAGE: list[Arguments] = [
    ["fuse"],
    ["fuse", "a.tif"],
    ["fuse", "a", "b", "-o", "c.tif", "--sed", "1"],
    ["melt"],
    ["fuse", "a", "b", "-o", "c.tif", "--seed", "-1"],
]


@pytest.mark.parametrize("arguments", USAGE, ids=" ".join)
def test_wrong_usage(arguments: Arguments, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(arguments, capsys)
    assert status == 2
    assert "Usage" in err
    assert "Traceback" not in err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    declared = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]["version"]
    assert run(["--version"], capsys)[:2] == (0, f"geofuse {declared}\n")


def test_help_is_not_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(["--help"], capsys)
    assert status == 0
    assert all(command in out for command in ("fuse", "evaluate", "compare", "info", "demo"))


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyError("wavelength"), 1, "KeyError: 'wavelength'.*defect.*--debug"),
        (ValueError("two\nlines"), 1, "ValueError: two lines.*--debug"),
        (ZeroDivisionError(), 1, "ZeroDivisionError.*--debug"),
        (MemoryError(), 1, "MemoryError"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (RunError("could not write out.tif; nothing was left there"), 1, "could not write out.tif"),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, Exception) else "",
)
def test_failures(
    error: Exception, status: int, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("geofuse.pipeline.job.Job.run", fail)
    arguments = ["fuse", "a.tif", "b.tif", "-o", str(tmp_path / "out.tif")]
    found, _, err = run(arguments, capsys)
    assert found == status
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err
    assert re.search(message, err), err
    _, _, err = run([*arguments, "--debug"], capsys)
    assert "Traceback" in err
    assert "in fail" in err


def test_warnings_are_plain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file declares no scale: that is said in one line, without a place in the code."""
    bare = replace(small_pair()[1], file_tags={})
    with pytest.raises(SystemExit):
        main(["info", str(bare.write(tmp_path / "bare.tif"))])
    err = capsys.readouterr().err
    assert err.startswith("warning: ")
    assert "declares no scale" in err
    assert ".py:" not in err
    assert len(err.splitlines()) == 1


def cli(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "geofuse", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)  # type: ignore[call-overload]


def test_a_whole_run_and_two_refusals_in_processes_of_their_own(tmp_path: Path) -> None:
    hsi, msi = few_files()
    out = tmp_path / "out.tif"
    done = cli("fuse", hsi, msi, "-o", out, "--method", "sylvester", "--report", tmp_path / "r.json", "--report", tmp_path / "r.html", "-q")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert all(line.startswith("warning: ") for line in done.stderr.splitlines())
    assert done.stdout.splitlines()[-1] == f"written: {out}"
    assert sorted(content(tmp_path)) == ["out.json", "out.tif", "out_quality.tif", "r.html", "r.json"]
    assert json.loads((tmp_path / "r.json").read_text())["method"] == "sylvester"
    before = content(tmp_path)
    again = cli("fuse", hsi, msi, "-o", out)
    assert (again.returncode, again.stdout) == (2, "")
    assert_one_message(again.stderr, "out.tif exists")
    lost = cli("fuse", hsi, "nowhere.tif", "-o", tmp_path / "b.tif", cwd=tmp_path)
    assert (lost.returncode, lost.stdout) == (2, "")
    assert_one_message(lost.stderr, "nowhere.tif: no such file")
    assert content(tmp_path) == before


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_interrupt(tmp_path: Path) -> None:
    hsi, msi = small_files()
    command = [
        sys.executable,
        "-m",
        "geofuse",
        "fuse",
        hsi,
        msi,
        "-o",
        tmp_path / "out.tif",
        "--method",
        "gem",
        "--report",
        tmp_path / "r.json",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    seen = ""
    while "registering" not in seen:  # in the middle of the fit
        seen += process.stderr.read(1)
        assert process.poll() is None, seen
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "geofuse: interrupted; nothing was left behind"
    assert "Traceback" not in err
    assert content(tmp_path) == {}


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_interrupted_again_while_threads_finish_their_tiles() -> None:
    """The second Ctrl-C ends it, without a traceback of Python's own end."""
    program = """
import time
from concurrent.futures import ThreadPoolExecutor
from geofuse import cli
from geofuse.pipeline import job

def run(self):
    ThreadPoolExecutor(1).submit(time.sleep, 60)
    raise KeyboardInterrupt

job.Job.run = run
cli.main(["fuse", "a.tif", "b.tif", "-o", "c.tif"])
"""
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline() == "geofuse: interrupted; nothing was left behind\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert err == ""


def test_plan_reads_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geofuse.pipeline.fit.fit_scene", lambda *_: pytest.fail("a plan must not fit"))
    status, out, err = run(["fuse", *map(str, small_files()), "-o", str(tmp_path / "out.tif"), "--plan"], capsys)
    assert (status, err) == (0, "")
    assert "177 bands, 133 x 117 pixels of 3.6, EPSG:32633" in out
    assert content(tmp_path) == {}


def test_model_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With a model nothing is fitted, and the model of another pair is rejected."""
    model = small_model().save(tmp_path / "m.safetensors")
    monkeypatch.setattr("geofuse.pipeline.fit.fit_scene", lambda *_: pytest.fail("there is a model already"))
    given = list(map(str, small_files()))
    status, _, err = run(["fuse", *given, "-o", str(tmp_path / "out.tif"), "--model", str(model), "--no-stac", "-q"], capsys)
    assert status == 0, err
    assert sorted(content(tmp_path)) == ["m.safetensors", "out.tif", "out_quality.tif"]
    given = pair(tmp_path, msi=small_pair()[1].bands(0, 1, 3))
    status, _, err = run(["fuse", *given, "-o", str(tmp_path / "b.tif"), "--model", str(model), "-q"], capsys)
    assert status == 2
    assert_one_message(err, "177 HSI and 4 MSI bands; found 177 and 3")
    assert not (tmp_path / "b.tif").exists()


def test_info(berlin: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(["info", str(berlin[0])], capsys)
    assert (status, err) == (0, "")
    assert "80 rows x 60 columns of 30 x 30" in out
    assert "EPSG:32633" in out
    assert "x 383472.37 to 385272.37, y 5815902.35 to 5818302.35" in out
    assert "177: " in out
    assert "460 to 2409 nm, FWHM 5.8" in out
    msi = small_pair()[1]
    some = replace(msi, tags=(*msi.tags[:-1], {})).write(tmp_path / "some.tif")
    assert "unknown for 1 of 4 bands" in run(["info", str(some)], capsys)[1]
    status, _, err = run(["info", "nowhere.tif"], capsys)
    assert status == 2
    assert_one_message(err, "nowhere.tif: no such file")


def test_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A constant error of 0.01 is 40 dB at a peak of 1, and 0.01 in root mean square."""
    truth = small_pair()[0]
    other = truth.mapped(lambda reflectance: reflectance + 0.01)
    files = [str(truth.write(tmp_path / "truth.tif")), str(other.write(tmp_path / "other.tif"))]
    status, out, err = run(["compare", files[1], files[0], "--ratio", "8.333", "--json", str(tmp_path / "scores.json")], capsys)
    assert (status, err) == (0, "")
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["psnr_db"] == pytest.approx(40, abs=1e-2)
    assert scores["rmse"] == pytest.approx(0.01, abs=1e-5)
    assert {"psnr_db", "sam_deg", "ergas", "ssim"} <= set(scores)
    assert "psnr_db" in out
    before = content(tmp_path)
    status, _, err = run(["compare", files[0], str(small_files()[1])], capsys)
    assert status == 2
    assert_one_message(err, "not on one grid")
    status, _, err = run(["compare", *files, "--json", str(tmp_path / "no" / "scores.json")], capsys)
    assert status == 2
    assert_one_message(err, "does not exist")
    assert content(tmp_path) == before


def test_evaluate(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scores.json"
    status, out, _ = run(["evaluate", *map(str, small_files()), "--methods", "sylvester,bicubic", "--json", str(path), "-q"], capsys)
    assert status == 0
    scores = json.loads(path.read_text())
    assert set(scores) == {"sylvester", "bicubic"}
    assert all({"psnr_db", "sam_deg", "ergas", "ssim"} <= set(row) for row in scores.values())
    assert scores["sylvester"]["psnr_db"] > scores["bicubic"]["psnr_db"]
    assert out.index("sylvester") < out.index("bicubic")
    monkeypatch.setattr("geofuse.pipeline.fit.prepare_pair", lambda *_: pytest.fail("reject before the work"))
    for options, message in (
        (["--methods", "magic"], "no method 'magic'"),
        (["--json", str(tmp_path / "no" / "s.json")], "does not exist"),
    ):
        status, _, err = run(["evaluate", *map(str, small_files()), *options, "-q"], capsys)
        assert status == 2
        assert_one_message(err, message)


def test_what_is_no_reflectance_is_written_as_floats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.tif"
    status, _, err = run(["fuse", *counts(tmp_path), "-o", str(out), "--dtype", "float32", "--method", "sylvester", "-q"], capsys)
    assert status == 0, err
    assert "not reflectance" in err
    with rasterio.open(out) as file:
        assert np.nanmedian(file.read(20)) > 100


def test_float_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is stored as float32 is what the library returns, to the bit."""
    model = small_model().save(tmp_path / "m.safetensors")
    out = tmp_path / "out.tif"
    status, _, err = run(["fuse", *map(str, small_files()), "-o", str(out), "--dtype", "float32", "--model", str(model), "-q"], capsys)
    assert status == 0, err
    hsi, msi = (geofuse.open_hsi(f) for f in small_files())
    expected = geofuse.fuse(hsi, msi, model=small_model(), progress=False).values
    with rasterio.open(out) as file:
        assert set(file.dtypes) == {"float32"}
        assert file.scales[0] == 1
        assert np.array_equal(file.read(), expected, equal_nan=True)
    assert np.array_equal(geofuse.open_hsi(out).values, expected, equal_nan=True)


# --- STAC items, and some of the bands -----------------------------------------------------------------------------------------


def as_item(raster: Path, folder: Path, **properties: Any) -> str:
    """The item of a raster, beside nothing else, as a catalog would hold it."""
    item = pystac.Item(f"item-of-{raster.stem}", None, None, dt.datetime(2022, 7, 4, 10, tzinfo=dt.UTC), properties)
    item.add_asset("image", pystac.Asset(str(raster), media_type=pystac.MediaType.COG, roles=["data"]))
    path = folder / f"{raster.stem}.json"
    path.write_text(json.dumps(item.to_dict(include_self_link=False)))
    return str(path)


def test_items_are_fused_as_their_rasters_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ["--model", str(small_model().save(tmp_path / "m.safetensors")), "--dtype", "float32", "-q"]
    items = [as_item(file, tmp_path) for file in small_files()]
    for inputs, name in ((items, "a.tif"), (list(map(str, small_files())), "b.tif")):
        status, _, err = run(["fuse", *inputs, "-o", str(tmp_path / name), *model], capsys)
        assert status == 0, err
    with rasterio.open(tmp_path / "a.tif") as one, rasterio.open(tmp_path / "b.tif") as other:
        assert np.array_equal(one.read(), other.read(), equal_nan=True)
    status, out, _ = run(["info", items[0]], capsys)
    assert status == 0
    assert "acquired    2022-07-04T10:00:00Z" in out


def test_an_asset_is_no_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hsi, msi = small_files()
    copy = tmp_path / "copy.tif"
    copy.write_bytes(hsi.read_bytes())
    status, _, err = run(["fuse", as_item(copy, tmp_path), str(msi), "-o", str(copy), "--overwrite", "-q"], capsys)
    assert status == 2
    assert_one_message(err, "is one of the inputs")
    assert copy.read_bytes() == hsi.read_bytes()


def test_some_of_the_bands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.tif"
    chosen = ["--hsi-bands", "1-5,10,600-650nm", "--msi-bands", "3,1,2"]
    status, _, err = run(["fuse", *map(str, small_files()), "-o", str(out), *chosen, "--method", "regression", "-q"], capsys)
    assert status == 0, err
    hsi, msi = small_files()
    part = geofuse.open_hsi(hsi, bands="1-5,10,600-650nm")
    assert part.sizes["band"] > 8
    expected = geofuse.fuse(part, geofuse.open_msi(msi, bands=[3, 1, 2]), method="regression", progress=False)
    found = geofuse.open_hsi(out)
    assert found.band.values.tolist() == part.band.values.tolist()
    assert np.allclose(found.values, expected.values, atol=5.1e-5, equal_nan=True)
    for option, said in (("--hsi-bands", "no band '999'"), ("--msi-bands", "no band '999'")):
        status, _, err = run(["fuse", *map(str, small_files()), "-o", str(tmp_path / "b.tif"), option, "999", "-q"], capsys)
        assert status == 2
        assert_one_message(err, said)


def test_another_choice_of_bands_is_another_run(tmp_path: Path) -> None:
    """What one run left must not be taken for the other's."""
    hsi, msi = map(str, small_files())
    jobs = [Job(hsi, msi, tmp_path / "a.tif", msi_bands=bands) for bands in (None, "1-3", "2-4")]
    assert len({json.dumps(job._command()) for job in jobs}) == 3


def test_info_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str], berlin: tuple[Path, Path]) -> None:
    status, out, _ = run(["info", as_item(berlin[0], tmp_path), "--json", "-"], capsys)
    assert status == 0
    found = json.loads(out)
    with rasterio.open(berlin[0]) as file:
        assert found["shape"] == [file.count, file.height, file.width]
        assert found["transform"] == list(file.transform)[:6]
        assert found["names"] == list(file.descriptions)
        assert found["nodata_percent"] == pytest.approx(100 * np.mean(file.read() == -99), abs=1e-4)
    assert found["crs"] == "EPSG:32633"
    assert found["gsd_m"] == 30.0
    assert found["datetime"] == "2022-07-04T10:00:00Z"
    assert found["wavelength_nm"][:2] == [460.0, 465.0]
    assert found["fwhm_nm"][0] == 5.8
    assert found["good"] == geofuse.open_hsi(berlin[0]).good.values.tolist()
    assert found["sensor"] is None
    assert found["masks"] == []
    path = tmp_path / "info.json"
    status, out, _ = run(["info", str(berlin[1]), "--bands", "2-3", "--json", str(path)], capsys)
    assert status == 0
    assert "bands       2: 558.40 nm, 646.50 nm" in out
    assert json.loads(path.read_text())["names"] == ["558.40 nm", "646.50 nm"]


def test_help_says_how_bands_are_written(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    out = run(["fuse", "--help"], capsys)[1]
    assert all(word in out for word in ("--hsi-bands", "--msi-bands", "--msi-resolution", "1-50,60", "450-900nm"))


def test_the_shell_completes_commands_and_options() -> None:
    def completed(words: str) -> list[str]:
        asked = {"_GEOFUSE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
        done = subprocess.run([sys.executable, "-m", "geofuse"], capture_output=True, text=True, env=os.environ | asked, check=True)
        return done.stdout.split()

    assert completed("geofuse do") == ["doctor"]
    assert "--no-sample" in completed("geofuse doctor a.tif b.tif --")
