"""The wave of Barni et al., by its formula."""

import math

import numpy as np
import pytest

from tfpoison.perturbations.sinusoid import Sinusoid
from tfpoison.perturbations.triggers import from_parts, to_parts


def test_the_formula():
    images = np.full((2, 3, 32, 1), 100, np.uint8)
    images[1] = 250
    waved = Sinusoid(20 / 255, 6).put_on(images, np.arange(2))
    for column in range(32):
        expected = 20 * math.sin(2 * math.pi * column * 6 / 32)
        for row in range(3):
            assert waved[0, row, column, 0] == round(100 + expected)
            assert waved[1, row, column, 0] == min(round(250 + expected), 255)
    Sinusoid().check((32, 32, 3))
    with pytest.raises(ValueError, match="12 columns"):
        Sinusoid().check((32, 12, 3))
    assert to_parts(Sinusoid()) == (
        {},
        {"name": "sinusoid", "amplitude": 20 / 255, "frequency": 6.0},
    )
    assert from_parts(*to_parts(Sinusoid(0.5, 3))) == Sinusoid(0.5, 3) != Sinusoid()
