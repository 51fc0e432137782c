"""Everything that would stop or weaken a fusion of two images, found before it: metadata first, then a fit to a bounded sample.

The rules are those of the fusion itself: what it rejects stops it, what it warns of weakens it. Only how they are called differs, since here
one does not keep the next from being seen.
"""

from __future__ import annotations

import datetime as dt
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from geofuse.cube.bands import BandTable, as_list
from geofuse.cube.georef import crs_of
from geofuse.cube.masks import MASK
from geofuse.cube.sampling import check_storable
from geofuse.cube.schema import geobox
from geofuse.cube.sources import source_of, utc
from geofuse.errors import InputWarning, InvalidInput
from geofuse.io.read.base import Request
from geofuse.io.read.mask import Source as Mask
from geofuse.io.read.open import open_as
from geofuse.io.write.space import check_space, disk_space
from geofuse.pair.diagnostics import size_warnings
from geofuse.pair.grid import pair_grids
from geofuse.pair.registration import MAX_SHIFT
from geofuse.pair.scene import Scene, check_gridded, check_roles
from geofuse.pair.selection import warn_of_scale, without_constant_bands
from geofuse.pipeline.fit import fit_scene, settings_of
from geofuse.pipeline.pair import pair
from geofuse.pipeline.plan import plan_scene
from geofuse.reporting.advice import advice_of
from geofuse.reporting.diagnosis import Diagnosis, Finding, from_text

DAYS_APART = 5.0  # as `geofuse batch` takes, where nothing else is asked for
SMALL_OVERLAP = 0.5  # share of the HSI
LARGE_SHIFT = 0.5  # coarse pixels
DTYPE = "int16"  # of the output, by default
QUICK = "sylvester"  # judges the pair as `gem` does, and is fitted in a fraction of the time
ROLES = ("HSI", "MSI")

Cubes = dict[str, xr.DataArray]


def examine(hsi: Any, msi: Any, *, mask: Mask | None = None, sample: bool = True, progress: bool = True, **how: Any) -> Diagnosis:
    """Look for all that would stop or weaken a fusion; see `geofuse.doctor`, which takes the same."""
    found: list[Finding] = []
    cubes = _opened({"HSI": hsi, "MSI": msi}, found, **how)
    for role, cube in cubes.items():
        _look_at_image(role, cube, found)
    if len(cubes) < len(ROLES):
        return Diagnosis.of(found)
    _compare_dates(cubes, found)
    scene = _paired(cubes, mask, found)
    if scene is None:
        return Diagnosis.of(found)
    _look_at_pair(scene, found)
    if not sample or Diagnosis.of(found).stops:
        return Diagnosis.of(found)
    _look_at_sample(scene, found, progress)
    return Diagnosis.of(found, "sample")


