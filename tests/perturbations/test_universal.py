"""Universal perturbations: shared by images, toward a class."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpoison import attacks
from tfpoison.batch import LabelEncoding, SplitBatch
from tfpoison.classifier import Classifier
from tfpoison.perturbations import Universal, UniversalMixed
from tfpoison.perturbations.universal_patch import to_mean
from tfpoison.pixel_range import PixelRange
from tfpoison.randomness import Purpose

CLASSES = 3
ENCODING = LabelEncoding(CLASSES, one_hot=False)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def make_batch(aims=None, count=6):
    draw = np.random.default_rng(0)
    images = tf.constant(draw.uniform(size=(count, 4, 4, 2)))
    labels = tf.constant(np.arange(count) % CLASSES)
    aims = None if aims is None else tf.constant(aims)
    none = (images[:0], labels[:0], labels[:0])
    return SplitBatch(images, labels, *none, aims=aims)


def linear_classifier():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten(dtype="float64"), keras.layers.Dense(CLASSES, dtype="float64")]
    network = keras.Sequential([keras.Input((4, 4, 2), dtype="float64"), *layers])
    return Classifier(network, LOSS)


def bind(perturbation, batch, pixel_range=(0, 1)):
    pixels, key = PixelRange(pixel_range), Purpose.CRAFTING.key(0)
    return perturbation.bind(batch, pixels=pixels, encoding=ENCODING, key=key)


def craft(attack, classifier, batch, start=None):
    return attack.craft(
        classifier,
        batch,
        pixels=PixelRange(),
        encoding=ENCODING,
        key=Purpose.CRAFTING.key(0),
        start=start,
    )


def test_a_step_is_the_sign_of_the_sum_of_every_images_gradient():
    """Each image is differentiated by itself here, in double precision."""
    aims, start = [1, 2, 1, 2, 0, 1], tf.fill([CLASSES, 4, 4, 2], tf.constant(0.01, tf.float64))
    batch = make_batch(aims)
    attack = attacks.get("universal", epsilon=0.5)
    (after,) = craft(attack, linear_classifier(), batch, start=[start]).parameters
    sums = np.zeros(start.shape)
    for image, aim in zip(batch.poison_images, aims, strict=True):
        with tf.GradientTape() as tape:
            moved = image[tf.newaxis] + 0.01
            tape.watch(moved)
            logits = linear_classifier().network(moved)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits([aim], logits)
        sums[aim] += tape.gradient(loss, moved)[0].numpy()
    np.testing.assert_allclose(after, start - 0.125 * 0.5 * np.sign(sums), atol=1e-12)


def test_toward_a_class_of_a_linear_network_it_is_the_sign_of_the_weights():
    """Toward class 1 from class 0 alone, where the others are far below: w₁ - w₀."""
    classifier = linear_classifier()
    kernel, bias = classifier.network.get_weights()
    classifier.network.set_weights([kernel, bias - [0, 0, 1e3]])
    attack = attacks.get("universal", epsilon=0.1, steps=20)
    (delta,) = craft(attack, classifier, make_batch([1] * 6)).parameters
    expected = 0.1 * np.sign(kernel[:, 1] - kernel[:, 0]).reshape(4, 4, 2)
    np.testing.assert_allclose(delta[1], expected)
    # No image aims at the others.
    assert not np.allclose(np.abs(delta[2]), 0.1)


@pytest.mark.parametrize("pixel_range", [(0, 1), (-2.0, 3.0)])
def test_all_images_of_an_aim_carry_the_same_within_their_range(pixel_range):
    batch = make_batch([0, 0, 0, 2, 2, 2])
    bound = bind(Universal(epsilon=0.3), batch, pixel_range)
    (delta,) = bound.project([10 * bound.initial[0]])
    assert np.abs(delta).max() == pytest.approx(0.3)
    images, span = batch.poison_images.numpy(), pixel_range[1] - pixel_range[0]
    expected = np.clip(images + span * delta.numpy()[[0, 0, 0, 2, 2, 2]], *pixel_range)
    np.testing.assert_allclose(bound.finish([delta]).poison_images, expected)


def test_what_is_cut_off_in_every_image_finds_back():
    """All images are black and the network wants them brighter: δ leaves what is below 0."""
    batch = make_batch([1] * 6)
    batch = batch.replace(poison_images=tf.zeros_like(batch.poison_images))
    start = [tf.fill([CLASSES, 4, 4, 2], tf.constant(-0.1, tf.float64))]
    attack = attacks.get("universal", epsilon=0.1)
    (moved,) = craft(attack, linear_classifier(), batch, start=start).parameters
    assert (np.abs(moved[1] + 0.1) > 0.01).mean() == pytest.approx(0.5, abs=0.25)


def test_aims_are_drawn_among_the_other_classes():
    batch = bind(Universal(), make_batch(count=60)).batch
    distance = (batch.aims - batch.poison_labels).numpy() % CLASSES
    assert set(distance) == {1, 2}


@pytest.mark.parametrize("greatest", [0.1, 0.3, 0.9])
def test_masks_are_projected_to_the_closest_of_that_mean(greatest):
    """What is neither 0 nor 1 has lost the same; what is 0 had less than that, what is 1 more."""
    masks = np.random.default_rng(0).uniform(-0.5, 2, size=(2, 5, 5, 1))
    for mask, projected in zip(masks, to_mean(tf.constant(masks), greatest).numpy(), strict=True):
        assert projected.mean() == pytest.approx(min(greatest, mask.clip(0, 1).mean()), abs=1e-4)
        lost = mask - projected
        between = lost[(projected > 0) & (projected < 1)]
        np.testing.assert_allclose(between, between[0], atol=1e-6)
        assert 0 <= between[0] <= lost[projected == 1].min(initial=9) + 1e-6
        assert lost[projected == 0].max(initial=-9) <= between[0] + 1e-6


def test_a_patch_goes_where_the_class_hangs_on():
    """Two pixels of a linear network count; black images get the patch there, and no other."""
    classifier = linear_classifier()
    kernel = np.zeros((4, 4, 2, CLASSES))
    kernel[1, 2, :, 1] = kernel[3, 0, :, 1] = 5
    classifier.network.set_weights([kernel.reshape(-1, CLASSES), np.zeros(CLASSES)])
    batch = make_batch([1] * 6)
    batch = batch.replace(poison_images=tf.zeros_like(batch.poison_images))
    attack = attacks.get("universal_patch", area=2 / 16, steps=30)
    crafted = craft(attack, classifier, batch)
    expected = np.zeros((4, 4))
    expected[1, 2] = expected[3, 0] = 1
    np.testing.assert_allclose(crafted.parameters[0][1, ..., 0], expected, atol=1e-6)
    expected = np.repeat(expected[..., np.newaxis], 2, axis=-1)
    np.testing.assert_allclose(crafted.poisoned.poison_images[0], expected, atol=1e-6)


def test_mixed_each_image_carries_one_of_both():
    perturbation = UniversalMixed(epsilon=0.1, area=0.2, patch_share=0.5)
    batch = make_batch(count=30)
    bound = bind(perturbation, batch)
    of_additive, of_patch = (
        part.bind(bound.batch, pixels=PixelRange(), encoding=ENCODING, key=Purpose.CRAFTING.key(0))
        for part in perturbation.parts
    )
    images = bound.finish(bound.initial).poison_images.numpy()
    additive = of_additive.finish(bound.initial[:1]).poison_images.numpy()
    patched = of_patch.finish(bound.initial[1:]).poison_images.numpy()
    same = np.stack([np.isclose(images, each).all(axis=(1, 2, 3)) for each in (additive, patched)])
    np.testing.assert_array_equal(same.sum(0), 1)
    assert 5 < same[1].sum() < 25
