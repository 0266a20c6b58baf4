"""The range of pixels, and shares of it."""

import numpy as np
import pytest
import tensorflow as tf

from tfpoison.pixel_range import PixelRange


def test_shares_and_room():
    pixels = PixelRange((0, 255))
    images = tf.constant([0.0, 51.0, 255.0, 306.0, -51.0])
    np.testing.assert_allclose(pixels.to_shares(images), [0, 0.2, 1, 1.2, -0.2], rtol=1e-6)
    sink, rise = pixels.room(images)
    # Pixels outside the range may not go further out, and need not come back.
    np.testing.assert_allclose(sink, [0, -0.2, -1, -1.2, 0], rtol=1e-6)
    np.testing.assert_allclose(rise, [1, 0.8, 0, 0, 1.2], rtol=1e-6)


def test_a_range_for_each_channel():
    mean, std = np.array([0.5, 0.4]), np.array([0.25, 0.2])
    pixels = PixelRange(((0 - mean) / std, (1 - mean) / std))
    assert pixels.channels == 2
    np.testing.assert_allclose(pixels.span(tf.float64), 1 / std)
    normalised = (np.full((1, 1, 1, 2), 0.75) - mean) / std
    np.testing.assert_allclose(pixels.to_shares(tf.constant(normalised)), 0.75 + 0 * normalised)
    with pytest.raises(ValueError, match="each of the 3 channels"):
        pixels.check_channels(3)


def test_clipping_leaves_pixels_that_lay_outside():
    originals = tf.constant([0.5, 1.2, -0.3])
    clipped = PixelRange().clip(tf.constant([1.1, 1.3, -0.2]), originals)
    np.testing.assert_allclose(clipped, [1.0, 1.2, -0.2])


@pytest.mark.parametrize(
    ("bounds", "error"),
    [
        ((1, 0), ValueError),
        ((0, np.inf), ValueError),
        ((0, 0), ValueError),
        (([0, 0], [1, 1, 1]), ValueError),
        (255, TypeError),
        ("01x", TypeError),
    ],
)
def test_refused(bounds, error):
    with pytest.raises(error, match="pixel_range"):
        PixelRange(bounds)
