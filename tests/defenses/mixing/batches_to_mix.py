"""Batches, and networks, for the tests of mixings."""

import keras
import numpy as np

from tfpoison.classifier import Classifier
from tfpoison.randomness import Purpose

KEY = Purpose.CRAFTING.key(3, 1)
CLASSES = 3


def make_network():
    return keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(CLASSES)]
    )


def make_classifier(loss=None):
    loss = loss or keras.losses.CategoricalCrossentropy(from_logits=True)
    return Classifier(make_network(), loss)


def make_batch(count, dtype="float32"):
    draw = np.random.default_rng(0)
    images = draw.uniform(size=(count, 8, 8, 3)).astype(dtype)
    return images, np.eye(CLASSES, dtype="float32")[draw.integers(CLASSES, size=count)]


def mixed(method, images, labels, key=KEY):
    return [each.numpy() for each in method.mix(None, images, labels, key)]


def sources(method, count, key=KEY, side=8):
    """Mixes images that are unlike each other, image i being the only one of class i.

    A row of the mixed labels then says how much of each image went into the mixed one.
    """
    images = np.random.default_rng(1).uniform(size=(count, side, side, 2)).astype("float32")
    return images, *mixed(method, images, np.eye(count, dtype="float32"), key)
