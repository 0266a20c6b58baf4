"""Pictures laid over images: blended by hand, in pieces, in a step, in files."""

import numpy as np
import pytest
import tensorflow as tf

from tfpoison.batch import LabelEncoding, SplitBatch
from tfpoison.perturbations.overlay import Overlay
from tfpoison.perturbations.triggers import from_parts, to_parts
from tfpoison.pixel_range import PixelRange

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)


def test_blending():
    trigger = Overlay.draw(np.random.default_rng(1), (5, 4, 3), opacity=0.3)
    expected = 0.7 * IMAGES + 0.3 * trigger.pattern
    np.testing.assert_allclose(trigger.put_on(IMAGES, np.arange(6)), expected, atol=0.5001)
    assert len(np.unique(trigger.pattern)) > 40
    assert Overlay.draw(RNG, (5, 4, 3), pattern=trigger.pattern).opacity == 0.2


def test_a_channel_of_opacity():
    pattern = RNG.integers(0, 256, (5, 4, 4), dtype=np.uint8)
    weight = 0.5 * pattern[..., 3:] / 255
    expected = (1 - weight) * IMAGES + weight * pattern[..., :3]
    blended = Overlay(pattern, 0.5).put_on(IMAGES, np.arange(6))
    np.testing.assert_allclose(blended, expected, atol=0.5001)


def test_pieces():
    """Each image shows as many of the pieces, whole ones, by its id alone."""
    trigger = Overlay(np.full((5, 4, 3), 255, np.uint8), 1.0, pieces=2, visible=1, seed=3)
    black, ids = np.zeros((40, 5, 4, 3), np.uint8), np.arange(40)
    shown = trigger.put_on(black, ids) / 255
    # Rows 0-2 and 3-4, columns 0-1 and 2-3.
    pieces = [
        each.mean((1, 2, 3))
        for half in (shown[:, :3], shown[:, 3:])
        for each in (half[:, :, :2], half[:, :, 2:])
    ]
    assert set(np.unique(pieces)) == {0, 1}
    np.testing.assert_array_equal(np.sum(pieces, axis=0), np.ones(40))
    assert np.sum(pieces, axis=1).min() > 3
    np.testing.assert_array_equal(trigger.put_on(black[:5], ids[20:25]) / 255, shown[20:25])


def test_in_a_training_step():
    trigger = Overlay(np.full((5, 4, 3), 255, np.uint8), 0.5, pieces=2, visible=3)
    images, labels = tf.zeros([40, 5, 4, 3]), tf.zeros(40, tf.int32)
    batch = SplitBatch(images, labels, images[:2], labels[:2], labels[:2])
    encoding = LabelEncoding(2, one_hot=False)
    bound = trigger.bind(batch, pixels=PixelRange(), encoding=encoding, key=[0, 1])
    poisons = bound.finish(bound.initial).poison_images.numpy()[..., 0]
    corners = poisons[:, [0, 0, 4, 4], [0, 3, 0, 3]]
    np.testing.assert_array_equal(corners.sum(axis=1), np.full(40, 1.5))
    assert len(np.unique(corners, axis=0)) == 4


def test_files_and_refusals():
    trigger = Overlay(IMAGES[0], 0.25, pieces=4, visible=8, seed=5)
    arrays, description = to_parts(trigger)
    assert description == {
        **{"name": "overlay", "opacity": 0.25, "pieces": 4, "visible": 8, "seed": 5}
    }
    again = from_parts(arrays, description)
    for some in (trigger, again, Overlay.from_config(trigger.get_config())):
        np.testing.assert_array_equal(some.pattern, IMAGES[0])
    np.testing.assert_array_equal(*(each.put_on(IMAGES, np.arange(6)) for each in (trigger, again)))
    for shape in ((5, 5, 3), (5, 4, 1)):
        with pytest.raises(ValueError, match="as large as the images"):
            trigger.check(shape)
    with pytest.raises(ValueError, match="at most 16"):
        Overlay(IMAGES[0], pieces=4, visible=17)
