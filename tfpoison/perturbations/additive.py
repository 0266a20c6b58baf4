"""Additive perturbations: every pixel of the poisons moves by at most ε."""

import dataclasses

import tensorflow as tf

from tfpoison.batch import LabelEncoding, SplitBatch
from tfpoison.perturbations.perturbation import BoundPerturbation, Parameters, Perturbation
from tfpoison.perturbations.table import INITIALIZERS
from tfpoison.pixel_range import PixelRange
from tfpoison.settings import setting


class BoundAdditive(BoundPerturbation):
    """x + δ for the poisons of a batch; the only parameter is δ, in shares of the pixel range."""

    def __init__(self, batch: SplitBatch, pixels: PixelRange, delta: tf.Tensor, epsilon: float):
        super().__init__(batch, pixels, [delta])
        self._span = pixels.span(delta.dtype)
        sink, rise = pixels.room(batch.poison_images)
        self._lowest = tf.maximum(sink, -epsilon)
        self._highest = tf.minimum(rise, epsilon)

    def apply(self, parameters: Parameters) -> SplitBatch:
        """Returns the batch with δ added to its poisons."""
        images = self.batch.poison_images + self._span * parameters[0]
        return self.batch.replace(poison_images=images)

    def project(self, parameters: Parameters) -> Parameters:
        """Returns δ clipped to ±ε and to what keeps each pixel in its range."""
        return [tf.clip_by_value(parameters[0], self._lowest, self._highest)]


@dataclasses.dataclass(frozen=True)
class Additive(Perturbation):
    """δ with |δ|∞ ≤ ε is added to the poisons, as far as their pixels stay in range."""

    epsilon: float = setting(16 / 255, "ε, as a share of the pixel range.", minimum=0, maximum=1)
    initializer: str = setting(
        "normal", "Where δ starts; scaled by ε and clamped to ±ε.", choices=INITIALIZERS
    )

    @property
    def radius(self) -> float:
        """ε."""
        return self.epsilon

    def bind(
        self, batch: SplitBatch, *, pixels: PixelRange, encoding: LabelEncoding, key: tf.Tensor
    ) -> BoundPerturbation:
        """Draws δ's start and returns the perturbation of this batch."""
        images = batch.poison_images
        draw = INITIALIZERS[self.initializer](tf.shape(images), key, images.dtype)
        delta = tf.clip_by_value(self.epsilon * draw, -self.epsilon, self.epsilon)
        return BoundAdditive(batch, pixels, tf.ensure_shape(delta, images.shape), self.epsilon)
