"""Batches of (images, labels), as `fit` is given them and as a training step sees them."""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf


class CraftedImages(NamedTuple):
    """A training batch as it was and as it is trained on, in the order of the batch."""

    clean: tf.Tensor
    poisoned: tf.Tensor
    is_poison: tf.Tensor


def labels_alone(labels: Any) -> Any:
    """Returns labels without the list, or the dictionary by outputs, that Keras takes them in."""
    parts = keras.tree.flatten(labels)
    return parts[0] if len(parts) == 1 else labels


def symbolic_batch(x: Any, y: Any) -> tuple[keras.KerasTensor, Any] | None:
    """Returns placeholders of the images and labels given to `fit`; None where that cannot be."""
    batch = x.element_spec if isinstance(x, tf.data.Dataset) else (x, y)
    if not isinstance(batch, tuple) or len(batch) < 2:
        return None
    pair = (batch[0], labels_alone(batch[1]))
    arrays = [np.asarray(each) if hasattr(each, "__array__") else each for each in pair]
    if not all(hasattr(each, "shape") for each in arrays):
        return None
    shapes = [tf.TensorShape(each.shape) for each in arrays]
    if not all(shape.rank for shape in shapes):
        return None
    images, labels = (
        keras.KerasTensor([None, *shape[1:]], tf.as_dtype(each.dtype).name)
        for shape, each in zip(shapes, arrays, strict=True)
    )
    return images, keras.tree.pack_sequence_as(batch[1], [labels])


def unpack(data: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
    """Returns the images in single precision or better, the labels and the sample weights."""
    images, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    labels = labels_alone(labels)
    # Run eagerly, `train_on_batch` hands arrays on as they came.
    images, labels = (
        tf.convert_to_tensor(each) if isinstance(each, np.ndarray) else each
        for each in (images, labels)
    )
    if not tf.is_tensor(images) or not tf.is_tensor(labels):
        raise ValueError(
            "Expected batches of (images, labels) or (images, labels, sample weights), each one "
            f"tensor. Received: {keras.tree.map_structure(type, data)}. Poisons are crafted from "
            "images and their labels; map the data set to such batches."
        )
    if images.shape.rank is None:
        raise ValueError(
            "Expected images whose number of dimensions is known. Received a tensor of unknown "
            "shape, as tf.numpy_function returns: tf.ensure_shape says what is known of it."
        )
    if not images.dtype.is_floating or images.dtype.size < 4:
        images = tf.cast(images, tf.float32)
    if labels.dtype == tf.bool:
        labels = tf.cast(labels, tf.float32)
    return images, labels, sample_weight
