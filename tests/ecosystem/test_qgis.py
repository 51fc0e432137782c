"""The QGIS plugin in QGIS itself, without a display: its algorithms are those that the command line has, and do what it does."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import geofuse
from geofuse.methods.registry import method_names
from tests.crops import few_files

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "ecosystem" / "qgis"
SCRIPT = """
import json, sys
from pathlib import Path
from qgis.core import QgsApplication, QgsProcessingContext, QgsProcessingFeedback, QgsSettings
application = QgsApplication([], False)
application.initQgis()
QgsSettings().setValue("geofuse/command", sys.argv[2])
import geofuse_qgis
plugin = geofuse_qgis.classFactory(None)
plugin.initProcessing()

class Log(QgsProcessingFeedback):
    lines = []
    def pushInfo(self, text):
        self.lines.append(text)
    def pushConsoleInfo(self, text):
        self.lines.append(text)
    def reportError(self, text, fatalError=False):
        self.lines.append(text)

algorithm = QgsApplication.processingRegistry().createAlgorithmById("geofuse:" + sys.argv[1])
parameters = json.loads(sys.argv[3])
context, log = QgsProcessingContext(), Log()
result, good = algorithm.run(parameters, context, log)
print(json.dumps({"good": good, "result": result, "log": log.lines}))
plugin.unload()
application.exitQgis()
"""


def python_of_qgis() -> str | None:
    """An interpreter that has QGIS: not ours, since geofuse runs in an environment of its own."""
    for python in filter(None, (os.environ.get("QGIS_PYTHON"), "/usr/bin/python3")):
        if shutil.which(python) and subprocess.run([python, "-c", "import qgis.core"], capture_output=True, check=False).returncode == 0:
            return python
    return None


QGIS = python_of_qgis()
needs_qgis = pytest.mark.skipif(QGIS is None, reason="no Python with QGIS (name it in QGIS_PYTHON)")


def ran(algorithm: str, folder: Path, **parameters: object) -> dict[str, object]:
    command = f"{sys.executable} -m geofuse"
    environment = os.environ | {
        "QT_QPA_PLATFORM": "offscreen",
        "PYTHONPATH": str(PLUGINS),
        "QGIS_CUSTOM_CONFIG_PATH": str(folder / "profile"),
    }
    words = [str(QGIS), "-c", SCRIPT, algorithm, command, json.dumps(parameters)]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])  # type: ignore[no-any-return]


@needs_qgis
@pytest.mark.slow
def test_fuse_makes_the_image_of_the_command_line(tmp_path: Path) -> None:
    hsi, msi = few_files()
    output = tmp_path / "fused.tif"
    made = ran("fuse", tmp_path, HSI=str(hsi), MSI=str(msi), METHOD="bicubic", OUTPUT=str(output), OPTIONS="--no-stac")
    assert made["good"], made["log"]
    assert made["result"]["OUTPUT"] == str(output)  # type: ignore[index]
    expected = geofuse.fuse(geofuse.open_hsi(hsi), geofuse.open_msi(msi), method="bicubic", progress=False)
    np.testing.assert_allclose(geofuse.open_hsi(output), expected, atol=1e-4)
    assert not output.with_suffix(".json").exists()


@needs_qgis
def test_what_geofuse_rejects_is_said_in_the_log(tmp_path: Path) -> None:
    hsi, _ = few_files()
    made = ran("fuse", tmp_path, HSI=str(hsi), MSI=str(hsi), METHOD="bicubic", OUTPUT=str(tmp_path / "fused.tif"))
    assert not made["good"]
    assert "expected more bands in the HSI" in " ".join(made["log"])  # type: ignore[arg-type]
    assert not (tmp_path / "fused.tif").exists()


@needs_qgis
@pytest.mark.slow
def test_methods_are_compared(tmp_path: Path) -> None:
    hsi, msi = few_files()
    scores = tmp_path / "scores.json"
    made = ran("evaluate", tmp_path, HSI=str(hsi), MSI=str(msi), METHODS=["bicubic", "regression"], SCORES=str(scores))
    assert made["good"], made["log"]
    assert {"bicubic", "regression"} == set(re.findall(r"bicubic|regression", scores.read_text(encoding="utf-8")))


def test_the_methods_that_it_offers_are_there() -> None:
    text = (PLUGINS / "geofuse_qgis" / "algorithms.py").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^METHODS = \((.*?)\)$", text, re.MULTILINE)
    assert set(re.findall(r'"([\w-]+)"', listed)) - {"auto"} <= set(method_names())


def test_its_version_is_that_of_the_package() -> None:
    text = (PLUGINS / "geofuse_qgis" / "metadata.txt").read_text(encoding="utf-8")
    assert re.findall(r"^version=(.*)$", text, re.MULTILINE) == [geofuse.__version__]
