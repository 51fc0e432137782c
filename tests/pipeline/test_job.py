"""One job from files to files: what lies on disk is read back with rasterio, GDAL's own tools and plain JSON."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import zarr
from affine import Affine
from rasterio.warp import Resampling, reproject
from rio_cogeo.cogeo import cog_validate

import geofuse
from geofuse.errors import InvalidInput, InvalidOutput, RunError
from geofuse.io.read.fingerprint import content_sha256
from geofuse.pipeline import apply
from geofuse.pipeline.job import Job
from geofuse.run.scheduling import scheduler_of
from tests.crops import NODATA, Raster, few_files, few_model, small_files, small_model, small_pair
from tests.stac.conftest import validate as schemas

validate = schemas  # the fixture

HSI_HOLE = slice(4, 7), slice(9, 12)
MSI_HOLES = (slice(20, 33), slice(15, 40)), (slice(100, 101), slice(60, 61))


def job(folder: Path, **options: Any) -> Job:
    """The job of the small pair, into a folder."""
    hsi, msi = options.pop("files", small_files())
    return Job(str(hsi), str(msi), folder / "out.tif", progress=False, **({"method": "sylvester"} | options))


def listing(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture(scope="module", params=["gem", "sylvester"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, dict[str, Any]]:
    """A whole run on a pair with holes in both images: the job and its report as written."""
    folder = tmp_path_factory.mktemp(request.param)
    hsi, msi = small_pair()
    files = hsi.holed(HSI_HOLE).write(folder / "hsi.tif"), msi.holed(*MSI_HOLES).write(folder / "msi.tif")
    (folder / "made").mkdir()
    made = job(folder / "made", files=files, method=request.param, reports=(folder / "made" / "r.json", folder / "made" / "r.html"), seed=5)
    made.run()
    return made, json.loads((folder / "made" / "r.json").read_text())


def read(path: str | Path) -> tuple[np.ndarray, Any]:
    with rasterio.open(path) as file:
        return file.read(), file.profile | {"tags": [file.tags(b) for b in file.indexes], "names": file.descriptions, "scales": file.scales}


def test_only_what_was_asked_for_is_there(run: tuple[Job, Any]) -> None:
    assert listing(run[0].output.parent) == ["out.json", "out.tif", "out_quality.tif", "r.html", "r.json"]


def test_grid_is_that_of_the_msi(run: tuple[Job, Any]) -> None:
    """Cropped to the pixels whose centres lie on the HSI; counted here with the two corners alone."""
    _, fused = read(run[0].output)
    (_, rows, cols), fine, coarse = small_pair()[1].values.shape, small_pair()[1].transform, small_pair()[0].transform
    x, y = fine.c + fine.a * (np.arange(cols) + 0.5), fine.f + fine.e * (np.arange(rows) + 0.5)
    h, w = small_pair()[0].values.shape[1:]
    inside_x = np.flatnonzero((x > coarse.c) & (x < coarse.c + w * coarse.a))
    inside_y = np.flatnonzero((y < coarse.f) & (y > coarse.f + h * coarse.e))
    assert (fused["height"], fused["width"]) == (inside_y.size, inside_x.size) == (133, 117)
    assert fused["crs"] == rasterio.CRS.from_epsg(32633)
    expected = fine @ rasterio.Affine.translation(inside_x[0], inside_y[0])
    assert tuple(fused["transform"])[:6] == pytest.approx(tuple(expected)[:6], abs=1e-6)
    assert (fused["transform"].a, fused["transform"].e) == (3.6, -3.6)


def test_bands_are_those_of_the_hsi(run: tuple[Job, Any]) -> None:
    _, fused = read(run[0].output)
    source = small_pair()[0]
    assert fused["count"] == 177
    assert fused["names"] == source.names
    for key in ("wavelength", "fwhm"):
        assert [float(t[key]) for t in fused["tags"]] == [float(t[key]) for t in source.tags]
    assert {t["wavelength_units"] for t in fused["tags"]} == {"nm"}
    assert (fused["dtype"], set(fused["scales"]), fused["nodata"]) == ("int16", {0.0001}, -32768)


def holes(hsi: Raster, msi: Raster, fused: Any) -> np.ndarray:
    """Fused pixels where either image has no data, by GDAL's nearest neighbour."""
    shape = fused["height"], fused["width"]
    out = np.zeros(shape, bool)
    for image in (hsi, msi):
        empty = (image.values == NODATA).all(0).astype("uint8")
        target = np.full(shape, 9, "uint8")
        grids: dict[str, Any] = {
            "src_transform": image.transform,
            "src_crs": image.crs,
            "dst_transform": fused["transform"],
            "dst_crs": image.crs,
        }
        reproject(empty, target, **grids, resampling=Resampling.nearest)
        assert target.max() <= 1, "the output must lie within both images"
        out |= target == 1
    return out


