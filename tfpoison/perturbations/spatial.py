"""Spatial perturbations: every pixel of the poisons is taken from a place nearby."""

import dataclasses

import numpy as np
import tensorflow as tf

from tfpoison.batch import LabelEncoding, SplitBatch
from tfpoison.perturbations.patches import image_sides
from tfpoison.perturbations.perturbation import BoundPerturbation, Parameters, Perturbation
from tfpoison.perturbations.resampling import cubic_weights, sample
from tfpoison.perturbations.table import INITIALIZERS
from tfpoison.pixel_range import PixelRange
from tfpoison.settings import setting


class BoundSpatial(BoundPerturbation):
    """Poisons x(p + f(p)) for pixels p; the only parameter is the flow f at its control points.

    It is (n, rows, columns, 2), down and to the right, in shares of the image's height and width.
    """

    def __init__(self, batch: SplitBatch, pixels: PixelRange, flow: tf.Tensor, reach: float):
        super().__init__(batch, pixels, [flow])
        self._reach = reach
        self._sides = np.array(image_sides(batch.poison_images))
        self._enlarge = [
            tf.constant(cubic_weights(side, points), flow.dtype)
            for side, points in zip(self._sides, flow.shape[1:3], strict=True)
        ]

    def apply(self, parameters: Parameters) -> SplitBatch:
        """Returns the batch with its poisons' pixels taken, bilinearly, from where the flow says.

        Beyond the edges the outermost pixels stand again.
        """
        images, flow = self.batch.poison_images, parameters[0]
        flow = tf.einsum("ha,nabc,wb->nhwc", self._enlarge[0], flow, self._enlarge[1])
        still = np.moveaxis(np.indices(tuple(self._sides)), 0, -1)
        places = tf.constant(still, flow.dtype) + tf.constant(self._sides, flow.dtype) * flow
        places = tf.clip_by_value(places, 0, tf.constant(self._sides - 1, flow.dtype))
        return self.batch.replace(poison_images=sample(images, places))

    def project(self, parameters: Parameters) -> Parameters:
        """Returns the flow clipped to ±reach."""
        return [tf.clip_by_value(parameters[0], -self._reach, self._reach)]


@dataclasses.dataclass(frozen=True)
class Spatial(Perturbation):
    """Every pixel of the poisons is taken from a place nearby, as a flow f says: x(p + f(p)).

    |f|∞ ≤ reach at its control points. With few of them the flow is smooth, with one for each pixel
    patterns dissolve. Source: arXiv 1801.02612, equation 1; its penalty on rough flows is what
    control points are here. Against backdoor patches: arXiv 2202.10627.
    """

    reach: float = setting(
        0.05, "The farthest, as a share of the image's height and width.", minimum=0, maximum=1
    )
    points: int | None = setting(
        None, "Control points along each side; unset for one at each pixel.", minimum=2
    )
    initializer: str = setting(
        "uniform", "Where f starts; scaled by `reach` and clamped to it.", choices=INITIALIZERS
    )

    @property
    def radius(self) -> float:
        """The reach."""
        return self.reach

    def check_sides(self, sides: tuple[int, int]) -> None:
        """Raises ValueError where images have fewer pixels along a side than control points."""
        if self.points is not None and self.points > min(sides):
            raise ValueError(
                f"Expected `points` to be at most {min(sides)}, the pixels of the images' shorter "
                f"side. Received: points={self.points}"
            )

    def bind(
        self, batch: SplitBatch, *, pixels: PixelRange, encoding: LabelEncoding, key: tf.Tensor
    ) -> BoundSpatial:
        """Draws the flow's start and returns the perturbation of this batch."""
        images = batch.poison_images
        sides = image_sides(images)
        self.check_sides(sides)
        points = sides if self.points is None else (self.points, self.points)
        # Half precision cannot tell places between pixels apart.
        dtype = tf.float64 if images.dtype == tf.float64 else tf.float32
        draw = INITIALIZERS[self.initializer]([tf.shape(images)[0], *points, 2], key, dtype)
        flow = tf.clip_by_value(self.reach * draw, -self.reach, self.reach)
        flow = tf.ensure_shape(flow, [images.shape[0], *points, 2])
        return BoundSpatial(batch, pixels, flow, self.reach)
