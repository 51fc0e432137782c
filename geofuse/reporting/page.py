"""The page of a report: which sections and figures it has, and what stands under each figure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from geofuse.markup import STYLE
from geofuse.reporting.advice import advice_of

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure

    from geofuse.reporting.sentences import Warned

PAPER = (
    "Du, S., Zou, Y., Wang, Z., Li, X., Li, Y., Shang, C., Shen, Q. (2024): Unsupervised Hyperspectral and Multispectral Image Fusion "
    "via Self-Supervised Modality Decoupling. arXiv:2412.04802."
)
_SHOWN = {
    "method", "seconds", "peak_rss_mb", "warnings", "bands", "geometry", "residuals", "disagreement", "response", "noise", "prior_weights",
    "validation", "pictures", "scene", "spectra", "quality", "images", "radiometry", "command", "call", "versions", "seed", "computed", "fitted_elsewhere",
}  # fmt: skip
_LONGEST_LIST = 12  # values; longer ones stand in the JSON only

NOTES = {
    "scene": "The whole scene in true colour, where the bands allow it.",
    "part": "A part of the scene at full resolution, with the places of the spectra.",
    "spectra": "The first places are those that differ most from each other, the last those where the residual of either image, or the standard "
    "deviation, is largest. Bands without signal are gaps.",
    "residuals": "The fused image, brought back to the pixels of the one and to the bands of the other, against what they hold: root mean square "
    "over the bands, reflectance. The scale of colours is that of the square root. What neither image knows cannot be seen here.",
    "layers": "Quality: the worst that is said of each pixel.",
    "psf": "Weights of the fine pixels in a hyperspectral pixel, around where its centre was found, and the outline of the pixel where the georeference "
    "has it.",
    "local": "What was found, and corrected, beyond the one shift.",
    "response": "The weights with which the hyperspectral bands best reproduce the multispectral image. One scene does not determine the sensor's own "
    "response: many shapes fit equally well.",
    "disagreement": "Relative RMSE between the two images, brought to the same pixels and bands after the best shift, width and response were found.",
    "map": "The same on the coarse pixels of the scene, north up: clouds, moved objects, shadows and seams between flight lines show as bright spots.",
    "only-one-image": "Clouds, shadows and change, on the coarse pixels of the scene: there the image that is farther from the rest of the scene is left out.",
    "validation": "The test is made on the grid of the hyperspectral image: its own pixels are the fine ones there. At full resolution there is no truth to "
    "compare with: a better score here is evidence for a better result there, not proof.",
    "noise": "Standard deviation of what the scene's structure does not explain, in reflectance.",
}


class _Drawn(NamedTuple):
    """A figure of the page."""

    key: str
    caption: str
    figure: Figure
    kind: str = "png"


def render_page(report: Mapping[str, Any], sentences: list[str], warnings: list[Warned]) -> str:
    """The whole page, as HTML; text from the record is escaped."""
    context = _context(report, sentences, warnings)
    figures = _figures(report)
    sections = _sections(report, context, set(figures))
    return _templates().get_template("report.html.j2").render(**context, figures=figures, sections=sections).lstrip()


def render_summary(report: Mapping[str, Any], sentences: list[str], warnings: list[Warned]) -> str:
    """What notebooks show, as HTML; text from the record is escaped."""
    return _templates().get_template("summary.html.j2").render(**_context(report, sentences, warnings), style=STYLE)


def _context(report: Mapping[str, Any], sentences: list[str], warnings: list[Warned]) -> dict[str, Any]:
    from geofuse.reporting.figures import scored

    rows, radiometry = scored(report), report.get("radiometry") or {}
    return {
        "report": report,
        "sentences": sentences,
        "warnings": [{**warning, "do": _do(warning["code"])} for warning in warnings],
        "validation": rows + [row for row in report.get("validation") or [] if row.get("psnr_db") is None],
        "winner": rows[0].get("method") if rows else None,
        "images": _images(report),
        "radiometry": list(zip(*(radiometry.get(key) or [] for key in ("gain", "offset", "applied")), strict=False)),
        "computed": report.get("computed") is not False,
        "details": {key: _shortened(value) for key, value in report.items() if key not in _SHOWN and value not in (None, {}, [])},
        "version": (report.get("versions") or {}).get("geofuse") or version("geofuse"),
        "paper": PAPER,
    }


def _do(code: str) -> str:
    do = advice_of(code).do
    return "" if code == "other" else do


def _figures(report: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Figures by key, numbered in the order of the page, each with its picture, caption, note and what it shows in words."""
    from geofuse.reporting.figures import to_picture

    found = {}
    for number, (key, caption, figure, kind) in enumerate(_drawn(report), start=1):
        found[key] = {
            "number": number,
            "caption": caption,
            "note": _note(key, report),
            "alt": f"{caption}. {_in_words(key, report)}".strip(),
            "picture": to_picture(figure, kind),
        }
    return found


