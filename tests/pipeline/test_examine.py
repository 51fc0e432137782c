"""The doctor: each fault alone and several at once, named by code, weighed, with its fix; what it says stops a fusion does stop it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from affine import Affine

import geofuse
from geofuse.cli import main
from geofuse.errors import InvalidInput
from geofuse.reporting.advice import ADVICE
from geofuse.reporting.diagnosis import Diagnosis, Finding, from_text
from tests.crops import Raster, few_files, read

Change = Callable[[Raster], Raster]


@cache
def rasters() -> tuple[Raster, Raster]:
    hsi, msi = few_files()
    return read(hsi), read(msi)


def same(raster: Raster) -> Raster:
    return raster


def moved(east: float) -> Change:
    return lambda raster: replace(raster, transform=Affine.translation(east, 0) @ raster.transform)


def unplaced(raster: Raster) -> Raster:
    return replace(raster, crs=None)


def untagged(raster: Raster) -> Raster:
    return replace(
        raster.tagged(lambda tags: {k: v for k, v in tags.items() if "wavelength" not in k and k != "fwhm"}),
        names=tuple(f"b{k}" for k in range(len(raster.names))),
    )


def without(tag: str) -> Change:
    return lambda raster: raster.tagged(lambda tags: {k: v for k, v in tags.items() if k != tag})


def radiance(raster: Raster) -> Raster:
    return replace(raster, values=np.where(raster.values == -99, -99, raster.values / 50).astype("float32"), file_tags={})


def unscaled(raster: Raster) -> Raster:
    return replace(raster.tagged(lambda tags: {k: v for k, v in tags.items() if "scale" not in k}), file_tags={})


def first_bands(count: int) -> Change:
    return lambda raster: raster.bands(*range(count))


def thermal(raster: Raster) -> Raster:
    return replace(raster, tags=(*raster.tags[:-1], raster.tags[-1] | {"wavelength": "11000"}))


def doctored(tmp_path: Path, of_hsi: Change, of_msi: Change, **options: Any) -> Diagnosis:
    hsi, msi = rasters()
    files = of_hsi(hsi).write(tmp_path / "hsi.tif"), of_msi(msi).write(tmp_path / "msi.tif")
    return geofuse.doctor(*files, progress=False, **({"sample": False} | options))


def codes(found: Diagnosis, weight: str | None = None) -> list[str]:
    return [finding.code for finding in found.findings if weight in (None, finding.weight)]


@pytest.mark.parametrize(
    ("of_hsi", "of_msi", "code"),
    [
        (moved(90_000), same, "no-overlap"),
        (unplaced, same, "no-crs"),
        (same, unplaced, "no-crs"),
        (radiance, same, "hsi-not-reflectance"),
        (first_bands(3), same, "swapped"),
        (same, lambda raster: replace(raster, transform=raster.transform @ Affine.scale(0.2)), "ratio"),
    ],
)
def test_what_stops_a_fusion_is_named_and_does_stop_it(of_hsi: Change, of_msi: Change, code: str, tmp_path: Path) -> None:
    found = doctored(tmp_path, of_hsi, of_msi)
    assert found.stops
    assert code in codes(found, "stops")
    assert all(finding.fix for finding in found.findings if finding.weight == "stops")
    with pytest.raises(InvalidInput):
        geofuse.to_cog(
            geofuse.fuse(geofuse.open_hsi(tmp_path / "hsi.tif"), geofuse.open_msi(tmp_path / "msi.tif"), method="bicubic", progress=False),
            tmp_path / "fused.tif",
            progress=False,
        )


@pytest.mark.parametrize(
    ("of_hsi", "of_msi", "code"),
    [
        (untagged, same, "no-wavelengths"),
        (without("fwhm"), same, "no-fwhm"),
        (same, untagged, "msi-no-wavelengths"),
        (same, first_bands(2), "few-msi-bands"),
        (same, thermal, "bands-beyond"),
        (same, radiance, "not-reflectance"),
        (unscaled, same, "scale-undeclared"),
        (same, same, "no-mask"),
        (same, same, "no-date"),
    ],
)
def test_what_weakens_a_fusion_is_named_and_stops_nothing(of_hsi: Change, of_msi: Change, code: str, tmp_path: Path) -> None:
    found = doctored(tmp_path, of_hsi, of_msi)
    assert code in codes(found)
    assert not found.stops
    if (of_hsi, of_msi) != (same, same):
        assert code not in codes(doctored(tmp_path, same, same))


def test_the_first_fault_does_not_hide_the_others(tmp_path: Path) -> None:
    found = doctored(tmp_path, lambda raster: untagged(unplaced(raster)), lambda raster: first_bands(2)(unscaled(raster)))
    assert {"no-crs", "no-wavelengths", "few-msi-bands", "scale-undeclared"} <= set(codes(found))
    weights = [finding.weight for finding in found.findings]
    assert weights == sorted(weights, key=["stops", "weakens", "note"].index)
    assert len({(finding.code, finding.message) for finding in found.findings}) == len(found.findings)


def test_swapped_images_are_looked_at_in_the_right_order(tmp_path: Path) -> None:
    hsi, msi = rasters()
    files = msi.bands(0, 1).write(tmp_path / "first.tif"), hsi.write(tmp_path / "second.tif")
    found = geofuse.doctor(*files, sample=False)
    assert codes(found, "stops") == ["swapped"]
    assert "few-msi-bands" in codes(found)


def test_a_file_that_is_not_there_does_not_hide_what_is_wrong_with_the_other(tmp_path: Path) -> None:
    _, msi = rasters()
    found = geofuse.doctor(tmp_path / "no.tif", unplaced(msi).write(tmp_path / "msi.tif"), sample=False)
    assert codes(found, "stops") == ["hsi-unreadable", "no-crs"]
    assert "Check the path." in found.findings[0].fix


def test_dates_are_compared() -> None:
    hsi, msi = geofuse.open_hsi(few_files()[0]), geofuse.open_msi(few_files()[1])

    def dated(cube: xr.DataArray, day: str) -> xr.DataArray:
        return cube.assign_coords(time=np.datetime64(day, "ns"))

    near = geofuse.doctor(dated(hsi, "2024-06-01"), dated(msi, "2024-06-04"), sample=False)
    far = geofuse.doctor(dated(hsi, "2024-06-01"), dated(msi, "2024-07-01"), sample=False)
    assert not {"no-date", "dates-apart"} & set(codes(near))
    (apart,) = [finding for finding in far.findings if finding.code == "dates-apart"]
    assert "30 days" in apart.message


def test_a_sample_shows_what_metadata_do_not(tmp_path: Path) -> None:
    """The MSI's georeference is six tenths of a coarse pixel off; and two images that do not show one place are rejected."""
    found = doctored(tmp_path, same, moved(18.0), sample=True)
    assert found.looked_at == "sample"
    assert "large-shift" in codes(found, "weakens")
    shuffled = doctored(tmp_path, same, lambda raster: replace(raster, values=raster.values[:, ::-1, ::-1]), sample=True)
    assert codes(shuffled, "stops") == ["not-one-place"]


