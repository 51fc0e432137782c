"""Sample products read by hypercoast, which shares no code with geofuse, and by geofuse: values, wavelengths and places agree.

``GEOFUSE_HYPERCOAST`` names a Python in which hypercoast can be imported (``pip install hypercoast``; 0.27.0 tried): its own, because its dependencies
are many. What it leaves to its caller is done here: it gives EnMAP and Wyvern in
stored numbers, and places of EnMAP as the corners of pixels. Those of PRISMA are too close by one pixel in all, so that its first is compared.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pyproj import Transformer

from geofuse import open_hsi
from geofuse.simulate.products import emit, enmap, prisma, tanager, truth, wyvern

PYTHON = os.environ.get("GEOFUSE_HYPERCOAST")
SCRIPT = Path(__file__).parent / "products" / "hypercoast_reads.py"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PYTHON, reason="GEOFUSE_HYPERCOAST names no Python with hypercoast")]


@dataclass(frozen=True)
class Case:
    """A product, the file of it that hypercoast takes, and how its answer is to be read.

    Attributes
    ----------
    make : callable
        Writes the product into a folder.
    file : str
        Pattern of the file.
    scale : float
        Reflectance of a stored number.
    corner : float
        Pixels from the places that it gives to the centres.
    wavelength : float
        Nanometres to which it rounds.
    places : int, optional
        Rows and columns whose places are compared; all by default.
    """

    make: Callable[[Path], Path]
    file: str
    scale: float = 1.0
    corner: float = 0.0
    wavelength: float = 1e-3
    places: int | None = None


CASES = {
    "EMIT": Case(lambda folder: emit.write(folder, rows=30, cols=24, bands=12), "*_RFL_*.nc"),
    "PRISMA": Case(prisma.write, "*.he5", places=1),
    "EnMAP": Case(enmap.write, "*/*-SPECTRAL_IMAGE.TIF", scale=1e-4, corner=0.5, wavelength=0.006),
    "Tanager": Case(tanager.write, "*.h5"),
    "Wyvern": Case(wyvern.write, "*/*/*_l2a.tiff", scale=1e-4, wavelength=1e-3),
}


@pytest.mark.parametrize("kind", CASES)
def test_hypercoast_reads_the_same(kind: str, tmp_path: Path) -> None:
    case = CASES[kind]
    cube = open_hsi(case.make(tmp_path))
    out = tmp_path / "read.npz"
    subprocess.run([str(PYTHON), str(SCRIPT), kind, str(next(tmp_path.glob(case.file))), str(out)], check=True, timeout=900)
    read = np.load(out)
    along = np.argsort(read["wavelength"], kind="stable")
    np.testing.assert_allclose(read["wavelength"][along], cube.wavelength, atol=case.wavelength)
    both = np.isfinite(cube.values)
    assert both.mean() > 0.4
    x, y = (cube[axis].values - case.corner * np.diff(cube[axis].values[:2]) for axis in ("x", "y"))
    if read["x"].ndim == 2:
        x, y = Transformer.from_crs(truth.CRS, "EPSG:4326", always_xy=True).transform(*np.meshgrid(x, y))
    for ours, axis in ((x, "x"), (y, "y")):
        np.testing.assert_allclose(read[axis][: case.places], ours[: case.places], rtol=1e-9)
    np.testing.assert_allclose(case.scale * read["values"][along][both], cube.values[both], atol=2e-6)
