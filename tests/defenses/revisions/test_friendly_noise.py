"""Friendly noise: against Keras's optimizer, and what makes it friendly."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpoison.classifier import Classifier
from tfpoison.defenses.revisions.friendly_noise import FriendlyNoise
from tfpoison.randomness import Purpose

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
GENTLE = {"step_size": 0.1, "size_weight": 3.0}


@pytest.fixture(scope="module")
def images():
    """130 images of 8×8 pixels of three classes that differ by where they are bright."""
    draw = np.random.default_rng(0)
    noisy = draw.integers(0, 120, (130, 8, 8, 1))
    for number, image in enumerate(noisy):
        image[:, 2 * (number % 3) + 1] += 80
    noisy[:, 0, 0], noisy[:, 7, 7] = 0, 255
    return noisy.astype("uint8")


@pytest.fixture(scope="module")
def labels():
    return np.arange(130) % 3


def make_network():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(8, 3),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )


@pytest.fixture(scope="module")
def network(images, labels):
    """A network that tells nearly all of the images apart."""
    keras.utils.set_random_seed(0)
    network = make_network()
    network.compile(keras.optimizers.Adam(0.003), LOSS, metrics=["accuracy"])
    network.fit(images / 255, labels, epochs=15, verbose=0)
    assert network.evaluate(images / 255, labels, verbose=0)[1] > 0.9
    return network


def divergence(network, images, others):
    """Returns the mean Kullback-Leibler divergence of the answers to two sets of images."""
    first, second = (
        tf.nn.softmax(network(each / np.float32(255), training=False)).numpy()
        for each in (images, others)
    )
    return np.mean(np.sum(first * np.log(first / second), axis=1))


@pytest.mark.parametrize("epsilon", [16 / 255, 1.0])
def test_against_keras_optimizer(network, images, epsilon):
    # The authors' loop, with Keras's SGD in place of PyTorch's: both have the same Nesterov
    # momentum as long as the learning rate stays.
    batch = tf.constant(images[:20] / 255, tf.float32)
    defense = FriendlyNoise(epsilon, size_weight=2.0, steps=5, step_size=0.2, momentum=0.8)
    key = Purpose.CRAFTING.key(1)
    noise = tf.Variable(tf.random.stateless_uniform(batch.shape, key, -epsilon / 2, epsilon / 2))
    before = tf.nn.softmax(network(batch, training=False))
    optimizer = keras.optimizers.SGD(0.2, momentum=0.8, nesterov=True)
    for _ in range(5):
        with tf.GradientTape() as tape:
            clipped = tf.clip_by_value(noise, -epsilon, epsilon)
            noisy = tf.clip_by_value(batch + clipped, 0, 1)
            after = tf.nn.softmax(network(noisy, training=False))
            divergences = keras.losses.kl_divergence(before, after)
            sizes = tf.reduce_sum(clipped**2, axis=[1, 2, 3]) / 64
            loss = tf.reduce_sum(divergences - 2.0 * sizes)
        optimizer.apply([tape.gradient(loss, noise)], [noise])
    expected = np.clip(noise.numpy(), -epsilon, epsilon)
    crafted = defense.craft(Classifier(network, LOSS), batch, key)
    np.testing.assert_allclose(crafted, expected, atol=1e-4)


def test_objective_by_hand():
    # A network of logits (0, pixel · 2 ln 3). Answers to a black pixel: ½ and ½; with noise of ½,
    # ¼ and ¾. KL = ½ ln(½ / ¼) + ½ ln(½ / ¾) = ½ ln(4/3); less the size, 10 · ¼.
    network = keras.Sequential([keras.Input((1, 1, 1)), keras.layers.Flatten()])
    network.add(keras.layers.Dense(2, use_bias=False))
    network.layers[-1].set_weights([np.array([[0.0, 2 * np.log(3)]])])
    black = tf.zeros((1, 1, 1, 1))
    answers = tf.math.log([[0.5, 0.5]])
    defense = FriendlyNoise(epsilon=1.0, size_weight=10.0)
    objectives = defense.objectives(Classifier(network, LOSS), black, answers, black + 0.5)
    np.testing.assert_allclose(objectives, [0.5 * np.log(4 / 3) - 2.5], rtol=1e-5)


def test_noise_is_large_and_friendly(network, images, labels):
    revised = FriendlyNoise(**GENTLE).revise(network, images, labels, seed=0)
    noise = revised.images.astype(float) - images
    draw = np.random.default_rng(1)
    start = np.clip(images + draw.uniform(-8, 8, images.shape), 0, 255)
    same_size = np.clip(images + np.abs(noise) * draw.choice([-1, 1], images.shape), 0, 255)
    assert revised.images.dtype == np.uint8
    assert revised.kept.all()
    assert np.abs(noise).max() == 16
    assert np.std(noise) > 1.5 * np.std(start - images)
    friendly = divergence(network, images, revised.images)
    assert friendly < divergence(network, images, same_size) / 5
    assert friendly < divergence(network, images, start)


def test_noise_lowers_the_objective(network, images):
    batch = tf.constant(images[:64] / 255, tf.float32)
    defense = FriendlyNoise(**GENTLE)
    classifier = Classifier(network, LOSS)
    answers = tf.nn.log_softmax(classifier.predictions(batch))
    key = Purpose.CRAFTING.key(0)
    start = tf.random.stateless_uniform(batch.shape, key, -8 / 255, 8 / 255)
    before = defense.objectives(classifier, batch, answers, start)
    after = defense.objectives(classifier, batch, answers, defense.craft(classifier, batch, key))
    assert np.mean(after < before) > 0.95


def test_larger_weight_makes_larger_noise(network, images, labels):
    sizes = [
        np.std(
            FriendlyNoise(step_size=0.1, size_weight=weight, steps=10)
            .revise(network, images, labels, seed=0)
            .images.astype(float)
            - images
        )
        for weight in (0.0, 3.0, 30.0)
    ]
    assert sizes[0] < sizes[1] < sizes[2]


def test_deterministic_and_independent_of_other_batches(network, images, labels):
    defense = FriendlyNoise(steps=3, **GENTLE)
    weights = network.get_weights()
    first = defense.revise(network, images, labels, seed=0).images
    np.testing.assert_array_equal(first, defense.revise(network, images, labels, seed=0).images)
    # Batches of 128.
    alone = defense.revise(network, images[:128], labels[:128], seed=0).images
    np.testing.assert_array_equal(first[:128], alone)
    assert (first != defense.revise(network, images, labels, seed=1).images).mean() > 0.5
    for before, after in zip(weights, network.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_every_batch_draws_its_own_noise(network, images, labels):
    defense = FriendlyNoise(steps=1, step_size=1e-6)
    same = np.repeat(images[:1], 256, axis=0)
    noise = defense.revise(network, same, np.zeros(256, int), seed=0).images.astype(int) - same
    assert len(np.unique(noise.reshape(256, -1), axis=0)) == 256


def test_rounding_stays_within_epsilon(network, images, labels):
    # Noise of up to 1.5 levels, most of it at the bound, would round to 2.
    defense = FriendlyNoise(1.5 / 255, steps=3, size_weight=1e3)
    noise = defense.revise(network, images, labels, seed=0).images.astype(int) - images
    assert np.abs(noise).max() == 1
    assert np.mean(np.abs(noise) == 1) > 0.5


def test_epochs():
    assert FriendlyNoise().epochs(40) == (5,)
    assert FriendlyNoise().epochs(2) == (1,)
    assert FriendlyNoise(epoch=7).epochs(8) == (7,)
    with pytest.raises(ValueError, match="Received: 7 epochs"):
        FriendlyNoise(epoch=7).epochs(7)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("epsilon", 1 / 256, ValueError),
        ("epsilon", 1.1, ValueError),
        ("size_weight", -1.0, ValueError),
        ("steps", 0, ValueError),
        ("steps", 2.0, TypeError),
        ("step_size", 0.0, ValueError),
        ("momentum", 1.1, ValueError),
        ("epoch", 0, ValueError),
    ],
)
def test_settings_that_cannot_be(name, value, error):
    with pytest.raises(error, match=f"`{name}`"):
        FriendlyNoise(**{name: value})
