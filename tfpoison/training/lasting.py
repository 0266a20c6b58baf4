"""What a perturbation keeps from step to step, as weights of the model that crafts."""

import itertools
from collections.abc import Sequence

import keras
import tensorflow as tf

from tfpoison.attacks.batch_attack import BatchAttack
from tfpoison.classifier import Classifier
from tfpoison.randomness import Purpose


def add_lasting(
    model: keras.Model, attack: BatchAttack, image_shape: Sequence[int | None], seed: int
) -> list[list[keras.Variable]]:
    """Adds the weights of perturbations that last, the same on all replicas.

    Returns those of each of the attack's parts; none where nothing lasts.

    Args:
        model: a model around a network, `model.network`.
        attack: what is crafted.
        image_shape: the shape of an image.
        seed: of where perturbations start.

    Raises:
        ValueError: the sides of the images are not known.
    """
    if not any(each.perturbation.lasts for each in attack.parts):
        return []
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
        starts = attack.start(max(outputs, 2), shape, key, tf.float32)
    numbers = itertools.count()
    return [
        [add_state(model, f"perturbation_{next(numbers)}", value) for value in start]
        for start in starts
    ]


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
