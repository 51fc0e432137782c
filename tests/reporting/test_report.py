"""The report: plain JSON in, a page and pictures out, nothing claimed that is not recorded."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geofuse.errors import InvalidCube
from geofuse.reporting.plain import to_plain
from geofuse.reporting.report import Report
from geofuse.reporting.sentences import summary_sentences

WAVELENGTHS = np.linspace(450, 2400, 40)
VALIDATION = [
    {"method": "bicubic", "role": "baseline", "psnr_db": 29.1, "sam_deg": 5.8, "ergas": 3.2, "ssim": 0.81, "seconds": 0.1},
    {"method": "gsa", "role": "baseline", "psnr_db": 33.2, "sam_deg": 5.3, "ergas": 2.1, "ssim": 0.90, "seconds": 0.4},
    {"method": "gem", "role": "estimator", "psnr_db": 36.4, "sam_deg": 3.9, "ergas": 1.5, "ssim": 0.95, "seconds": 8.4},
    {"method": "mossfuse-paper", "psnr_db": float("nan")},
]


def record() -> dict[str, Any]:
    """A complete record, with values of the kinds that the numerical code produces."""
    response = np.exp(-0.5 * ((WAVELENGTHS - np.array([[485], [560], [660], [830]])) / 60) ** 2)
    return {
        "method": "gem",
        "seconds": {"open": 0.4, "fit": np.float64(20.1), "apply": 38.5, "write": 14.0},
        "peak_rss_mb": 2048,
        "geometry": {"ratio": 25 / 3, "shift_px": np.array([-0.9, -1.2]), "psf_sigma_px": np.float32(3.5)},
        "residuals": {"hsi_rel_rmse": 0.021, "msi_rel_rmse": 0.058},
        "prior_weights": {"upsample": [0.25, 1.0], "guided": 0.5},
        "validation": VALIDATION,
        "versions": {"geofuse": "9.9.9"},
        "seed": np.int64(7),
        "warnings": [{"code": "drift", "message": "The registration drifts."}],
        "disagreement": {
            "relative": 0.064,
            "rho": 0.15,
            "harmonised": True,
            "per_band": [0.08, 0.07, 0.06, 0.05],
            "map": np.full((4, 3), 0.06),
        },
        "response": {"matrix": response / response.sum(axis=1, keepdims=True), "method": "estimated"},
        "noise": {"hsi_sigma": np.full(40, 0.002), "msi_sigma": [0.003] * 4},
        "inputs": {"hsi": Path("/data/enmap.tif"), "msi": Path("/data/hymap.tif")},
        "plan": "660 × 494 pixels",
        "tiles": {"size": 256, "halo": 100},
        "bands": {"names": [f"{w:.0f} nm" for w in WAVELENGTHS], "wavelength_nm": WAVELENGTHS},
    }


class Page(HTMLParser):
    """Checks that every element is closed in order, and collects tags, addresses and text."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action") or name.startswith("on")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


# --- the record ------------------------------------------------------------------------------------------------------------------


def test_json_is_strict_and_comes_back_the_same(tmp_path: Path) -> None:
    report = Report(record())
    path = report.to_json(tmp_path / "report.json")

    def reject(constant: str) -> float:
        raise AssertionError(f"{constant} is not JSON")

    values = json.loads(path.read_text(), parse_constant=reject)
    assert values["validation"][3]["psnr_db"] is None
    assert values["geometry"]["shift_px"] == [-0.9, -1.2]
    assert values["seed"] == 7
    assert Report.from_json(path).to_dict() == report.to_dict()


@pytest.mark.parametrize("content", ["[1, 2]", "not json", ""])
def test_what_is_not_a_report_is_rejected(content: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(content)
    with pytest.raises(InvalidCube, match="is not a report"):
        Report.from_json(path)


def test_dict_is_a_copy() -> None:
    values = record()
    report = Report(values)
    values["geometry"]["ratio"] = 0
    report.to_dict()["geometry"]["ratio"] = 0
    assert report.to_dict()["geometry"]["ratio"] == 25 / 3


def test_value_without_a_plain_form_is_an_error() -> None:
    with pytest.raises(TypeError, match="no plain JSON form"):
        Report({"method": lambda: "gem"})


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(), st.floats(width=32).map(np.float32), st.text(), st.dates()
)
nested = st.recursive(scalars, lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner), st.tuples(inner)), max_leaves=12)