def test_nodata_only_where_an_input_has_it(run: tuple[Job, Any]) -> None:
    values, fused = read(run[0].output)
    hsi, msi = small_pair()
    expected = holes(hsi.holed(HSI_HOLE), msi.holed(*MSI_HOLES), fused)
    assert 25**2 + 13 * 25 < expected.sum() < 26**2 + 13 * 25 + 2
    assert np.array_equal(values == -32768, np.broadcast_to(expected, values.shape))


def test_it_is_a_cog(run: tuple[Job, Any]) -> None:
    valid, errors, warnings = cog_validate(run[0].output, strict=True, quiet=True)
    assert (valid, errors, warnings) == (True, [], [])


def test_the_item_describes_what_is_there(run: tuple[Job, Any], validate: Callable[[dict[str, Any]], list[str]]) -> None:
    made, report = run
    item = json.loads(made.item_path.read_text())
    assert validate(item) == []
    data = item["assets"]["data"]
    raster = made.output.read_bytes()
    assert (data["href"], data["file:size"]) == ("./out.tif", len(raster))
    assert data["file:checksum"] == "1220" + hashlib.sha256(raster).hexdigest()
    assert report["output"]["sha256"] == hashlib.sha256(raster).hexdigest()
    assert len(data["bands"]) == 177
    assert item["properties"]["geofuse:method"] == made.method
    assert item["properties"]["gsd"] == 30
    # Both inputs, by their paths from the item.
    links = {link["geofuse:role"]: link["href"] for link in item["links"] if link["rel"] == "derived_from"}
    assert not any(href.startswith("/") or "://" in href for href in links.values())
    folder = made.item_path.parent
    assert {role: (folder / href).resolve() for role, href in links.items()} == {
        "hsi": Path(made.hsi).resolve(),
        "msi": Path(made.msi).resolve(),
    }
    # The reports, and the sums of their bytes.
    for key, name in (("report", "r.json"), ("report_html", "r.html")):
        asset = item["assets"][key]
        assert asset["href"] == f"./{name}"
        assert asset["file:checksum"] == "1220" + hashlib.sha256((made.output.parent / name).read_bytes()).hexdigest()


def test_the_report_holds_what_was_promised(run: tuple[Job, Any]) -> None:
    made, report = run
    assert report["method"] == made.method
    assert set(report["seconds"]) == {"open", "fit", "apply", "write"}
    assert all(seconds >= 0 for seconds in report["seconds"].values())
    assert report["seconds"]["fit"] > 0
    assert report["seconds"]["apply"] > 0
    assert 100 < report["peak_rss_mb"] < 10_000
    assert report["geometry"]["ratio"] == pytest.approx(25 / 3)
    assert len(report["geometry"]["shift_px"]) == 2
    assert 1 < report["geometry"]["psf_sigma_px"] < 8
    assert 0 < report["residuals"]["hsi_rel_rmse"] < 0.1
    assert 0 < report["residuals"]["msi_rel_rmse"] < 0.2
    assert set(report["prior_weights"])
    assert report["validation"] == []
    assert {"geofuse", "torch", "numpy", "rasterio"} <= set(report["versions"])
    assert report["versions"]["geofuse"] == geofuse.__version__
    assert report["seed"] == 5
    assert report["inputs"] == {"hsi": made.hsi, "msi": made.msi}
    assert all(set(warning) == {"code", "message"} for warning in report["warnings"])
    assert {"hsi", "msi", "fused", "extent", "crs"} <= set(report["pictures"])


