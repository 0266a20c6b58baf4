"""A loss that no example falls below for long, but those with a shortcut."""

import keras
import tensorflow as tf


class LocalAscent(keras.losses.Loss):
    """Local gradient ascent (arXiv 2110.11571, equation 3).

        L ← mean of sign(ℓᵢ - γ) ℓᵢ

    Args:
        loss: ℓ, a loss with a `call`.
        gamma: γ.
    """

    def __init__(self, loss: keras.losses.Loss, gamma: float):
        super().__init__(name="local_ascent")
        self._loss = loss
        self._gamma = gamma

    def call(self, labels: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each example, (n,)."""
        losses = self._loss.call(labels, predictions)
        return tf.sign(losses - self._gamma) * losses
