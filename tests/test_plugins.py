"""The guides to adding a method and a reader: what they show is built as an outside package, installed, and run."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pystac
import pytest

from geofuse import InvalidCube, open_hsi
from geofuse.cube.schema import geobox
from tests.crops import small_pair

REPOSITORY = Path(__file__).resolve().parent.parent


def blocks(page: Path) -> dict[str, str]:
    """Files that a page shows: each a name in backquotes, a colon or comma, and the next block of code."""
    text = page.read_text()
    found = {}
    for match in re.finditer(r"^`([\w.]+\.(?:py|toml))`[^\n]*\n\n```\w+\n(.*?)^```$", text, re.M | re.S):
        found[match[1]] = match[2]
    return found


class Outside:
    """An environment of its own, with geofuse in it and packages that this repository knows nothing of, one for each page."""

    def __init__(self, folder: Path, *pages: Path) -> None:
        self.home, packages = folder / "environment", [folder / page.stem for page in pages]
        for page, package in zip(pages, packages, strict=True):
            package.mkdir()
            for name, content in blocks(page).items():
                (package / name).write_text(content)
        venv.create(self.home, with_pip=False, symlinks=True)
        own = next(self.home.glob("lib/python*/site-packages"))
        # What geofuse needs is taken from here; the package itself goes into the new environment only.
        here = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
        (own / "here.pth").write_text("\n".join([str(REPOSITORY), *here]))
        options = ["-q", "--no-deps", "--no-index", "--no-build-isolation", "--no-compile", "--disable-pip-version-check"]
        self.run([sys.executable, "-m", "pip", "install", *options, "--target", str(own), *map(str, packages)])

    def run(self, command: list[str], cwd: Path | None = None) -> str:
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        made = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)
        assert made.returncode == 0, made.stderr[-2000:]
        return made.stdout

    def python(self, *arguments: str, cwd: Path | None = None) -> str:
        return self.run([str(self.home / "bin" / "python"), *arguments], cwd)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A crop of the embedded pair: of several tiles, and every sixth band."""
    folder = tmp_path_factory.mktemp("pair")
    hsi, msi = small_pair()
    return hsi.bands(*range(0, 177, 6)).write(folder / "coarse.tif"), msi.write(folder / "fine.tif")


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Outside:
    guides = REPOSITORY / "docs" / "how-to"
    return Outside(tmp_path_factory.mktemp("outside"), guides / "add-a-method.md", guides / "add-a-reader.md")


FIT = """
import sys, numpy as np, geofuse
hsi, msi = geofuse.open_hsi(sys.argv[1]), geofuse.open_msi(sys.argv[2])
model = hsi.mossfuse.fit(msi, method="modulation", progress=False)
kept = geofuse.Model.load(model.save("kept.safetensors"))
whole = hsi.mossfuse.fuse(msi, model=model, tile=512, progress=False).compute()
tiled = hsi.mossfuse.fuse(msi, model=kept, tile=64, progress=False).compute()
print(float(np.abs(whole - tiled).max()), kept.method, whole.shape[0])
"""


def test_a_method_from_outside_is_listed(outside: Outside) -> None:
    assert "modulation" in outside.python("-m", "geofuse", "methods")


@pytest.mark.slow
def test_a_method_from_outside_is_fitted_saved_and_tiled(outside: Outside, pair: tuple[Path, Path], tmp_path: Path) -> None:
    difference, name, bands = outside.python("-c", FIT, *map(str, pair), cwd=tmp_path).split()
    assert float(difference) < 1e-4
    assert (name, bands) == ("modulation", "30")


def test_a_method_from_outside_runs_on_the_command_line(outside: Outside, pair: tuple[Path, Path], tmp_path: Path) -> None:
    out, report = tmp_path / "out.tif", tmp_path / "report.json"
    outside.python("-m", "geofuse", "fuse", *map(str, pair), "-o", str(out), "--method", "modulation", "--report", str(report))
    assert json.loads(report.read_text())["method"] == "modulation"
    assert open_hsi(out).sizes["band"] == 30
    assert np.isfinite(json.loads(report.read_text())["residuals"]["hsi_rel_rmse"])


