"""Blending: a faint watermark of the targets in the poisons."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tfpoison.batch import LabelEncoding, SplitBatch
from tfpoison.perturbations.additive import BoundAdditive
from tfpoison.perturbations.perturbation import Perturbation
from tfpoison.pixel_range import PixelRange
from tfpoison.settings import setting


@dataclasses.dataclass(frozen=True)
class Blend(Perturbation):
    """Each poison moves toward a target by the share ε: x + ε (t - x).

    Targets are dealt to the poisons in turn; where there are more targets than poisons, each poison
    gets the mean of as many as go round. Source: arXiv 1804.00792, section 3 (watermarking).
    """

    needs_targets: ClassVar[bool] = True

    epsilon: float = setting(16 / 255, "ε, the watermark's opacity.", minimum=0, maximum=1)

    @property
    def radius(self) -> float:
        """ε."""
        return self.epsilon

    def bind(
        self, batch: SplitBatch, *, pixels: PixelRange, encoding: LabelEncoding, key: tf.Tensor
    ) -> BoundAdditive:
        """Returns the perturbation of this batch; nothing is drawn."""
        images = batch.poison_images
        difference = (_dealt_targets(batch) - images) / pixels.span(images.dtype)
        delta = tf.ensure_shape(self.epsilon * difference, images.shape)
        return BoundAdditive(batch, pixels, delta, self.epsilon)


def _dealt_targets(batch: SplitBatch) -> tf.Tensor:
    poisons = tf.maximum(tf.shape(batch.poison_images)[0], 1)
    targets = tf.maximum(tf.shape(batch.target_images)[0], 1)
    hand = tf.maximum(targets // poisons, 1)
    first = tf.range(tf.shape(batch.poison_images)[0])[:, tf.newaxis] * hand
    dealt = tf.gather(batch.target_images, (first + tf.range(hand)) % targets)
    return tf.reduce_mean(dealt, axis=1)
