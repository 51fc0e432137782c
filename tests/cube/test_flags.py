"""Flags of the quality layer: what a byte says."""

from __future__ import annotations

import numpy as np
import pytest

from geofuse.cube.flags import MEANINGS, Quality, attributes, counted, description, plane_of, shares


def test_a_byte_says_what_is_fixed_outside() -> None:
    """0 nodata, 1 good, and one bit each; flags of a pixel without data are dropped, and a flagged pixel is not good."""
    valid = np.array([False, True, True, True, True, True])
    flags = {name: np.arange(6) == k for k, name in enumerate(("far", "one_image", "masked", "outside_range", "far"), start=0)}
    flags["far"] = np.array([True, False, False, True, True, False])
    plane = plane_of(valid, **flags)
    assert plane.dtype == np.uint8
    assert plane.tolist() == [0, 2, 4, 8 + 16, 16, 1]


def test_counts_and_shares() -> None:
    plane = np.array([[0, 1, 1, 2], [8, 24, 16, 1]], np.uint8)
    counts = counted(plane)
    assert counts == {"good": 3, "one_image": 1, "masked": 0, "outside_range": 2, "far": 2, "pixels": 7}
    assert shares(counts)["far"] == pytest.approx(2 / 7)
    assert set(shares(counted(np.zeros((2, 2), np.uint8))).values()) == {0.0}


def test_attributes_are_those_of_cf() -> None:
    """Section 3.5: as many meanings, separated by blanks, as masks, which are powers of two."""
    found = attributes()
    assert len(found["flag_meanings"].split()) == len(found["flag_masks"]) == len(Quality) == len(MEANINGS)
    assert found["flag_masks"] == [1, 2, 4, 8, 16]
    assert all(str(mask) in description() for mask in found["flag_masks"])
