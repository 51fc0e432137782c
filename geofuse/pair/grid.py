"""The grid pair: where every coarse (HSI) pixel lies among the fine (MSI) pixels.

Neither image is resampled here. The fused image lives on the fine grid, cropped to the overlap; the coarse grid keeps
its own origin, pixel size and CRS, and only the *positions* of its pixel centres on the fine grid are worked out. So
any ratio (8.333 as well as 4), any offset and any pair of CRS is one and the same case.

Index coordinates: the centre of the first fine pixel is 0.0, its outer edge -0.5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from pyproj import Transformer
from pyproj.exceptions import ProjError

from geofuse.cube.georef import crs_name
from geofuse.errors import InvalidPair

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

MIN_RATIO, MAX_RATIO = 1.5, 32.0
_ROUNDING = 1e-6  # of ratios: that of 0.3 m to 0.2 m pixels comes as 1.4999999999
# Fine pixels kept around the output, in coarse pixels: a PSF of sigma 1 coarse pixel reaches 4 of them.
MARGIN = 4
# Coarse pixels, along rows and columns, that a pixel's true centre may lie from where the grid shows it; what lies farther is left out.
FARTHEST = 1.0


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels, half-open: rows ``top:bottom``, columns ``left:right``."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the window."""
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices, to index an array of shape ``(..., y, x)``."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def offset(self, rows: int, cols: int) -> Window:
        """The same window seen from an origin that lies ``rows`` and ``cols`` further up and left."""
        return Window(self.top + rows, self.bottom + rows, self.left + cols, self.right + cols)

    def grown(self, pixels: int, within: Window) -> Window:
        """The window with ``pixels`` more on every side, clipped to ``within``."""
        return Window(
            max(self.top - pixels, within.top),
            min(self.bottom + pixels, within.bottom),
            max(self.left - pixels, within.left),
            min(self.right + pixels, within.right),
        )


@dataclass(frozen=True)
class Axis:
    """One direction of an axis-aligned grid pair.

    Attributes
    ----------
    ratio : float
        Coarse pixel size over fine pixel size.
    first : float
        Centre of coarse pixel 0 in fine index coordinates.
    coarse, fine : int
        Number of pixels.

    Examples
    --------
    >>> Axis(ratio=4.0, first=1.5, coarse=3, fine=12).centres()
    array([1.5, 5.5, 9.5])
    """

    ratio: float
    first: float
    coarse: int
    fine: int

    def centres(self, shift: float = 0.0) -> np.ndarray:
        """Centres of the coarse pixels in fine index coordinates, moved by ``shift`` fine pixels; shape (coarse,)."""
        return self.first + shift + self.ratio * np.arange(self.coarse)