def _drawn(report: Mapping[str, Any]) -> Iterator[_Drawn]:
    """What can be drawn, in the order of the page, one after the other."""
    from geofuse.reporting import figures, maps
    from geofuse.reporting.spectra import draw_spectra

    placed = {
        "scene": ("The scene", maps.draw_scene, "jpeg"),
        "part": ("A part of the scene", maps.draw_part, "jpeg"),
        "spectra": ("Spectra of places in the scene", draw_spectra, "png"),
        "residuals": (
            "Residuals of both images" + (", and standard deviation" if "uncertainty" in (report.get("pictures") or {}) else ""),
            maps.draw_residuals,
            "png",
        ),
        "layers": (
            "Quality" + (" and standard deviation" if "uncertainty" in (report.get("scene") or {}) else ""),
            maps.draw_layers,
            "png",
        ),
    }
    for key, (caption, draw, kind) in placed.items():
        figure = draw(report)
        if figure is not None:
            yield _Drawn(key, caption, figure, kind)
    panels = {key: (caption, panel) for key, caption, panel in figures.panels(report)}
    for key in [key for key in NOTES if key in panels]:
        caption, panel = panels[key]
        yield _Drawn(key, caption, figures.draw_panel(panel, report))


def _sections(report: Mapping[str, Any], context: Mapping[str, Any], figures: set[str]) -> dict[str, str]:
    """Identifier and title of every section that has something in it."""
    holds = {
        "scene": ("The scene", figures & {"scene", "part"}),
        "summary": ("Summary", context["sentences"] or context["warnings"]),
        "spectra": ("Spectra", "spectra" in figures),
        "residuals": ("Residuals", "residuals" in figures),
        "quality": ("Quality and uncertainty", "layers" in figures or report.get("quality")),
        "geometry": ("Geometry", report.get("geometry")),
        "response": ("Spectral response", "response" in figures),
        "disagreement": ("Where the two images disagree", figures & {"disagreement", "map", "only-one-image"}),
        "validation": ("Test on this scene", context["validation"]),
        "noise": ("Noise and prior", "noise" in figures or report.get("prior_weights")),
        "cost": ("Time and memory", report.get("seconds")),
        "repeat": ("How to repeat this", report.get("command") or report.get("call") or report.get("versions")),
        "details": ("Details", context["details"]),
        "cite": ("How to cite", True),
    }
    return {key: title for key, (title, there) in holds.items() if there}


def _note(key: str, report: Mapping[str, Any]) -> str:
    from geofuse.reporting.maps import part_within

    note = NOTES.get(key, "")
    response = report.get("response") or {}
    if key == "response" and response.get("prior_matrix"):
        note += f" Dotted: what the files say of the sensor ({response.get('prior')}), which the estimate starts from."
    if key == "layers" and "uncertainty" in (report.get("scene") or {}):
        note += " Standard deviation: mean over the bands."
    if key in ("scene", "part"):
        shown = report.get("scene" if key == "scene" else "pictures") or {}
        note += " Coarse and fused pixels share one stretch; the fine image has its own." if shown.get("hsi") else ""
        note += " The box is the part that the following figures show." if key == "scene" and part_within(report) else ""
        note += f" Coordinates in {shown['crs']}." if shown.get("crs") else ""
    return note