@given(nested)
def test_plain_values_are_strict_json_and_stay_as_they_are(value: object) -> None:
    plain = to_plain(value)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert to_plain(plain) == plain


# --- words -----------------------------------------------------------------------------------------------------------------------


def test_sentences_tell_the_figures() -> None:
    text = " ".join(Report(record()).sentences())
    for figure in [
        "gem",
        "40 bands",
        "8.333 times",
        "1.50 fine pixels apart",
        "σ = 3.50",
        "6.4 %",
        "2.1 %",
        "5.8 %",
        "36.40 dB",
        "73 s",
        "2.0 GB",
    ]:
        assert figure in text
    assert "3.2 dB above the best baseline, gsa" in text


def test_geometry_is_told_as_it_was_found() -> None:
    def sentence(**geometry: Any) -> str:
        return Report({"geometry": {"psf_sigma_px": 2.0} | geometry}).sentences()[0]

    assert "the two grids lie on each other" in sentence(shift_px=[0.001, 0.0], unexplained=0.01)
    assert "0.05 fine pixels apart, which was corrected" in sentence(shift_px=[0.03, 0.04], unexplained=0.01)
    assert "Too few pixels to estimate" in sentence(shift_px=[0.0, 0.0], unexplained=float("nan"))
    page = Report({"geometry": {"shift_px": [0.0, 0.0], "unexplained": float("nan")}}).to_html()
    assert "not estimated, too few pixels" in page
    assert "not estimated" not in Report({"geometry": {"shift_px": [0.0, 0.0]}}).to_html()


def test_best_baseline_is_named_and_warned_of() -> None:
    values = record() | {"validation": [*VALIDATION, {"method": "cnmf", "role": "baseline", "psnr_db": 37.0}]}
    report = Report(values)
    assert any("cnmf came closest" in sentence and "gem, used here, scored 36.40 dB" in sentence for sentence in report.sentences())
    assert [w["code"] for w in report.warnings()] == ["drift", "baseline-scored-best"]
    assert "cnmf" in report.warnings()[1]["message"]
    assert [w["code"] for w in Report(record()).warnings()] == ["drift"]
    chosen = Report(values | {"method": "cnmf"})
    assert [w["code"] for w in chosen.warnings()] == ["drift"], "it was taken"


def test_warnings_of_an_older_report_are_text_without_a_code() -> None:
    assert Report({"warnings": ["Mind the gap."]}).warnings() == [{"code": "other", "message": "Mind the gap."}]


@pytest.mark.parametrize("harmonised", [True, False, None])
def test_whom_the_product_believes_is_claimed_only_where_it_was_done(harmonised: bool | None) -> None:
    text = " ".join(Report({"method": "gem", "disagreement": {"relative": 0.06, "harmonised": harmonised}}).sentences())
    assert "differ by 6.0 %" in text
    assert ("keeps the radiometry" in text) is bool(harmonised)


def test_summary_is_flat_and_holds_known_values_only() -> None:
    summary = Report(record()).summary()
    assert summary["validation_winner"] == "gem"
    other = Report(record() | {"method": "gsa"}).summary()
    assert (other["method"], other["validation_psnr_db"], other["validation_sam_deg"]) == ("gsa", 33.2, 5.3), "its own scores"
    assert other["validation_winner"] == "gem"
    assert "validation_psnr_db" not in Report(record() | {"method": "mlp"}).summary()
    assert summary["shift_px"] == [-0.9, -1.2]
    assert summary["disagreement"] == 0.064
    assert Report({"method": "sylvester", "geometry": {"ratio": None}}).summary() == {"method": "sylvester"}


# --- the page --------------------------------------------------------------------------------------------------------------------


