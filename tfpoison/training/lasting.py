"""What a perturbation keeps from step to step, as weights of the model that crafts."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfpoison.classifier import Classifier
from tfpoison.perturbations.perturbation import Perturbation
from tfpoison.randomness import Purpose


def add_lasting(
    model: keras.Model, perturbation: Perturbation, image_shape: Sequence[int | None], seed: int
) -> list[keras.Variable]:
    """Adds the weights of a perturbation that lasts, the same on all replicas, and returns them.

    Args:
        model: a model around a network, `model.network`.
        perturbation: what is kept.
        image_shape: the shape of an image.
        seed: of where the perturbation starts.

    Raises:
        ValueError: the sides of the images are not known.
    """
    shape = [side for side in image_shape if side is not None]
    if len(shape) < len(image_shape):
        raise ValueError(
            "Expected a network of images whose sides are known: the perturbation is kept from "
            f"step to step. Received images of shape {image_shape}. Make the network's "
            "keras.Input with the sides of the images."
        )
    outputs = Classifier(model.network).count_outputs(keras.KerasTensor([None, *shape]))
    with tf.init_scope():  # Keras may build a network while it traces a function.
        key = Purpose.LASTING_PERTURBATION.key(seed)
        start = perturbation.start(max(outputs, 2), shape, key, tf.float32)
    return [add_state(model, f"perturbation_{n}", value) for n, value in enumerate(start)]


def add_state(model: keras.Model, name: str, value: tf.Tensor) -> keras.Variable:
    """Adds a weight that is not trained, the same on all replicas, and returns it."""
    return model.add_weight(
        name=name,
        shape=value.shape,
        initializer=lambda shape, dtype: value,
        dtype=value.dtype.name,
        trainable=False,
        aggregation="only_first_replica",
    )
