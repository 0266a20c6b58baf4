"""A training batch divided into poisons and temporary targets, and put together again."""

import dataclasses
from typing import Self

import keras
import tensorflow as tf

from tfpoison.checks import check_name, check_number
from tfpoison.distribution import Reduction
from tfpoison.randomness import permutation

TARGET_SELECTIONS = ("share", "half", "one", "ten", "shuffled")


@dataclasses.dataclass(frozen=True)
class SplitBatch:
    """Images to be poisoned, and images that play the adversary's targets.

    Attributes:
        poison_images: (poisons, height, width, channels).
        poison_labels: their true labels, integers or one-hot.
        target_images: (targets, height, width, channels).
        target_labels: their true labels.
        fake_labels: what the adversary wants the targets to be called, encoded like the labels.
        size: the number of images in the batch that was split, a scalar; None for all of both.
        targets_first: whether the targets stood before the poisons in the batch.
        targets_are_copies: whether the targets are copies of poisons that are not trained on.
    """

    poison_images: tf.Tensor
    poison_labels: tf.Tensor
    target_images: tf.Tensor
    target_labels: tf.Tensor
    fake_labels: tf.Tensor
    size: tf.Tensor | None = None
    targets_first: bool = False
    targets_are_copies: bool = False

    def replace(self, **changes: tf.Tensor) -> Self:
        """Returns the batch with some of its parts replaced."""
        return dataclasses.replace(self, **changes)

    def join(self) -> tf.Tensor:
        """Returns the images that are trained on, in the order of the batch that was split."""
        return self._in_order(self.poison_images, self.target_images)

    def is_poison(self) -> tf.Tensor:
        """Returns for each image of the joined batch whether it is a poison; shape (n,)."""
        return self._in_order(
            tf.ones(tf.shape(self.poison_images)[:1], tf.bool),
            tf.zeros(tf.shape(self.target_images)[:1], tf.bool),
        )

    def _in_order(self, poisons: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        if self.targets_are_copies:
            return poisons
        parts = [targets, poisons] if self.targets_first else [poisons, targets]
        joined = tf.concat(parts, axis=0)
        if self.size is None:
            return joined
        # A batch of one image has it in both parts: the poison is the one to train on.
        return joined[-self.size :] if self.targets_first else joined[: self.size]


@dataclasses.dataclass(frozen=True)
class LabelEncoding:
    """How labels name classes.

    Attributes:
        classes: the number of classes.
        one_hot: whether a label is a vector with an entry for each class, not an integer.
    """

    classes: int
    one_hot: bool

    @classmethod
    def infer(cls, labels: tf.Tensor | keras.KerasTensor, outputs: int) -> Self:
        """Returns the encoding of labels beside a network with that many outputs.

        Raises:
            ValueError: the labels are neither integers, (n,) or (n, 1), nor one-hot, (n, outputs).
        """
        shape = tf.TensorShape(labels.shape)
        if shape.rank == 2 and shape[-1] == outputs > 1:
            return cls(outputs, one_hot=True)
        if shape.rank == 1 or (shape.rank == 2 and shape[-1] == 1):
            return cls(max(outputs, 2), one_hot=False)
        raise ValueError(
            "Expected labels to be integers of shape (n,) or (n, 1), or one-hot of shape "
            f"(n, {outputs}), the network having {outputs} outputs. "
            f"Received labels of shape {tuple(shape)}."
        )

    def decode(self, labels: tf.Tensor) -> tf.Tensor:
        """Returns the class of each label as int32 of shape (n,)."""
        if self.one_hot:
            return tf.argmax(labels, axis=-1, output_type=tf.int32)
        return tf.cast(tf.reshape(labels, [-1]), tf.int32)

    def encode_like(self, classes: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Returns classes (n,) as labels of the dtype and rank of `labels`."""
        if self.one_hot:
            return tf.one_hot(classes, self.classes, dtype=labels.dtype)
        encoded = tf.cast(classes, labels.dtype)
        return encoded[:, tf.newaxis] if labels.shape.rank == 2 else encoded


def check_split(selection: str, poison_fraction: float, *, needs_targets: bool) -> None:
    """Raises ValueError or TypeError where a batch cannot be split so."""
    check_name("target_selection", selection, TARGET_SELECTIONS)
    check_number("poison_fraction", poison_fraction, minimum=0, maximum=1, exclusive_minimum=True)
    if needs_targets and selection == "share" and poison_fraction == 1:
        raise ValueError(
            "Expected `poison_fraction` below 1: this attack needs the rest of the batch as "
            "targets. Received: poison_fraction=1"
        )


def split(
    images: tf.Tensor,
    labels: tf.Tensor,
    encoding: LabelEncoding,
    *,
    selection: str,
    poison_fraction: float,
    reduction: Reduction,
    key: tf.Tensor,
) -> SplitBatch:
    """Divides a batch into poisons and targets (arXiv 2102.13624, algorithm 1).

    The targets' fake label is the most frequent label among the poisons (of all replicas, under
    global matching), the smallest one on a tie. A single image is both poison and target.

    Args:
        images: (n, height, width, channels).
        labels: integers or one-hot.
        encoding: how the labels name classes.
        selection: `"share"`: the first `poison_fraction` of the batch are poisons, the rest
            targets. `"half"`: the first half are targets. `"one"`, `"ten"`: the first image, the
            first ten are the targets. `"shuffled"`: all images are poisons, and the targets are
            copies of them in a random order, each with its partner's label as fake label; the
            copies are not trained on. (In the authors' code: sep-pN, sep-half, sep-1, sep-10,
            shuffle.)
        poison_fraction: the share of poisons, for `"share"` alone.
        reduction: how labels are counted over the replicas.
        key: the key of the random order.
    """
    count = tf.shape(images)[0]
    if selection == "shuffled":
        order = permutation(key, count)
        return SplitBatch(
            poison_images=images,
            poison_labels=labels,
            target_images=tf.gather(images, order),
            target_labels=tf.gather(labels, order),
            fake_labels=labels,
            targets_are_copies=True,
        )
    if selection == "share":
        # The small term mends products such as 0.29 · 100 = 28.999999999999996.
        poisons = tf.cast(tf.floor(tf.cast(count, tf.float64) * poison_fraction + 1e-6), tf.int32)
        poisons = tf.clip_by_value(poisons, 1, tf.maximum(count - 1, 1))
        first_target = tf.minimum(poisons, count - 1)
        if poison_fraction == 1:
            poisons = first_target = count
        poison_part, target_part = slice(None, poisons), slice(first_target, None)
    else:
        targets = {"half": count // 2, "one": 1, "ten": 10}[selection]
        targets = tf.clip_by_value(targets, 1, tf.maximum(count - 1, 1))
        first_poison = tf.minimum(targets, count - 1)
        poison_part, target_part = slice(first_poison, None), slice(None, targets)
    target_labels = labels[target_part]
    fake_class = most_frequent_class(encoding.decode(labels[poison_part]), encoding, reduction)
    fake_classes = tf.fill(tf.shape(target_labels)[:1], fake_class)
    return SplitBatch(
        poison_images=images[poison_part],
        poison_labels=labels[poison_part],
        target_images=images[target_part],
        target_labels=target_labels,
        fake_labels=encoding.encode_like(fake_classes, labels),
        size=count,
        targets_first=selection != "share",
    )


def most_frequent_class(
    classes: tf.Tensor, encoding: LabelEncoding, reduction: Reduction
) -> tf.Tensor:
    """Returns the class that occurs most often over the replicas; the smallest on a tie."""
    counts = tf.reduce_sum(tf.one_hot(classes, encoding.classes), axis=0)
    return tf.argmax(reduction.sum([counts])[0], output_type=tf.int32)
