"""Stateless random draws: a key made of numbers in, the same bits out.

Keras's seed generators draw the same numbers on every replica and keep a state that checkpoints
have to carry. A key made of (seed, step, replica) needs no state, differs by replica and makes a
resumed run draw what an uninterrupted one draws.
"""

from collections.abc import Iterator

import tensorflow as tf


def make_key(seed: int, *numbers: tf.Tensor | int) -> tf.Tensor:
    """Returns the key of a draw: an int32 tensor of shape (2,).

    Args:
        seed: the user's seed.
        *numbers: integers that set this draw apart from others: step, replica, epoch, …
    """
    seed = int(seed)  # Short integers of numpy would overflow.
    key = tf.constant([seed & 0x7FFFFFFF, seed >> 31 & 0x7FFFFFFF], tf.int32)
    for number in numbers:
        key = tf.random.experimental.stateless_fold_in(key, tf.cast(number, tf.int32))
    return key


def split_key(key: tf.Tensor) -> Iterator[tf.Tensor]:
    """Yields independent keys derived from one, without end."""
    number = 0
    while True:
        yield tf.random.experimental.stateless_fold_in(key, number)
        number += 1


def uniform_integers(
    key: tf.Tensor, minimum: tf.Tensor | int, maximum: tf.Tensor | int, shape: tf.Tensor | list[int]
) -> tf.Tensor:
    """Draws int32 integers from `minimum` to `maximum`, both included; the bounds may broadcast."""
    share = tf.random.stateless_uniform(shape, key)
    count = tf.cast(maximum - minimum + 1, share.dtype)
    # The clip guards the rounding of share * count up to count itself.
    offset = tf.minimum(tf.floor(share * count), count - 1)
    return tf.cast(minimum, tf.int32) + tf.cast(offset, tf.int32)


def permutation(key: tf.Tensor, count: tf.Tensor | int) -> tf.Tensor:
    """Draws a uniformly random order of the integers from 0 to `count` - 1."""
    return tf.argsort(tf.random.stateless_uniform([count], key), stable=True)


def derangement(key: tf.Tensor, count: int) -> tf.Tensor:
    """Draws a permutation of `count` integers that leaves none in its place.

    It is uniform among the cyclic permutations (Sattolo 1986), each of which is a derangement.

    Returns:
        An int32 tensor of shape (count,): what each integer is mapped to.
    """
    order = permutation(key, count)
    return tf.scatter_nd(order[:, tf.newaxis], tf.roll(order, -1, axis=0), [count])
