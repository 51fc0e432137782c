"""The demo: the embedded scene, end to end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from rio_cogeo.cogeo import cog_validate

import geofuse
from geofuse.demo import demo_data, run_demo
from geofuse.errors import InvalidInput, InvalidOutput


def test_the_embedded_scene_is_there_with_its_licence() -> None:
    data = demo_data()
    for path, bands in ((data.hsi, 177), (data.msi, 4)):
        with rasterio.open(path) as file:
            assert file.count == bands
            assert "doi:10.5880/enmap.2016.002" in file.tags()["citation"]
            assert file.tags()["licence"] == "CC BY-SA 4.0"


def test_a_folder_that_cannot_be_made_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InvalidOutput, match=r"cannot make the folder .*taken"):
        run_demo(tmp_path / "taken" / "demo", method="gem", progress=False)
    with pytest.raises(InvalidOutput, match=r"cannot make the folder .*taken"):
        run_demo(tmp_path / "taken", method="gem", progress=False)


def test_an_unknown_method_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no method 'magic'"):
        run_demo(tmp_path / "demo", method="magic", progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_run_demo(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "demo"
    paths, report = run_demo(folder, method="gem", progress=False)
    names = ["berlin_fused.json", "berlin_fused.png", "berlin_fused.tif", "berlin_fused_quality.tif", "report.html", "report.json"]
    assert sorted(p.name for p in folder.iterdir()) == names == sorted(p.name for p in paths.values())
    assert cog_validate(paths["cog"], strict=True, quiet=True)[0]
    with rasterio.open(paths["cog"]) as file:
        assert (file.count, file.height, file.width, file.crs.to_epsg()) == (177, 660, 493, 32633)
    item = json.loads(paths["stac"].read_text())
    assert item["properties"]["datetime"] == "2009-08-20T12:00:00Z"
    assert item["properties"]["gsd"] == 30
    titles = [link["title"] for link in item["links"] if link["rel"] == "derived_from"]
    assert len(titles) == 2
    assert all("CC BY-SA 4.0" in title for title in titles)
    assert any("simulated" in title for title in titles)
    assert report.to_dict()["method"] == "gem"
    assert json.loads(paths["report"].read_text()) == report.to_dict()
    # What issue and README promise of this scene.
    assert report.to_dict()["residuals"]["hsi_rel_rmse"] < 0.03
    # The picture: three coloured panels above three graphs, none of them blank.
    with Image.open(paths["picture"]) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(float)
    height, width = pixels.shape[:2]
    assert min(height, width) > 800
    for row in range(2):
        for col in range(3):
            panel = pixels[height * row // 2 : height * (row + 1) // 2, width * col // 3 : width * (col + 1) // 3]
            assert panel.std() > 10
    # Again into the same folder: replaced, and nothing else left.
    stamp = paths["stac"].read_bytes()
    run_demo(folder, method="bicubic", progress=False)
    assert sorted(p.name for p in folder.iterdir()) == names
    assert paths["stac"].read_bytes() != stamp
    assert geofuse.open_hsi(paths["cog"]).sizes["band"] == 177
