"""Hostile catalogs through a whole batch: nothing leaves the folder, nothing of this machine is read, and the rest is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import geofuse
from tests.pipeline.test_batch import broken, catalog, made
from tests.stac.catalog import serving

NAMES = ["../up", "/etc/cron.d/x\n", "a\0b", "x" * 10_000, "a/b", "a/b"]
VRT = """<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>
<SourceFilename>{}/hsi.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"""
_LARGE = b"\x04\0\x01\0\0\0\xff\xff\xff\x7f"
PETABYTES = b"II*\0\x08\0\0\0\x02\0" + b"\0\x01" + _LARGE + b"\x01\x01" + _LARGE + b"\0\0\0\0"


def test_every_id_gets_a_folder_within_the_output(tmp_path: Path) -> None:
    source, output = catalog(tmp_path / "source", NAMES), tmp_path / "inner" / "out"
    table = made(source, output, method="bicubic")
    assert table.state.tolist() == ["done"] * len(NAMES), table.reason.tolist()
    assert sorted(path.name for path in output.iterdir() if path.is_dir()) == sorted(table.id)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inner", "source"]
    assert [path.name for path in (tmp_path / "inner").iterdir()] == ["out"]
    true = [next(link["geofuse:id"] for link in links(output, name) if link.get("geofuse:role") == "hsi") for name in table.id]
    assert true == NAMES
    for line in (output / "log.jsonl").read_text().splitlines():
        json.loads(line)


def links(output: Path, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((output / name / f"{name}.json").read_text())["links"]
    return found


@pytest.mark.parametrize(
    ("href", "reason"),
    [
        ("http://169.254.169.254/latest/meta-data", "--allow-host 169.254.169.254"),
        ("http://10.0.0.1/a.tif", "--allow-host 10.0.0.1"),
        ("http://intranet/a.tif", "--allow-host intranet"),
        ("/vsicurl/http://169.254.169.254/a.tif", "expected a path, or an address"),
        ('NETCDF:"/etc/passwd":x', "expected a path, or an address"),
        ("gopher://example.com/a", "expected a path, or an address"),
        ("./petabytes.tif", "petabytes.tif"),
        ("./local.vrt", "local.vrt"),
    ],
)
def test_what_an_item_must_not_name_is_the_reason_of_its_pair(href: str, reason: str, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    source = catalog(folder, ["bad"])
    broken(source, "bad", {"href": href})
    (folder / "local.vrt").write_text(VRT.format(folder))
    (folder / "petabytes.tif").write_bytes(PETABYTES)
    table = made(source, tmp_path / "out", method="bicubic")
    assert table.state.tolist() == ["failed"]
    assert reason in table.reason[0]
    assert not (tmp_path / "out" / "collection.json").exists()


def test_a_catalog_of_the_internet_reads_no_file_of_here(tmp_path: Path) -> None:
    """The place that a catalog was read from decides, whatever its items say of themselves."""
    from dataclasses import replace

    from geofuse.io.read.access import Access

    source = catalog(tmp_path / "source", ["a"])
    pairs = geofuse.search_pairs(str(source), "h", "m")
    far = Access("https://example.com/items.json")
    pairs["pair"] = [replace(pair, access=far) for pair in pairs.pair]
    table = geofuse.batch(pairs, tmp_path / "out", method="bicubic", progress=False)
    assert table.state.tolist() == ["failed"]
    assert "--allow-host file" in table.reason[0]
    pairs["pair"] = [replace(pair, access=replace(far, hosts=frozenset({"file"}))) for pair in pairs.pair]
    assert geofuse.batch(pairs, tmp_path / "out", method="bicubic", progress=False).state.tolist() == ["done"]


def test_assets_over_http_are_read_in_ranges_and_a_changed_one_is_read_again(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    asked: list[str] = []

    def watch(request: Any) -> bool:
        asked.append(f"{request.command} {request.path} {request.headers.get('Range', '')}")
        busy = "bytes=0-1" in asked[-1] and not any("bytes=0-1" in line for line in asked[:-1])
        if busy:  # once
            request.send_error(503)
        return busy

    folder.mkdir()
    with serving(folder, watch) as root:
        catalog(folder, ["a"], root)
        for state in ("done", "done"):
            assert made(f"{root}/items.json", tmp_path / "out", method="bicubic").state.tolist() == [state]
        assert any("hsi.tif bytes=" in line for line in asked)
        read = [line for line in asked if "bytes=" in line and not line.endswith("bytes=0-0")]
        assert len(read) == len(set(read)) + 1, "nothing is fetched twice, but for what the server was too busy for"
        made(f"{root}/items.json", tmp_path / "out", method="bicubic")
        assert [line for line in asked if "bytes=" in line and not line.endswith("bytes=0-0")] == read
        first = (tmp_path / "out" / "a" / "a_report.json").stat().st_mtime_ns
        (folder / "hsi.tif").write_bytes((folder / "hsi.tif").read_bytes() + b"\0")
        made(f"{root}/items.json", tmp_path / "out", method="bicubic")
        assert (tmp_path / "out" / "a" / "a_report.json").stat().st_mtime_ns > first
