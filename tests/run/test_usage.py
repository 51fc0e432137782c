"""Versions, for reports of defects: what is there, and what is not."""

from __future__ import annotations

import io
import re
from importlib.metadata import version

import pytest
import rasterio

import geofuse
from geofuse.run import usage


def told() -> str:
    stream = io.StringIO()
    geofuse.show_versions(stream)
    return stream.getvalue()


def test_versions_of_all_that_it_rests_on() -> None:
    text = told()
    for name, found in (("geofuse", geofuse.__version__), ("GDAL", rasterio.__gdal_version__), ("torch", version("torch"))):
        assert re.search(rf"^{name} +{re.escape(found)}$", text, re.MULTILINE)
    assert re.search(r"^GPU +\S", text, re.MULTILINE)
    assert "[dev]" not in text


def test_what_is_absent_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = ["numpy>=2", 'no-such-package>=1; extra == "sensors"', "other[x]>=1; extra == 'dev'"]
    monkeypatch.setattr(usage, "requires", lambda name: needs)
    text = told()
    assert re.search(r"^\[sensors\] +no-such-package absent$", text, re.MULTILINE)
    assert "other" not in text


def test_it_prints_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    geofuse.show_versions()
    assert "geofuse" in capsys.readouterr().out
