"""Flows: shifts by whole pixels, places between them by SciPy, smooth ones as warps have them."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import map_coordinates

from tfpoison.batch import LabelEncoding, split
from tfpoison.distribution import Reduction
from tfpoison.perturbations import Spatial
from tfpoison.perturbations.warp import Warp
from tfpoison.pixel_range import PixelRange

IMAGES = np.random.default_rng(0).random((4, 6, 8, 3))


def bind(spatial, images=IMAGES, dtype=tf.float64):
    encoding = LabelEncoding(4, one_hot=False)
    batch = split(
        tf.cast(images, dtype),
        tf.range(len(images)),
        encoding,
        selection="share",
        poison_fraction=1.0,
        reduction=Reduction(),
        key=(key := tf.constant([0, 1])),
    )
    return spatial.bind(batch, pixels=PixelRange(), encoding=encoding, key=key)


def test_whole_pixels():
    bound = bind(Spatial(reach=0.5))
    flow = np.zeros((4, 6, 8, 2))
    np.testing.assert_array_equal(bound.finish([tf.constant(flow)]).poison_images, IMAGES)
    flow[..., 0], flow[..., 1] = 1 / 6, -2 / 8
    # Beyond the edges the outermost pixels stand again.
    padded = np.pad(IMAGES, [(0, 0), (0, 1), (2, 0), (0, 0)], mode="edge")
    moved = bound.finish([tf.constant(flow)]).poison_images
    np.testing.assert_allclose(moved, padded[:, 1:, :8], atol=1e-12)


def test_between_pixels():
    bound = bind(Spatial(reach=0.3))
    flow = bound.initial[0].numpy()
    assert flow.shape == (4, 6, 8, 2) and 0.29 < np.abs(flow).max() <= 0.3
    moved = bound.apply(bound.initial).poison_images
    for image, found, field in zip(IMAGES, moved, flow, strict=True):
        places = np.indices((6, 8)) + np.moveaxis(field, -1, 0) * [[[6]], [[8]]]
        expected = [
            map_coordinates(image[..., channel], places, order=1, mode="nearest")
            for channel in range(3)
        ]
        np.testing.assert_allclose(found, np.stack(expected, -1), atol=1e-12)


def test_control_points_are_those_of_warps():
    images = np.random.default_rng(1).random((2, 7, 7, 3))
    warp = Warp.draw(np.random.default_rng(2), points=3, strength=2.0)
    # A field of 1 moves by strength · 6 / 14 of seven pixels.
    flow = np.stack([warp.pattern.astype(float) * 2.0 * 6 / 14 / 7] * 2)
    bound = bind(Spatial(reach=1.0, points=3), images)
    assert bound.initial[0].shape == (2, 3, 3, 2)
    moved = bound.apply([tf.constant(flow)]).poison_images
    np.testing.assert_allclose(moved, warp.change(tf.constant(images), None), atol=1e-12)
    assert np.abs(moved - images).max() > 0.1


@pytest.mark.parametrize("points", [None, 4])
def test_gradients(points):
    bound = bind(Spatial(reach=0.2, points=points))
    weights = np.random.default_rng(3).normal(size=IMAGES.shape)
    found = bound.gradients(bound.initial, [tf.constant(weights)])[0].numpy()

    def value(flow):
        return np.sum(weights * bound.apply([tf.constant(flow)]).poison_images)

    start = bound.initial[0].numpy()
    for place in [(0, 2, 1, 0), (1, 3, 2, 1), (3, 1, 3, 0)]:
        step = np.zeros(start.shape)
        step[place] = 1e-7
        difference = (value(start + step) - value(start - step)) / 2e-7
        assert found[place] == pytest.approx(difference, rel=1e-5)
    assert np.count_nonzero(found) > 0.5 * found.size


def test_projection():
    bound = bind(Spatial(reach=0.1))
    flow = tf.constant(np.random.default_rng(4).normal(size=(4, 6, 8, 2)))
    np.testing.assert_array_equal(bound.project([flow])[0], np.clip(flow, -0.1, 0.1))


def test_half_precision():
    """Places are told apart in an image of 300 pixels, which bfloat16 by itself cannot do."""
    images = np.broadcast_to(np.linspace(0, 1, 300)[:, np.newaxis, np.newaxis], (1, 300, 4, 3))
    bound = bind(Spatial(reach=0.1), images, tf.bfloat16)
    flow = tf.fill([1, 300, 4, 2], 0.5 / 300)
    moved = bound.finish([flow]).poison_images
    assert moved.dtype == tf.bfloat16
    whole = bind(Spatial(reach=0.1), images, tf.float32).finish([flow]).poison_images
    np.testing.assert_allclose(tf.cast(moved, tf.float32), whole, atol=0.01)


def test_too_many_control_points():
    Spatial(points=6).check_sides((6, 8))
    with pytest.raises(ValueError, match="at most 6, the pixels"):
        Spatial(points=7).check_sides((6, 8))
    with pytest.raises(ValueError, match="at most 6, the pixels"):
        bind(Spatial(points=7))
