"""A scene reads the windows it is asked for, and says which samples are of use."""

from __future__ import annotations

import os
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from geofuse.cube.schema import wrap
from geofuse.errors import InvalidCube, InvalidPair
from geofuse.pair.grid import Window
from geofuse.pair.scene import Sample, Scene, usable
from tests.crops import small_cubes

WEST, NORTH = 390_000, 5_818_000


def labelled(bands: int, rows: int, cols: int, pixel: float, west: float = 0, north: float = 0) -> xr.DataArray:
    """A cube whose pixels hold their own place: 1000 y + x from the corner (WEST, NORTH), both in metres."""
    y, x = np.mgrid[:rows, :cols]
    place = 1000 * ((y + 0.5) * pixel - north) + (x + 0.5) * pixel + west
    transform = Affine(pixel, 0, WEST + west, 0, -pixel, NORTH + north)
    return wrap(np.repeat(place[None], bands, 0), transform=transform, crs="EPSG:32633", names=[str(k) for k in range(bands)])


def scene(**lazy: Any) -> Scene:
    """Coarse pixels of 5 m, the fine ones of 1 m starting 7 m further west and 3 m further north, both larger than the overlap."""
    hsi, msi = labelled(6, 20, 24, 5, west=0), labelled(3, 90, 100, 1, west=-7, north=3)
    return Scene.of(hsi.chunk(**lazy) if lazy else hsi, msi.chunk(**lazy) if lazy else msi)


@given(data=st.data())
def test_windows_hold_the_pixels_of_their_place(data: st.DataObject) -> None:
    """Checked by what the pixels say of themselves."""
    made = scene()
    for box, read, pixel in ((made.pair.fine, made.msi_window, 1), (made.pair.coarse, made.hsi_window, 5)):
        top, left = (data.draw(st.integers(0, n - 1)) for n in box.shape)
        bottom, right = data.draw(st.integers(top + 1, box.shape[0])), data.draw(st.integers(left + 1, box.shape[1]))
        pixels = read(Window(top, bottom, left, right))
        assert pixels.shape[1:] == (bottom - top, right - left)
        x, y = box.affine * (left + 0.5, top + 0.5)
        assert pixels[0, 0, 0] == pytest.approx(1000 * (NORTH - y) + x - WEST, abs=0.05)
        assert pixels[0, -1, -1] - pixels[0, 0, 0] == pytest.approx(pixel * (1000 * (bottom - top - 1) + right - left - 1), abs=0.05)


def test_samples_are_read_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several windows share what they read: dask is asked once."""
    import dask

    calls: list[int] = []
    genuine = dask.compute

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(len(arguments))
        return genuine(*arguments, **options)

    monkeypatch.setattr(dask, "compute", counted)
    windows = [(Window(10, 30, 10, 30), Window(0, 5, 0, 5)), (Window(40, 60, 10, 30), Window(5, 9, 0, 5))]
    lazy, eager = scene(x=7).read(windows), scene().read(windows)
    assert len(calls) == 2  # one for each scene
    for one, two in zip(lazy, eager, strict=True):
        assert np.array_equal(one.hsi, two.hsi)
        assert np.array_equal(one.msi, two.msi)
        assert one.hsi.dtype == one.msi.dtype == np.float32
        assert (one.hsi.shape, one.msi.shape) == ((6, *one.coarse.shape), (3, *one.fine.shape))


def test_lazy() -> None:
    assert not scene().lazy
    assert scene(x=8).lazy
    hsi, msi = small_cubes()
    assert Scene.of(hsi, msi.compute()).lazy
    assert isinstance(Scene.of(hsi, msi).hsi_window(Window(0, 3, 0, 3)), da.Array)


def test_bands_are_those_of_the_hsi() -> None:
    assert Scene.of(*small_cubes()).bands.names == tuple(small_cubes()[0].band.values)


@pytest.mark.parametrize(("first", "second"), [(3, 3), (2, 3)])
def test_as_many_bands_are_rejected(first: int, second: int) -> None:
    with pytest.raises(InvalidPair, match=rf"HSI has {first} bands and the MSI {second}; expected more bands in the HSI"):
        Scene.of(labelled(first, 20, 24, 5), labelled(second, 90, 100, 1))


def sample(hsi: Any = 1.0, msi: Any = 1.0) -> Sample:
    whole = np.ones((4, 5, 5), np.float32) * hsi, np.ones((2, 20, 20), np.float32) * msi
    return Sample(whole[0], whole[1], Window(0, 20, 0, 20), Window(0, 5, 0, 5))


EMPTY_WEST = np.where(np.arange(5) < 3, np.nan, 1)


def test_usable_samples_are_kept() -> None:
    full, partly = sample(), sample(hsi=EMPTY_WEST)
    assert usable([full, partly]) == [full, partly]
    assert usable([sample(hsi=np.nan), full, sample(msi=np.nan)]) == [full]


@pytest.mark.parametrize(
    "samples",
    [
        [sample(hsi=np.nan)],
        [sample(msi=np.nan), sample(msi=np.nan)],
        [sample(hsi=np.nan), sample(msi=np.nan)],
        [sample(hsi=EMPTY_WEST, msi=np.nan)],
    ],
)
def test_samples_without_data_in_common_are_rejected(samples: list[Sample]) -> None:
    with pytest.raises(InvalidCube, match="never hold data in the same place"):
        usable(samples)


def test_pixels_that_come_here_are_read_here() -> None:
    """With processes, too: another one would pack them and send them over."""
    readers = []

    def read(block: np.ndarray) -> np.ndarray:
        readers.append(os.getpid())
        return block

    hsi, msi = small_cubes()
    scene = Scene.of(hsi.copy(data=hsi.data.map_blocks(read, meta=hsi.data._meta)), msi)
    with dask.config.set(scheduler="processes"):
        scene.read([(Window(0, 20, 0, 20), Window(0, 4, 0, 4))])
    assert set(readers) == {os.getpid()}
