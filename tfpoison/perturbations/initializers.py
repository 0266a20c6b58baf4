"""Where a perturbation starts: draws in units of ε."""

import numpy as np
import tensorflow as tf


def zero(shape: tf.Tensor, key: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns zeros."""
    return tf.zeros(shape, dtype)


def uniform(shape: tf.Tensor, key: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Draws from the uniform distribution between -1 and 1."""
    return tf.random.stateless_uniform(shape, key, -1, 1, dtype)


def normal(shape: tf.Tensor, key: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Draws from the normal distribution of deviation 1."""
    return tf.random.stateless_normal(shape, key, dtype=dtype)


def bernoulli(shape: tf.Tensor, key: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Draws -1 or 1, each with probability ½."""
    share = tf.random.stateless_uniform(shape, key, dtype=dtype)
    return tf.where(share < 0.5, -tf.ones_like(share), tf.ones_like(share))


def laplace(shape: tf.Tensor, key: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Draws from the Laplace distribution of scale 1, by inverting its distribution function."""
    tiny = np.finfo(dtype.as_numpy_dtype).tiny
    share = tf.random.stateless_uniform(shape, key, -1, 1, dtype)
    return -tf.sign(share) * tf.math.log(tf.maximum(1 - tf.abs(share), tiny))
