"""Universal perturbations against a network: where they lie, and how large they are."""

import numpy as np
import planted
import pytest
import tensorflow as tf

from tfpoison.repairing import universal
from tfpoison.repairing.subject import Subject
from tfpoison.repairing.universal import UnlearnUniversal, _Crafting

IMAGES, LABELS = planted.images(40)


def test_they_move_pixels_toward_each_class():
    subject, epsilon = Subject.of(planted.network(), IMAGES, LABELS), 0.25
    found = _Crafting(subject, epsilon, 12)(0, subject.generator())
    assert found.shape == (5, *IMAGES.shape[1:])
    assert np.abs(found).max() <= epsilon + 1e-6
    for label in range(planted.CLASSES):
        # A class has the network's first order: its column up, all other columns down.
        others = np.delete(found[label, 1:], label, axis=1)
        assert found[label, 1:, label].mean() > 0.15 > others.mean()


def test_sizes_in_turn(monkeypatch):
    made, used = [], []

    class Recorded(_Crafting):
        def __init__(self, subject, epsilon, steps):
            super().__init__(subject, epsilon, steps)
            made.append(epsilon)

        def __call__(self, number, generator):
            used.append((number, self._epsilon))
            return super().__call__(number, generator)

    monkeypatch.setattr(universal, "_Crafting", Recorded)
    subject = Subject.of(planted.network(), IMAGES, LABELS).copy()
    UnlearnUniversal(epsilon=0.4, rounds=6, steps=1, batches=1).repair(subject)
    sizes = [0.05, 0.1, 0.2, 0.4]
    assert made == pytest.approx(sizes)
    assert used == [(number, pytest.approx(sizes[number % 4])) for number in range(6)]


def test_augmented_images_are_trained_toward_what_the_network_says_of_them(monkeypatch):
    trained, network = [], planted.network()
    monkeypatch.setattr(
        universal.FineTuning, "step", lambda self, *batch: trained.append(batch[:2])
    )
    UnlearnUniversal(rounds=2, steps=1, batches=2, augmentation="flip", share=0.5).repair(
        Subject.of(network, IMAGES, LABELS).copy()
    )
    every = np.concatenate([IMAGES, IMAGES[:, :, ::-1]])
    mirrored = 0
    for images, answers in trained:
        unperturbed = images[len(images) // 2 :]
        distances = np.abs(unperturbed[:, np.newaxis] - every).max(axis=(2, 3, 4))
        assert distances.min(axis=1).max() < 1e-6
        mirrored += (distances.argmin(axis=1) >= len(IMAGES)).sum()
        expected = tf.nn.softmax(network(unperturbed)).numpy()
        np.testing.assert_allclose(answers[len(images) // 2 :], expected, atol=1e-5)
    assert mirrored > 0
