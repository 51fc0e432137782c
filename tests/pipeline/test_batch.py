"""Batches of tiny pairs: what lies in the folder is read back with pystac, rasterio and plain JSON."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pystac
import pytest
import rasterio
from filelock import FileLock
from rasterio.warp import transform_bounds

import geofuse
from geofuse.cli import main
from geofuse.errors import InvalidInput, InvalidOutput, UnfinishedWork
from geofuse.io.read.fingerprint import file_sha256
from geofuse.pipeline import batch
from tests import storage
from tests.crops import few_files
from tests.stac.catalog import item, serving, serving_api, write_items
from tests.stac.conftest import validate as schemas

validate = schemas  # the fixture
server, bucket = storage.server, storage.bucket


def catalog(folder: Path, names: list[str], base: str = ".", **options: Any) -> Path:
    """An ItemCollection of hyperspectral items of one place, and one multispectral item, beside their rasters."""
    folder.mkdir(exist_ok=True)
    hsi, msi = few_files()
    for name, file in (("hsi", hsi), ("msi", msi)):
        shutil.copy(file, folder / f"{name}.tif")
    with rasterio.open(hsi) as file:
        box = transform_bounds(file.crs, "EPSG:4326", *file.bounds)
    made = [item(name, "h", box=box, href=f"{base}/hsi.tif", time=f"2024-06-30T10:{k:02d}:00Z", gsd=30.0) for k, name in enumerate(names)]
    own = {"type": "Collection", "license": "CC-BY-4.0", "providers": [{"name": "GFZ", "roles": ["producer", "host"]}]}
    (folder / "collection.json").write_text(json.dumps(own))
    for each in made:
        each["links"].append({"rel": "collection", "href": "./collection.json"})
    options = {"license": "CC-BY-4.0", "providers": []} | options
    return write_items(
        folder / "items.json", [*made, item("m", "m", box=box, href=f"{base}/msi.tif", time="2024-07-01T10:00:00Z", **options)]
    )


def made(source: Path | str, output: Path, **options: Any) -> Any:
    return geofuse.batch(geofuse.search_pairs(str(source), "h", "m"), output, **{"method": "sylvester", "progress": False} | options)


def broken(source: Path, name: str, change: dict[str, Any]) -> None:
    """Change the asset of one item."""
    text = json.loads(source.read_text())
    for feature in text["features"]:
        if feature["id"] == name:
            feature["assets"]["data"] |= change
    source.write_text(json.dumps(text))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("batch")
    source = catalog(folder / "source", ["a", "../b", "c"])
    (folder / "source" / "cut.tif").write_bytes((folder / "source" / "hsi.tif").read_bytes()[:5000])
    broken(source, "c", {"href": "./cut.tif"})
    return folder / "out", made(source, folder / "out")


def test_what_fails_is_said_and_does_not_stop_the_rest(run: tuple[Path, Any]) -> None:
    _, table = run
    assert table.state.tolist() == ["done", "done", "failed"]
    assert "truncated" in table.reason[2]
    assert "cut.tif" in table.reason[2]
    assert (table.seconds > 0).all()
    assert table.msi_rel_rmse[:2].between(0, 1).all()


def test_each_pair_has_a_folder_within_the_output(run: tuple[Path, Any]) -> None:
    output, table = run
    assert table.id[0] == "a"
    assert table.id[1].startswith("b-")
    for name in table.id[:2]:
        ends = [".json", ".png", ".safetensors", ".tif", "_overview.png", "_quality.tif", "_report.json"]
        assert sorted(p.name for p in (output / name).iterdir()) == [*(f"{name}{end}" for end in ends), "state.json"]
    assert sorted(p.name for p in output.iterdir() if p.is_file()) == [".lock", "collection.json", "items.parquet", "log.jsonl"]
    assert not (output.parent / "b").exists()
    geofuse.Model.load(output / "a" / "a.safetensors")


def test_the_collection_is_valid_and_leads_to_every_item(run: tuple[Path, Any], validate: Any) -> None:
    output, table = run
    collection = pystac.Collection.from_file(str(output / "collection.json"))
    about = json.loads((output / "collection.json").read_text())
    assert validate(about) == []
    bands = about["item_assets"]["data"]["bands"]
    assert [band["name"] for band in bands] == [f"{band['eo:center_wavelength'] * 1000:.2f} nm" for band in bands]
    assert "statistics" not in bands[0]
    assert set(about["summaries"]["geofuse:msi_rel_rmse"]) == {"minimum", "maximum"}
    assert about["license"] == "CC-BY-4.0"
    assert [(each["name"], each["roles"]) for each in about["providers"]] == [("GFZ", ["producer"]), ("geofuse", ["processor"])]
    items = {made.id: made for made in collection.get_items()}
    assert set(items) == set(table.id[:2])
    assert collection.extent.temporal.intervals[0] == [items["a"].datetime, items["a"].common_metadata.end_datetime]
    assert collection.extent.spatial.bboxes[0] == items["a"].bbox
    assert collection.summaries.to_dict()["geofuse:method"] == ["sylvester"]
    assert set(collection.item_assets) == {"data", "quality", "report", "model", "thumbnail", "overview"}
    for name, found in items.items():
        assert found.get_collection().id == collection.id
        text = json.loads((output / name / f"{name}.json").read_text())
        assert validate(text) == []
        known = json.loads((Path(geofuse.__file__).parent / "stac" / "geofuse.schema.json").read_text())
        ours = {key for key in text["properties"] if key.startswith("geofuse:")}
        assert ours <= set(known["properties"]["properties"]["properties"])
        assert text["properties"]["geofuse:parameters"]["method"] == "sylvester"
        assert {"geofuse", "numpy", "rasterio"} <= set(text["properties"]["processing:software"])
        assert text["properties"]["mlm:architecture"] == "sylvester"
        assert text["assets"]["data"]["bands"][0]["raster:spatial_resolution"] < text["properties"]["gsd"] == 30.0
        assert str(output) not in json.dumps(text)
        sources = {link["geofuse:role"]: link["geofuse:id"] for link in text["links"] if link["rel"] == "derived_from"}
        assert sources == {"hsi": "a" if name == "a" else "../b", "msi": "m"}
        with rasterio.open(found.assets["thumbnail"].get_absolute_href()) as picture:
            assert (picture.count, picture.shape) == (4, (133, 117))
    assert items["a"].datetime.isoformat() == "2024-06-30T10:00:00+00:00"
    assert items["a"].properties["start_datetime"] == "2024-06-30T10:00:00Z"
    assert items["a"].properties["end_datetime"] == "2024-07-01T10:00:00Z"


def test_items_in_geoparquet_are_those_of_the_folder(run: tuple[Path, Any]) -> None:
    rustac = pytest.importorskip("rustac")
    output, table = run
    found = rustac.read_sync(str(output / "items.parquet"))["features"]
    assert {made["id"] for made in found} == set(table.id[:2])
    assert {made["assets"]["data"]["href"] for made in found} == {f"./{name}/{name}.tif" for name in table.id[:2]}


def test_the_log_is_json_lines_with_an_event_each(run: tuple[Path, Any]) -> None:
    output, _ = run
    events = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["start", "done", "done", "failed", "end"]
    assert events[-1]["counts"] == {"done": 2, "failed": 1}
    assert all(event["time"].endswith("Z") for event in events)


def stamps(output: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in output.glob("*/*_report.json")}


def test_again_makes_only_what_failed_or_changed(tmp_path: Path) -> None:
    source = catalog(tmp_path / "source", ["a", "b"])
    broken(source, "b", {"href": "./nowhere.tif"})
    assert made(source, tmp_path / "out").state.tolist() == ["done", "failed"]
    first = stamps(tmp_path / "out")
    broken(source, "b", {"href": "./hsi.tif"})
    assert made(source, tmp_path / "out").state.tolist() == ["done", "done"]
    second = stamps(tmp_path / "out")
    assert second["a"] == first["a"]
    made(source, tmp_path / "out", seed=1)
    third = stamps(tmp_path / "out")
    assert third["a"] > second["a"]
    other = tmp_path / "source" / "hsi.tif"
    os.utime(other, ns=(0, 0))  # the fingerprint holds the time of change
    made(source, tmp_path / "out", seed=1)
    assert stamps(tmp_path / "out")["a"] > third["a"]


def test_two_batches_exclude_each_other(tmp_path: Path) -> None:
    source = catalog(tmp_path / "source", ["a"])
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".lock"), pytest.raises(InvalidOutput, match="Another batch works"):
        made(source, tmp_path / "out")


@pytest.mark.parametrize(
    "option",
    [
        *({"jobs": 0}, {"dtype": "uint8"}, {"method": "magic"}, {"model": "nowhere.safetensors"}, {"masked": "?"}, {"register": "?"}),
        *({"seed": -1}, {"mask": "nowhere.tif"}, {"device": "abacus"}, {"train_seconds": 0.0}, {"report": ["pdf"]}, {"scheduler": "magic"}),
    ],
)
def test_options_that_fit_no_pair_are_rejected_before_any(option: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        made(catalog(tmp_path / "source", ["a"]), tmp_path / "out", **option)
    assert not (tmp_path / "out").exists()


def test_work_of_another_run_is_dropped_and_its_own_is_resumed(tmp_path: Path) -> None:
    class Left:
        """A job beside whose output another one left its work."""

        output, layers, runs = tmp_path / "a.tif", (tmp_path / "a_quality.tif",), 0

        def run(self) -> None:
            self.runs += 1
            if (tmp_path / ".a.tif.geofuse").exists():
                raise UnfinishedWork("of another tile size")

    (tmp_path / ".a.tif.geofuse").mkdir()
    job: Any = Left()
    batch._run(job)
    assert job.runs == 2
    assert not (tmp_path / ".a.tif.geofuse").exists()


def test_a_function_that_other_processes_cannot_be_sent(tmp_path: Path) -> None:
    source = catalog(tmp_path / "source", ["a", "b"])
    found = geofuse.search_pairs(str(source), hsi="h", msi="m", patch_url=lambda href: href)
    with pytest.raises(InvalidInput, match="patch_url cannot be sent"):
        geofuse.batch(found, tmp_path / "out", method="bicubic", jobs=2, progress=False)
    assert not (tmp_path / "out").exists()


def test_a_table_of_anything_else_is_rejected(tmp_path: Path) -> None:
    import pandas as pd

    with pytest.raises(InvalidInput, match="search_pairs"):
        geofuse.batch(pd.DataFrame({"id": ["a"]}), tmp_path)


def test_signed_addresses_are_opened_and_kept_nowhere(tmp_path: Path) -> None:
    """Assets behind a signature: a hook signs them, each time otherwise, and what is done stays done."""
    folder = tmp_path / "source"

    def unsigned(request: Any) -> bool:
        if ".tif" in request.path and "sig=secret" not in request.path:
            request.send_error(403)
            return True
        request.path = request.path.partition("?")[0]
        return False

    with serving(folder, unsigned) as root:
        source = catalog(folder, ["a", "b"], root)
        broken(source, "b", {"href": f"{root}/nowhere.tif?token=hunter2"})
        calls: list[str] = []

        def sign(url: str) -> str:
            calls.append(url)
            return f"{url}?sig=secret{len(calls)}"

        for _ in range(2):
            pairs = geofuse.search_pairs(str(source), "h", "m", patch_url=sign, allow_hosts=["127.0.0.1"])
            table = geofuse.batch(pairs, tmp_path / "out", method="sylvester", progress=False)
            assert table.state.tolist() == ["done", "failed"], table.reason.tolist()
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [path for path in written if b"secret" in path.read_bytes() or b"hunter2" in path.read_bytes()]
    assert "secret" not in table.to_string()
    events = [json.loads(line)["event"] for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert events.count("done") == 2
    assert len(stamps(tmp_path / "out")) == 1


def test_from_a_stac_api_to_a_cube_of_all_bands(tmp_path: Path) -> None:
    """Client, server and reader are those of others: pystac-client, rustac, odc-stac."""
    pytest.importorskip("pystac_client")
    import odc.stac

    source = catalog(tmp_path / "source", ["a", "b"], (tmp_path / "source").as_uri())
    with serving_api(source) as root:
        assert made(root, tmp_path / "out", method="bicubic").state.tolist() == ["done", "done"]
    items = list(pystac.Collection.from_file(str(tmp_path / "out" / "collection.json")).get_items())
    links = {link.extra_fields["geofuse:role"]: link.href for link in items[0].links if link.rel == "derived_from"}
    assert links == {"hsi": f"{root}/collections/h/items/a", "msi": f"{root}/collections/m/items/m"}
    cube = odc.stac.load(items, chunks={})
    with rasterio.open(few_files()[0]) as hsi:
        assert len(cube.data_vars) == hsi.count + 1  # the quality layer
    assert dict(cube.sizes) == {"y": 133, "x": 117, "time": 2}


PROGRAM = "from geofuse.cli import main\nmain()"


def command(source: Path, output: Path | str, *options: str) -> list[str]:
    asked = ["batch", "run", str(source), "--hsi", "h", "--msi", "m", "-o", str(output), "--method", "bicubic", "-q", *options]
    return [sys.executable, "-c", PROGRAM, *asked]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_killed_at_random_it_resumes_and_each_pair_is_made_once(tmp_path: Path) -> None:
    source, output = catalog(tmp_path / "source", ["a", "b", "c", "d"]), tmp_path / "out"
    made(source, tmp_path / "undisturbed", method="bicubic")
    chance = random.Random(time.time_ns())
    for _ in range(3):
        process = subprocess.Popen(command(source, output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = len(list(output.glob("*/*.tif")))
        while process.poll() is None and len(list(output.glob("*/*.tif"))) <= before:
            time.sleep(0.02)
        time.sleep(chance.random())
        process.send_signal(signal.SIGKILL)
        process.wait()
    early = {path: path.stat().st_mtime_ns for path in output.glob("*/state.json") if json.loads(path.read_text())["state"] == "done"}
    done = subprocess.run(command(source, output), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "4 done, 0 failed" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in early} == early
    for name in "abcd":
        assert file_sha256(output / name / f"{name}.tif") == file_sha256(tmp_path / "undisturbed" / name / f"{name}.tif")
    assert len(json.loads((output / "collection.json").read_text())["links"]) == 5
    assert not list(output.glob("*/.*"))


@pytest.mark.slow
def test_in_two_processes(tmp_path: Path) -> None:
    source, output = catalog(tmp_path / "source", ["a", "b", "c"]), tmp_path / "out"
    broken(source, "b", {"href": "./nowhere.tif"})
    done = subprocess.run(command(source, output, "--jobs", "2"), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1, done.stderr
    assert "2 done, 1 failed" in done.stdout
    assert "nowhere.tif" in done.stderr


def ended(*arguments: str) -> int:
    """Exit status of the command line, in this process."""
    with pytest.raises(SystemExit) as end:
        main([*arguments])
    return int(end.value.code or 0)


def test_exit_statuses_and_tables_of_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output = catalog(tmp_path / "source", ["a", "b"]), tmp_path / "out"
    broken(source, "b", {"href": "./nowhere.tif"})
    asked = command(source, output)[3:]
    assert ended(*asked) == 1
    assert ended("batch", "status", str(output), "--json", "-") == 0
    rows = json.loads(capsys.readouterr().out.partition("\n")[2])
    assert [(row["id"], row["state"]) for row in rows] == [("a", "done"), ("b", "failed")]
    assert set(rows[0]) == {"id", "state", "reason", "seconds"}
    broken(source, "b", {"href": "./hsi.tif"})
    assert ended(*asked) == 0
    assert ended("batch", "status", str(tmp_path / "elsewhere")) == 2
    assert ended("batch", "pairs", str(tmp_path / "none.json"), "--hsi", "h", "--msi", "m") == 2
    capsys.readouterr()
    assert ended("batch", "pairs", str(source), "--hsi", "h", "--msi", "m", "--max-gap", "24h", "--json", "-") == 0
    said = json.loads(capsys.readouterr().out)
    why = "overlap 100 %, 1 day apart; the only one"
    assert said["pairs"] == [{"id": name, "hsi": name, "msi": ["m"], "reason": why} for name in "ab"]
    assert said["left"] == []


def test_in_object_storage(bucket: Any, tmp_path: Path, validate: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The same as in a folder, and nothing stays on this machine; the second run leaves alone what is done."""
    source, place = catalog(tmp_path / "source", ["a", "b"]), "s3://scenes/all/fused"
    broken(source, "b", {"href": "./nowhere.tif"})
    asked = command(source, place)[3:]
    assert ended(*asked) == 1
    held = {entry.key.removeprefix("all/fused/"): entry.last_modified for entry in bucket.objects.all()}
    ends = [".json", ".png", ".safetensors", ".tif", "_overview.png", "_quality.tif", "_report.json"]
    assert set(held) == {*(f"a/a{end}" for end in ends), "a/state.json", "b/state.json", "collection.json", "items.parquet", "log.jsonl"}
    assert list((tmp_path / "scratch").iterdir()) == []
    capsys.readouterr()
    assert ended("batch", "status", place, "--json", "-") == 0
    assert [(row["id"], row["state"]) for row in json.loads(capsys.readouterr().out)] == [("a", "done"), ("b", "failed")]
    item = json.loads(bucket.Object("all/fused/a/a.json").get()["Body"].read())
    assert validate(item) == []
    assert str(tmp_path) not in json.dumps(item)
    links = {link["rel"]: link["href"] for link in item["links"] if link["rel"] != "derived_from"}
    assert links["collection"] == "../collection.json"
    broken(source, "b", {"href": "./hsi.tif"})
    time.sleep(1.1)  # S3 counts whole seconds
    assert ended(*asked) == 0
    again = {entry.key.removeprefix("all/fused/"): entry.last_modified for entry in bucket.objects.all()}
    assert {name for name in held if name.startswith("a/") and again[name] != held[name]} == set()
    made = json.loads(bucket.Object("all/fused/collection.json").get()["Body"].read())
    assert [link["href"] for link in made["links"] if link["rel"] == "item"] == ["./a/a.json", "./b/b.json"]
    events = [json.loads(line)["event"] for line in bucket.Object("all/fused/log.jsonl").get()["Body"].read().splitlines()]
    assert events == ["start", "done", "failed", "end", "start", "done", "done", "end"]
    assert ended("batch", "status", "s3://scenes/elsewhere") == 2