def test_the_command_says_the_same_by_its_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hsi, msi = map(str, few_files())
    for arguments, status in ((["doctor", hsi, msi, "--no-sample"], 0), (["doctor", msi, hsi, "--no-sample", "--json", "-"], 2)):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert (end.value.code or 0) == status
    out = capsys.readouterr().out
    assert "Nothing stops the fusion" in out
    said = json.loads(out[out.index("{") :])
    assert said["stops"] is True
    assert said["findings"][0].keys() == {"weight", "code", "message", "fix"}


def test_messages_are_parted_after_what_was_found() -> None:
    text = "a.tif: values around 5e+03 are not reflectance (1.0 = 100 %); set the scale in the file, e.g. with gdal_edit.py -scale …"
    found = from_text("stops", "x", text)
    assert found.message == "a.tif: values around 5e+03 are not reflectance (1.0 = 100 %)."
    assert found.fix == "Set the scale in the file, e.g. with gdal_edit.py -scale …"
    assert from_text("note", "x", "Found.", "do").fix == "Do."
    secret = from_text("stops", "x", "https://me:secret@host/a.tif: no such file; check the path")
    assert "secret" not in secret.message


def test_a_diagnosis_reads_well_as_text_and_in_a_notebook() -> None:
    found = Diagnosis.of(
        [Finding("note", "b", "Second <b>."), Finding("stops", "a", "First.", "Mend it."), Finding("note", "b", "Second <b>.")]
    )
    assert str(found).splitlines()[:2] == ["stops    First. [a]", "         fix: Mend it."]
    assert len(found.findings) == 2
    assert "&lt;b&gt;" in found._repr_html_()
    assert not Diagnosis(()).stops


def test_advice_is_that_of_the_documents() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "warnings.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:4] for line in page.splitlines() if line.startswith("| `")]
    said = {code.strip(" `"): do.strip() for codes_, _, do in rows for code in codes_.split(",")}
    assert {code: advice.do for code, advice in ADVICE.items()} == said
