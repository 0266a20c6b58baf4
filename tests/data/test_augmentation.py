"""Shifts and flips of small images worked by hand, and the contract of the whole table."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tfpoison.data import AUGMENTATIONS
from tfpoison.data.augmentation import BORDERS, INTERPOLATIONS, ShiftAndFlip
from tfpoison.randomness import Purpose

KEY = Purpose.CRAFTING.key(3)
NAMES = [name for name in AUGMENTATIONS.names() if name != "none"]

# A 3 × 4 image of one channel.
IMAGE = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]], "float32")[None, :, :, None]


def move(down=0.0, right=0.0, mirrored=0.0, image=IMAGE, **settings):
    draws = tf.constant([[down, right, mirrored]])
    return ShiftAndFlip(**settings).apply(tf.constant(image), draws).numpy()[0, :, :, 0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [tf.float16, tf.float32, tf.float64])
def test_augmentation_keeps_the_contract(name, dtype):
    augment = AUGMENTATIONS.get(name)
    images = tf.random.stateless_uniform([64, 12, 10, 3], [0, 0], dtype=dtype)
    with tf.GradientTape() as tape:
        tape.watch(images)
        outcome = augment(images, KEY)
    assert outcome.shape == images.shape
    assert outcome.dtype == dtype
    np.testing.assert_array_equal(augment(images, KEY), outcome)
    assert np.abs(augment(images, Purpose.CRAFTING.key(4)) - outcome).max() > 0.1
    # Interpolation between pixels and black stays within their range.
    assert 0 <= np.min(outcome) <= np.max(outcome) <= 1
    gradient = tape.gradient(outcome, images)
    assert np.all(np.isfinite(gradient))
    # Shifts of up to 4 pixels keep the middle within the frame, with all its weight.
    np.testing.assert_allclose(gradient[:, 5:7, 5], 1, atol=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_static_shapes_are_kept_and_xla_compiles(name):
    augment = AUGMENTATIONS.get(name)
    images = tf.random.stateless_uniform([4, 8, 8, 3], [0, 0])

    @tf.function(jit_compile=True)
    def compiled(images, key):
        # XLA draws other numbers from the same key.
        draws = augment.draw(key, tf.shape(images)[0])
        return draws, augment.apply(images, draws)

    draws, outcome = compiled(images, KEY)
    np.testing.assert_allclose(outcome, augment.apply(images, draws), atol=1e-6)
    spec = tf.TensorSpec([None, 8, 8, 3])
    outcome = tf.function(augment).get_concrete_function(spec, KEY).structured_outputs
    assert outcome.shape.as_list() == [None, 8, 8, 3]


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_shift_by_whole_pixels_fills_with_black(interpolation):
    def shifted(**draws):
        return move(**draws, interpolation=interpolation)

    np.testing.assert_array_equal(shifted(down=1), [[0, 0, 0, 0], [1, 2, 3, 4], [5, 6, 7, 8]])
    np.testing.assert_array_equal(shifted(right=2), [[0, 0, 1, 2], [0, 0, 5, 6], [0, 0, 9, 10]])
    np.testing.assert_array_equal(
        shifted(down=-1, right=-1), [[6, 7, 8, 0], [10, 11, 12, 0], [0, 0, 0, 0]]
    )
    np.testing.assert_array_equal(shifted(down=3), np.zeros((3, 4)))


def test_shift_by_half_a_pixel_averages_neighbours():
    np.testing.assert_array_equal(move(right=0.5)[0], [0.5, 1.5, 2.5, 3.5])
    np.testing.assert_array_equal(move(down=0.25)[:, 0], [0.75, 4, 8])


def test_flip_mirrors_left_to_right():
    np.testing.assert_array_equal(move(mirrored=1), IMAGE[0, :, ::-1, 0])
    # Mirrored, then shifted to the right.
    np.testing.assert_array_equal(move(right=1, mirrored=1)[0], [0, 4, 3, 2])


def test_fill_is_the_colour_outside():
    np.testing.assert_array_equal(move(right=1, fill=7.0)[0], [7, 1, 2, 3])
    image = np.zeros((1, 1, 2, 2), "float32")
    filled = ShiftAndFlip(fill=(1.0, 2.0)).apply(tf.constant(image), tf.constant([[0.0, 1.0, 0.0]]))
    np.testing.assert_array_equal(filled[0, 0], [[1, 2], [0, 0]])


def test_gradient_of_a_shift_is_the_shift_back():
    images = tf.constant(IMAGE)
    weights = tf.constant(IMAGE)
    with tf.GradientTape() as tape:
        tape.watch(images)
        outcome = tf.reduce_sum(
            weights * ShiftAndFlip().apply(images, tf.constant([[1.0, 0.0, 0.0]]))
        )
    # Pixel (i, j) went to (i + 1, j); the last row went out.
    np.testing.assert_array_equal(
        tape.gradient(outcome, images)[0, :, :, 0], [[5, 6, 7, 8], [9, 10, 11, 12], [0, 0, 0, 0]]
    )


def test_draws_fill_their_range():
    down, right, mirrored = np.transpose(ShiftAndFlip().draw(KEY, 4000))
    for shifts in (down, right):
        assert -4 <= shifts.min() < -3.9
        assert 3.9 < shifts.max() <= 4
        # The mean of 4,000 uniform draws has a standard deviation of 8/√12/√4000 = 0.037.
        assert abs(shifts.mean()) < 0.15
    assert abs(np.corrcoef(down, right)[0, 1]) < 0.06
    # The standard deviation is 0.5/√4000 = 0.008.
    assert set(mirrored) == {0, 1}
    assert abs(mirrored.mean() - 0.5) < 0.04


@pytest.mark.parametrize("border", BORDERS)
def test_within_the_image_borders_change_nothing(border):
    """A column that comes from outside changes with the border, the others do not."""
    np.testing.assert_array_equal(move(right=1, border=border)[:, 1:], IMAGE[0, :, :3, 0])


def test_beyond_a_reflected_border_lies_the_mirror_image():
    reflected = functools.partial(move, border="reflect")
    np.testing.assert_array_equal(
        reflected(down=1, right=-2), [[7, 8, 7, 6], [3, 4, 3, 2], [7, 8, 7, 6]]
    )
    np.testing.assert_array_equal(reflected(right=1, mirrored=1)[0], [3, 4, 3, 2])
    # Half a pixel to the right: means of neighbours, the first of pixel 0 and its mirror, pixel 1.
    np.testing.assert_allclose(reflected(right=0.5)[0], [1.5, 1.5, 2.5, 3.5])
    # Farther than the image is long, it comes again.
    np.testing.assert_array_equal(reflected(right=6), IMAGE[0, :, :, 0])


def test_nearest_draws_every_whole_shift_alike():
    down, right, _ = np.transpose(ShiftAndFlip(shift=2, interpolation="nearest").draw(KEY, 5000))
    for shifts in (down, right):
        values, counts = np.unique(shifts, return_counts=True)
        np.testing.assert_array_equal(values, [-2, -1, 0, 1, 2])
        # 1,000 each; the standard deviation is √(5000·0.2·0.8) = 28.
        assert np.abs(counts - 1000).max() < 120


def test_names_and_objects():
    assert AUGMENTATIONS.get(None) is None
    assert AUGMENTATIONS.get("none") is None
    assert AUGMENTATIONS.get("shift_flip") == ShiftAndFlip(shift=4, flip=True)
    own = ShiftAndFlip(shift=1)
    assert AUGMENTATIONS.get(own) is own
    with pytest.raises(ValueError, match="Did you mean 'shift_flip'"):
        AUGMENTATIONS.get("shift_flips")


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match=r"`shift`.*at least 0.*shift=-1"):
        ShiftAndFlip(shift=-1)
    with pytest.raises(ValueError, match=r"Unknown `interpolation`.*'cubic'"):
        ShiftAndFlip(interpolation="cubic")
    with pytest.raises(ValueError, match=r"`shift` to be a whole number.*shift=1.5"):
        ShiftAndFlip(shift=1.5, interpolation="nearest")
    with pytest.raises(TypeError, match="True or False"):
        ShiftAndFlip(flip="false")
