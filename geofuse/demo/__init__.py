"""The embedded scene: Berlin, 20 August 2009.

Okujeni, A.; van der Linden, S.; Hostert, P. (2016): Berlin-Urban-Gradient dataset 2009. GFZ Data Services, doi:10.5880/enmap.2016.002, CC BY-SA 4.0.
The 30 m image was simulated by its authors from the same airborne HyMap flight that the 3.6 m image comes from.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from geofuse.errors import InvalidOutput

if TYPE_CHECKING:
    from geofuse.reporting.report import Report

ACQUIRED = dt.datetime(2009, 8, 20, 12, tzinfo=dt.UTC)
TITLES = ("Berlin-Urban-Gradient, EnMAP 30 m simulated from HyMap (CC BY-SA 4.0)", "Berlin-Urban-Gradient, HyMap 3.6 m (CC BY-SA 4.0)")


@dataclass(frozen=True)
class DemoData:
    """Paths of the embedded pair."""

    hsi: Path
    msi: Path


def demo_data() -> DemoData:
    """Paths of the embedded hyperspectral (30 m, 177 bands) and multispectral (3.6 m, 4 bands) image.

    Examples
    --------
    >>> demo_data().hsi.name
    'berlin_enmap_30m.tif'
    """
    folder = Path(__file__).parent / "data"
    return DemoData(folder / "berlin_enmap_30m.tif", folder / "berlin_hires_3p6m.tif")


def run_demo(folder: Path, *, method: str = "auto", progress: bool = True) -> tuple[dict[str, Path], Report]:
    """Fuse the embedded scene into ``folder``: COG, STAC item, reports and picture. Earlier results of the demo are replaced.

    Returns
    -------
    dict of str to Path, Report
        What was written, by kind, and the report.
    """
    from geofuse.io.read.open import open_hsi, open_msi
    from geofuse.methods.registry import check_method
    from geofuse.pipeline.job import Job
    from geofuse.viewing.quicklook import comparison

    check_method(method)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidOutput(f"cannot make the folder {folder} ({error.strerror}); choose another one with -o") from error
    data = demo_data()
    paths = {
        "cog": folder / "berlin_fused.tif",
        "quality": folder / "berlin_fused_quality.tif",
        "stac": folder / "berlin_fused.json",
        "report": folder / "report.json",
        "report_html": folder / "report.html",
        "picture": folder / "berlin_fused.png",
    }
    job = Job(
        str(data.hsi),
        str(data.msi),
        paths["cog"],
        method=method,
        reports=(paths["report"], paths["report_html"]),
        overwrite=True,
        progress=progress,
        datetime=ACQUIRED,
        titles=TITLES,
    )
    _, report = job.run()
    comparison(open_hsi(data.hsi), open_msi(data.msi), open_hsi(paths["cog"]), paths["picture"])
    return paths, report
