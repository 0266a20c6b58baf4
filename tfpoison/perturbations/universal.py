"""Universal perturbations: one for each class, shared by all images that are to be called that."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from tfpoison.batch import SplitBatch
from tfpoison.perturbations.additive import Additive
from tfpoison.perturbations.for_each_class import BoundForEachClass, ForEachClass
from tfpoison.perturbations.perturbation import BoundPerturbation, Parameters
from tfpoison.perturbations.table import INITIALIZERS
from tfpoison.pixel_range import PixelRange


class BoundUniversal(BoundForEachClass):
    """x + δ of the class that x aims at; the only parameter is δ, (classes, H, W, C)."""

    def apply(self, parameters: Parameters) -> SplitBatch:
        """Returns the batch with δ added, its pixels held within their range.

        The gradient passes that limit as if there were none: a δ that is cut off in all images of a
        batch would never find back otherwise.
        """
        clean = self.batch.poison_images
        moved = clean + self.pixels.span(clean.dtype) * tf.gather(parameters[0], self.which)
        cut_off = tf.stop_gradient(self.pixels.clip(moved, clean) - moved)
        return self.batch.replace(poison_images=moved + cut_off)

    def project(self, parameters: Parameters) -> Parameters:
        """Returns δ clipped to ±ε."""
        return [tf.clip_by_value(parameters[0], -self.limit, self.limit)]


@dataclasses.dataclass(frozen=True)
class Universal(ForEachClass, Additive):
    """One δ for each class with |δ|∞ ≤ ε, the same on all images that aim at the class.

    Source: arXiv 1811.11304 (universal adversarial training), with one perturbation toward each
    class.
    """

    def start(
        self, classes: int, image_shape: Sequence[int], key: tf.Tensor, dtype: tf.DType
    ) -> Parameters:
        """Returns δ's start, (classes, H, W, C)."""
        draw = INITIALIZERS[self.initializer]([classes, *image_shape], key, dtype)
        return [tf.clip_by_value(self.epsilon * draw, -self.epsilon, self.epsilon)]

    def on(
        self, batch: SplitBatch, pixels: PixelRange, initial: Parameters, which: tf.Tensor
    ) -> BoundPerturbation:
        return BoundUniversal(batch, pixels, initial, which, self.epsilon)
