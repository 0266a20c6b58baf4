"""Cutout: a square of every image is erased."""

import dataclasses

import tensorflow as tf

from tfpoison.classifier import Classifier
from tfpoison.defenses.mixing.base import Batch, Mixing
from tfpoison.defenses.mixing.draws import boxes
from tfpoison.settings import setting


@dataclasses.dataclass(frozen=True)
class Cutout(Mixing):
    """Erases a square of each image, and leaves the labels (arXiv 1708.04552).

    As in the paper, the square's centre is any pixel, so that part of the square may lie outside
    the image, and its side is half of the image's (16 of 32 for CIFAR-10). The paper erases to 0
    where 0 is the mean of the data; here normalisation is a layer of the network, and the default
    is the batch's own mean (under a strategy that of this replica's part of it).

    `mix` raises ValueError where images are smaller than the square.
    """

    size: int | None = setting(
        None, "The square's side in pixels; unset for half of the shorter side.", minimum=1
    )
    fill_value: float | None = setting(
        None, "What pixels become, in the images' units; unset for the mean of each channel."
    )

    def check_sides(self, sides: tuple[int | None, int | None]) -> None:
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