def test_several_items_are_fused_as_one(tmp_path: Path, validate: Any) -> None:
    source = catalog(tmp_path / "source", ["a"])
    text = json.loads(source.read_text())
    whole = next(feature for feature in text["features"] if feature["id"] == "m")
    west, south, east, north = whole["bbox"]
    with rasterio.open(tmp_path / "source" / "msi.tif") as file:
        half = file.width // 2
        for name, first, last, box in (
            ("w", 0, half + 7, [west, (west + east) / 2]),
            ("e", half - 5, file.width, [(west + east) / 2, east]),
        ):
            window = rasterio.windows.Window(first, 0, last - first, file.height)
            profile = file.profile | {"width": last - first, "transform": file.window_transform(window)}
            with rasterio.open(tmp_path / "source" / f"{name}.tif", "w", **profile) as out:
                out.write(file.read(window=window))
                for band in file.indexes:
                    out.update_tags(band, **file.tags(band))
                    out.set_band_description(band, file.descriptions[band - 1])
            moment = {"w": "2024-07-01T10:00:00Z", "e": "2024-07-01T10:00:15Z"}[name]
            text["features"].append(item(name, "n", box=(box[0], south, box[1], north), href=f"./{name}.tif", time=moment))
    source.write_text(json.dumps(text))
    one = made(source, tmp_path / "one", method="bicubic")
    pairs = geofuse.search_pairs(str(source), "h", "n", min_overlap=0.9)
    two = geofuse.batch(pairs, tmp_path / "two", method="bicubic", progress=False)
    assert (one.state[0], two.state[0], sorted(pairs.msi[0])) == ("done", "done", ["e", "w"]), two.reason[0]
    with rasterio.open(tmp_path / "one" / "a" / "a.tif") as expected, rasterio.open(tmp_path / "two" / "a" / "a.tif") as fused:
        assert (fused.transform, fused.shape) == (expected.transform, expected.shape)
        assert (fused.read() == expected.read()).all()
    about = json.loads((tmp_path / "two" / "a" / "a.json").read_text())
    assert validate(about) == []
    sources = [(link["geofuse:role"], link["geofuse:id"]) for link in about["links"] if link["rel"] == "derived_from"]
    assert sorted(sources) == [("hsi", "a"), ("msi", "e"), ("msi", "w")]
    assert about["properties"]["start_datetime"] == "2024-06-30T10:00:00Z"
    assert about["properties"]["end_datetime"] == "2024-07-01T10:00:15Z"


@pytest.mark.slow
def test_a_report_to_read_and_all_of_it_again(tmp_path: Path) -> None:
    source = catalog(tmp_path / "source", ["a"])
    made(source, tmp_path / "out", method="bicubic", report=["html"])
    assert "<html" in (tmp_path / "out" / "a" / "a_report.html").read_text()
    assets = json.loads((tmp_path / "out" / "a" / "a.json").read_text())["assets"]
    assert (assets["report_html"]["href"], assets["report_html"]["type"]) == ("./a_report.html", "text/html")
    first = stamps(tmp_path / "out")
    made(source, tmp_path / "out", method="bicubic", report=["html"])
    assert stamps(tmp_path / "out") == first
    made(source, tmp_path / "out", method="bicubic", report=["html"], overwrite=True)
    assert stamps(tmp_path / "out")["a"] > first["a"]