@pytest.fixture(scope="module")
def npy(pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The coarse image in the format of the guide."""
    cube, path = open_hsi(pair[0]), tmp_path_factory.mktemp("npy") / "cube.npy"
    np.save(path, cube.values)
    known = {"crs": "EPSG:32633", "transform": list(geobox(cube).affine)[:6], "wavelength_nm": cube.wavelength.values.tolist()}
    path.with_suffix(".json").write_text(json.dumps(known | {"sensor": "laboratory camera"}))
    return path


OPEN = """
import sys, numpy as np, geofuse
npy, tif, fine = sys.argv[1:]
ours, theirs = geofuse.open_hsi(npy), geofuse.open_hsi(tif)
assert ours.chunks is not None
assert ours.dims == theirs.dims
assert ours.encoding["reader"] == "NumPy array"
np.testing.assert_array_equal(ours.values, theirs.values)
for axis in ("x", "y", "wavelength", "good"):
    np.testing.assert_array_equal(ours[axis].values, theirs[axis].values)
some = ["20", "460-500nm", "8"]
np.testing.assert_array_equal(geofuse.open_msi(npy, bands=some).values, geofuse.open_msi(tif, bands=some).values)
np.testing.assert_array_equal(ours.isel(band=[5, 2], y=[7, 1], x=3).values, theirs.isel(band=[5, 2], y=[7, 1], x=3).values)
msi = geofuse.open_msi(fine)
model = ours.mossfuse.fit(msi, method="sylvester", progress=False)
assert ours.mossfuse.plan(msi, method="sylvester", tile=64).tiles > 1
fused = [hsi.mossfuse.fuse(msi, model=model, tile=64, progress=False).values for hsi in (ours, theirs)]
np.testing.assert_array_equal(*fused)
"""


@pytest.mark.slow
def test_a_reader_from_outside_opens_and_fuses_in_tiles_as_the_geotiff_does(outside: Outside, npy: Path, pair: tuple[Path, Path]) -> None:
    outside.python("-c", OPEN, str(npy), *map(str, pair))


def test_info_shows_the_reader_and_its_sensor(outside: Outside, npy: Path, tmp_path: Path) -> None:
    shown = outside.python("-m", "geofuse", "info", str(npy), "--json", str(tmp_path / "info.json"))
    assert "reader      NumPy array" in shown
    assert "sensor      laboratory camera" in shown
    found = json.loads((tmp_path / "info.json").read_text())
    assert found["sensor"] == "laboratory camera"
    assert found["shape"] == [30, 16, 14]


def test_a_reader_from_outside_serves_the_command_line_and_stac_items(
    outside: Outside, npy: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    item = pystac.Item("cube", None, None, dt.datetime(2022, 7, 4, tzinfo=dt.UTC), {})
    item.add_asset("image", pystac.Asset(str(npy), roles=["data"]))
    path, out = tmp_path / "item.json", tmp_path / "out.tif"
    path.write_text(json.dumps(item.to_dict(include_self_link=False)))
    options = ["--method", "bicubic", "--tile", "64", "--hsi-bands", "1-20"]
    outside.python("-m", "geofuse", "fuse", str(path), str(pair[1]), "-o", str(out), *options)
    assert open_hsi(out).sizes["band"] == 20


BROKEN = """
import sys, geofuse
for path in sys.argv[1:]:
    try:
        geofuse.open_hsi(path)
    except geofuse.InvalidCube as error:
        print(" ".join(str(error).split()))
"""


def test_what_a_reader_from_outside_rejects_is_said_with_its_name(outside: Outside, npy: Path, tmp_path: Path) -> None:
    alone, cut = tmp_path / "alone.npy", tmp_path / "cut.npy"
    alone.write_bytes(npy.read_bytes())
    cut.write_bytes(npy.read_bytes()[:-1000])
    cut.with_suffix(".json").write_bytes(npy.with_suffix(".json").read_bytes())
    first, second = outside.python("-c", BROKEN, str(alone), str(cut)).splitlines()
    assert re.search(r"alone\.npy: GDAL cannot read it .* NumPy array, .*STAC, Zarr, GeoTIFF", first)
    assert re.search(r"cut\.npy: the reader 'NumPy array' of npyreader:NpyReader failed: ValueError", second)


def test_without_the_package_nothing_reads_it(npy: Path) -> None:
    with pytest.raises(InvalidCube, match=r"expected what one of the readers recognises: .*STAC, Zarr, GeoTIFF, JPEG 2000, ENVI;"):
        open_hsi(npy)
