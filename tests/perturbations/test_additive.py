"""Perturbations within ε: additive, blended, and those beside triggered targets."""

import numpy as np
import pytest
import tensorflow as tf

from tfpoison import perturbations
from tfpoison.batch import LabelEncoding, SplitBatch
from tfpoison.perturbations import INITIALIZERS, Additive
from tfpoison.pixel_range import PixelRange
from tfpoison.randomness import Purpose

ENCODING = LabelEncoding(3, one_hot=False)
NORMALISED = ([-1.9, -2.0, -1.7], [2.0, 2.1, 2.1])
RANGES = {"unit": (0, 1), "bytes": (0, 255), "normalised": NORMALISED}


def make_batch(pixel_range=(0, 1), poisons=6, targets=4):
    draw = np.random.default_rng(0)
    low, high = (np.asarray(bound, "float32") for bound in pixel_range)
    images = low + (high - low) * draw.uniform(size=(poisons + targets, 8, 8, 3)).astype("float32")
    labels = draw.integers(3, size=poisons + targets)
    return SplitBatch(
        poison_images=tf.constant(images[:poisons]),
        poison_labels=tf.constant(labels[:poisons]),
        target_images=tf.constant(images[poisons:]),
        target_labels=tf.constant(labels[poisons:]),
        fake_labels=tf.constant(labels[poisons:]),
    )


def bind(perturbation, batch, pixel_range=(0, 1), seed=0):
    pixels = PixelRange(pixel_range)
    return perturbation.bind(
        batch, pixels=pixels, encoding=ENCODING, key=Purpose.CRAFTING.key(seed)
    )


@pytest.mark.parametrize("kind", RANGES)
@pytest.mark.parametrize("initializer", INITIALIZERS)
def test_the_bound_and_the_range_hold_exactly(kind, initializer):
    pixel_range, epsilon = RANGES[kind], 0.1
    batch = make_batch(pixel_range)
    bound = bind(Additive(epsilon, initializer), batch, pixel_range)
    low, high = (np.asarray(each, "float32") for each in pixel_range)
    # Parameters far outside are brought back by the projection.
    for parameters in (bound.initial, [5 * np.sign(bound.initial[0] - 0.01)]):
        images = bound.finish(parameters).poison_images.numpy()
        assert (images >= low).all()
        assert (images <= high).all()
        share = (images - batch.poison_images.numpy()) / (high - low)
        assert np.abs(share).max() <= epsilon * (1 + 1e-5)
    assert np.abs(share).max() == pytest.approx(epsilon, rel=1e-4)
    np.testing.assert_array_equal(bound.finish(parameters).target_images, batch.target_images)


def test_a_wider_range_is_perturbed_as_much_wider():
    narrow, wide = make_batch(), make_batch((0, 255))
    perturbed = [
        bind(Additive(0.1), batch, pixel_range).finish(
            bind(Additive(0.1), batch, pixel_range).initial
        )
        for batch, pixel_range in ((narrow, (0, 1)), (wide, (0, 255)))
    ]
    np.testing.assert_allclose(
        perturbed[0].poison_images, perturbed[1].poison_images / 255, atol=1e-6
    )


def test_gradients_by_the_parameters_are_in_shares_of_the_range():
    bound = bind(Additive(0.1), make_batch((0, 255)), (0, 255))
    (gradient,) = bound.gradients(bound.initial, [tf.ones_like(bound.initial[0])])
    np.testing.assert_allclose(gradient, 255)


def test_pixels_outside_the_range_stay_where_they_are():
    batch = make_batch()
    outside = tf.fill(batch.poison_images.shape, 1.3)
    bound = bind(Additive(0.1), batch.replace(poison_images=outside))
    images = bound.finish([tf.ones_like(outside)]).poison_images
    np.testing.assert_array_equal(images, outside)  # Not further out,
    images = bound.finish([-tf.ones_like(outside)]).poison_images
    np.testing.assert_allclose(images, 1.2, rtol=1e-6)  # and no more than ε back.


@pytest.mark.parametrize(
    ("name", "mean_of_size", "share_at_bound"),
    [
        # Of |draw|, clamped to 1: what integrals give.
        ("zero", 0, 0),
        ("uniform", 0.5, 0),
        ("normal", 0.6311, 0.3173),  # √(2/π)·(1 - e^-½) + P(|z| > 1)
        ("bernoulli", 1, 1),
        ("laplace", 1 - np.exp(-1), np.exp(-1)),
    ],
)
def test_initializers(name, mean_of_size, share_at_bound):
    draws = INITIALIZERS[name]([20000], Purpose.CRAFTING.key(3), tf.float32).numpy()
    clamped = np.abs(np.clip(draws, -1, 1))
    assert abs(draws.mean()) < 0.03
    assert clamped.mean() == pytest.approx(mean_of_size, abs=0.01)
    assert (clamped == 1).mean() == pytest.approx(share_at_bound, abs=0.015)
    again = INITIALIZERS[name]([20000], Purpose.CRAFTING.key(3), tf.float32)
    np.testing.assert_array_equal(draws, again)
    if name != "zero":
        assert (
            draws != INITIALIZERS[name]([20000], Purpose.CRAFTING.key(4), tf.float32).numpy()
        ).any()


@pytest.mark.parametrize(("poisons", "targets"), [(6, 2), (4, 4), (5, 3), (2, 5)])
def test_blend_deals_targets_to_poisons(poisons, targets):
    batch = make_batch(poisons=poisons, targets=targets)
    bound = bind(perturbations.get("blend", epsilon=0.2), batch)
    images = bound.finish(bound.initial).poison_images
    theirs = batch.target_images.numpy()
    hand = max(targets // poisons, 1)
    for number in range(poisons):
        dealt = [theirs[(number * hand + each) % targets] for each in range(hand)]
        own = batch.poison_images[number].numpy()
        expected = own + 0.2 * (np.mean(dealt, axis=0) - own)
        np.testing.assert_allclose(images[number], expected, atol=1e-6)


def test_triggers_of_hidden_triggers():
    batch = make_batch(targets=30)
    grey = tf.fill([30, 10, 20, 3], 0.5)
    batch = batch.replace(target_images=grey, poison_images=tf.fill([6, 10, 20, 3], 0.5))
    bound = bind(perturbations.get("additive_with_triggered_targets"), batch)
    changed = (bound.batch.target_images.numpy() != 0.5).all(-1)
    heights, widths = changed.any(2).sum(1), changed.any(1).sum(1)
    # 20 % to 40 % of 10 pixels, 10 % to 20 % of 20.
    assert set(heights) == {2, 3, 4}
    assert set(widths) == {2, 3, 4}
    assert (changed.sum((1, 2)) == heights * widths).all()
    pixels = bound.batch.target_images.numpy()[changed]
    assert set(np.unique(pixels)) == {0, 1}
    assert pixels.mean() == pytest.approx(0.5, abs=0.1)
    np.testing.assert_array_equal(
        bound.finish(bound.initial).target_images, bound.batch.target_images
    )


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"epsilon": 16}, ValueError),
        ({"epsilon": -0.1}, ValueError),
        ({"epsilon": "big"}, TypeError),
        ({"initializer": "gauss"}, ValueError),
    ],
)
def test_refused(settings, error):
    with pytest.raises(error):
        Additive(**settings)
