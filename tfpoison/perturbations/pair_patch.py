"""Patches in pairs: poison i and target i carry the same patch."""

import dataclasses
from typing import ClassVar

import keras
import tensorflow as tf

from tfpoison.batch import LabelEncoding, SplitBatch
from tfpoison.perturbations.class_patch import BoundPatches, PastedPatches, side_bounds
from tfpoison.perturbations.patches import (
    draw_patterns,
    draw_places,
    draw_rectangles,
    image_sides,
)
from tfpoison.perturbations.perturbation import Perturbation
from tfpoison.pixel_range import PixelRange
from tfpoison.randomness import split_key


@keras.saving.register_keras_serializable("tfpoison")
@dataclasses.dataclass(frozen=True)
class PairPatch(Perturbation):
    """A patch of its own for each poison, pasted at the same place on the target of that number.

    Sides are drawn from 10 % to 40 % of the image's, pixels are black or white with probability
    ½. Where there are more targets than poisons, the patches are dealt out again from the first.
    Source: arXiv 2102.13624, the authors' code ("paired patch").
    """

    needs_targets: ClassVar[bool] = True
    changes_targets: ClassVar[bool] = True
    moves_targets: ClassVar[bool] = True

    def bind(
        self, batch: SplitBatch, *, pixels: PixelRange, encoding: LabelEncoding, key: tf.Tensor
    ) -> BoundPatches:
        """Draws shapes, patterns and places."""
        keys = split_key(key)
        images = batch.poison_images
        sides = image_sides(images)
        count = tf.shape(images)[0]
        heights, widths = (side_bounds(side, None) for side in sides)
        rectangles = draw_rectangles(next(keys), count, heights, widths)
        patterns = draw_patterns(
            next(keys), tf.fill([count], 0.5), rectangles.canvas, images.shape[-1], images.dtype
        )
        top, left = draw_places(next(keys), rectangles.heights, rectangles.widths, sides)
        partner = tf.range(tf.shape(batch.target_images)[0]) % tf.maximum(count, 1)
        return BoundPatches(
            batch,
            pixels,
            [patterns],
            on_poisons=PastedPatches(rectangles, tf.range(count), (top, left)),
            on_targets=PastedPatches(
                rectangles, partner, (tf.gather(top, partner), tf.gather(left, partner))
            ),
        )