def test_the_pages(run: tuple[Job, Any]) -> None:
    page = (run[0].output.parent / "r.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html")
    assert "<script" not in page
    assert run[0].method in page


def test_residuals_are_those_of_the_written_file(run: tuple[Job, Any]) -> None:
    """Fused pixels seen through the reported Gaussian, against the HSI; every sum written out here."""
    made, report = run
    values, fused = read(made.output)
    error = psf_error(
        np.where(values == -32768, np.nan, values / 1e4), fused["transform"], small_pair()[0].holed(HSI_HOLE), report["geometry"]
    )
    # The report counts coarse pixels whose footprint lies partly outside, too.
    assert error == pytest.approx(report["residuals"]["hsi_rel_rmse"], rel=0.2)
    assert error < 0.04


def psf_error(fused: np.ndarray, transform: Any, hsi: Raster, geometry: dict[str, Any]) -> float:
    """Relative root-mean-square error of P(Z) against the HSI, over coarse pixels that see only fused pixels with data; one CRS."""
    _, height, width = fused.shape
    (dy, dx), (sy, sx) = geometry["shift_px"], geometry["psf_sigma_yx_px"]
    rows, cols = np.arange(height), np.arange(width)
    wrong, whole = 0.0, 0.0
    for i in range(hsi.values.shape[1]):
        for j in range(hsi.values.shape[2]):
            col, row = ~transform * (hsi.transform * (j + 0.5, i + 0.5))
            weight_y = np.exp(-((rows - (row - 0.5 + dy)) ** 2) / (2 * sy**2))
            weight_x = np.exp(-((cols - (col - 0.5 + dx)) ** 2) / (2 * sx**2))
            inside = min(row, height - row, col, width - col) > 3 * max(sy, sx)
            near = fused[:, weight_y > 1e-3][:, :, weight_x > 1e-3]
            if not inside or hsi.values[0, i, j] == NODATA or np.isnan(near).any():
                continue
            wy, wx = weight_y[weight_y > 1e-3], weight_x[weight_x > 1e-3]
            seen = np.einsum("byx,y,x->b", near, wy, wx) / (wy.sum() * wx.sum())
            truth = hsi.values[:, i, j] / 1e4
            wrong, whole = wrong + float(((seen - truth) ** 2).sum()), whole + float((truth**2).sum())
    assert whole > 0
    return float(np.sqrt(wrong / whole))


FAILING = [
    "geofuse.pipeline.record.write_item",
    "geofuse.pipeline.record.make_item",
    "geofuse.reporting.report.Report.to_html",
    "geofuse.reporting.report.Report.to_json",
]


