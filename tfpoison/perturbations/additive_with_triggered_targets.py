"""Additive perturbations against targets that carry a trigger."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tfpoison.batch import LabelEncoding, SplitBatch
from tfpoison.perturbations.additive import Additive
from tfpoison.perturbations.patches import draw_patches, image_sides, paste
from tfpoison.perturbations.perturbation import BoundPerturbation
from tfpoison.pixel_range import PixelRange
from tfpoison.randomness import split_key


@dataclasses.dataclass(frozen=True)
class AdditiveWithTriggeredTargets(Additive):
    """δ with |δ|∞ ≤ ε on the poisons; each target carries a random trigger of its own.

    Triggers are 20 % to 40 % of the image's height and 10 % to 20 % of its width, of black and
    white pixels with probability ½, at a random place. The triggered targets are trained on with
    their true labels. Source: arXiv 2102.13624, the authors' code ("htbd").
    """

    needs_targets: ClassVar[bool] = True
    changes_targets: ClassVar[bool] = True

    def bind(
        self, batch: SplitBatch, *, pixels: PixelRange, encoding: LabelEncoding, key: tf.Tensor
    ) -> BoundPerturbation:
        """Draws the triggers and δ's start."""
        keys = split_key(key)
        images = paste_triggers(batch.target_images, pixels, next(keys))
        batch = batch.replace(target_images=images)
        return super().bind(batch, pixels=pixels, encoding=encoding, key=next(keys))


def paste_triggers(images: tf.Tensor, pixels: PixelRange, key: tf.Tensor) -> tf.Tensor:
    """Returns images with a random trigger on each."""
    height, width = image_sides(images)
    count = tf.shape(images)[0]
    heights = max(height // 5, 1), max(2 * height // 5, 1)
    widths = max(width // 10, 1), max(width // 5, 1)
    patterns, triggers, places = draw_patches(key, count, images, heights, widths)
    return paste(images, patterns, triggers, tf.range(count), places, pixels)
