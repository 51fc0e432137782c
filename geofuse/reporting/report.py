"""The report of a fusion: what was estimated, how good it is on the user's own scene, and what to be careful about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geofuse.cube.normalise import REPORT_ATTRIBUTE
from geofuse.errors import InvalidCube
from geofuse.reporting.plain import to_plain

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from geofuse.reporting.sentences import Warned


class Report:
    """A record of one fusion, in plain JSON values.

    Any key may be absent until its stage has run. Those that the report knows how to show:

    - ``method``, ``seconds`` {open, fit, apply, write}, ``peak_rss_mb``, ``versions``, ``seed``
    - ``warnings``: rows of code (which stays) and message (which may be worded anew)
    - ``scene`` and ``pictures``, the whole scene and a part of it at full resolution {extent, crs, and hsi, msi, fused as small pictures;
      hsi_residual, msi_residual, uncertainty as maps; quality}; see `geofuse.reporting.pictures`
    - ``spectra``: rows of why, x, y, hsi, msi, fused, sigma
    - ``images`` {hsi, msi: {href, id, sensor, datetime, gsd, bands}}, ``command``, ``call``
    - ``bands`` {names, wavelength_nm, good}
    - ``quality`` {name of a flag: share of the pixels that bear it}
    - ``geometry`` {ratio, shift_px: [dy, dx] in fine pixels, psf_sigma_px}
    - ``residuals`` {hsi_rel_rmse, msi_rel_rmse}, fractions
    - ``disagreement`` {relative, per_band, map: rows of coarse pixels, all fractions; rho; harmonised}
    - ``response`` {matrix of MSI × HSI bands, prior_matrix, method}, ``noise`` {hsi_sigma, msi_sigma in reflectance}, ``prior_weights``
    - ``validation``: rows of method, ratio, psnr_db, sam_deg, ergas, ssim, seconds

    Everything else is shown as it is, under Details.

    Parameters
    ----------
    values : mapping, optional
        Arrays, NumPy scalars, paths and dates are turned into plain values; numbers that are not finite become None.

    Examples
    --------
    >>> report = Report({"method": "gem", "geometry": {"ratio": 8.33, "psf_sigma_px": float("nan")}})
    >>> report.to_dict()["geometry"]
    {'ratio': 8.33, 'psf_sigma_px': None}
    >>> report
    <geofuse.Report: Fused with gem: on pixels 8.33 times finer than those of the hyperspectral image.>
    """

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values: dict[str, Any] = to_plain(values or {})

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
        from geofuse.reporting.page import render_page

        page = render_page(self._values, self.sentences(), self.warnings())
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
        from geofuse.reporting.page import render_summary

        return render_summary(self._values, self.sentences(), self.warnings())


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
