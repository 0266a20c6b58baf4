"""Universal patches: one for each class, its place and shape learned with its pattern."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from tfpoison.batch import SplitBatch
from tfpoison.perturbations.for_each_class import BoundForEachClass, ForEachClass
from tfpoison.perturbations.perturbation import BoundPerturbation, Parameters
from tfpoison.pixel_range import PixelRange
from tfpoison.randomness import split_key
from tfpoison.settings import setting

# They bring a mask's error below one grey level in a hundred.
_HALVINGS = 16


class BoundUniversalPatch(BoundForEachClass):
    """x + m (p - x) for the mask m and the pattern p of the class that x aims at.

    The parameters are the masks, (classes, H, W, 1), and the patterns, (classes, H, W, C).
    """

    def apply(self, parameters: Parameters) -> SplitBatch:
        """Returns the batch with its poisons moved toward the patterns where the masks are."""
        mask, pattern = (tf.gather(each, self.which) for each in parameters)
        images = self.batch.poison_images
        return self.batch.replace(
            poison_images=images + mask * (self.pixels.from_shares(pattern) - images)
        )

    def project(self, parameters: Parameters) -> Parameters:
        """Returns masks from 0 to 1 whose mean is at most the area, and patterns in range."""
        mask, pattern = parameters
        return [to_mean(mask, self.limit), tf.clip_by_value(pattern, 0.0, 1.0)]


@dataclasses.dataclass(frozen=True)
class UniversalPatch(ForEachClass):
    """One patch for each class, the same on all images that aim at the class.

    A mask says how opaque the patch is at each pixel, 0 to 1, and its sum is bounded, so that it
    becomes small and opaque, wherever it does most. Source: the triggers that neural cleanse
    inverts (IEEE S&P 2019, equation 2), with a bound on the mask in place of a cost.
    """

    area: float = setting(
        0.03, "The greatest mask, as a share of the image's pixels.", above=0, maximum=1
    )

    def start(
        self, classes: int, image_shape: Sequence[int], key: tf.Tensor, dtype: tf.DType
    ) -> Parameters:
        """Returns faint masks everywhere, and random patterns."""
        keys = split_key(key)
        shape = [classes, *image_shape]
        mask = tf.random.stateless_uniform([*shape[:-1], 1], next(keys), 0, 1, dtype)
        pattern = tf.random.stateless_uniform(shape, next(keys), 0, 1, dtype)
        return [to_mean(mask, self.area), pattern]

    def on(
        self, batch: SplitBatch, pixels: PixelRange, initial: Parameters, which: tf.Tensor
    ) -> BoundPerturbation:
        return BoundUniversalPatch(batch, pixels, initial, which, self.area)


def to_mean(masks: tf.Tensor, greatest: float) -> tf.Tensor:
    """Returns the closest masks from 0 to 1 whose means are at most `greatest`; (n, H, W, 1).

    They are clip(m - t, 0, 1) for the least t ≥ 0 that brings the mean down.
    """

    def is_above(loss: tf.Tensor) -> tf.Tensor:
        left = tf.clip_by_value(masks - loss, 0, 1)
        return tf.reduce_mean(left, axis=[1, 2], keepdims=True) > greatest

    low = tf.zeros_like(masks[:, :1, :1])
    high = tf.where(is_above(low), tf.reduce_max(masks, axis=[1, 2], keepdims=True), low)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = is_above(middle)
        low, high = tf.where(above, middle, low), tf.where(above, high, middle)
    return tf.clip_by_value(masks - high, 0, 1)
