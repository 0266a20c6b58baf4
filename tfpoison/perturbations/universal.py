"""Universal perturbations: one for each class, shared by all images that are to be called that."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import tensorflow as tf

from tfpoison.batch import LabelEncoding, SplitBatch, most_frequent_other_class
from tfpoison.perturbations.additive import Additive
from tfpoison.perturbations.perturbation import BoundPerturbation, Parameters
from tfpoison.perturbations.table import INITIALIZERS
from tfpoison.pixel_range import PixelRange
from tfpoison.randomness import split_key


class BoundUniversal(BoundPerturbation):
    """x + δ of the class that x aims at; the only parameter is δ, (classes, H, W, C)."""

    shared = True

    def __init__(
        self,
        batch: SplitBatch,
        pixels: PixelRange,
        initial: Parameters,
        which: tf.Tensor,
        epsilon: float,
    ):
        super().__init__(batch, pixels, initial)
        self._which = which
        self._epsilon = epsilon

    def apply(self, parameters: Parameters) -> SplitBatch:
        """Returns the batch with δ added, its pixels held within their range.

        The gradient passes that limit as if there were none: a δ that is cut off in all images of a
        batch would never find back otherwise.
        """
        clean = self.batch.poison_images
        moved = clean + self.pixels.span(clean.dtype) * tf.gather(parameters[0], self._which)
        cut_off = tf.stop_gradient(self.pixels.clip(moved, clean) - moved)
        return self.batch.replace(poison_images=moved + cut_off)

    def project(self, parameters: Parameters) -> Parameters:
        """Returns δ clipped to ±ε."""
        return [tf.clip_by_value(parameters[0], -self._epsilon, self._epsilon)]


@dataclasses.dataclass(frozen=True)
class Universal(Additive):
    """One δ for each class with |δ|∞ ≤ ε, the same on all images that aim at the class.

    An image aims at what `SplitBatch.aims` says, and where that says nothing at a class drawn among
    those that are not its own. In the training step δ is kept from step to step. Source: arXiv
    1811.11304 (universal adversarial training), with one perturbation toward each class.
    """

    lasts: ClassVar[bool] = True

    def start(
        self, classes: int, image_shape: Sequence[int], key: tf.Tensor, dtype: tf.DType
    ) -> Parameters:
        """Returns δ's start, (classes, H, W, C)."""
        draw = INITIALIZERS[self.initializer]([classes, *image_shape], key, dtype)
        return [tf.clip_by_value(self.epsilon * draw, -self.epsilon, self.epsilon)]

    def bind(  # type: ignore[override]
        self, batch: SplitBatch, *, pixels: PixelRange, encoding: LabelEncoding, key: tf.Tensor
    ) -> BoundUniversal:
        """Draws δ's start, and what images aim at where that is not given."""
        keys = split_key(key)
        images = batch.poison_images
        initial = self.start(encoding.classes, images.shape[1:], next(keys), images.dtype)
        batch, which = with_aims(batch, encoding, next(keys))
        return BoundUniversal(batch, pixels, initial, which, self.epsilon)


def with_aims(
    batch: SplitBatch, encoding: LabelEncoding, key: tf.Tensor
) -> tuple[SplitBatch, tf.Tensor]:
    """Returns a batch whose poisons aim at classes, drawn where it gives none, and those, (n,)."""
    if batch.aims is not None:
        return batch, encoding.decode(batch.aims)
    own = encoding.named(batch.poison_labels)
    classes = most_frequent_other_class(tf.zeros([encoding.classes]), own, key)
    return batch.replace(aims=encoding.encode_like(classes, batch.poison_labels)), classes
