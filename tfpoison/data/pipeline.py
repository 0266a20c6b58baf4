"""Streams of batches for training and evaluation.

    for each epoch:   order the examples           by (seed, epoch)
      for each batch: fetch, scale to [0, 1]
                      augment                      by (seed, epoch, number of the batch)

No state is carried from batch to batch: a stream can start at any batch of any epoch and goes on,
bit for bit, as one that was never interrupted.

A batch is that of all replicas together. `Strategy.experimental_distribute_dataset`, through Keras,
divides every single batch, in order, among the replicas: the r-th of R gets the r-th part. Several
workers divide it rightly with the auto-shard policy DATA alone (with OFF, each would train on the
whole batch; with FILE, TensorFlow finds no files to share out). Every worker prepares the whole
batch and uses its part of it.
"""

from typing import Any

import tensorflow as tf

from tfpoison.checks import check_number
from tfpoison.data.augmentation import Augmentation
from tfpoison.data.examples import Examples
from tfpoison.data.table import AUGMENTATIONS
from tfpoison.pixel_range import to_unit_range
from tfpoison.randomness import Purpose


def batches_per_epoch(examples: Examples, batch_size: int, drop_remainder: bool = False) -> int:
    """Returns the number of batches of one epoch."""
    whole, rest = divmod(examples.size, batch_size)
    return whole + (rest > 0 and not drop_remainder)


def training_batches(
    examples: Examples,
    *,
    batch_size: int,
    epochs: int,
    seed: int,
    augmentation: str | Augmentation | None = None,
    one_hot_classes: int | None = None,
    first_epoch: int = 0,
    first_batch: int = 0,
    drop_remainder: bool = False,
) -> tf.data.Dataset:
    """Returns the batches of all epochs; Keras is told where one ends: `steps_per_epoch` of `fit`.

    Args:
        batch_size: the number of examples of a batch, those of all replicas together.
        seed: the seed of order and augmentation.
        augmentation: an augmentation or its name; None or `"none"` for none.
        one_hot_classes: the number of classes, for one-hot labels. None: integer labels.
        first_epoch: the epoch to start in, from 0.
        first_batch: the batch of that epoch to start with.
        drop_remainder: whether a last, shorter batch of an epoch is left out: advisable where it
            leaves replicas without an example (`distribution.serves_every_replica`).

    Returns:
        A data set of (images, labels): float32 in [0, 1], (n, H, W, C), and int64, (n,), or
        one-hot float32, (n, classes). Its cardinality is known.

    Raises:
        ValueError: a value cannot be, or the start lies behind the end.
        TypeError: a value is of the wrong type.
    """
    augmentation = AUGMENTATIONS.get(augmentation)
    _check_batch_size(examples, batch_size, drop_remainder)
    batches = batches_per_epoch(examples, batch_size, drop_remainder)
    check_number("seed", seed, minimum=0, whole=True)
    check_number("epochs", epochs, minimum=1, whole=True)
    check_number("first_epoch", first_epoch, minimum=0, maximum=epochs, whole=True)
    check_number("first_batch", first_batch, minimum=0, maximum=batches, whole=True)
    # A static batch dimension helps compilers.
    drop_remainder = drop_remainder or examples.size % batch_size == 0

    @tf.autograph.experimental.do_not_convert
    def epoch_of_references(epoch: tf.Tensor) -> tf.data.Dataset:
        references = examples.references(Purpose.EXAMPLE_ORDER.key(seed, epoch))
        numbered = references.batch(batch_size, drop_remainder).enumerate()
        return numbered.map(lambda number, batch: (epoch, number, batch))

    @tf.autograph.experimental.do_not_convert
    def load(epoch: tf.Tensor, number: tf.Tensor, references: Any) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = _fetch(examples, references, one_hot_classes)
        if augmentation is not None:
            images = augmentation(images, Purpose.AUGMENTATION.key(seed, epoch, number))
        return images, labels

    left = max(0, (epochs - first_epoch) * batches - first_batch)
    references = tf.data.Dataset.range(first_epoch, epochs).flat_map(epoch_of_references)
    return _finish(references.skip(first_batch).map(load, tf.data.AUTOTUNE), left)


def evaluation_batches(
    examples: Examples, batch_size: int, *, one_hot_classes: int | None = None
) -> tf.data.Dataset:
    """Returns the examples once, in the order of their ids; batches are as in training."""
    _check_batch_size(examples, batch_size, drop_remainder=False)

    @tf.autograph.experimental.do_not_convert
    def load(references: Any) -> tuple[tf.Tensor, tf.Tensor]:
        return _fetch(examples, references, one_hot_classes)

    references = examples.references(None).batch(batch_size, examples.size % batch_size == 0)
    batches = references.map(load, tf.data.AUTOTUNE)
    return _finish(batches, batches_per_epoch(examples, batch_size))


def _check_batch_size(examples: Examples, batch_size: int, drop_remainder: bool) -> None:
    check_number("batch_size", batch_size, minimum=1, whole=True)
    if batches_per_epoch(examples, batch_size, drop_remainder) == 0:
        raise ValueError(
            f"Expected `batch_size` to be at most the number of examples, {examples.size}, where "
            f"a shorter batch is dropped. Received: batch_size={batch_size}"
        )


def _fetch(
    examples: Examples, references: Any, one_hot_classes: int | None
) -> tuple[tf.Tensor, tf.Tensor]:
    images, labels = examples.fetch(references)
    if one_hot_classes is not None:
        labels = tf.one_hot(labels, one_hot_classes)
    return to_unit_range(images), labels


def _finish(batches: tf.data.Dataset, count: int) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    # On one CPU an iterator that ends waits for the thread that tunes it, which sleeps each time as
    # long as before in all: trainings took up to twice their time. Untuned, maps use every CPU.
    options.autotune.enabled = False
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    batches = batches.apply(tf.data.experimental.assert_cardinality(count))
    return batches.with_options(options).prefetch(tf.data.AUTOTUNE)
