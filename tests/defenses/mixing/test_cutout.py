"""Cutout against places worked out by hand."""

import numpy as np
import pytest
from batches_to_mix import mixed

from tfpoison.defenses.mixing import Cutout


def erased(images, **settings):
    """Returns which pixels a cutout erased, (n, H, W); the images hold no pixel below 0."""
    labels = np.arange(len(images))
    result, same = mixed(Cutout(fill_value=-1.0, **settings), images, labels)
    np.testing.assert_array_equal(same, labels)
    holes = (result == -1).all(axis=-1)
    np.testing.assert_array_equal(result, np.where(holes[..., None], -1, images))
    return holes


def test_cutout_place_by_hand():
    # A square of 4 around row c covers rows c - 2 to c + 1. Of the 8 rows that may be its centre
    # row 0 is covered by 0, 1, 2; row 1 by 0 to 3; rows 2 to 5 by four; row 6 by 5, 6, 7; row 7 by
    # 6 and 7. The same goes for columns, independently.
    holes = erased(np.zeros((4000, 8, 8, 1), "float32"), size=4)
    covered = np.array([3, 4, 4, 4, 4, 4, 3, 2]) / 8
    np.testing.assert_allclose(holes.mean(axis=0), np.outer(covered, covered), atol=0.03)


@pytest.mark.parametrize("size", [1, 3, 4, 8])
def test_cutout_is_a_square_cut_off_at_the_border(size):
    holes = erased(np.random.default_rng(0).uniform(size=(500, 8, 10, 3)), size=size)
    heights, widths = holes.any(axis=2).sum(axis=1), holes.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(holes.sum(axis=(1, 2)), heights * widths)
    for axis, lengths in ((2, heights), (1, widths)):
        lines = holes.any(axis=axis)
        # Lines are connected, and shorter than the square only where they touch a border.
        assert (np.abs(np.diff(lines, axis=1, prepend=0, append=0)).sum(axis=1) == 2).all()
        whole = lengths == size
        assert (whole | lines[:, 0] | lines[:, -1]).all()
        assert whole.any()
        assert lengths.max() == size
        # The centre is a pixel of the image: a border leaves half of the square at least.
        assert lengths.min() == (size + 1) // 2


def test_cutout_defaults():
    """Half of the shorter side, filled with each channel's mean."""
    images = np.random.default_rng(0).uniform(size=(200, 6, 8, 2)).astype("float32")
    result, _ = mixed(Cutout(), images, np.zeros(200))
    holes = (result != images).all(axis=-1)
    assert holes.any(axis=2).sum(axis=1).max() == holes.any(axis=1).sum(axis=1).max() == 3
    filled = result[holes]
    expected = images.mean(axis=(0, 1, 2), dtype="float64")
    np.testing.assert_allclose(filled, np.broadcast_to(expected, filled.shape), atol=1e-5)


def test_half_precision_mean():
    """The sum of these pixels, 2¹⁵ of 200, is beyond half precision's 65504."""
    images = np.full((32, 32, 32, 1), 200, "float16")
    np.testing.assert_array_equal(mixed(Cutout(), images, np.zeros(32))[0], images)


def test_cutout_of_one_pixel():
    """Half of a side of one pixel is one pixel."""
    images = np.ones((4, 1, 1, 1), "float32")
    assert (mixed(Cutout(fill_value=0), images, np.zeros(4))[0] == 0).all()
