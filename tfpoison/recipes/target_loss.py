"""What the adversary wants the targets' predictions to lose."""

import keras
import tensorflow as tf

from tfpoison.checks import check_name
from tfpoison.recipes.recipe_settings import TARGET_LOSSES


@keras.saving.register_keras_serializable("tfpoison")
class CarliniWagner(keras.losses.Loss):
    """max(max over k of z_k - z_f, -margin): how far the fake label f is from the largest logit.

    Source: arXiv 1608.04644, equation 6, as the authors of arXiv 2009.02276 use it: the maximum
    runs over all classes, so that a loss of 0 is a target with the fake label. Beyond the margin
    nothing more is to be gained.
    """

    def __init__(self, margin: float = 100.0, name: str = "carlini_wagner"):
        super().__init__(name=name)
        self.margin = margin

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each example, (n,), for integer labels and logits."""
        classes = tf.cast(tf.reshape(y_true, [-1]), tf.int32)
        of_fake_label = tf.gather(y_pred, classes, batch_dims=1)
        return tf.maximum(tf.reduce_max(y_pred, axis=1) - of_fake_label, -self.margin)

    def get_config(self) -> dict:
        """Returns the settings."""
        return {"margin": self.margin, "name": self.name}


def get(name: str) -> keras.losses.Loss | None:
    """Returns the loss of that name; None for the loss that networks train with."""
    check_name("target loss", name, TARGET_LOSSES)
    return CarliniWagner() if name == "carlini_wagner" else None
