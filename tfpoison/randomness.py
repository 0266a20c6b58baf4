"""Stateless random draws: a key made of numbers in, the same bits out.

Keras's seed generators draw the same numbers on every replica and keep a state that checkpoints
have to carry. A key made of (purpose, seed, step, replica) needs no state, differs by replica and
makes a resumed run draw what an uninterrupted one draws. Where the same seeds come to draw other
numbers, `runs.run_directory.SCHEME` is to be raised: no run goes on across that.
"""

import enum
import itertools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf


@enum.unique
class Purpose(enum.Enum):
    """What is drawn; equal seeds and numbers draw apart for different purposes.

    The values are part of what is drawn: a new purpose gets a new one.
    """

    CRAFTING = 0
    MIXING = 1
    MIXING_OF_A_DATA_SET = 2
    GRADIENT_NOISE = 3
    EXAMPLE_ORDER = 4
    AUGMENTATION = 5
    FRIENDLY_NOISE = 6
    REPLACEMENT_OF_SUSPECTS = 7
    SUBSET = 8
    PRETRAINING_SUBSET = 9
    BREWING_START = 10
    BREWING_STEP = 11
    TARGETS = 12
    POISONS = 13
    TRIGGER = 14
    TRIGGER_PLACE = 15
    SOURCES = 16
    BENCHMARK = 17
    COVERS = 18
    UNLEARNING = 19
    REPAIR = 20
    LASTING_PERTURBATION = 21

    def key(self, seed: int, *numbers: tf.Tensor | int) -> tf.Tensor:
        """Returns the key of a draw by TensorFlow, int32 (2,).

        Args:
            seed: the user's seed.
            *numbers: what sets this draw apart from others of its purpose (step, replica, epoch,
                …): integers from 0 to 2⁶² - 1.
        """
        seed = int(seed)  # Short integers of numpy would overflow.
        key = tf.constant([seed & 0x7FFFFFFF, seed >> 31 & 0x7FFFFFFF], tf.int32)
        for number in (self.value, *numbers):
            number = tf.cast(number, tf.int64)
            for word in (number % 2**31, number // 2**31):
                key = tf.random.experimental.stateless_fold_in(key, tf.cast(word, tf.int32))
        return key

    def generator(self, seed: int, *numbers: int) -> np.random.Generator:
        """Returns the source of draws by NumPy; the arguments are those of `key`."""
        # Not default_rng([seed, *numbers]): numbers of 0 at the end change nothing there. Subsets
        # are what they were before draws had purposes, so that recorded data stay the same.
        spawn_key = () if self is Purpose.SUBSET else (self.value, *numbers)
        return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=spawn_key))


def split_key(key: tf.Tensor) -> Iterator[tf.Tensor]:
    """Yields independent keys derived from one, without end."""
    for number in itertools.count():
        yield tf.random.experimental.stateless_fold_in(key, number)


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
    """Draws a permutation of `count` integers that leaves none in its place, int32 (count,).

    It is uniform among the cyclic permutations (Sattolo 1986), each of which is a derangement.
    """
    order = permutation(key, count)
    return tf.scatter_nd(order[:, tf.newaxis], tf.roll(order, -1, axis=0), [count])
