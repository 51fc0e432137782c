"""Every hyperspectral product fuses with every multispectral one, or says why not; the slow test writes docs/reference/product-matrix.md."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from geofuse.simulate.products import enmap, sentinel2
from tests.products import matrix

METHODS = ("gem", "bicubic")
PAGE = "GEOFUSE_PRODUCT_MATRIX"  # environment variable: the file to write
HEADER = """# Product matrix

Every hyperspectral product with every multispectral one ([sensors](sensors.md)), made true to their documents, of one scene without noise that is
known at every place and wavelength. Each pair was opened, fused, written as COG and read again with rasterio and geofuse. **Checked**: CRS, pixel size
and grid, wavelengths and FWHM, good bands, nodata, the mask of the MSI in the image and in the quality layer, both dates in the STAC item. **PSNR** (dB,
peak 1.0) against the scene in the fine pixels: mean of the good bands over the valid pixels. Scenes are small ({bands} bands, at most 40 coarse pixels a
side), and without noise figures are far higher than those of [the benchmark](../benchmarks/table.md): they show that nothing is displaced or mistaken.

Written by `GEOFUSE_PRODUCT_MATRIX=docs/reference/product-matrix.md pytest -m slow tests/test_product_matrix.py`; do not edit.

| hyperspectral | multispectral | ratio | `gem` | `bicubic` | valid | masked | files |
|---|---|---|---|---|---|---|---|
"""


def row(hsi: str, msi: str, found: matrix.Fused) -> str:
    if found.rejected:
        return f"| {hsi} | {msi} | rejected: {found.rejected.split(';')[0]} | | | | | |"
    scores = " | ".join(f"{found.psnr[method]:.1f}" for method in METHODS)
    right = "as expected" if found.masked else "as expected; nothing is masked there"
    files = right if not found.wrong else f"wrong: {', '.join(found.wrong)}"
    return f"| {hsi} | {msi} | {found.ratio:.2f} | {scores} | {found.valid:.0%} | {found.masked:.0%} | {files} |"


@pytest.mark.slow
def test_every_product_with_every_other(tmp_path: Path) -> None:
    """`bicubic` knows nothing of the fine image: whoever uses it is far above."""
    lines, bad = [], []
    for hsi, make_hsi in matrix.HSI.items():
        for msi, (make_msi, resolution) in matrix.MSI.items():
            folders = [tmp_path / re.sub(r"\W", "", f"{hsi}{msi}{part}") for part in ("hsi", "msi", "out")]
            for folder in folders:
                folder.mkdir()
            found = matrix.fuse(hsi, make_hsi(folders[0]), make_msi(folders[1]), resolution, folders[2], METHODS)
            lines.append(row(hsi, msi, found))
            if found.rejected:
                bad += [] if "ratio of HSI to MSI" in found.rejected else [(hsi, msi, found.rejected)]
            elif found.wrong or found.psnr["gem"] < found.psnr["bicubic"] + 10:
                bad.append((hsi, msi, str(found)))
    if PAGE in os.environ:
        Path(os.environ[PAGE]).write_text(HEADER.format(bands=f"about {matrix.BANDS}") + "\n".join(lines) + "\n", encoding="utf-8")
    assert not bad


@pytest.mark.slow
def test_one_product_with_another(tmp_path: Path) -> None:
    found = matrix.fuse("EnMAP", enmap.write(tmp_path), sentinel2.write(tmp_path), None, tmp_path, ("sylvester", "bicubic"), count=14)
    assert (found.rejected, found.wrong) == ("", [])
    assert found.psnr["sylvester"] > found.psnr["bicubic"] + 10
    assert found.masked > 0.01


def test_pixels_of_one_size_are_rejected(tmp_path: Path) -> None:
    make, resolution = matrix.MSI["Landsat 8/9"]
    found = matrix.fuse("EnMAP", enmap.write(tmp_path), make(tmp_path), resolution, tmp_path, ("gem",), count=14)
    assert "ratio of HSI to MSI is 1; expected 1.5 to 32" in found.rejected
    assert not list(tmp_path.glob("*.tif")), "nothing was written"
