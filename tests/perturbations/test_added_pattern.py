"""A pattern that is added, by its formula."""

import numpy as np
import pytest

from tfpoison.perturbations.added_pattern import AddedPattern
from tfpoison.perturbations.triggers import from_parts, to_parts

PATTERN = np.array([[[-10], [0]], [[7], [100]]], np.int16)


def test_the_formula():
    images = np.full((2, 2, 2, 1), 200, np.uint8)
    images[1] = 5
    seen = AddedPattern(PATTERN, 2).put_on(images, np.arange(2))
    np.testing.assert_array_equal(seen[..., 0], [[[180, 200], [214, 255]], [[0, 5], [19, 205]]])


def test_its_shape_and_its_parts():
    trigger = AddedPattern(PATTERN, 2.0)
    trigger.check((2, 2, 1))
    with pytest.raises(ValueError, match=r"shape \(2, 2, 3\). Received: one of \(2, 2, 1\)"):
        trigger.check((2, 2, 3))
    arrays, plain = to_parts(trigger)
    assert plain == {"name": "added_pattern", "strength": 2.0}
    np.testing.assert_array_equal(from_parts(arrays, plain).pattern, PATTERN)
