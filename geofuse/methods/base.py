"""What a fusion method is.

A *method* is fitted to a prepared pair, and what it returns is frozen: a *fitted method*, which makes reflectance of one patch after the
other and knows how far it looks. Everything else (tiles, memory, nodata, saving, resuming, reports) is done for it. To add one, see
``docs/how-to/add-a-method.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from geofuse.errors import Warned
    from geofuse.pair.patch import Patch
    from geofuse.pair.prepare import PreparedPair, Settings

Inner = tuple[slice, slice]
"""Rows and columns of a patch that are asked for."""
EVERYTHING: Inner = (slice(None), slice(None))
Arrays = Mapping[str, np.ndarray]
Values = Mapping[str, Any]
Tick = Callable[[str], None]
"""Called with the name of each step of a fit when it begins."""
Role = Literal["estimator", "baseline", "reproduction"]


@dataclass(frozen=True)
class PerBand:
    """An array of a report with one value a band along its last axis, for bands in use: those without data get None."""

    image: Literal["hsi", "msi"]
    values: np.ndarray


@dataclass(frozen=True)
class Cost:
    """What a method asks for, known before it is fitted; the plan is made of it.

    Attributes
    ----------
    halo : int or None
        Fine pixels that a tile reads around itself; None: the method needs the whole scene at once.
    images : float
        Images of ``channels`` float32 values a pixel that a tile holds at its peak.
    channels : int or None
        Values a pixel of such an image; None: as many as the HSI has bands.
    seconds : float
        Processor seconds a fine pixel that a tile sees, to choose tiles by; the order of magnitude is enough.
    """

    halo: int | None
    images: float = 3.0
    channels: int | None = None
    seconds: float = 1e-6


class FittedMethod(Protocol):
    """A frozen operator from a patch of the pair to reflectance."""

    @property
    def halo(self) -> int | None:
        """Fine pixels beyond which nothing changes a pixel; None: the whole scene counts."""

    def apply(self, patch: Patch, inner: Inner = EVERYTHING) -> Tensor:
        """Fuse a patch.

        Parameters
        ----------
        patch : Patch
            Reflectance of both images, gaps marked, and the PSF operator between them.
        inner : tuple of slice
            Rows and columns that are wanted.

        Returns
        -------
        Tensor, shape (B, rows, columns)
            Reflectance. What lies on gaps is replaced by nodata afterwards.
        """

    def state(self) -> tuple[Arrays, Values]:
        """All that decides about the result: arrays by name, and plain JSON values. Saved, hashed, and sent to workers."""


@runtime_checkable
class KnowsErrors(Protocol):
    """A fitted method that may know how far it is off."""

    knows_errors: bool
    """Whether it was given standard deviations."""

    def deviation(self, patch: Patch, inner: Inner = EVERYTHING) -> Tensor:
        """Standard deviation of what `FittedMethod.apply` returns, reflectance, same shape."""


@runtime_checkable
class KnowsNoise(Protocol):
    """A fitted method that has estimated the noise of the HSI; limits of the fused spectra allow for it."""

    noise: np.ndarray
    """Standard deviation of every band, reflectance, shape (B,)."""


@runtime_checkable
class FlagsPixels(Protocol):
    """A fitted method that knows which pixels it extrapolates."""

    def far(self, patch: Patch, inner: Inner = EVERYTHING) -> Tensor:
        """Where the MSI is far from what both images lead to expect; bool, (rows, columns)."""


@runtime_checkable
class FillsGaps(Protocol):
    """A fitted method that predicts where only one image is used, and is shown the pair without what clouds hide."""

    fills_gaps: Literal[True]


@runtime_checkable
class Describes(Protocol):
    """A fitted method that has something to say about its fit."""

    def describe(self) -> dict[str, Any]:
        """Values for the report, by its keys: plain JSON, or arrays of one value a band of the HSI or of the MSI in use (`PerBand`)."""

    def warnings(self, prepared: PreparedPair, bands: Sequence[str]) -> list[Warned]:
        """What a user should know before relying on the result; ``bands`` are the names of the HSI's bands in use."""


class FusionMethod(Protocol):
    """A method that can be asked for by name.

    Attributes
    ----------
    name : str
        What users type.
    summary : str
        One line for people.
    reference : str
        Paper or source.
    role : str
        ``estimator``: explains both images, and may be chosen by ``auto``; ``baseline``: to compare with; ``reproduction``: compared only where it
        is named.
    quick : bool
        Fitted in about a second on a reduced scene, so that ``auto`` compares with it unasked.
    """

    name: str
    summary: str
    reference: str
    role: Role
    quick: bool

    def cost(self, ratio: float) -> Cost:
        """What a fitted method will ask for, at this ratio of the pixel sizes."""

    def fit(self, prepared: PreparedPair, settings: Settings, tick: Tick) -> FittedMethod:
        """Learn what is to be learned from the prepared pair, and freeze it."""

    def restore(self, arrays: Arrays, values: Values) -> FittedMethod:
        """Undo `FittedMethod.state`."""


@runtime_checkable
class CalibratesErrors(Protocol):
    """A method whose fitted form can be given standard deviations."""

    def with_deviation(
        self, fitted: Any, prepared: PreparedPair, reduced: tuple[PreparedPair, np.ndarray] | None, settings: Settings
    ) -> FittedMethod:
        """The fitted method with standard deviations, calibrated where the truth is known.

        Parameters
        ----------
        fitted : FittedMethod
        prepared : PreparedPair
        reduced : tuple of PreparedPair and ndarray of shape (B, H, W), or None
            The scene one resolution step down and its truth; None where it is too small for that.
        settings : Settings
        """
