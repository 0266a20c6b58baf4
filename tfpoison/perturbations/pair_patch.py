"""Patches in pairs: poison i and target i carry the same patch."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tfpoison.batch import LabelEncoding, SplitBatch
from tfpoison.perturbations.class_patch import BoundPatches, PastedPatches, side_bounds
from tfpoison.perturbations.patches import draw_patches, image_sides
from tfpoison.perturbations.perturbation import Perturbation
from tfpoison.pixel_range import PixelRange


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
        images = batch.poison_images
        count = tf.shape(images)[0]
        heights, widths = (side_bounds(side, None) for side in image_sides(images))
        patterns, rectangles, places = draw_patches(key, count, images, heights, widths)
        partner = tf.range(tf.shape(batch.target_images)[0]) % tf.maximum(count, 1)
        return BoundPatches(
            batch,
            pixels,
            [patterns],
            on_poisons=PastedPatches(rectangles, tf.range(count), places),
            on_targets=PastedPatches(
                rectangles, partner, tuple(tf.gather(each, partner) for each in places)
            ),
        )
