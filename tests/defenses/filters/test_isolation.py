"""Isolation: what is isolated of a table of losses, and unlearning worked out anew."""

import keras
import numpy as np
import pytest

from tfpoison.data import InMemoryExamples
from tfpoison.defenses.filters import Evidence, Isolation


def test_a_table_of_losses():
    """Of three networks: the mean tells; the first one alone would isolate the fifth example."""
    losses = np.array(
        [[0.5, 0.1, 0.3], [0.9, 2, 2], [0.4, 0.4, 0.4], [1, 1, 1], [0, 3, 3], [9, 9, 9]]
    )
    suspicion = Isolation(share=0.34).inspect(losses, np.zeros(6, int))
    np.testing.assert_allclose(suspicion.scores, -losses.mean(axis=1))
    assert suspicion.suspects.tolist() == [True, False, True, False, False, False]


def test_what_is_asked():
    evidence = Isolation(networks=3).evidence
    assert evidence == Evidence("losses", share=0.2, ascent=0.5, networks=3)
    assert [evidence.epochs(total) for total in (1, 10, 100)] == [1, 2, 20]
    assert Evidence().epochs(7) == 7


@pytest.mark.parametrize("epochs", [0, 1, 6])
def test_unlearning_by_hand(epochs):
    """Softmax regression: the gradient is x (p - y). All others are alike: any draw is one.

    A suspect is pushed away while it is better than chance, p > ⅓.
    """
    draw = np.random.default_rng(0)
    images = draw.integers(256, size=(5, 2, 2, 1), dtype=np.uint8)
    suspects = InMemoryExamples(images, np.array([0, 1, 2, 0, 1]), np.arange(5))
    kept = InMemoryExamples(images[:1].repeat(9, axis=0), np.full(9, 2), np.arange(9))
    network = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten()])
    network.add(keras.layers.Dense(3))
    weights, bias = network.get_weights()

    def gradient(images, labels, *, unless_below=0.0):
        x = np.concatenate([images.reshape(len(images), -1) / 255, np.ones((len(images), 1))], 1)
        exponents = np.exp(x @ np.concatenate([weights, bias[np.newaxis]]))
        answers = exponents / exponents.sum(1, keepdims=True)
        counted = answers[np.arange(len(x)), labels] > unless_below
        of_each = counted[:, np.newaxis] * (answers - np.eye(3)[labels])
        return x.T @ of_each / len(x), counted.sum()

    Isolation(unlearning_epochs=epochs, unlearning_rate=0.5).finish(network, kept, suspects, seed=1)
    counts = []
    for _ in range(epochs):
        up, counted = gradient(images, suspects.labels, unless_below=1 / 3)
        step = up - gradient(kept.images, kept.labels)[0]
        weights, bias = weights + 0.5 * step[:-1], bias + 0.5 * step[-1]
        counts.append(counted)
    assert epochs < 6 or min(counts) < 5
    for ours, theirs in zip(network.get_weights(), (weights, bias), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_unlearning_ends_at_chance():
    """Suspects of one class push alike; without a bound their loss rises for ever."""
    draw = np.random.default_rng(0)
    images = draw.integers(256, size=(80, 4, 4, 1), dtype=np.uint8)
    labels = np.arange(80) % 4
    network = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten()])
    network.add(keras.layers.Dense(4, kernel_initializer="zeros"))
    suspects = InMemoryExamples(images[labels == 0][:10], np.zeros(10, int), np.arange(10))
    kept = InMemoryExamples(images, labels, np.arange(80))
    Isolation(unlearning_epochs=200, unlearning_rate=0.1).finish(network, kept, suspects, seed=1)
    losses = [
        keras.losses.SparseCategoricalCrossentropy(from_logits=True)(
            some.labels, network(some.images / np.float32(255))
        )
        for some in (suspects, kept)
    ]
    assert losses[0] < 3 and losses[1] < 2
