"""A training batch divided into poisons and temporary targets, and put together again."""

import dataclasses
from typing import Self

import keras
import numpy as np
import tensorflow as tf

from tfpoison.checks import check_name, check_number
from tfpoison.choices import TARGET_SELECTIONS
from tfpoison.distribution import Reduction
from tfpoison.keras_settings import check_channels_last
from tfpoison.randomness import permutation, split_key


@dataclasses.dataclass(frozen=True)
class SplitBatch:
    """Images to be poisoned, (n, H, W, C), and images that play the adversary's targets.

    Attributes:
        fake_labels: what the adversary wants the targets to be called, encoded like the true
            labels, which are integers or one-hot.
        size: the number of images in the batch that was split, a scalar; None for all of both.
        targets_first: whether the targets stood before the poisons in the batch.
        targets_are_copies: whether the targets are copies of poisons that are not trained on.
        of_no_other_class: for each target, whether no poison is of another class; (targets,).
            None where that was not looked at.
        aims: the classes that poisons are to be taken for, encoded like their labels; None where
            none are named.
    """

    poison_images: tf.Tensor
    poison_labels: tf.Tensor
    target_images: tf.Tensor
    target_labels: tf.Tensor
    fake_labels: tf.Tensor
    size: tf.Tensor | None = None
    targets_first: bool = False
    targets_are_copies: bool = False
    of_no_other_class: tf.Tensor | None = None
    aims: tf.Tensor | None = None

    def replace(self, **changes: tf.Tensor) -> Self:
        """Returns the batch with some of its parts replaced."""
        return dataclasses.replace(self, **changes)

    def join(self) -> tf.Tensor:
        """Returns the images that are trained on, in the order of the batch that was split."""
        return self._in_order(self.poison_images, self.target_images)

    def is_poison(self) -> tf.Tensor:
        """Returns for each image of the joined batch whether it is a poison; shape (n,)."""
        parts = ((True, self.poison_images), (False, self.target_images))
        return self._in_order(*(tf.fill(tf.shape(images)[:1], each) for each, images in parts))

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
    """How labels name classes: by vectors with an entry for each class (one-hot), or by numbers.

    Two classes without one-hot labels may be called by any two numbers of which the second alone is
    above 0.5: 0 and 1, -1 and 1, smoothed ones. Vectors may name several classes, or be smoothed.
    """

    classes: int
    one_hot: bool

    @classmethod
    def infer(cls, labels: tf.Tensor | keras.KerasTensor, outputs: int) -> Self:
        """Returns the encoding of labels beside a network with that many outputs.

        Raises:
            ValueError: the labels are neither integers, (n,) or (n, 1), nor one-hot, (n, outputs),
                or no numbers.
        """
        dtype = tf.as_dtype(labels.dtype)
        if not (dtype.is_integer or dtype.is_floating or dtype.is_bool):
            raise ValueError(
                f"Expected labels to be numbers. Received labels of dtype {dtype.name}. Number the "
                "classes from 0, as keras.layers.StringLookup does with names."
            )
        shape = tf.TensorShape(labels.shape)
        if shape.rank == 2 and shape[-1] == outputs > 1:
            return cls(outputs, one_hot=True)
        if shape.rank == 1 or (shape.rank == 2 and shape[-1] == 1):
            return cls(max(outputs, 2), one_hot=False)
        remedy = "" if shape.rank is not None else " tf.ensure_shape says what is known of it."
        raise ValueError(
            "Expected labels to be integers of shape (n,) or (n, 1), or one-hot of shape "
            f"(n, {outputs}), the network having {outputs} outputs. "
            f"Received labels of shape {shape}.{remedy}"
        )

    def decode(self, labels: tf.Tensor) -> tf.Tensor:
        """Returns the class of each label as int32 of shape (n,); the first one of several."""
        if self.one_hot:
            return tf.argmax(labels, axis=-1, output_type=tf.int32)
        labels = tf.reshape(labels, [-1])
        if self.classes == 2:
            return tf.cast(tf.cast(labels, tf.float32) > 0.5, tf.int32)
        return tf.cast(labels, tf.int32)

    def named(self, labels: tf.Tensor) -> tf.Tensor:
        """Returns which classes each label names, as bool of shape (n, classes)."""
        if not self.one_hot:
            return tf.one_hot(self.decode(labels), self.classes, True, False)
        return (labels == tf.reduce_max(labels, axis=-1, keepdims=True)) & (labels > 0)

    def encode_like(self, classes: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Returns classes (m,) in the dtype, the rank and the numbers of a batch's labels (n,)."""
        lowest, highest = tf.reduce_min(labels), tf.reduce_max(labels)
        if self.one_hot:
            chosen = tf.one_hot(classes, self.classes, True, False)
            return tf.where(chosen, highest, lowest)
        if self.classes == 2:
            # A number that is missing in the batch lies opposite the other one, of 0 or of 1/2.
            both = tf.cast(lowest >= 0, labels.dtype)
            least, most = tf.minimum(lowest, both - highest), tf.maximum(highest, both - lowest)
            encoded = tf.where(classes == 1, most, least)
        else:
            encoded = tf.cast(classes, labels.dtype)
        return encoded[:, tf.newaxis] if labels.shape.rank == 2 else encoded


def check_images(images: tf.Tensor) -> None:
    """Raises ValueError unless these are floating-point images with their channels last."""
    check_channels_last()
    if images.shape.rank != 4 or not images.dtype.is_floating:
        raise ValueError(
            "Expected floating-point images of shape (n, H, W, C). Received: images of dtype "
            f"{images.dtype.name} and shape {images.shape}"
        )


def check_labels(labels: np.ndarray, outputs: int) -> None:
    """Raises ValueError where labels name no class of a network with that many outputs.

    One output tells two classes, called 0 and 1 or -1 and 1, or by numbers between.
    """
    if LabelEncoding.infer(labels, outputs).one_hot:
        fit, expected = np.isfinite(labels), "that are finite"
    else:
        lowest, highest = (0, outputs - 1) if outputs > 1 else (-1, 1)
        fit = (labels >= lowest) & (labels <= highest)
        expected = f"from {lowest} to {highest}, the network's outputs being {outputs}"
    if not fit.all():
        raise ValueError(
            f"Expected labels {expected}. Received: {labels[~fit][0]} among them. Number the "
            "classes from 0, and leave out images without a class."
        )


def check_split(selection: str, poison_fraction: float, *, needs_targets: bool) -> None:
    """Raises ValueError or TypeError where a batch cannot be split so."""
    check_name("target_selection", selection, TARGET_SELECTIONS)
    check_number("poison_fraction", poison_fraction, above=0, maximum=1)
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
    """Divides a batch of images, (n, H, W, C), into poisons and targets (arXiv 2102.13624).

    The targets' fake label is the most frequent label among the poisons (of all replicas, under
    global matching), the smallest one on a tie. Targets that have this label themselves get the
    next most frequent one, and a random one where no poison is of another class than theirs: a fake
    label is never the true one. A single image is both poison and target.

    Args:
        selection: `"share"`: the first `poison_fraction` of the batch are poisons, the rest
            targets. `"half"`: the first half are targets. `"one"`, `"ten"`: the first image, the
            first ten are the targets. `"shuffled"`: all images are poisons, and the targets are
            copies of them in a random order, each with its partner's label as fake label, where
            that is another one; the copies are not trained on. (In the authors' code: sep-pN,
            sep-half, sep-1, sep-10, shuffle.)
        poison_fraction: the share of poisons, for `"share"` alone.
        reduction: how labels are counted over the replicas.
        key: the key of the random order and of random fake labels.
    """
    count = tf.shape(images)[0]
    poison_part, target_part = _parts(count, selection, poison_fraction)
    target_images, target_labels = images[target_part], labels[target_part]
    if selection == "shuffled":
        order = permutation(key, count)
        target_images, target_labels = (tf.gather(each, order) for each in (images, labels))
    own, others = encoding.named(target_labels), encoding.named(labels[poison_part])
    (counts,) = reduction.sum([tf.reduce_sum(tf.cast(others, tf.float32), axis=0)])
    fake_classes = most_frequent_other_class(counts, own, next(split_key(key)))
    fake_labels = encoding.encode_like(fake_classes, labels)
    if selection == "shuffled":
        differs = tf.reduce_any(own != others, axis=1)
        differs = differs if labels.shape.rank == 1 else differs[:, tf.newaxis]
        fake_labels = tf.where(differs, labels, fake_labels)
    return SplitBatch(
        poison_images=images[poison_part],
        poison_labels=labels[poison_part],
        target_images=target_images,
        target_labels=target_labels,
        fake_labels=fake_labels,
        size=count,
        targets_first=selection != "share",
        targets_are_copies=selection == "shuffled",
        of_no_other_class=~tf.reduce_any(~own & (counts > 0), axis=1),
    )


def _parts(count: tf.Tensor, selection: str, poison_fraction: float) -> tuple[slice, slice]:
    """Returns which images of a batch are the poisons, and which are the targets."""
    if selection == "shuffled":
        return slice(None), slice(None)
    if selection != "share":
        targets = {"half": count // 2, "one": 1, "ten": 10}[selection]
        targets = tf.clip_by_value(targets, 1, tf.maximum(count - 1, 1))
        return slice(tf.minimum(targets, count - 1), None), slice(None, targets)
    if poison_fraction == 1:
        return slice(None, count), slice(count, None)
    # The small term mends products such as 0.29 · 100 = 28.999999999999996.
    poisons = tf.cast(tf.floor(tf.cast(count, tf.float64) * poison_fraction + 1e-6), tf.int32)
    poisons = tf.clip_by_value(poisons, 1, tf.maximum(count - 1, 1))
    return slice(None, poisons), slice(tf.minimum(poisons, count - 1), None)


def most_frequent_other_class(counts: tf.Tensor, own: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Returns for each image the most frequent class that is not its own, int32 (n,).

    It is the smallest on a tie, and a random one, drawn by the key, where no other class occurs.

    Args:
        counts: how often each class occurs, (classes,).
        own: whether a class is an image's own, bool (n, classes).
    """
    drawn = tf.random.stateless_uniform(tf.shape(own), key)
    frequency = tf.where(own, -2.0, tf.where(counts > 0, counts, drawn - 1))
    return tf.argmax(frequency, axis=1, output_type=tf.int32)