@contextmanager
def _collecting(found: list[Finding], code: str) -> Iterator[None]:
    """What is rejected in the block, and what it warns of, become findings; ``code`` is that of what has none of its own."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except InvalidInput as error:
            found.append(from_text("stops", error.code or code, str(error)))
    for warning in caught:
        if isinstance(warning.message, InputWarning):
            advice = advice_of(warning.message.code)
            found.append(from_text(advice.weight, warning.message.code, str(warning.message), advice.do))
        elif warning.category is UserWarning:
            found.append(from_text("weakens", code, str(warning.message)))


def _opened(sources: dict[str, Any], found: list[Finding], *, trust_input: bool = False, **bands: Any) -> Cubes:
    """The images that can be opened; one without a CRS is looked at further with that of the other."""
    cubes: Cubes = {}
    unplaced = {}
    for role, source in sources.items():
        request = Request(role, as_list(bands.get(f"{role.lower()}_bands")), bands.get("msi_resolution") if role == "MSI" else None)  # type: ignore[arg-type]
        own: list[Finding] = []
        with _collecting(own, f"{role.lower()}-unreadable"):
            cubes[role] = open_as(source, request, trust_input=trust_input)
        if any(finding.code == "no-crs" for finding in own):
            unplaced[role] = request
        found += own
    for role, request in unplaced.items():
        if cubes and isinstance(sources[role], str | os.PathLike):
            other = crs_of(next(iter(cubes.values())))
            with _collecting([], ""):  # what it says was said
                cubes[role] = open_as(sources[role], replace(request, crs=other), trust_input=trust_input)
    return cubes


def _look_at_image(role: str, cube: xr.DataArray, found: list[Finding]) -> None:
    """What one image lacks."""
    name, table = Path(str(cube.encoding.get("source") or f"the {role}")).name, BandTable.from_cube(cube)
    said = [finding.code for finding in found]
    if role == "HSI":
        with _collecting(found, "hsi-not-reflectance"):
            check_storable(cube, DTYPE, name)
        if not table.has_wavelength and "no-wavelengths" not in said:  # an array of the user's
            found.append(_advised("no-wavelengths", f"{name} has no wavelengths for its bands"))
        if table.has_wavelength and not np.isfinite(table.fwhm).all():
            found.append(_advised("no-fwhm", f"{name} does not say how wide its bands are (FWHM)"))
    elif not table.has_wavelength:
        found.append(_advised("msi-no-wavelengths", f"{name} has no wavelengths for its bands"))
    if MASK not in cube.coords:
        found.append(_advised("no-mask", f"{name} says nothing of clouds, shadows or defects"))


def _compare_dates(cubes: Cubes, found: list[Finding]) -> None:
    """How far apart the two were acquired."""
    times = {}
    for role, cube in cubes.items():
        text = source_of(cube).get("datetime")
        if text is None:
            found.append(_advised("no-date", f"When the {role} was acquired is not known"))
        else:
            times[role] = utc(dt.datetime.fromisoformat(text))
    if len(times) == len(ROLES):
        days = abs(times["HSI"] - times["MSI"]) / dt.timedelta(days=1)
        if days > DAYS_APART:
            found.append(_advised("dates-apart", f"The two images were acquired {days:.0f} days apart"))


def _paired(cubes: Cubes, mask: Mask | None, found: list[Finding]) -> Scene | None:
    """The scene; of images that were given in the wrong order that of the right one, to see what else there is."""
    for hsi, msi in ((cubes["HSI"], cubes["MSI"]), (cubes["MSI"], cubes["HSI"])):
        tried: list[Finding] = []
        with _collecting(tried, "pair"):
            check_roles(hsi, msi)
        with _collecting(tried, "pair"):
            check_gridded(msi)
        with _collecting(tried, "pair"):
            pair_grids(geobox(hsi), geobox(msi))
        swapped = [finding for finding in tried if finding.code == "swapped"]
        if len(swapped) == 2 and not any(finding.code == "swapped" for finding in found):
            found.append(swapped[-1])
            continue
        found += tried
        if not any(finding.weight == "stops" for finding in tried):
            with _collecting(found, "pair"):
                return pair(hsi, msi, mask)
        return None
    return None


def _look_at_pair(scene: Scene, found: list[Finding]) -> None:
    """Size, overlap, memory and disk."""
    pixels = int(np.prod(scene.pair.coarse.shape))
    found += [_advised(w["code"], w["message"]) for w in size_warnings(scene.msi.sizes["band"], pixels)]
    share = pixels / int(np.prod(scene.hsi.shape[1:]))
    if share < SMALL_OVERLAP:
        found.append(_advised("small-overlap", f"The two images overlap in {100 * share:.0f} % of the HSI"))
    with _collecting(found, "plan"):
        planned = plan_scene(scene)
        check_space([Path.cwd() / "fused.tif"], disk_space(planned.shape, DTYPE))
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if planned.memory > memory:
            text = f"The fusion is planned with {planned.memory / 1e9:.1f} GB of memory, and this machine has {memory / 1e9:.1f} GB"
            found.append(_advised("memory", text))


def _look_at_sample(scene: Scene, found: list[Finding], progress: bool) -> None:
    """What a fit to a bounded sample of the pixels shows."""
    with _collecting(found, "sample"):
        scene = without_constant_bands(scene)
        warn_of_scale(scene)
        report = fit_scene(scene, settings_of(scene, method=QUICK, progress=progress)).report
        found += [_advised(w["code"], w["message"]) for w in report["warnings"]]
        shift = float(np.hypot(*report["geometry"]["shift_px"])) / scene.pair.ratio
        if shift > LARGE_SHIFT:
            text = f"The georeferences of the two images are {shift:.2f} coarse pixels apart; up to {MAX_SHIFT:g} are found and corrected"
            found.append(_advised("large-shift", text))


def _advised(code: str, message: str) -> Finding:
    advice = advice_of(code)
    return from_text(advice.weight, code, message, advice.do)
