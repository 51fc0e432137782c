"""What a report says in words: the summary that a reader sees first, and the warnings that follow from the figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geofuse.errors import Warned, warned
from geofuse.reporting.figures import is_baseline, scored

NOTABLE_SHIFT = 0.05  # fine pixels


def summary_sentences(report: Mapping[str, Any]) -> list[str]:
    """Say in plain sentences what was made, how the pair fits, how good the result is, and what it cost.

    Parameters
    ----------
    report : mapping
        The plain dict of a `geofuse.Report`; whatever is absent is passed over.

    Returns
    -------
    list of str
        One sentence or two for each subject.

    Examples
    --------
    >>> summary_sentences({"method": "gem", "bands": {"names": ["a", "b"]}, "geometry": {"ratio": 4.0}})
    ['Fused with gem: 2 bands, on pixels 4 times finer than those of the hyperspectral image.']
    """
    parts = (
        _what,
        _geometry,
        _coregistration,
        _radiometry,
        _disagreement,
        _learned,
        _network,
        _residuals,
        _uncertainty,
        _validation,
        _cost,
    )
    written = [part(report) for part in parts]
    return [sentence for sentence in written if sentence]


def all_warnings(report: Mapping[str, Any]) -> list[Warned]:
    """Warnings that the run recorded, and those that the scores call for; each once.

    A recorded one that is plain text, as in reports of before, has the code ``other``.
    """
    recorded = [
        warned(str(w.get("code", "other")), str(w.get("message", ""))) if isinstance(w, Mapping) else warned("other", str(w))
        for w in report.get("warnings") or []
    ]
    rows = scored(report)
    if rows and is_baseline(rows[0]) and rows[0]["method"] != report.get("method"):
        text = f"In the reduced-resolution test a baseline, {rows[0]['method']}, scored best on this scene: consider using it."
        recorded.append(warned("baseline-scored-best", text))
    return [w for k, w in enumerate(recorded) if w not in recorded[:k]]


def _what(report: Mapping[str, Any]) -> str:
    if not report.get("method"):
        return ""
    names = (report.get("bands") or {}).get("names") or []
    ratio = _number(report, "geometry", "ratio")
    parts = [f"{len(names)} bands"] if names else []
    if ratio is not None:
        parts.append(f"on pixels {ratio:.4g} times finer than those of the hyperspectral image")
    text = f"Fused with {report['method']}" + (": " + ", ".join(parts) if parts else "") + "."
    if report.get("fitted_elsewhere"):
        text += " The model was fitted on another scene: geometry, response, noise, disagreement and test are those of that one."
    return text


def _geometry(report: Mapping[str, Any]) -> str:
    geometry = report.get("geometry") or {}
    shift, sigma = geometry.get("shift_px"), _number(report, "geometry", "psf_sigma_px")
    if geometry.get("unexplained", 0) is None and sigma is not None:  # not a number: nothing was compared
        return f"Too few pixels to estimate geometry from: both georeferences were kept, and a Gaussian of σ = {sigma:.2f} fine pixels assumed."
    parts = []
    if shift and None not in shift:
        distance = (shift[0] ** 2 + shift[1] ** 2) ** 0.5
        apart = f"the two grids are {distance:.2f} fine pixels apart, which was corrected"
        parts.append(apart if distance >= NOTABLE_SHIFT else "the two grids lie on each other")
    largest = (geometry.get("local") or {}).get("max_px")
    if largest is not None:
        parts.append(f"they are distorted by up to {largest:.2f} fine pixels beyond that, which was corrected too")
    if sigma is not None:
        exponent = _number(report, "geometry", "psf_exponent") or 2.0
        shape = "a Gaussian" if exponent == 2 else f"a PSF with {'heavier' if exponent < 2 else 'lighter'} tails than a Gaussian"
        parts.append(f"a hyperspectral pixel sees the ground through {shape} of σ = {sigma:.2f} fine pixels")
    return ("Estimated from the pair: " + ", and ".join(parts) + ".") if parts else ""


def _coregistration(report: Mapping[str, Any]) -> str:
    largest = _number(report, "coregistration", "largest_px")
    if largest is None or largest < NOTABLE_SHIFT:
        return ""
    return f"Bands of the hyperspectral image lie up to {largest:.2f} fine pixels beside the others; in the fused cube they lie there too."


def _radiometry(report: Mapping[str, Any]) -> str:
    found = report.get("radiometry") or {}
    rows = zip(*(found.get(key) or [] for key in ("applied", "gain", "offset")), strict=False)
    lines = [(gain, offset) for applied, gain, offset in rows if applied]
    if not lines:
        return ""
    gains, offsets = zip(*lines, strict=True)
    return (
        f"In {len(lines)} bands of the multispectral image gain ({min(gains):.2f} to {max(gains):.2f}) and offset ({min(offsets):+.3f} to "
        f"{max(offsets):+.3f}) against the hyperspectral image are significant, and were corrected."
    )


def _learned(report: Mapping[str, Any]) -> str:
    weights = _number(report, "learned", "weights")
    if weights is None:
        return ""
    if weights:
        return f"{weights:.0f} weights of filters were learned from the scene, and coarse pixels held out from learning confirmed them."
    return "Coarse pixels held out from learning did not confirm what filters learned from the scene: they were left out."


def _network(report: Mapping[str, Any]) -> str:
    gain, error = _number(report, "network", "held_out_gain"), _number(report, "network", "held_out_gain_error")
    if gain is None or error is None:
        return ""
    text = f"Of what coarse pixels held out from its training say beyond the estimate, a network explains {100 * gain:.2f} ± {100 * error:.2f} %: "
    return text + ("it was used." if report["network"].get("used") else "it was left out, and the result is that of gem.")


def _uncertainty(report: Mapping[str, Any]) -> str:
    factor = _number(report, "uncertainty", "factor")
    if factor is None:
        return ""
    return f"Standard deviations were calibrated on the scene at reduced resolution, which multiplied the estimator's own variance by {factor:.2f}."


def _disagreement(report: Mapping[str, Any]) -> str:
    relative = _number(report, "disagreement", "relative")
    if relative is None:
        return ""
    text = f"Brought to the same pixels and bands, the two images differ by {100 * relative:.1f} %."
    if report["disagreement"].get("harmonised"):
        text += " Where they do, the fused cube keeps the radiometry of the hyperspectral image and the detail of the multispectral one."
    return text


def _residuals(report: Mapping[str, Any]) -> str:
    hsi, msi = _number(report, "residuals", "hsi_rel_rmse"), _number(report, "residuals", "msi_rel_rmse")
    parts = []
    if hsi is not None:
        parts.append(f"blurred back to coarse pixels it differs from the hyperspectral image by {100 * hsi:.1f} %")
    if msi is not None:
        parts.append(f"seen through the effective response it differs from the multispectral image by {100 * msi:.1f} %")
    return ("The fused cube held against its inputs: " + ", and ".join(parts) + ".") if parts else ""


def _validation(report: Mapping[str, Any]) -> str:
    rows = scored(report)
    if not rows:
        return ""
    best, method = rows[0], report.get("method")
    text = f"In a test on this very scene at reduced resolution, {best['method']} came closest to the truth ({best['psnr_db']:.2f} dB"
    text += f", {best['sam_deg']:.2f}°)" if best.get("sam_deg") is not None else ")"
    baseline = next((row for row in rows if is_baseline(row)), None)
    if baseline is not None and baseline is not best:
        text += f", {best['psnr_db'] - baseline['psnr_db']:.1f} dB above the best baseline, {baseline['method']}"
    used = next((row for row in rows if row.get("method") == method), None)
    if used is not None and used is not best:
        text += f"; {method}, used here, scored {used['psnr_db']:.2f} dB"
    return text + "."


def _cost(report: Mapping[str, Any]) -> str:
    seconds = [value for value in (report.get("seconds") or {}).values() if isinstance(value, int | float)]
    if not seconds:
        return ""
    peak = report.get("peak_rss_mb")
    return f"It took {sum(seconds):.0f} s" + (f" and at most {peak / 1000:.1f} GB of memory." if peak else ".")


def _number(report: Mapping[str, Any], section: str, key: str) -> float | None:
    value = (report.get(section) or {}).get(key)
    return float(value) if isinstance(value, int | float) else None
