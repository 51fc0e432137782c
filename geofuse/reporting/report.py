"""The report of a fusion: what was estimated, how good it is on the user's own scene, and what to be careful about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geofuse.cube.normalise import REPORT_ATTRIBUTE
from geofuse.errors import InvalidCube
from geofuse.reporting.plain import to_plain

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from jinja2 import Environment
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from geofuse.reporting.sentences import Warned

PAPER = (
    "Du, S., Zou, Y., Wang, Z., Li, X., Li, Y., Shang, C., Shen, Q. (2024): Unsupervised Hyperspectral and Multispectral Image Fusion "
    "via Self-Supervised Modality Decoupling. arXiv:2412.04802."
)

_SHOWN = (
    "method", "seconds", "peak_rss_mb", "warnings", "bands", "geometry", "residuals", "disagreement", "response", "noise", "prior_weights",
    "validation", "pictures", "quality",
)  # fmt: skip
_LONGEST_LIST = 12  # values; longer ones stand in the JSON only


class Report:
    """A record of one fusion, in plain JSON values.

    Any key may be absent until its stage has run. Those that the report knows how to show:

    - ``method``, ``seconds`` {open, fit, apply, write}, ``peak_rss_mb``, ``versions``, ``seed``
    - ``warnings``: rows of code (which stays) and message (which may be worded anew)
    - ``pictures`` {extent, crs, and hsi, msi, fused as small pictures}; see `geofuse.reporting.pictures.excerpt`
    - ``bands`` {names, wavelength_nm, good}
    - ``quality`` {name of a flag: share of the pixels that bear it}
    - ``geometry`` {ratio, shift_px: [dy, dx] in fine pixels, psf_sigma_px}
    - ``residuals`` {hsi_rel_rmse, msi_rel_rmse}, fractions
    - ``disagreement`` {relative, per_band, map: rows of coarse pixels, all fractions; rho; harmonised}
    - ``response`` {matrix of MSI × HSI bands, method}, ``noise`` {hsi_sigma, msi_sigma in reflectance}, ``prior_weights``
    - ``validation``: rows of method, ratio, psnr_db, sam_deg, ergas, ssim, seconds

    Everything else is shown as it is, under Details.

    Parameters
    ----------
    values : mapping, optional
        Arrays, NumPy scalars, paths and dates are turned into plain values; numbers that are not finite become None.
    quality : ndarray of uint8, shape (H, W), optional
        The quality layer at the size of a picture, which the page then shows; it is not part of the record.

    Examples
    --------
    >>> report = Report({"method": "gem", "geometry": {"ratio": 8.33, "psf_sigma_px": float("nan")}})
    >>> report.to_dict()["geometry"]
    {'ratio': 8.33, 'psf_sigma_px': None}
    >>> report
    <geofuse.Report: Fused with gem: on pixels 8.33 times finer than those of the hyperspectral image.>
    """

    def __init__(self, values: Mapping[str, Any] | None = None, *, quality: NDArray[np.uint8] | None = None) -> None:
        self._values: dict[str, Any] = to_plain(values or {})
        self._quality = quality

    def to_dict(self) -> dict[str, Any]:
        """Return a copy of the record: dicts, lists, text, numbers, booleans and None."""
        copied: dict[str, Any] = to_plain(self._values)
        return copied

    def to_json(self, path: str | Path) -> Path:
        """Write the record as strict JSON (no NaN, no infinities).

        Parameters
        ----------
        path : path
            An existing file is replaced.

        Returns
        -------
        pathlib.Path
            The written file.
        """
        text = json.dumps(self._values, indent=2, ensure_ascii=False, allow_nan=False)
        target = Path(path)
        target.write_text(text + "\n", encoding="utf-8")
        return target

    @classmethod
    def from_json(cls, path: str | Path) -> Report:
        """Read a record that `to_json` wrote.

        Raises
        ------
        geofuse.errors.InvalidCube
            If the file is not a JSON object.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise InvalidCube(f"{path} is not a report: {error}. Expected the JSON that --report writes.") from error
        if not isinstance(values, dict):
            raise InvalidCube(f"{path} is not a report: found a {type(values).__name__}, expected an object. Give the file of --report.")
        return cls(values)

    def summary(self) -> dict[str, Any]:
        """Return the few values to publish beside the product, flat and plain; unknown ones are left out."""
        from geofuse.reporting.figures import scored

        values, rows = self._values, scored(self._values)
        used = next((row for row in rows if row.get("method") == values.get("method")), {})  # the scores of what was made, not of the best
        geometry, residuals, disagreement = (values.get(key) or {} for key in ("geometry", "residuals", "disagreement"))
        found = {
            "method": values.get("method"),
            "ratio": geometry.get("ratio"),
            "shift_px": geometry.get("shift_px"),
            "psf_sigma_px": geometry.get("psf_sigma_px"),
            "hsi_rel_rmse": residuals.get("hsi_rel_rmse"),
            "msi_rel_rmse": residuals.get("msi_rel_rmse"),
            "disagreement": disagreement.get("relative"),
            "rho": disagreement.get("rho"),
            "validation_psnr_db": used.get("psnr_db"),
            "validation_sam_deg": used.get("sam_deg"),
            "validation_winner": rows[0].get("method") if rows else None,
            "seed": values.get("seed"),
        }
        return {key: value for key, value in found.items() if value is not None}

    def sentences(self) -> list[str]:
        """Return the summary in words, one subject each."""
        from geofuse.reporting.sentences import summary_sentences

        return summary_sentences(self._values)

    def warnings(self) -> list[Warned]:
        """Return what the run warned of and what the figures call for: ``code`` and ``message`` of each."""
        from geofuse.reporting.sentences import all_warnings

        return all_warnings(self._values)

    def to_html(self, path: str | Path | None = None) -> str:
        """Return the report as one self-contained page, for a reader who knows remote sensing and not this program.

        Parameters
        ----------
        path : path, optional
            Where to write it as well.

        Returns
        -------
        str
            HTML without scripts and without references to other files; text from the inputs is escaped.
        """
        from geofuse.reporting.figures import draw_panel, panels, to_data_uri
        from geofuse.reporting.pictures import draw_pictures

        scene = draw_pictures(self._values, self._quality)
        figures = [
            {"key": key, "caption": caption, "image": to_data_uri(draw_panel(draw, self._values))}
            for key, caption, draw in panels(self._values)
        ]
        page = (
            _templates()
            .get_template("report.html.j2")
            .render(**self._context(), figures=figures, picture=None if scene is None else to_data_uri(scene))
        )
        if path is not None:
            Path(path).write_text(page, encoding="utf-8")
        return page

    def plot(self) -> Figure:
        """Draw validation, effective response, disagreement and noise, as far as they are known.

        Returns
        -------
        matplotlib.figure.Figure
            Not registered with pyplot: show it in a notebook, or call its `savefig`.
        """
        from geofuse.reporting.figures import draw_all

        return draw_all(self._values)

    def __repr__(self) -> str:
        said = self.sentences()
        return f"<geofuse.Report: {said[0] if said else 'nothing recorded yet'}>"

    def _repr_html_(self) -> str:
        return _templates().get_template("summary.html.j2").render(**self._context())

    def _context(self) -> dict[str, Any]:
        from geofuse.reporting.figures import scored

        rows = scored(self._values)
        return {
            "report": self._values,
            "sentences": self.sentences(),
            "warnings": self.warnings(),
            "validation": rows + [row for row in self._values.get("validation") or [] if row.get("psnr_db") is None],
            "winner": rows[0].get("method") if rows else None,
            "details": {key: _shortened(value) for key, value in self._values.items() if key not in _SHOWN and value not in (None, {}, [])},
            "version": (self._values.get("versions") or {}).get("geofuse") or version("geofuse"),
            "paper": PAPER,
        }


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
    environment.filters["percent"] = lambda share: f"{100 * share:.2f} %" if isinstance(share, int | float) else "–"
    environment.filters["json"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False)
    return environment


def _number(value: object, digits: int = 2) -> str:
    """Fixed digits for a number, a dash for what is unknown, text as it is."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:.{digits}f}".replace("-", "−")


def report_of(fused: xr.DataArray) -> Report:
    """The report that a fused cube carries among its attributes.

    Raises
    ------
    InvalidCube
        It carries none.
    """
    text = fused.attrs.get(REPORT_ATTRIBUTE)
    if text is None:
        raise InvalidCube("This image carries no geofuse report; expected one that `fuse` returned, with its attributes.")
    return Report(json.loads(text))
