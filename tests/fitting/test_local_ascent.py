"""Local gradient ascent: value and gradient by hand."""

import keras
import numpy as np
import tensorflow as tf

from tfpoison.fitting.local_ascent import LocalAscent


def test_losses_below_gamma_are_climbed():
    """Two classes: with p = σ(2 z) of the right one the loss is -log p, its slope 2 (p - 1)."""
    z = tf.constant([2.0, 0.1, -1.0])
    labels = tf.zeros(3, tf.int64)
    inner = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with tf.GradientTape() as tape:
        tape.watch(z)
        loss = LocalAscent(inner, 0.5)(labels, tf.stack([z, -z], axis=1))
    p = 1 / (1 + np.exp(-2 * z.numpy()))
    signs = np.array([-1, 1, 1])
    np.testing.assert_allclose(loss, np.mean(signs * -np.log(p)), rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(loss, z), signs * 2 * (p - 1) / 3, rtol=1e-5)
