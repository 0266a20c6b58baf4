"""Batches of (images, labels), as `fit` is given them and as a training step sees them."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf


def symbolic_batch(x: Any, y: Any) -> tuple[keras.KerasTensor, keras.KerasTensor] | None:
    """Returns placeholders of the images and labels given to `fit`; None where that cannot be."""
    if isinstance(x, tf.data.Dataset):
        batch = x.element_spec
    else:
        batch = tuple(np.asarray(each) if hasattr(each, "__array__") else each for each in (x, y))
    pairs = isinstance(batch, tuple) and len(batch) > 1
    if not pairs or not all(hasattr(each, "shape") for each in batch[:2]):
        return None
    shapes = [tf.TensorShape(each.shape) for each in batch[:2]]
    if not all(shape.rank for shape in shapes):
        return None
    images, labels = (
        keras.KerasTensor([None, *shape[1:]], tf.as_dtype(each.dtype).name)
        for shape, each in zip(shapes, batch, strict=False)
    )
    return images, labels


def unpack(data: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
    """Returns the images in single precision or better, the labels and the sample weights."""
    images, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if len(parts := keras.tree.flatten(labels)) == 1:
        (labels,) = parts  # Keras takes labels by the output's name, or in a list, as well.
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
