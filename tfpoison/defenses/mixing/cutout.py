"""Cutout: a square of every image is erased."""

import dataclasses

import keras
import tensorflow as tf

from tfpoison.checks import check_number, make_plain
from tfpoison.classifier import Classifier
from tfpoison.defenses.mixing.base import Batch, Mixing
from tfpoison.defenses.mixing.draws import boxes


@keras.saving.register_keras_serializable("tfpoison")
@dataclasses.dataclass(frozen=True)
class Cutout(Mixing):
    """Erases a square of each image, and leaves the labels (arXiv 1708.04552).

    As in the paper, the square's centre is any pixel, so that part of the square may lie outside
    the image. The paper erases to 0 where 0 is the mean of the data; here normalisation is a layer
    of the network, and the default is the batch's own mean.

    Args:
        size: the square's side in pixels, at least 1 and at most the image's shorter side; None:
            half of that, as the paper's 16 of 32 for CIFAR-10.
        fill_value: what erased pixels become, in the units of the images; None: the mean of each
            channel over the batch (under a strategy, over this replica's part of it).

    Raises:
        TypeError: a setting has the wrong type.
        ValueError: a setting has a value that cannot be. In `mix`: the images are smaller than the
            square.
    """

    size: int | None = None
    fill_value: float | None = None

    def __post_init__(self) -> None:
        make_plain(self)
        _check_cutout(self.size, self.fill_value)

    def check_sides(self, sides: tuple[int | None, int | None]) -> None:
        """Raises ValueError where the square is larger than images of that height and width."""
        if self.size is not None and any(side is not None and side < self.size for side in sides):
            raise ValueError(
                "Expected images at least as large as the square that is cut out. Received: "
                f"size={self.size!r} and images of {sides[0]} × {sides[1]} pixels"
            )

    def _mix(
        self, classifier: Classifier | None, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor
    ) -> Batch:
        self.check_sides((images.shape[1], images.shape[2]))
        sizes = tf.fill(tf.shape(images)[:1], self._size(images))
        return tf.where(boxes(key, images, sizes, sizes), self._fill(images), images), labels

    def _size(self, images: tf.Tensor) -> tf.Tensor | int:
        if self.size is None:
            return tf.maximum(tf.reduce_min(tf.shape(images)[1:3]) // 2, 1)
        return self.size

    def _fill(self, images: tf.Tensor) -> tf.Tensor:
        if self.fill_value is not None:
            return tf.cast(self.fill_value, images.dtype)
        # Half precision cannot count the pixels of a batch.
        precise = images if images.dtype == tf.float64 else tf.cast(images, tf.float32)
        return tf.cast(tf.reduce_mean(precise, axis=[0, 1, 2]), images.dtype)


def _check_cutout(size: int | None, fill_value: float | None) -> None:
    if size is not None:
        check_number("size", size, minimum=1, whole=True)
    if fill_value is not None:
        check_number("fill_value", fill_value)