def test_page_is_complete_in_itself(tmp_path: Path) -> None:
    html = Report(record()).to_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == html
    page = Page(html)
    assert "script" not in page.tags
    assert sum(address.startswith("data:") for address in page.addresses) == 5
    anchors = [address[1:] for address in page.addresses if address.startswith("#")]
    assert len(anchors) >= 8
    assert [anchor for anchor in anchors if html.count(f'id="{anchor}"') != 1] == []
    for address in page.addresses:
        if not address.startswith("#"):
            assert base64.b64decode(address.removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")
    for said in [
        "The registration drifts.",
        "Effective response",
        "gem ★ best (used)",
        "gsa · baseline",
        "−0.90, −1.20",
        "2412.04802",
        "9.9.9",
    ]:
        assert said in page.text
    assert '"hsi": "/data/enmap.tif"' in page.text
    assert "0.25, 1.00" in page.text


def test_reduced_test_at_a_smaller_ratio_says_so() -> None:
    reduced = [{"method": "gem", "psnr_db": 44.0, "ratio": 2.0}]
    text = " ".join(Page(Report(record() | {"validation": reduced}).to_html()).text.split())
    assert "coarsened 2 times, so that the pixels of the hyperspectral image are the fine ones of the test" in text
    assert "The scene's own ratio is 8.33, where scores are lower." in text
    same = [{"method": "gem", "psnr_db": 44.0, "ratio": 25 / 3}]
    assert "where scores are lower" not in Report(record() | {"validation": same}).to_html()


def test_keys_that_the_report_does_not_know_are_shown_as_they_are() -> None:
    assert '"fine_pixels": 108578' in Page(Report({"sample": {"fine_pixels": 108578}}).to_html()).text


def test_the_page_lists_no_hundred_numbers() -> None:
    shifts = np.linspace(-0.19, 0.11, 177)
    page = Page(Report({"coregistration": {"band_shift_px": shifts}, "plan": {"tiles": [1, 2, 3]}}).to_html()).text
    assert "177 values, -0.19 to 0.11 (in the JSON report)" in page
    assert re.search(r"1,\s*2,\s*3", page)
    assert page.count("0.1") < 5


def test_curves_have_gaps_where_there_are_no_bands_or_no_good_ones() -> None:
    wavelengths = np.r_[np.arange(450.0, 1350, 10), np.arange(1460.0, 2400, 10)]
    good = np.ones(len(wavelengths), bool)
    good[30] = False
    sigma = np.full(len(wavelengths), 0.002)
    values = {"noise": {"hsi_sigma": sigma}, "bands": {"wavelength_nm": wavelengths, "good": good}}
    line = np.asarray(Report(values).plot().axes[0].lines[0].get_xydata())
    broken = np.flatnonzero(np.isnan(line[:, 1]))
    assert len(broken) == 2
    assert line[broken[0], 0] == 750.0
    assert (line[broken[1] - 1, 0], line[broken[1] + 1, 0]) == (1340.0, 1460.0)


def test_best_row_comes_first_and_is_the_only_one_marked() -> None:
    html = Report(record()).to_html()
    table = html[html.index('<table class="numbers">') :].partition("</table>")[0]
    rows = re.findall(r'<th scope="row">([^<]*)</th>', table)
    assert rows == ["gem ★ best (used)", "gsa · baseline", "bicubic · baseline", "mossfuse-paper"]
    assert table.count('class="best"') == 1


@pytest.mark.parametrize("key", sorted(record()))
def test_any_key_may_be_absent(key: str) -> None:
    values = record()
    del values[key]
    Page(Report(values)._repr_html_())
    Page(Report({key: record()[key]}).to_html())
    Page(Report({key: None}).to_html())


@pytest.mark.parametrize("section", ["geometry", "residuals", "disagreement", "response", "noise", "bands", "seconds", "inputs"])
def test_any_section_may_be_empty_or_unknown(section: str) -> None:
    inner = record()[section]
    for values in ({}, dict.fromkeys(inner)):
        Page(Report({key: record()[key] for key in ("response", "bands")} | {section: values}).to_html())


def test_text_from_inputs_is_escaped_everywhere() -> None:
    attack = "<img src=x onerror=alert(1)>$\\frac$"
    values = record() | {
        "method": attack,
        "warnings": [attack, {"code": attack, "message": attack}],
        "quality": {attack: 0.1},
        "inputs": {attack: attack},
        "plan": attack,
        "prior_weights": {attack: 1.0},
    }
    values["validation"] = [{"method": attack, "psnr_db": 40.0}]
    values["bands"] = {"names": [attack], "wavelength_nm": None}
    report = Report(values)
    for html in (report.to_html(), report._repr_html_()):
        page = Page(html)
        assert all(address.startswith(("data:image/png;base64,", "#")) for address in page.addresses)
        assert page.text.count(attack) >= 3


def test_notebook_shows_summary_warnings_and_table_without_pictures() -> None:
    page = Page(Report(record())._repr_html_())
    assert "img" not in page.tags
    assert "The registration drifts." in page.text
    assert "gem ★ best (used)" in page.text
    assert repr(Report()) == "<geofuse.Report: nothing recorded yet>"


# --- pictures --------------------------------------------------------------------------------------------------------------------


def test_plot_draws_what_is_recorded() -> None:
    axes = [ax for ax in Report(record()).plot().axes if ax.get_title(loc="left")]
    validation, response, disagreement, prepared, noise = axes
    assert [bar.get_width() for bar in validation.patches] == [29.1, 33.2, 36.4]
    assert [text.get_text() for text in validation.get_yticklabels()] == ["bicubic", "gsa", "gem"]
    np.testing.assert_allclose(response.lines[2].get_xdata(), WAVELENGTHS)
    np.testing.assert_allclose(response.lines[2].get_ydata(), record()["response"]["matrix"][2])
    np.testing.assert_allclose([bar.get_height() for bar in disagreement.patches], [8, 7, 6, 5])
    np.testing.assert_allclose(prepared.images[0].get_array(), 6.0)
    np.testing.assert_allclose(noise.lines[0].get_ydata(), 0.002)
    np.testing.assert_allclose(noise.lines[1].get_xdata()[1:], [560, 660, 830], atol=15)
    assert "sensor" not in " ".join(ax.get_title(loc="left") for ax in axes).lower()


def test_disagreement_of_every_hyperspectral_band_is_drawn_over_wavelength() -> None:
    values = record()
    values["disagreement"]["per_band"] = np.linspace(0.01, 0.4, 40)
    disagreement = next(ax for ax in Report(values).plot().axes if "by band" in ax.get_title(loc="left"))
    np.testing.assert_allclose(disagreement.lines[0].get_xdata(), WAVELENGTHS)
    np.testing.assert_allclose(disagreement.lines[0].get_ydata(), np.linspace(1, 40, 40))


def test_overlapping_detectors_are_drawn_in_order_of_wavelength() -> None:
    values = record()
    values["bands"]["wavelength_nm"] = np.r_[np.linspace(400, 1000, 20), np.linspace(950, 2400, 20)]
    noise = next(ax for ax in Report(values).plot().axes if "noise" in ax.get_title(loc="left"))
    assert (np.diff(noise.lines[0].get_xdata()) > 0).all()


@settings(max_examples=10, deadline=None)
@given(per_band=st.lists(st.one_of(st.none(), st.floats(0, 10)), min_size=1, max_size=50), bands=st.integers(0, 50))
def test_plot_copes_with_any_number_of_bands(per_band: list[float | None], bands: int) -> None:
    wavelengths = np.linspace(400, 2400, bands).tolist()
    values = {"disagreement": {"per_band": per_band}, "noise": {"hsi_sigma": per_band}, "bands": {"wavelength_nm": wavelengths}}
    Report(values).plot().canvas.draw()


def test_same_record_gives_the_same_page() -> None:
    assert Report(record()).to_html() == Report(record()).to_html()


def test_nothing_heavy_is_imported_and_pyplot_is_left_alone() -> None:
    program = (
        "import sys; from geofuse.reporting.report import Report\n"
        "assert not {'torch', 'matplotlib'} & set(sys.modules), 'import'\n"
        "Report({'validation': [{'method': 'gem', 'psnr_db': 30.0}]}).to_html()\n"
        "assert not {'torch', 'matplotlib.pyplot'} & set(sys.modules), 'use'"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"coregistration": {"largest_px": 0.19}}, "up to 0.19 fine pixels"),
        ({"coregistration": {"largest_px": 0.01}}, ""),
        ({"learned": {"weights": 1216}}, "1216 weights .* confirmed them"),
        ({"learned": {"weights": 0}}, "did not confirm"),
        ({"network": {"used": True, "held_out_gain": 0.0123, "held_out_gain_error": 0.002}}, "explains 1.23 ± 0.20 %: it was used"),
        ({"network": {"used": False, "held_out_gain": -0.001, "held_out_gain_error": 0.002}}, "left out, and the result is that of gem"),
        ({"network": {"steps": 10}}, ""),  # the published network
        ({"uncertainty": {"factor": 1.051}}, r"by 1\.05"),
    ],
)
def test_what_was_learned_and_estimated_is_said(found: dict[str, Any], said: str) -> None:
    sentences = " ".join(summary_sentences(found))
    assert re.search(said, sentences) if said else sentences == ""
