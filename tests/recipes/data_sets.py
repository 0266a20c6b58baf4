"""A small data set whose classes differ by their brightness, and a network for it."""

import functools

import keras
import numpy as np

from tfpoison.data import ImageClassification, InMemoryExamples
from tfpoison.perturbations.patch import Patch

CLASSES, SHAPE = 4, (6, 6, 3)


def make_examples(count, seed, first_id=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    images = rng.integers(0, 120, (count, *SHAPE)) + 40 * labels[:, None, None, None]
    # Ids with gaps, as those of a subset have.
    ids = first_id + 3 * np.arange(count)
    return InMemoryExamples(images.astype(np.uint8), labels, ids)


def make_data_set(train=80, validation=40):
    names = ("ant", "bee", "cat", "dog")
    return ImageClassification(
        "brightness", names, make_examples(train, 0), make_examples(validation, 1)
    )


def patch(**settings):
    """Returns what draws a trigger."""
    return functools.partial(Patch.draw, **settings)


def make_network(seed=0):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.layers.Input(SHAPE),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(CLASSES, name="logits"),
        ]
    )


def loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