@dataclass(frozen=True)
class GridPair:
    """The coarse and the fine grid of one scene.

    Attributes
    ----------
    fine, coarse : GeoBox
        The *working* grids: the overlap, and on the fine side a margin of MSI pixels around it where there are any.
    fine_window, coarse_window : Window
        Where the working grids lie in the original rasters.
    output : Window
        The output (overlap) inside the working fine grid.
    displaced : bool
        Whether the coarse pixels bring their true centres, which lie up to `FARTHEST` from those of the grid.
    """

    fine: GeoBox
    coarse: GeoBox
    fine_window: Window
    coarse_window: Window
    output: Window
    displaced: bool = False

    @cached_property
    def aligned(self) -> bool:
        """Whether both grids share CRS and axes, so that rows and columns separate."""
        relative = ~self.fine.affine * self.coarse.affine
        tiny = 1e-6 * max(abs(relative.a), abs(relative.e))
        return self.fine.crs == self.coarse.crs and abs(relative.b) < tiny and abs(relative.d) < tiny and relative.a > 0 and relative.e > 0

    @cached_property
    def ratio(self) -> float:
        """Coarse over fine pixel size (geometric mean of both directions, at the scene's centre)."""
        jacobian = self._jacobian()
        return float(np.sqrt(abs(np.linalg.det(jacobian))))

    @cached_property
    def axes(self) -> tuple[Axis, Axis]:
        """Row and column axis of an aligned pair; for others, of its aligned stand-in (same ratio, no rotation)."""
        (h, w), (height, width) = self.coarse.shape, self.fine.shape
        if self.aligned:
            relative = ~self.fine.affine * self.coarse.affine
            col, row = relative * (0.5, 0.5)
            return Axis(relative.e, row - 0.5, h, height), Axis(relative.a, col - 0.5, w, width)
        ratio = self.ratio
        centre_row, centre_col = (float(v[0]) for v in self.to_fine(np.array([(h - 1) / 2]), np.array([(w - 1) / 2])))
        return Axis(ratio, centre_row - ratio * (h - 1) / 2, h, height), Axis(ratio, centre_col - ratio * (w - 1) / 2, w, width)

    @property
    def output_geobox(self) -> GeoBox:
        """The grid of the fused image."""
        return self.fine[self.output.slices]

    def to_fine(self, rows: np.ndarray, cols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coarse index coordinates to fine ones; arrays of one shape in, two of that shape out."""
        return _convert(self.coarse, self.fine, rows, cols)

    def to_coarse(self, rows: np.ndarray, cols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Fine index coordinates to coarse ones."""
        return _convert(self.fine, self.coarse, rows, cols)

    def true_positions(self, centres: np.ndarray, coarse: Window) -> np.ndarray:
        """Fine index coordinates of the true centres of coarse pixels.

        Parameters
        ----------
        centres : ndarray, shape (2, h, w)
            ``centre_y`` and ``centre_x``, in units of the coarse grid's CRS.
        coarse : Window
            Of the working grid, to which they belong.

        Returns
        -------
        ndarray, shape (2, h, w)
            Rows and columns; NaN for pixels without a centre, and for those that lie farther than `FARTHEST` from the grid's own.
        """
        known = np.isfinite(centres).all(0)
        rows, cols = np.mgrid[coarse.slices].astype(float)
        found = np.full((2, *coarse.shape), np.nan)
        found[:, known] = _index(self.coarse.crs, self.fine, centres[1][known], centres[0][known])
        step = np.array(_index(self.coarse.crs, self.coarse, centres[1], centres[0])) - (rows, cols)
        with np.errstate(invalid="ignore"):
            found[:, ~(np.abs(step).max(0) <= FARTHEST)] = np.nan
        return found

    def _jacobian(self) -> np.ndarray:
        h, w = self.coarse.shape
        row, col = (h - 1) / 2, (w - 1) / 2
        rows, cols = self.to_fine(np.array([row - 0.5, row + 0.5, row, row]), np.array([col, col, col - 0.5, col + 0.5]))
        return np.array([[rows[1] - rows[0], rows[3] - rows[2]], [cols[1] - cols[0], cols[3] - cols[2]]])


def _convert(source: GeoBox, target: GeoBox, rows: np.ndarray, cols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return _index(source.crs, target, *_place(source.affine, np.asarray(cols) + 0.5, np.asarray(rows) + 0.5))


def _index(crs: Any, target: GeoBox, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index coordinates of places that are given in a CRS."""
    if crs != target.crs:
        x, y = _transformer(crs, target.crs).transform(x, y)
    turn = full_turn(target)
    if turn:  # places on either side of the antimeridian are neighbours
        middle = target.affine.c + target.affine.a * target.shape[1] / 2
        x = x - turn * np.round((x - middle) / turn)
    col, row = _place(~target.affine, x, y)
    return row - 0.5, col - 0.5


def _place(affine: Any, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An affine transform of arrays; the class itself is typed for single points."""
    return np.asarray(affine.a * x + affine.b * y + affine.c), np.asarray(affine.d * x + affine.e * y + affine.f)


def full_turn(box: GeoBox) -> float:
    """What a full turn of longitude is in units of the CRS of a grid: 360 in degrees; 0 where x is no longitude."""
    crs = box.crs
    return 2 * np.pi / crs.proj.axis_info[0].unit_conversion_factor if crs is not None and crs.geographic else 0.0


def _beside(coarse: GeoBox, fine: GeoBox) -> GeoBox:
    """The coarse grid on the same side of the antimeridian as the fine one, where both are in longitude and latitude."""
    turn = full_turn(fine) if coarse.crs == fine.crs else 0.0
    if not turn:
        return coarse
    middles = (box.affine.c + box.affine.a * box.shape[1] / 2 for box in (fine, coarse))
    turns = round((next(middles) - next(middles)) / turn)
    return type(coarse)(coarse.shape, Affine.translation(turn * turns, 0) @ coarse.affine, coarse.crs) if turns else coarse


def _transformer(source: Any, target: Any) -> Transformer:
    try:
        return Transformer.from_crs(str(source), str(target), always_xy=True)
    except ProjError:
        raise InvalidPair(
            f"Nothing leads from the CRS {crs_name(source.proj)!r} of one image to {crs_name(target.proj)!r} of the other; expected two images "
            "that are placed on one globe. A local or arbitrary CRS is no place: write the right one into the file, e.g. with "
            "gdal_edit.py -a_srs EPSG:…",
            code="wrong-crs",
        ) from None


def pair_grids(coarse: GeoBox, fine: GeoBox, displaced: bool = False) -> GridPair:
    """Pair the grid of an HSI with that of an MSI of the same place.

    Parameters
    ----------
    coarse, fine : GeoBox
        Grids of the HSI and of the MSI, in any CRS.
    displaced : bool
        Whether the coarse pixels bring their true centres.

    Returns
    -------
    GridPair
        Both grids cropped to what the other one covers: fine pixels whose centre lies on the coarse image, coarse
        pixels that touch those fine pixels.

    Raises
    ------
    InvalidPair
        The images do not overlap, are swapped, or their pixel sizes differ by less than 1.5 or more than 32 times.
    """
    coarse = _beside(coarse, fine)
    everything = Window(0, fine.shape[0], 0, fine.shape[1])
    whole = GridPair(fine, coarse, everything, Window(0, coarse.shape[0], 0, coarse.shape[1]), Window(0, 0, 0, 0))
    near = _near(whole)
    if near != whole.coarse_window:
        whole = replace(whole, coarse=coarse[near.slices], coarse_window=near)
    _check_ratio(whole)
    output = _overlap(whole)
    if min(output.shape) < 2 * whole.ratio * (1 - _ROUNDING):
        raise InvalidPair(_no_overlap(coarse, fine, output), code="no-overlap")
    working = output.grown(int(np.ceil(MARGIN * whole.ratio)), everything)
    touched = _touched(whole, output)
    if displaced:  # a pixel beyond the edge may truly lie inside
        touched = touched.grown(int(FARTHEST), Window(0, near.shape[0], 0, near.shape[1]))
    return GridPair(
        fine=fine[working.slices],
        coarse=whole.coarse[touched.slices],
        fine_window=working,
        coarse_window=touched.offset(near.top, near.left),
        output=output.offset(-working.top, -working.left),
        displaced=displaced,
    )


def _near(pair: GridPair) -> Window:
    """The part of the coarse grid around the fine one, where it is much larger: ratio and outline count there, and far away there may be none."""
    rows, cols = pair.to_coarse(*_extent(pair.fine))
    if not (np.isfinite(rows).all() and np.isfinite(cols).all()):
        return pair.coarse_window
    (top, bottom), (left, right) = ((int(np.floor(v.min())) - MARGIN, int(np.ceil(v.max())) + MARGIN + 1) for v in (rows, cols))
    h, w = pair.coarse.shape
    window = Window(max(top, 0), min(bottom, h), max(left, 0), min(right, w))
    return window if min(window.shape) > 0 else pair.coarse_window


def _check_ratio(pair: GridPair) -> None:
    with np.errstate(invalid="ignore"):  # positions off the map are infinite
        ratio = pair.ratio
    if not np.isfinite(ratio):
        raise InvalidPair(
            "The two images lie so far apart that one cannot be placed on the other's grid; check the CRS of both.", code="no-overlap"
        )
    if ratio < 1 / MIN_RATIO:
        raise InvalidPair(
            f"The image given as HSI has finer pixels than the one given as MSI (pixel-size ratio {ratio:.3g}). "
            "Expected coarse pixels in the first and fine pixels in the second; swap them.",
            code="swapped",
        )
    if not MIN_RATIO * (1 - _ROUNDING) <= ratio <= MAX_RATIO * (1 + _ROUNDING):
        raise InvalidPair(
            f"The pixel-size ratio of HSI to MSI is {ratio:.3g}; expected {MIN_RATIO:g} to {MAX_RATIO:g}. "
            "Resample one of the images (fine image: average it down; coarse image: nothing to gain below a ratio of 1.5).",
            code="ratio",
        )


def _extent(box: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """Index coordinates of points along the outline of a grid, corners included."""
    h, w = box.shape
    r, c = np.linspace(-0.5, h - 0.5, 33), np.linspace(-0.5, w - 0.5, 33)
    return (
        np.concatenate([r, r, np.full_like(c, -0.5), np.full_like(c, h - 0.5)]),
        np.concatenate([np.full_like(r, -0.5), np.full_like(r, w - 0.5), c, c]),
    )


def _overlap(pair: GridPair) -> Window:
    """Fine pixels whose centre lies on the coarse image (its bounding box on the fine grid, where the axes differ)."""
    rows, cols = pair.to_fine(*_extent(pair.coarse))
    if not (np.isfinite(rows).all() and np.isfinite(cols).all()):
        return Window(0, 0, 0, 0)
    # A tolerance of a thousandth of a pixel keeps grids that meet exactly from losing a row to rounding.
    top, left = np.ceil(rows.min() - 1e-3), np.ceil(cols.min() - 1e-3)
    bottom, right = np.floor(rows.max() + 1e-3) + 1, np.floor(cols.max() + 1e-3) + 1
    height, width = pair.fine.shape
    return Window(int(max(top, 0)), int(min(bottom, height)), int(max(left, 0)), int(min(right, width)))


def _touched(pair: GridPair, output: Window) -> Window:
    """Coarse pixels that touch the output."""
    rows, cols = _extent(pair.fine[output.slices])
    rows, cols = pair.to_coarse(rows + output.top, cols + output.left)
    h, w = pair.coarse.shape
    top, left = np.floor(rows.min() + 0.5 + 1e-3), np.floor(cols.min() + 0.5 + 1e-3)
    bottom, right = np.ceil(rows.max() + 0.5 - 1e-3), np.ceil(cols.max() + 0.5 - 1e-3)
    return Window(int(max(top, 0)), int(min(bottom, h)), int(max(left, 0)), int(min(right, w)))


def _no_overlap(coarse: GeoBox, fine: GeoBox, output: Window) -> str:
    def describe(box: GeoBox) -> str:
        try:
            west, south, east, north = box.geographic_extent.boundingbox
        except ProjError:  # a CRS that is not of the earth
            return "x {0:.10g}–{2:.10g}, y {1:.10g}–{3:.10g}".format(*box.boundingbox)
        return f"{west:.4f}–{east:.4f}°E, {south:.4f}–{north:.4f}°N"

    found = "do not overlap" if min(output.shape) <= 0 else f"overlap by {output.shape[0]} × {output.shape[1]} fine pixels only"
    return (
        f"The two images {found}: HSI covers {describe(coarse)}, MSI covers {describe(fine)}. "
        "Expected two images of one place, at least two coarse pixels wide; check the files and their CRS."
    )


def common_windows(one: GeoBox, other: GeoBox) -> tuple[Window, Window]:
    """The pixels that two images on one grid have in common, as a window of each.

    Raises
    ------
    InvalidPair
        Other CRS or pixel size, pixels that do not coincide, or nothing in common.
    """
    relative = ~one.affine * other.affine
    step = np.array([relative.a, relative.b, relative.d, relative.e])
    offset = np.array([relative.f, relative.c])
    if one.crs != other.crs or np.abs(step - (1, 0, 0, 1)).max() > 1e-6 or np.abs(offset - np.round(offset)).max() > 0.01:
        raise InvalidPair(
            f"The two images are not on one grid: {_described(one)} and {_described(other)}, {offset[0]:.3g} rows and {offset[1]:.3g} columns "
            "apart. Expected the same CRS and pixel size, and whole pixels between the origins."
        )
    rows, cols = (int(v) for v in np.round(offset))
    theirs = Window(0, other.shape[0], 0, other.shape[1]).offset(rows, cols)
    both = Window(max(theirs.top, 0), min(theirs.bottom, one.shape[0]), max(theirs.left, 0), min(theirs.right, one.shape[1]))
    if min(both.shape) <= 0:
        raise InvalidPair("The two images have no pixel in common. Expected images of one place; check their extents.")
    return both, both.offset(-rows, -cols)


def _described(box: GeoBox) -> str:
    return f"{crs_name(box.crs.proj)} with pixels of {box.affine.a:g}"  # type: ignore[union-attr]
