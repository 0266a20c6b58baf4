"""What mixings draw: weights and boxes; and how images are combined by weights."""

import math
from typing import Any

import tensorflow as tf

from tfpoison.randomness import split_key, uniform_integers

# A proposal for a gamma draw is refused with probability 0.05 at most, all eight with 4e-11.
_PROPOSALS = 8


def combine(tensor: tf.Tensor, weights: tf.Tensor, orders: list[tf.Tensor]) -> tf.Tensor:
    """Returns weighted sums of rows, (n, …).

    Args:
        weights: float32 (n, ways).
        orders: for each way, the row that each of the n sums takes, (n,).
    """
    precise = tf.float64 if tensor.dtype == tf.float64 else tf.float32
    rows = tf.cast(tensor, precise)
    shape = [-1] + [1] * (tensor.shape.rank - 1)
    columns = [tf.reshape(each, shape) for each in tf.unstack(tf.cast(weights, precise), axis=1)]
    parts = [w * tf.gather(rows, order) for w, order in zip(columns, orders, strict=True)]
    return tf.cast(tf.add_n(parts), tensor.dtype)


def boxes(key: tf.Tensor, images: tf.Tensor, heights: tf.Tensor, widths: tf.Tensor) -> tf.Tensor:
    """Draws a box for each image around a random pixel; returns what is in it, bool (n, H, W, 1).

    Boxes are cut off at the border. One of even side reaches one pixel farther up and left of its
    centre than down and right.

    Args:
        images: (n, H, W, C).
        heights: the boxes' heights in pixels, int32 (n,), and so widths.
    """
    keys = split_key(key)

    def inside(axis: int, lengths: tf.Tensor) -> tf.Tensor:
        side = tf.shape(images)[axis]
        centres = uniform_integers(next(keys), 0, side - 1, tf.shape(lengths))
        offsets = tf.range(side) - (centres - lengths // 2)[:, tf.newaxis]
        return (offsets >= 0) & (offsets < lengths[:, tf.newaxis])

    rows, columns = inside(1, heights), inside(2, widths)
    return rows[:, :, tf.newaxis, tf.newaxis] & columns[:, tf.newaxis, :, tf.newaxis]


def dirichlet(key: tf.Tensor, alpha: float, count: tf.Tensor | int, ways: int) -> tf.Tensor:
    """Draws from the symmetric Dirichlet distribution; float32 (count, ways), rows sum to 1.

    Gamma draws divided by their sum, in logarithms: for a small `alpha` all of a row underflow. The
    Gamma draws are Marsaglia and Tsang's (2000), of α + 1, by operations that XLA has, and from
    these theirs of α: Gamma(α) = Gamma(α + 1) · uniform^(1 / α).

        d ← α + 1 - ⅓,    v ← (1 + normal / √(9 d))³
        accept d · v if log(uniform) < ½ normal² + d (1 - v + log(v))
    """
    keys = split_key(key)
    d = alpha + 2 / 3
    shape = [count, ways, _PROPOSALS]
    normal = tf.random.stateless_normal(shape, next(keys))
    root = 1 + normal / math.sqrt(9 * d)
    # A root that is not positive is refused; the clip keeps its logarithm finite until then.
    log_v = 3 * tf.math.log(tf.maximum(root, 1e-6))
    limit = 0.5 * tf.square(normal) + d * (1 - tf.exp(log_v) + log_v)
    accepted = (root > 0) & (_log_uniform(next(keys), shape) < limit)
    first = tf.argmax(tf.cast(accepted, tf.int32), axis=-1)
    log_larger = math.log(d) + tf.gather(log_v, first, axis=-1, batch_dims=2)
    return tf.nn.softmax(log_larger + _log_uniform(next(keys), [count, ways]) / alpha, axis=1)


def _log_uniform(key: tf.Tensor, shape: list[Any]) -> tf.Tensor:
    """Draws logarithms of numbers uniform above 0 and up to 1."""
    return tf.math.log(1 - tf.random.stateless_uniform(shape, key))