@pytest.mark.parametrize("where", FAILING)
def test_a_defect_after_the_cog_leaves_nothing(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, given = prepared(tmp_path, monkeypatch)
    monkeypatch.setattr(where, failing(RuntimeError("a bug"), folder))
    with pytest.raises(RuntimeError):
        job(folder, **given).run()
    assert listing(folder) == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("where", FAILING)
def test_a_full_disk_or_an_interrupt_after_the_cog_keeps_the_work(
    where: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing shows, and the next run writes what is missing without computing anything."""
    folder, given = prepared(tmp_path, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(where, failing(error, folder))
        with pytest.raises(RunError if isinstance(error, OSError) else KeyboardInterrupt, match=r"kept in \.out\.tif\.geofuse"):
            job(folder, **given).run()
    assert listing(folder) == [".out.tif.geofuse"]
    with monkeypatch.context() as patch:
        for done in ("geofuse.run.graph.fuse_tile", "geofuse.io.write.cog._compress", "geofuse.pipeline.fit.fit_scene"):
            patch.setattr(done, failing(AssertionError("that had been done"), folder))
        job(folder, **given).run()
    assert listing(folder) == ["out.json", "out.tif", "out_quality.tif", "r.html", "r.json"]


def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, Any]]:
    """An empty folder, and a job with a model and all kinds of reports for it; the page is not drawn, which takes longer than all else."""
    monkeypatch.setattr("geofuse.reporting.page.render_page", lambda *_: "<html></html>")
    folder = tmp_path / "made"
    folder.mkdir()
    return folder, {
        "files": few_files(),
        "model": few_model("gem").save(tmp_path / "model.safetensors"),
        "reports": (folder / "r.json", folder / "r.html"),
    }


def failing(error: BaseException, folder: Path) -> Callable[..., None]:
    def fail(*_: Any, **__: Any) -> None:
        assert isinstance(error, AssertionError) or (folder / "out.tif").exists(), "the COG comes first"
        raise error

    return fail


def test_a_failure_never_removes_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = few_model("gem").save(tmp_path / "model.safetensors")
    folder = tmp_path / "made"
    folder.mkdir()
    for name in ("out.tif", "out.json", "r.html"):
        (folder / name).write_text("from an earlier run")
    monkeypatch.setattr("geofuse.pipeline.record.write_item", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(RunError, match="No space"):
        job(folder, files=few_files(), model=model, reports=(folder / "r.json", folder / "r.html"), overwrite=True).run()
    assert listing(folder) == [".out.tif.geofuse", "out.json", "out.tif", "r.html"]  # and not r.json, which is of this run
    assert (folder / "out.json").read_text() == "from an earlier run"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize(
    "stage", ["geofuse.io.write.cog._compress", "geofuse.run.graph.fuse_tile", "geofuse.io.write.engine.StagedRaster.verify"]
)
def test_a_failure_before_the_cog_shows_nothing(
    stage: str, error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And leaves nothing but, after an interrupt, the tiles that were finished."""
    folder, given = prepared(tmp_path, monkeypatch)
    monkeypatch.setattr(stage, lambda *_, **__: (_ for _ in ()).throw(error("on the way")))
    with pytest.raises(error, match=r"on the way|nothing was left behind|kept in"):
        job(folder, **given).run()
    finished = error is KeyboardInterrupt and "fuse_tile" not in stage
    assert listing(folder) == ([".out.tif.geofuse"] if finished else [])


def test_overwriting_replaces_everything(tmp_path: Path) -> None:
    model = small_model().save(tmp_path / "model.safetensors")
    for name in ("out.tif", "out.json", "r.json"):
        (tmp_path / name).write_text("from an earlier run")
    with pytest.raises(InvalidOutput, match=r"out\.tif exists"):
        job(tmp_path, model=model).run()
    job(tmp_path, model=model, reports=(tmp_path / "r.json",), overwrite=True).run()
    assert json.loads((tmp_path / "out.json").read_text())["type"] == "Feature"
    assert json.loads((tmp_path / "r.json").read_text())["method"] == "gem"
    assert read(tmp_path / "out.tif")[1]["count"] == 177


def test_without_an_item_the_one_beside_is_left_alone(tmp_path: Path) -> None:
    model = few_model("gem").save(tmp_path / "model.safetensors")
    (tmp_path / "out.json").write_text("mine")
    job(tmp_path, files=few_files(), model=model, stac=False).run()
    assert (tmp_path / "out.json").read_text() == "mine"


def test_memory_limit_reaches_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory suffices for one task at a time, one task at a time is run."""
    import dask

    seen: list[Any] = []
    genuine = apply.flagged

    def watched(*arguments: Any, **options: Any) -> Any:
        seen.append(dask.config.get("num_workers"))
        return genuine(*arguments, **options)

    monkeypatch.setattr("geofuse.pipeline.apply.flagged", watched)
    model = few_model("gem").save(tmp_path / "model.safetensors")
    with dask.config.set(num_workers=6):
        needed = job(tmp_path, files=few_files(), model=model, tile=64).plan()
        assert needed.workers > 1
        one = needed.memory - (needed.workers - 1) * needed.memory_per_task
        job(tmp_path, files=few_files(), model=model, tile=64, memory=one).run()
        job(tmp_path, files=few_files(), model=model, tile=64, memory=needed.memory, overwrite=True).run()
    assert seen == [1, needed.workers]


def test_the_native_pixel_size_is_in_metres_where_the_map_is_in_feet(tmp_path: Path) -> None:
    model = small_model().save(tmp_path / "model.safetensors")
    feet = {"crs": "+proj=utm +zone=33 +datum=WGS84 +units=ft +no_defs"}
    images = (replace(image, transform=Affine.scale(1 / 0.3048) * image.transform, **feet) for image in small_pair())
    files = [image.write(tmp_path / name) for image, name in zip(images, ("h.tif", "m.tif"), strict=True)]
    job(tmp_path, files=files, model=model).run()
    item = json.loads((tmp_path / "out.json").read_text())
    assert item["properties"]["gsd"] == pytest.approx(30, abs=1e-4)
    assert item["assets"]["data"]["bands"][0]["raster:spatial_resolution"] == pytest.approx(3.6, abs=1e-4)


def test_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model().save(tmp_path / "model.safetensors")
    for image, name in zip(small_pair(), ("h.tif", "m.tif"), strict=True):
        image.write(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    Job("h.tif", "m.tif", Path("o.tif"), model=model, progress=False).run()
    item = json.loads(Path("o.json").read_text())
    assert {link["href"] for link in item["links"] if link["rel"] == "derived_from"} == {"./h.tif", "./m.tif"}
    assert item["assets"]["data"]["href"] == "./o.tif"


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["processes", "cluster"])
def test_schedulers_write_the_same_file(scheduler: str, tmp_path: Path) -> None:
    from distributed import LocalCluster

    model = small_model().save(tmp_path / "model.safetensors")
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    job(tmp_path / "here", model=model, tile=70).run()
    if scheduler == "cluster":
        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, scheduler_of(cluster.scheduler_address):
            _, report = job(tmp_path / "there", model=model, tile=70).run()
    else:
        with scheduler_of(scheduler):
            _, report = job(tmp_path / "there", model=model, tile=70).run()
    assert report.to_dict()["seconds"]["apply"] > 0
    assert np.array_equal(read(tmp_path / "here" / "out.tif")[0], read(tmp_path / "there" / "out.tif")[0])


def test_the_source_files_are_untouched(run: tuple[Job, Any]) -> None:
    """No side files beside them either."""
    assert listing(Path(run[0].hsi).parent) == ["hsi.tif", "made", "msi.tif"]


def test_uncertainty_is_a_second_cog_on_the_same_grid(tmp_path: Path, validate: Callable[[dict[str, Any]], list[str]]) -> None:
    made = job(tmp_path, uncertainty=True, reports=(tmp_path / "r.json",))
    made.run()
    assert listing(tmp_path) == ["out.json", "out.tif", "out_quality.tif", "out_uncertainty.tif", "r.json"]
    (fused, of_fused), (deviation, of_deviation) = read(made.output), read(tmp_path / "out_uncertainty.tif")
    for key in ("transform", "crs", "count", "height", "width", "nodata", "names"):
        assert of_deviation[key] == of_fused[key]
    assert np.array_equal(deviation == -32768, fused == -32768)
    assert deviation[deviation > -32768].min() > 0
    assert cog_validate(tmp_path / "out_uncertainty.tif")[0]
    item = json.loads((tmp_path / "out.json").read_text())
    assert validate(item) == []
    asset = item["assets"]["uncertainty"]
    assert asset["href"] == "./out_uncertainty.tif"
    assert asset["file:checksum"] == "1220" + hashlib.sha256((tmp_path / "out_uncertainty.tif").read_bytes()).hexdigest()
    assert json.loads((tmp_path / "r.json").read_text())["uncertainty"]["factor"] > 0


def test_the_quality_layer_lies_beside_the_image(run: tuple[Job, Any], validate: Callable[[dict[str, Any]], list[str]]) -> None:
    """One byte a pixel on the same grid, 0 exactly where the image has no data; asset, and shares in the report."""
    folder = run[0].output.parent
    (fused, of_fused), (flags, of_flags) = read(run[0].output), read(folder / "out_quality.tif")
    for key in ("transform", "crs", "height", "width"):
        assert of_flags[key] == of_fused[key]
    assert (of_flags["dtype"], of_flags["nodata"], of_flags["count"]) == ("uint8", 0, 1)
    assert np.array_equal(flags[0] == 0, (fused == -32768).any(0))
    assert set(np.unique(flags)) <= {0, 1, 8, 16, 24}
    assert cog_validate(folder / "out_quality.tif")[0]
    item = json.loads((folder / "out.json").read_text())
    assert validate(item) == []
    assert item["assets"]["quality"]["href"] == "./out_quality.tif"
    valid = flags[flags > 0]
    for name, bit in (("good", 1), ("one_image", 2), ("masked", 4), ("outside_range", 8), ("far", 16)):
        assert run[1]["quality"][name] == pytest.approx(((valid & bit) > 0).mean(), abs=1e-6)
    with rasterio.open(folder / "out_quality.tif") as file:
        assert file.tags()["flag_masks"] == "1,2,4,8,16"
        assert len(file.tags()["flag_meanings"].split()) == 5


def test_a_quality_layer_that_is_in_the_way_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "out_quality.tif").write_text("mine")
    with pytest.raises(InvalidOutput, match=r"out_quality\.tif exists"):
        job(tmp_path).run()
    assert listing(tmp_path) == ["out_quality.tif"]


class TestRoomForBoth:
    """Staging raster and output take at most twice 4/3 of the image, and of the standard deviations; only one staging raster is there at a time."""

    ONE = 2 * 4 / 3 * 177 * 133 * 117 * 2

    def full(self, monkeypatch: pytest.MonkeyPatch, share: float) -> None:
        """A disk on which there is as much space as a share of what one of them takes."""
        monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": share * self.ONE})())

    def test_is_seen_to_before_anything_is_computed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("geofuse.pipeline.fit.fit_scene", lambda *_, **__: pytest.fail("too late"))
        self.full(monkeypatch, 1.45)
        with pytest.raises(
            InvalidOutput, match=r"out_uncertainty\.tif and out\.tif takes up to 0\.02 GB.*0\.02 GB are free; free some space"
        ):
            job(tmp_path, uncertainty=True).run()
        assert listing(tmp_path) == []

    def test_suffices_and_is_not_asked_for_twice(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full(monkeypatch, 1.55)
        with monkeypatch.context() as patch:
            patch.setattr("geofuse.pipeline.job.together", lambda _: nullcontext())  # a run that is killed takes nothing back
            patch.setattr("geofuse.pipeline.apply.flagged", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                job(tmp_path, uncertainty=True).run()
        assert listing(tmp_path) == [".out.tif.geofuse", "out_uncertainty.tif"]
        self.full(monkeypatch, 1.05)
        monkeypatch.setattr("geofuse.pipeline.apply.deviation", lambda *_, **__: pytest.fail("that had been done"))
        job(tmp_path, uncertainty=True).run()
        assert listing(tmp_path) == ["out.json", "out.tif", "out_quality.tif", "out_uncertainty.tif"]


def test_uncertainty_needs_a_method_and_a_model_that_know_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="does not estimate its errors"):
        job(tmp_path, method="gsa", uncertainty=True).run()
    small_model().save(tmp_path / "m.safetensors")
    with pytest.raises(InvalidInput, match="without uncertainty"):
        job(tmp_path, model=tmp_path / "m.safetensors", uncertainty=True).run()
    assert listing(tmp_path) == ["m.safetensors"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return few_model().save(tmp_path_factory.mktemp("model") / "m.safetensors")


class TestZarr:
    """The other way out."""

    def run(self, folder: Path, name: str, **options: Any) -> Path:
        replace(job(folder, **({"files": few_files()} | options)), output=folder / name).run()
        return folder / name

    def test_the_numbers_are_those_of_the_cog(self, tmp_path: Path, validate: Callable[[dict[str, Any]], list[str]]) -> None:
        for kind in ("zarr", "tif"):
            (tmp_path / kind).mkdir()
            self.run(tmp_path / kind, f"out.{kind}", uncertainty=True, reports=(tmp_path / kind / "r.json",))
        names = ["out.json", "out.zarr", "out_quality.zarr", "out_uncertainty.zarr", "r.json"]
        assert listing(tmp_path / "zarr") == names
        for name in ("out", "out_uncertainty"):
            stored = zarr.open_array(tmp_path / "zarr" / f"{name}.zarr", path="reflectance", mode="r")
            np.testing.assert_array_equal(stored[:], read(tmp_path / "tif" / f"{name}.tif")[0])
        flags = zarr.open_array(tmp_path / "zarr" / "out_quality.zarr", path="quality", mode="r")
        np.testing.assert_array_equal(flags[:], read(tmp_path / "tif" / "out_quality.tif")[0])
        assert (flags.dtype, flags.fill_value, flags.attrs["flag_masks"]) == (np.uint8, 0, [1, 2, 4, 8, 16])
        item = json.loads((tmp_path / "zarr" / "out.json").read_text())
        assert validate(item) == []
        assert item["assets"]["data"]["href"] == "./out.zarr"
        assert item["assets"]["uncertainty"]["href"] == "./out_uncertainty.zarr"
        assert item["assets"]["quality"]["href"] == "./out_quality.zarr"
        output = json.loads((tmp_path / "zarr" / "r.json").read_text())["output"]
        assert output["sha256"] == content_sha256(tmp_path / "zarr" / "out.zarr")

    def test_a_defect_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("geofuse.pipeline.record.write_item", lambda *_: (_ for _ in ()).throw(ValueError("a defect")))
        with pytest.raises(ValueError, match="a defect"):
            self.run(tmp_path, "out.zarr", uncertainty=True, reports=(tmp_path / "r.json",))
        assert listing(tmp_path) == []

    def test_an_interrupt_after_the_store_keeps_the_work(self, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("geofuse.pipeline.record.write_item", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt, match="resume from there"):
                self.run(tmp_path, "out.zarr", model=model)
        assert listing(tmp_path) == [".out.zarr.geofuse"]
        monkeypatch.setattr("geofuse.run.graph.fuse_tile", lambda *_: pytest.fail("that had been done"))
        self.run(tmp_path, "out.zarr", model=model)
        assert listing(tmp_path) == ["out.json", "out.zarr", "out_quality.zarr"]

    def test_refusals(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        hsi, msi = small_files()
        store = Path(geofuse.to_zarr(geofuse.open_hsi(hsi), tmp_path / "hsi.zarr", progress=False))
        with pytest.raises(InvalidOutput, match="is one of the inputs"):
            self.run(tmp_path, "hsi.zarr", files=(store, msi), overwrite=True)
        with pytest.raises(InvalidOutput, match="or holds one"):
            self.run(tmp_path, "hsi.zarr", files=(store / "0", msi), overwrite=True)
        with pytest.raises(InvalidOutput, match="exists"):
            self.run(tmp_path, "hsi.zarr")
        with pytest.raises(InvalidOutput, match=r"\.tif .*or \.zarr"):
            self.run(tmp_path, "out.nc")
        monkeypatch.setitem(sys.modules, "zarr", None)
        with pytest.raises(InvalidOutput, match=r"geofuse\[zarr\]"):
            self.run(tmp_path, "out.zarr")
        assert listing(tmp_path) == ["hsi.zarr"]

    def test_in_and_out(self, model: Path, tmp_path: Path) -> None:
        """Stores as inputs give what the files give that they were made of."""
        stores = [geofuse.to_zarr(geofuse.open_msi(path), tmp_path / f"{path.stem}.zarr", progress=False) for path in few_files()]
        np.testing.assert_array_equal(
            zarr.open_array(self.run(tmp_path, "a.zarr", files=stores, model=model), path="reflectance", mode="r")[:],
            read(self.run(tmp_path, "b.tif", model=model))[0],
        )
