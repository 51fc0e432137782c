"""Masked values are missing data that say so, wherever they go."""

from __future__ import annotations

import pickle

import dask
import dask.array as da
import numpy as np
from affine import Affine

from geofuse.cube.masks import Mask
from geofuse.cube.schema import wrap
from geofuse.pair.grid import Window
from geofuse.pair.masking import MASKED, is_masked, with_masks
from geofuse.pair.scene import Scene, pixels
from tests.pairs import uncropped, whole


def test_they_are_missing_data() -> None:
    assert np.isnan(MASKED)
    values = np.array([[0.1, np.nan, MASKED, np.inf, -np.nan]], np.float32)
    assert is_masked(values).tolist() == [[False, False, True, False, False]]
    assert is_masked(values.T[::-1]).ravel().tolist() == [False, False, True, False, False], "not contiguous either"


def test_copies_keep_them() -> None:
    values = np.array([[[0.1, MASKED], [np.inf, MASKED]]], np.float32)
    lazy = da.from_array(values, chunks=1)
    ways = [
        pickle.loads(pickle.dumps(values)),
        pixels(values),
        values.copy()[:, ::-1][:, ::-1],
        np.where(values > 1, np.float32(np.nan), values),
    ]
    ways += [da.concatenate([lazy, lazy]).rechunk(2).compute()[:1], np.stack([values])[0]]
    with dask.config.set(scheduler="processes"):
        ways.append(lazy.map_blocks(pixels, dtype=np.float32).compute())
    for way in ways:
        assert is_masked(way).tolist() == [[[False, True], [False, True]]]


def test_what_was_missing_is_not_masked() -> None:
    """A gap in one band stays one; the flags of snow hide nothing; a mask from elsewhere hides what it says."""
    values = np.full((2, 2, 2), 0.2, np.float32)
    values[0, 0, 0] = np.nan
    flags = np.array([[Mask.CLOUD | Mask.SNOW, Mask.SNOW], [Mask.DEFECT, 0]], np.uint8)
    cube = wrap(values, transform=Affine(10, 0, 5e5, 0, -10, 6e6), crs=32633, names=["a", "b"], mask=flags)
    everything = uncropped((2, 2), (2, 2), 1.0)
    given = np.array([[False, True], [False, False]])
    for hsi in (cube, cube.chunk(x=1, band=1)):
        scene = with_masks(Scene(hsi, cube, everything), hsi=given)
        coarse, fine = (np.asarray(image) for image in (scene.hsi_window(whole((2, 2))), scene.msi_window(whole((2, 2)))))
        assert is_masked(coarse).tolist() == [[[False, True], [True, False]], [[True, True], [True, False]]]
        assert is_masked(fine).tolist() == [[[False, False], [True, False]], [[True, False], [True, False]]]
        assert is_masked(np.asarray(scene.hsi_window(Window(1, 2, 0, 2)))).tolist() == [[[True, False]], [[True, False]]]
        assert hasattr(scene.hsi_window(whole((2, 2))), "dask") == (hsi.chunks is not None)
    bare = with_masks(Scene(cube.drop_vars("mask"), cube, everything))
    assert not is_masked(bare.hsi_window(whole((2, 2)))).any()