def _in_words(key: str, report: Mapping[str, Any]) -> str:
    """What a figure shows, for those who do not see it: its figures, as far as they fit into a sentence."""
    part, scene = (report.get(name) or {} for name in ("pictures", "scene"))
    if key == "scene" or key == "part":
        shown = [
            name
            for name, image in (("coarse", "hsi"), ("fine", "msi"), ("fused", "fused"))
            if (scene if key == "scene" else part).get(image)
        ]
        return f"Side by side, in true colour: {', '.join(shown)}."
    if key == "residuals":
        names = {"hsi_residual": "hyperspectral residual", "msi_residual": "multispectral residual", "uncertainty": "standard deviation"}
        return (
            "Ninety-nine of a hundred pixels are below: "
            + ", ".join(
                f"{name} {part[field]['top']:.4f}" for field, name in names.items() if isinstance((part.get(field) or {}).get("top"), float)
            )
            + "."
        )
    if key == "layers":
        shares = report.get("quality") or {}
        return ", ".join(
            f"{name.replace('_', ' ')} {100 * share:.2f} %" for name, share in shares.items() if isinstance(share, int | float)
        )
    if key == "spectra":
        return "; ".join(f"{number}: {place.get('why')}" for number, place in enumerate(report.get("spectra") or [], start=1)) + "."
    if key == "map" or key == "disagreement":
        relative = (report.get("disagreement") or {}).get("relative")
        return f"Over all bands the two images differ by {100 * relative:.1f} %." if isinstance(relative, int | float) else ""
    if key == "validation":
        return "The table above holds the same figures."
    return ""


def _images(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """What the page says of the three images, a column each; none where the record says nothing of the two inputs."""
    images, inputs = report.get("images") or {}, report.get("inputs") or {}
    if not images:
        return []
    columns = []
    for role, title in (("hsi", "Hyperspectral"), ("msi", "Multispectral")):
        found = images.get(role) or {}
        name = inputs.get(role) or found.get("href") or found.get("id") or ""
        columns.append(
            {
                "title": title,
                "image": str(found.get("title") or ""),
                "file": PurePosixPath(str(name).partition("?")[0]).name,
                "sensor": str(found.get("sensor") or ""),
                "acquired": _when(found.get("datetime")),
                "bands": str(found.get("bands") or ""),
                "pixel": _metres(found.get("gsd")),
                "size": "",
            }
        )
    columns.append(_fused(report, columns))
    return columns


def _fused(report: Mapping[str, Any], inputs: list[dict[str, str]]) -> dict[str, str]:
    plan = report.get("plan") if isinstance(report.get("plan"), dict) else {}
    shape = (plan or {}).get("shape")
    path = (report.get("output") or {}).get("path") or ""
    return {
        "title": "Fused",
        "image": "",
        "file": PurePosixPath(str(path)).name,
        "sensor": "",
        "acquired": inputs[0]["acquired"],
        "bands": inputs[0]["bands"],
        "pixel": inputs[1]["pixel"],
        "size": f"{shape[1]} × {shape[2]} pixels" if isinstance(shape, list) and len(shape) == 3 else "",
    }


def _when(text: Any) -> str:
    """A date and time without what nobody reads."""
    return re.sub(r"(\d)T(\d\d:\d\d)(:\d\d)?(\.\d+)?(Z|\+00:00)?$", r"\1 \2 UTC", str(text or ""))


def _metres(value: Any) -> str:
    return f"{value:.4g} m" if isinstance(value, int | float) else ""


def _shortened(value: Any) -> Any:
    """Plain values with long lists summarised in a line: pages are for people, who read no 177 numbers."""
    if isinstance(value, dict):
        return {key: _shortened(inner) for key, inner in value.items()}
    if not isinstance(value, list):
        return value
    if len(value) <= _LONGEST_LIST:
        return [_shortened(inner) for inner in value]
    numbers = [v for v in value if isinstance(v, int | float) and not isinstance(v, bool)]
    span = f", {min(numbers):.4g} to {max(numbers):.4g}" if len(numbers) == len(value) else ""
    return f"{len(value)} values{span} (in the JSON report)"


@cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader

    # Everything is escaped: band names, titles and paths come from other people's files.
    environment = Environment(loader=PackageLoader("geofuse.reporting"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = _number
    environment.filters["code"] = _code
    environment.filters["percent"] = lambda share: f"{100 * share:.2f} %" if isinstance(share, int | float) else "–"
    environment.filters["json"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False)
    return environment


def _code(text: str) -> Any:
    """Text whose parts between backticks are code."""
    from markupsafe import Markup, escape

    return Markup().join(Markup("<code>{}</code>").format(part) if k % 2 else escape(part) for k, part in enumerate(text.split("`")))


def _number(value: object, digits: int = 2) -> str:
    """Fixed digits for a number, a dash for what is unknown, text as it is."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:.{digits}f}".replace("-", "−")
