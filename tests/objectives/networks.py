"""A small smooth network in double precision, and a batch for it."""

import keras
import numpy as np
import tensorflow as tf

from tfpoison.batch import SplitBatch
from tfpoison.classifier import Classifier

CLASSES = 3
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def smooth_classifier(activation="tanh"):
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    keras.utils.set_random_seed(2)
    network = keras.Sequential(
        [
            keras.Input((4, 4, 2)),
            keras.layers.Conv2D(3, 2, activation=activation),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(6, activation=activation),
            keras.layers.Dense(CLASSES),
        ]
    )
    return Classifier(network, LOSS)


def make_batch(poisons=5, targets=3, seed=1):
    draw = np.random.default_rng(seed)
    return SplitBatch(
        poison_images=tf.constant(draw.uniform(size=(poisons, 4, 4, 2))),
        poison_labels=tf.constant(draw.integers(CLASSES, size=poisons)),
        target_images=tf.constant(draw.uniform(size=(targets, 4, 4, 2))),
        target_labels=tf.constant(draw.integers(CLASSES, size=targets)),
        fake_labels=tf.constant(draw.integers(CLASSES, size=targets)),
    )
